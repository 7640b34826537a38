"""What is recorded on a broker and replayed onto it is the same when it is recorded again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.every_broker import Broker, until

from brokerkit import BrokerkitError, Bus, Message, UnsupportedFeature
from brokerkit.adapters.api import Subscription
from brokerkit.recording import Recorder, Recording, Replay

QUEUES = ("sqs", "sqs-fifo", "redis-list")
ALIKE = ("sqs-fifo", "sns")
"""Read as SQS is, where one test of all is enough."""
MESSAGES = [
    Message("OnUserLoggedIn", b'{"playerId": 1}', key="p-1", headers={"shift": "night"}, id="one"),
    Message("OnUserLoggedIn", '{"nick": "Ħal Għaxaq ♠"}'.encode(), key="p-1", headers={"ħ": "♥"}, id="two"),
    Message("OnGameDone", b'{"gameId": 7, "participations', id="cut off"),
    Message("OnGameDone", b"\x00\xff\xfe{}", key="t", headers={"raw": b"\xff\x00"}, id="no text"),
    Message("NobodyKnowsThis", b"", id="empty"),
    Message("OnUserLoggedOut", b"[" * 200, headers={"content-type": "text/plain"}, id="no event"),
]


def recorder(broker: Broker, path: Path, topic: str, **settings: Any) -> Recorder:
    own: dict[str, Any] = {"provision": "all", "format": "evenbet", "take": broker.name in QUEUES}
    if not (broker.name in QUEUES or broker.at_most_once):
        own["group"] = "recording"
    merged = {**own, **broker.settings, **settings, "topic": topic}
    return Recorder(path, merged.pop("url"), **merged)


@asynccontextmanager
async def recording(to: Recorder, count: int | None = None) -> AsyncGenerator[Recorder]:
    """Record while the block runs, and until so many messages are there."""
    running = asyncio.ensure_future(to.run(count=count))
    starting = asyncio.ensure_future(to.started.wait())
    await asyncio.wait([running, starting], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        starting.cancel()
        await running
    yield to
    if count is None:
        to.stop()
    async with asyncio.timeout(60):
        await running


def same(messages: list[Message]) -> list[Any]:
    """What must not change, in an order of its own: not every broker keeps the one of different keys."""
    return sorted(
        ((one.id, one.name, one.body, one.key, sorted(one.headers.items())) for one in messages), key=lambda one: one[0]
    )


def read(path: Path) -> list[Message]:
    return [message for _, message in Recording(path)]


async def test_a_recording_that_is_replayed_and_recorded_again_holds_the_same(broker: Broker, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl"
    to, bus = recorder(broker, first, broker.topic("a")), broker.bus(topic=broker.topic("a"))
    async with recording(to, len(MESSAGES)), bus:
        assert not [one for one in await bus.publish_many(MESSAGES) if isinstance(one, BrokerkitError)]
    recorded = read(first)
    assert [(one.id, one.name, one.body, one.key) for one in sorted(recorded, key=lambda one: one.id or "")] == [
        (one.id, one.name, one.body, one.key) for one in sorted(MESSAGES, key=lambda one: one.id or "")
    ]
    for one in MESSAGES:
        [found] = [other for other in recorded if other.id == one.id]
        assert one.headers.items() <= found.headers.items()
        assert found.topic == broker.topic("a")
        assert found.time is not None

    to, bus = recorder(broker, second, broker.topic("b")), broker.bus(topic=broker.topic("b"))
    async with recording(to, len(MESSAGES)), bus:
        replay = Replay(bus, Recording(first), speed=None)
        assert await replay.run()
        assert (replay.published, replay.position) == (len(MESSAGES), len(MESSAGES))
    assert same(read(second)) == same(recorded)


async def test_what_is_in_the_file_is_acknowledged_and_no_more(broker: Broker, tmp_path: Path) -> None:
    if broker.at_most_once or broker.name in ALIKE:
        return
    async with recording(recorder(broker, tmp_path / "first.jsonl", broker.topic()), 3), broker.bus() as bus:
        await bus.publish_many([Message("OnUserLoggedIn", b"{}", id=str(number), key="all") for number in range(7)])
    async with recording(recorder(broker, tmp_path / "second.jsonl", broker.topic()), 4):
        pass
    # A crash, or a slow broker's answer, brings a message again; here is none.
    ids = [[message.id for message in read(tmp_path / name)] for name in ("first.jsonl", "second.jsonl")]
    assert [len(one) for one in ids] == [3, 4]
    assert sorted(ids[0] + ids[1], key=str) == [str(number) for number in range(7)]


async def test_without_a_group_recording_begins_now_or_is_refused_where_it_would_take(
    broker: Broker, tmp_path: Path
) -> None:
    if broker.name in QUEUES:
        with pytest.raises(UnsupportedFeature, match=r"--take"):
            recorder(broker, tmp_path / "r.jsonl", broker.topic(), take=False)
        return
    if broker.name == "kafka-share":
        with pytest.raises(UnsupportedFeature, match="name a group"):
            recorder(broker, tmp_path / "r.jsonl", broker.topic(), group=None)
        return
    if broker.name in ALIKE:
        return
    async with broker.bus() as bus:
        if broker.name != "rabbitmq":  # which refuses what nobody is there for
            await bus.publish(Message("OnUserLoggedIn", b"{}", id="before"))
        private = recorder(broker, tmp_path / "r.jsonl", broker.topic(), group=None)
        async with recording(private):
            await bus.publish(Message("OnUserLoggedIn", b"{}", id="now"))
            await until(lambda: private.written == 1)
    assert [message.id for message in read(tmp_path / "r.jsonl")] == ["now"]


async def test_the_group_of_a_service_is_not_read_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERKIT_GROUP", "wallet")
    monkeypatch.setenv("BROKERKIT_URL", "memory://service?group=wallet")
    async with Bus(topic="t", group="wallet", format="evenbet") as bus:
        service = bus.adapter().subscribe(Subscription(topics=("t",), group="wallet"), _ignore)
        await service.open()
        to = Recorder(tmp_path / "r.jsonl", topic="t", format="evenbet")
        async with recording(to, 1):
            await bus.publish(Message("OnUserLoggedIn", b"{}", id="theirs"))
        assert [delivery.id for delivery in await service.receive(10)] == ["theirs"]
        await service.stop()
        await service.close()


async def _ignore(_: object, *, gone: bool = True) -> None: ...


async def test_what_has_no_name_is_recorded_counted_and_replayed_without_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"topic": "t", "format": "evenbet", "provision": "all"}
    to = Recorder(tmp_path / "r.jsonl", "memory://nameless", group="g", **settings)
    async with recording(to, 1), Bus("memory://nameless", topic="t", format="evenbet") as bus:
        await bus.publish(Message("", b"nobody's", key="k"))
    assert (to.written, to.nameless) == (1, 1)
    again = Recorder(tmp_path / "again.jsonl", "memory://nameless-2", group="g", **settings)
    async with recording(again, 1), Bus("memory://nameless-2", topic="t", format="evenbet") as bus:
        await Replay(bus, Recording(tmp_path / "r.jsonl")).run()
    assert same(read(tmp_path / "again.jsonl")) == same(read(tmp_path / "r.jsonl"))


async def test_a_disk_that_is_full_ends_it_and_nothing_is_acknowledged_that_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, settings = f"memory://{tmp_path.name}", {"topic": "t", "format": "evenbet"}
    to = Recorder(tmp_path / "r.jsonl", url, group="g", **settings)  # type: ignore[arg-type]
    with pytest.raises(BrokerkitError, match=r"r\.jsonl cannot be written: No space left on device"):
        async with recording(to), Bus(url, **settings) as bus:  # type: ignore[arg-type]
            monkeypatch.setattr("os.fsync", _full)
            await bus.publish(Message("OnUserLoggedIn", b"{}", id="kept"))
            await until(lambda: to._failure is not None)
    monkeypatch.undo()
    async with recording(Recorder(tmp_path / "next.jsonl", url, group="g", **settings), 1):  # type: ignore[arg-type]
        pass
    assert [message.id for message in read(tmp_path / "next.jsonl")] == ["kept"]


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


async def test_a_file_that_is_there_is_left_alone_and_a_broker_that_is_not_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"mine")
    with pytest.raises(BrokerkitError, match="exists already"):
        await Recorder(path, "memory://", topic="t").run()
    assert path.read_bytes() == b"mine"
    with pytest.raises(BrokerkitError):
        await Recorder(tmp_path / "new.jsonl", "redis://127.0.0.1:1", topic="t", connect_timeout=0.5).run()
    assert [one.name for one in tmp_path.iterdir()] == ["r.jsonl"]
