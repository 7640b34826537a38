"""`exactly_once = true` on every broker that has transactions, and its refusal on all others.

What becomes of it when processes die is in tests/killed/test_exactly_once.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import pytest

from brokerkit import (
    Bus,
    Closed,
    ConfigError,
    Message,
    MessageTooLarge,
    Notice,
    Receipt,
    Reject,
    UnsupportedFeature,
    adapters,
)
from brokerkit._config._settings import ConnectionSettings
from brokerkit.dedupe import Dedupe, MemoryStore
from brokerkit.dependencies import Depends
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.types import Attempt
from tests import every_broker
from tests.brokers.kafka import KafkaBroker
from tests.conftest import MADE_BY
from tests.every_broker import Broker, until, until_async

SEATED, PAID = "OnPlayerSeatedDown", "OnUserLoggedIn"


@pytest.fixture(params=["memory", "kafka"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return MADE_BY[request.param](request)


class Scene:
    """A bus that reads deals and publishes what it pays for them, and whoever reads that."""

    def __init__(
        self, broker: Broker, folder: Path, *, options: Mapping[str, Any] | None = None, **source: Any
    ) -> None:
        self.broker = broker
        self.folder = folder
        self.source = {"exactly_once": True, "retry": {"attempts": 3, "first": 0.01, "cap": 0.02}, **source}
        self.here = dict(broker.settings)
        if options is not None:
            self.here["options"] = {**self.here["options"], **options}
        self.bus = self.make()

    def make(self, **targets: Mapping[str, Any]) -> Bus:
        """A bus, with more targets beside ``paid``."""
        tables: dict[str, Any] = {
            "bus": {"format": "evenbet", "provision": "all", "stop_timeout": 10.0},
            "sources.deals": {"topic": self.broker.topic("deals"), "group": "wallet", **self.here, **self.source},
            "targets.paid": {"topic": self.broker.topic("paid"), **self.here},
            **{f"targets.{name}": target for name, target in targets.items()},
        }
        path = self.folder / f"{uuid.uuid4().hex}.toml"
        path.write_text("".join(f"[{name}]\n{lines(table)}" for name, table in tables.items()))
        return Bus.from_config(path)

    async def deal(self, *numbers: int, key: str | None = "k") -> None:
        async with self.broker.bus(topic=self.broker.topic("deals")) as bus:
            for number in numbers:
                await bus.publish(OnPlayerSeatedDown(player_id=number), key=key, id=f"deal-{number}")

    async def read(self, topic: str) -> list[Any]:
        """Everything that somebody who reads what is committed finds in a topic now."""
        adapter = adapters.make(ConnectionSettings.model_validate(dict(self.broker.settings)).connection())
        await adapter.open()
        try:
            async with aclosing(adapter.browse([topic])) as found:
                return [one async for one in found]
        finally:
            await adapter.close()

    async def paid(self) -> list[str]:
        """The ids of all results."""
        return [str(one.id) for one in await self.read(self.broker.topic("paid"))]

    async def letters(self) -> list[str]:
        adapter = self.bus.adapter()
        return [str(one.id) for one in await self.read(adapter.derived(self.broker.topic("deals"), "wallet", "dlq"))]

    async def nothing_waits(self) -> bool:
        health = (await self.bus.health(lag=True)).sources["deals"]
        return health.lag == 0 and health.in_flight == 0

    async def over(self) -> None:
        """Wait until everything is settled."""
        await until_async(self.nothing_waits)

    def pay(self, message: Message, what: str = "paid") -> Any:
        return self.bus.publish(PAID, {"playerId": 1}, to="paid", key=message.key, id=f"{message.id}-{what}")


def lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {toml(value)}\n" for name, value in table.items())


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{name}" = {toml(inner)}' for name, inner in value.items()) + "}"
    return json.dumps(value)


async def test_each_message_has_its_result_once_and_in_order(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        receipt = await scene.pay(message)
        assert isinstance(receipt, Receipt) and receipt.position is None

    await scene.deal(*range(50))
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert await scene.paid() == [f"deal-{number}-paid" for number in range(50)]
    assert scene.bus.stats["deals"].handled == 50


async def test_what_is_not_published_in_the_end_is_published_by_nobody(broker: Broker, tmp_path: Path) -> None:
    """An attempt that fails has published nothing, and neither has a message that becomes a dead letter."""
    scene = Scene(broker, tmp_path)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message, f"attempt {message.attempt}")
        if event.player_id == 1 and message.attempt == 1:
            raise RuntimeError("again")
        if event.player_id == 2:
            raise Reject("never")

    await scene.deal(0, 1, 2, 3)
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert sorted(await scene.paid()) == ["deal-0-attempt 1", "deal-1-attempt 2", "deal-3-attempt 1"]
        assert [each.partition("~")[0] for each in await scene.letters()] == ["deal-2"]
    stats = scene.bus.stats["deals"]
    assert (stats.handled, stats.dead_lettered, stats.failed) == (3, 1, 2)


@pytest.mark.parametrize("hold", [10.0, 0.0], ids=["held", "durable"])
async def test_what_a_handler_that_is_done_has_published_is_there_once(
    broker: Broker, tmp_path: Path, hold: float
) -> None:
    """Also where the retry of the other one goes through the broker, or ends as a dead letter."""
    scene = Scene(broker, tmp_path, hold=hold)
    calls: Counter[str] = Counter()

    @scene.bus.on(SEATED)
    async def first(event: OnPlayerSeatedDown, message: Message) -> None:
        calls["first"] += 1
        await scene.pay(message, "first")

    @scene.bus.on(SEATED)
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        calls["second"] += 1
        await scene.pay(message, "second")
        if event.player_id == 1 or message.attempt < 3:
            raise RuntimeError("again")

    await scene.deal(0, 1)
    async with scene.bus, scene.bus.serving():
        stats = scene.bus.stats["deals"]
        await until(lambda: stats.handled + stats.dead_lettered == 2)
        await scene.over()
        assert sorted(await scene.paid()) == ["deal-0-first", "deal-0-second", "deal-1-first"]
        assert len(await scene.letters()) == 1
    assert calls == {"first": 2, "second": 6}


async def test_what_middleware_and_dependencies_publish_goes_with_the_results_of_the_handlers(
    broker: Broker, tmp_path: Path
) -> None:
    """What the handlers share cannot be closed after the first attempt: all of it is dropped, and all of them run again."""
    scene = Scene(broker, tmp_path)

    async def audit(attempt: Attempt, proceed: Callable[[], Awaitable[None]]) -> None:
        await proceed()
        await scene.pay(attempt.message, f"audit {attempt.message.attempt}")

    async def session(message: Message) -> AsyncIterator[str]:
        yield "session"
        await scene.pay(message, f"closed {message.attempt}")
        if message.attempt == 1:
            raise RuntimeError("it cannot be closed")

    scene.bus.add_middleware(audit)

    @scene.bus.on(SEATED)
    async def first(
        event: OnPlayerSeatedDown, message: Message, shared: Annotated[str, Depends(session, scope="message")]
    ) -> None:
        await scene.pay(message, f"first {message.attempt}")

    @scene.bus.on(SEATED, where=lambda headers: bool(headers))
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message, f"second {message.attempt}")

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        results = ["first 2", "audit 2", "second 2", "audit 2", "closed 2"]
        assert await scene.paid() == [f"deal-0-{result}" for result in results]


async def test_a_message_waits_for_those_before_it(broker: Broker, tmp_path: Path) -> None:
    """What is done behind a message that still runs is not published yet where one offset stands for all of them."""
    scene = Scene(broker, tmp_path, order="none")
    go_on, behind = asyncio.Event(), asyncio.Event()

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if event.player_id == 0:
            await go_on.wait()
        await scene.pay(message)
        if event.player_id == 9:
            behind.set()

    await scene.deal(*range(10))
    async with scene.bus, scene.bus.serving():
        await behind.wait()
        if scene.bus.runtime.capabilities("deals").commits_offsets:
            assert await scene.paid() == []
        go_on.set()
        await scene.over()
        assert sorted(await scene.paid()) == sorted(f"deal-{number}-paid" for number in range(10))


async def test_a_publish_after_the_end_of_its_handler_is_refused(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    later: list[asyncio.Task[Any]] = []
    ended = asyncio.Event()

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        async def pay_later() -> None:
            await ended.wait()
            await scene.pay(message)

        later.append(asyncio.create_task(pay_later()))

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        ended.set()
        with pytest.raises(Closed, match="await what it publishes"):
            await later[0]
        # Outside of handlers the bus publishes as always.
        assert isinstance(await scene.bus.publish(PAID, {"playerId": 1}, to="paid", id="other"), Receipt)
        assert await scene.paid() == ["other"]


async def test_what_an_earlier_handler_left_behind_publishes_nothing_in_the_name_of_the_next(
    broker: Broker, tmp_path: Path
) -> None:
    scene = Scene(broker, tmp_path)
    left: list[asyncio.Task[Any]] = []
    next_runs = asyncio.Event()

    @scene.bus.on(SEATED)
    async def first(event: OnPlayerSeatedDown, message: Message) -> None:
        async def pay_later() -> None:
            await next_runs.wait()
            await scene.pay(message, "left behind")

        left.append(asyncio.create_task(pay_later()))

    @scene.bus.on(SEATED)
    async def second(event: OnPlayerSeatedDown, message: Message) -> None:
        next_runs.set()
        await asyncio.wait(left)
        await scene.pay(message)

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1)
        await scene.over()
        with pytest.raises(Closed, match="await what it publishes"):
            await left[0]
        assert await scene.paid() == ["deal-0-paid"]


async def test_a_thread_that_took_too_long_publishes_nothing_in_the_name_of_the_next_attempt(
    broker: Broker, tmp_path: Path
) -> None:
    """No thread can be stopped, and it has the context of its attempt for ever."""
    scene = Scene(broker, tmp_path, retry={"attempts": 20, "first": 0.01, "cap": 0.02})
    loop = asyncio.get_running_loop()
    again, late = threading.Event(), threading.Event()
    errors: list[BaseException] = []
    calls = itertools.count()

    def pay(message: Message, what: str) -> None:
        asyncio.run_coroutine_threadsafe(scene.pay(message, what), loop).result(60)

    @scene.bus.on(SEATED, timeout=1.0)
    def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if next(calls):
            again.set()
            assert late.wait(60)
            pay(message, "paid")
            return
        assert again.wait(60)
        try:
            pay(message, "late")
        except Closed as error:
            errors.append(error)
        finally:
            late.set()

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].handled == 1, seconds=60)
        await scene.over()
        assert await scene.paid() == ["deal-0-paid"]
    assert len(errors) == 1


async def test_what_a_hook_publishes_about_a_failure_is_no_part_of_the_transaction(
    broker: Broker, tmp_path: Path
) -> None:
    scene = Scene(broker, tmp_path)
    alerts: list[asyncio.Task[Any]] = []

    def alert(notice: Notice) -> None:
        if notice.kind == "failed":
            alerts.append(asyncio.create_task(scene.bus.publish(PAID, {"playerId": 1}, to="paid", id="alert")))

    scene.bus.add_hook(alert)

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message)
        raise (RuntimeError("again") if message.attempt == 1 else Reject("never"))

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].dead_lettered == 1)
        await asyncio.gather(*alerts)
        assert await scene.paid() == ["alert"]


async def test_a_message_that_is_too_large_is_an_error_where_it_is_published(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    errors: list[BaseException] = []

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        try:
            await scene.bus.publish(Message(PAID, b"x" * 2_000_000), to="paid")
        except MessageTooLarge as error:
            errors.append(error)
        [result] = await scene.bus.publish_many([Message(PAID, b"x" * 2_000_000)], to="paid")
        assert isinstance(result, MessageTooLarge)
        await scene.pay(message)

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await scene.over()
        assert await scene.paid() == ["deal-0-paid"]
    assert len(errors) == 1


async def test_another_broker_is_refused_where_a_handler_publishes_to_it(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path, retry={"attempts": 1})
    scene.bus = scene.make(other={"url": f"memory://{uuid.uuid4().hex}", "topic": "elsewhere"})
    errors: list[BaseException] = []

    @scene.bus.on(SEATED)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        await scene.pay(message)
        try:
            await scene.bus.publish(PAID, {"playerId": 1}, to="other")
        except UnsupportedFeature as error:
            errors.append(error)
            raise

    await scene.deal(0)
    async with scene.bus, scene.bus.serving():
        await until(lambda: scene.bus.stats["deals"].dead_lettered == 1)
        await scene.over()
        assert await scene.paid() == []
    assert "'other'" in str(errors[0]) and "outbox" in str(errors[0])


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ({"broadcast": True}, UnsupportedFeature, "use a group"),
        ({"dead_letter": "file:///tmp/letters.jsonl"}, UnsupportedFeature, "leave out dead_letter"),
        ({"dead_letter": "memory://other?topic=dead"}, UnsupportedFeature, "leave out dead_letter"),
        ({"dedupe": "memory://"}, ConfigError, "dedupe"),
    ],
)
async def test_what_does_not_go_together_with_transactions_is_refused_at_the_start(
    broker: Broker, tmp_path: Path, source: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        scene = Scene(broker, tmp_path, **source)
        scene.bus.on(SEATED)(nothing)
        async with scene.bus, scene.bus.serving():
            pass


async def test_a_handler_with_a_dedupe_store_is_refused_at_the_start(broker: Broker, tmp_path: Path) -> None:
    scene = Scene(broker, tmp_path)
    scene.bus.on(SEATED, dedupe=Dedupe(MemoryStore()))(nothing)
    with pytest.raises(ConfigError, match="does not go together with dedupe"):
        async with scene.bus, scene.bus.serving():
            pass


async def nothing(event: OnPlayerSeatedDown) -> None:
    raise AssertionError("nothing is published")


@pytest.mark.parametrize("name", sorted(set(MADE_BY) - {"memory", "kafka"}))
def test_every_other_broker_refuses_and_names_the_outbox(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedFeature, match=r"exactly_once \(source 'deals'\).*outbox"):
        Scene(MADE_BY[name](request), tmp_path)


@pytest.mark.parametrize("option", [{"isolation.level": "read_uncommitted"}, {"enable.idempotence": False}])
async def test_options_that_undo_transactions_are_refused_before_anything_is_read(
    kafka_broker: KafkaBroker, tmp_path: Path, option: dict[str, Any]
) -> None:
    scene = Scene(every_broker.kafka(kafka_broker), tmp_path, options=option)
    scene.bus.on(SEATED)(nothing)
    with pytest.raises(ConfigError, match="exactly_once"):
        async with scene.bus, scene.bus.serving():
            pass
