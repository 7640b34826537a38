"""What a callback or a task raises reaches whoever answers for it: the source ends, or the publish fails."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from brokerkit import BrokerkitError, Bus, Handlers, Message, PublishError, Retry, RetryPolicy
from brokerkit._consuming._settlement import Settlement
from brokerkit._guard import guarded, start
from brokerkit._messages._delivery import Delivery, Outcome, Settled
from brokerkit._publishing._sender import Sender
from brokerkit.adapters.memory import MemorySource
from brokerkit.events.evenbet import OnPlayerSeatedDown


class Defect(Exception):
    """What nobody expects."""


def fail(*_: object, **__: object) -> Any:
    raise Defect("on purpose")


@pytest.fixture
async def nothing_in_the_loops_log() -> Iterator[None]:  # type: ignore[misc]
    loop, seen = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: seen.append(context))
    yield
    assert not seen


async def test_a_guarded_callback_tells_its_error_and_raises_nothing(nothing_in_the_loops_log: None) -> None:
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(guarded(fail, told.set_result), 1)
    assert isinstance(await told, Defect)


async def test_a_task_tells_its_error_and_its_cancellation_is_none(nothing_in_the_loops_log: None) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        fail()

    told = list[BaseException]()
    failing, cancelled = start(work(), told.append), start(asyncio.sleep(60), told.append)
    cancelled.cancel()
    await asyncio.wait([failing, cancelled])
    await asyncio.sleep(0)
    assert [type(error) for error in told] == [Defect]


def bus(**settings: Any) -> Bus:
    one = Bus("memory://", topic="guarded", group="wallet", format="evenbet", **settings)
    handlers = Handlers()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if message.attempt == 1:
            raise Retry("once", after=0.01)

    one.include(handlers)
    return one


async def ends(one: Bus) -> BaseException:
    """The error by which serving ends, once a message was published."""
    async with one:
        serving = asyncio.ensure_future(one.serve())
        await one.publish(OnPlayerSeatedDown(player_id=1, table_id=1))
        await asyncio.wait([serving], timeout=20)
        assert serving.done(), "the source hangs, and looks healthy"
        error = serving.exception()
        assert error is not None
        return error


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("brokerkit._consuming._intake.Intake", "again"),
        ("brokerkit._consuming._flow.Flow", "wake_pollers"),
        ("brokerkit._consuming._settlement.Settlement", "_try_again"),
        ("brokerkit.adapters.memory.MemorySource", "settle"),
        ("brokerkit.adapters.memory.MemorySource", "receive"),
    ],
)
async def test_a_defect_on_any_way_through_a_source_ends_it(
    where: str, name: str, monkeypatch: pytest.MonkeyPatch, nothing_in_the_loops_log: None
) -> None:
    if name == "_try_again":

        async def refuse(_: MemorySource, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
            return [Settled.FAILED for _ in pairs]

        monkeypatch.setattr(MemorySource, "settle", refuse)
    monkeypatch.setattr(f"{where}.{name}", fail)
    assert isinstance(await ends(bus(stop_timeout=0.1, retry=RetryPolicy(attempts=3))), Defect)


async def test_a_defect_in_a_timer_of_the_settlement_ends_the_source(
    monkeypatch: pytest.MonkeyPatch, nothing_in_the_loops_log: None
) -> None:
    async def refuse(_: MemorySource, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        monkeypatch.setattr(Settlement, "add", fail)
        return [Settled.FAILED for _ in pairs]

    monkeypatch.setattr(MemorySource, "settle", refuse)
    assert isinstance(await ends(bus(stop_timeout=0.1)), Defect)


async def test_a_defect_in_the_embedded_brokers_sweep_ends_the_source(
    monkeypatch: pytest.MonkeyPatch, nothing_in_the_loops_log: None
) -> None:
    async def broken(_: MemorySource, lease: float) -> None:
        fail()

    monkeypatch.setattr(MemorySource, "_sweep", broken)
    assert isinstance(await ends(bus(stop_timeout=0.1)), BrokerkitError)


async def test_a_defect_while_sending_fails_the_publish(
    monkeypatch: pytest.MonkeyPatch, nothing_in_the_loops_log: None
) -> None:
    monkeypatch.setattr(Sender, "_next_batch", fail)
    async with bus() as one:
        with pytest.raises(PublishError, match="Defect"):
            await one.publish(OnPlayerSeatedDown(player_id=1, table_id=1))
