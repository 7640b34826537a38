"""Runs a handler of batches once for each message: a claim for each, one call for all that nobody is done with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from brokerkit._consuming._routes import Call
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._message import Message


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a batch, as its handler gets it.

    Attributes:
        event: None where the handler takes messages only, and nothing else needs the event.
        message: None where nothing needs it.
    """

    delivery: Delivery
    event: Any
    message: Any


Errors = dict[Delivery, BaseException]


class _NotDoneError(Exception):
    """The handler has said that a message failed: its claim is given back."""


async def run_once_each(
    call: Call,
    items: Sequence[Item],
    run: Callable[[Call, Sequence[Item]], Awaitable[Errors]],
    *,
    failed: Errors,
    duplicate: Callable[[Delivery], None],
) -> None:
    """Claim all messages, run the handler for those that nobody is done with, and mark as done what has not failed.

    Args:
        call: the handler's.
        items: the messages.
        run: calls the handler, and returns the errors of what failed.
        failed: gets the errors of what failed, and of what could not be claimed.
        duplicate: told of each message that the handler is done with already.

    Raises:
        BaseException: what the handler raised, once the claims are given back.
    """
    idempotent = call.idempotent
    assert idempotent is not None  # otherwise nobody asks for this
    loop = asyncio.get_running_loop()
    claimed = set[Delivery]()
    unclaimed = {item.delivery for item in items}
    all_are_claimed: asyncio.Future[None] = loop.create_future()
    outcome: asyncio.Future[Errors] = loop.create_future()

    def answered(delivery: Delivery) -> None:
        unclaimed.discard(delivery)
        if not unclaimed and not all_are_claimed.done():
            all_are_claimed.set_result(None)

    async def handle(item: Item) -> None:
        delivery = item.delivery

        async def wait(_: Any, __: Message) -> None:
            claimed.add(delivery)
            answered(delivery)
            await asyncio.wait([outcome])
            if delivery in outcome.result():
                raise _NotDoneError

        try:
            if not await idempotent(item.event, item.message, wait):
                duplicate(delivery)
        except _NotDoneError:
            failed[delivery] = outcome.result()[delivery]
        except Exception as error:  # noqa: BLE001 (what it is, is decided with the message)
            failed[delivery] = error
        finally:
            answered(delivery)

    tasks = [asyncio.Task(handle(item), loop=loop) for item in items]
    try:
        await all_are_claimed
        mine = [item for item in items if item.delivery in claimed]
        try:
            outcome.set_result(await run(call, mine) if mine else {})
        except Exception as error:
            outcome.set_result({item.delivery: error for item in mine})
            await asyncio.wait(tasks)
            raise
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
