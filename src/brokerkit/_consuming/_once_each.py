"""Runs a handler of batches once for each message: a claim for each, one call for all that nobody is done with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from brokerkit._consuming._routes import Call
from brokerkit._guard import start
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


class _Claims:
    """The claims of one batch, until its handler has run.

    Args:
        call: the handler's.
        items: the messages.
        failed: gets the errors.
        duplicate: told of each message that the handler is done with already.
    """

    def __init__(
        self, call: Call, items: Sequence[Item], *, failed: Errors, duplicate: Callable[[Delivery], None]
    ) -> None:
        assert call.idempotent is not None  # otherwise nobody asks for this
        self._run_once = call.idempotent
        self._failed = failed
        self._duplicate = duplicate
        self._claimed = set[Delivery]()
        self._unclaimed = {item.delivery for item in items}
        loop = asyncio.get_running_loop()
        self._all_are_claimed: asyncio.Future[None] = loop.create_future()
        self._outcome: asyncio.Future[Errors] = loop.create_future()
        self.tasks = [start(self._handle(item), self._break) for item in items]

    def __repr__(self) -> str:
        return f"<_Claims: {len(self._claimed)} claimed, {len(self._unclaimed)} not yet>"

    async def wait(self) -> set[Delivery]:
        """Wait until every message is claimed or cannot be; return those that are."""
        await self._all_are_claimed
        return self._claimed

    async def settle(self, errors: Errors) -> None:
        """Mark as done what has not failed, and give the other claims back."""
        self._outcome.set_result(errors)
        await asyncio.wait(self.tasks)

    async def _handle(self, item: Item) -> None:
        delivery = item.delivery

        async def until_it_has_run(_: Any, __: Message) -> None:
            self._claimed.add(delivery)
            self._answered(delivery)
            await asyncio.wait([self._outcome])
            if delivery in self._outcome.result():
                raise _NotDoneError

        try:
            if not await self._run_once(item.event, item.message, until_it_has_run):
                self._duplicate(delivery)
        except _NotDoneError:
            self._failed[delivery] = self._outcome.result()[delivery]
        except Exception as error:  # noqa: BLE001 (what it is, is decided with the message)
            self._failed[delivery] = error
        finally:
            self._answered(delivery)

    def _answered(self, delivery: Delivery) -> None:
        self._unclaimed.discard(delivery)
        if not self._unclaimed and not self._all_are_claimed.done():
            self._all_are_claimed.set_result(None)

    def _break(self, error: BaseException) -> None:
        if not self._all_are_claimed.done():
            self._all_are_claimed.set_exception(error)


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
    claims = _Claims(call, items, failed=failed, duplicate=duplicate)
    try:
        claimed = await claims.wait()
        mine = [item for item in items if item.delivery in claimed]
        try:
            errors = await run(call, mine) if mine else {}
        except Exception as error:
            await claims.settle({item.delivery: error for item in mine})
            raise
        await claims.settle(errors)
    except asyncio.CancelledError:
        for task in claims.tasks:
            task.cancel()
        await asyncio.wait(claims.tasks)
        raise
