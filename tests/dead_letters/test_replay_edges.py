"""Replays that are interrupted, letters at the limit of what a broker takes, and places that are shared."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerkit import Closed, ConfigError, Message, NotFound, _clock
from brokerkit._dead_letters._file import DeadLetterFile
from brokerkit._dead_letters._lines import as_line, from_line
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Adapter
from tests import every_broker, every_redis
from tests.brokers.kafka import KafkaBroker
from tests.brokers.redis import RedisBroker
from tests.dead_letters.test_replay import NAME, ONCE, dead_letter, listed, place, seated
from tests.every_broker import Broker, Recorder


class Killed(BaseException):
    """Ends a replay as a kill would."""


def interrupt_after_publishing(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the broker have the messages, and nobody know it."""
    send = adapter.send

    async def sent(batch: Sequence[Outgoing]) -> Any:
        results = await send(batch)
        assert all(isinstance(result, Receipt) for result in results)
        monkeypatch.undo()
        raise Killed

    monkeypatch.setattr(adapter, "send", sent)


async def test_a_replay_that_ends_between_confirmation_and_acknowledgement_doubles_and_loses_nothing(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broker.name in ("sqs", "sns"):
        return  # slow, and their letters are in the same kind of queue as those of sqs-fifo
    settings = {**ONCE, **place(broker, tmp_path)}
    # A single one: several need not come in the batch that is interrupted.
    await dead_letter(broker.bus(**settings), seated(1, id="id-1"))
    recorder = Recorder().record(NAME)
    # SQS FIFO drops what it got a second time.
    times = 1 if broker.name == "sqs-fifo" else 2
    async with asyncio.timeout(60), recorder.serving(broker.bus(**settings)) as bus:
        with monkeypatch.context() as patched:
            interrupt_after_publishing(bus.adapter(), patched)
            with pytest.raises(Killed):
                await bus.dead_letters().replay()
        await recorder.wait_for(1)
        assert await bus.dead_letters().replay() == 1
        await recorder.wait_for(times)
        assert await listed(bus) == []
    assert [(event.player_id, message.id) for _, event, message in recorder.got] == [(1, "id-1")] * times


async def test_a_letter_comes_back_to_kafka_from_redis_byte_for_byte_null_included(
    kafka_broker: KafkaBroker, redis_broker: RedisBroker
) -> None:
    kafka, redis = every_broker.kafka(kafka_broker), every_redis.redis_streams(redis_broker)
    settings = {**ONCE, "dead_letter": f"{redis.settings['url']}?topic={redis.topic()}", "name_from": "header:event"}
    messages = [
        Message(NAME, None, key=b"\xfe", id="null", headers={"binary": b"\xff\x00"}),
        Message(NAME, b'"\xff\r\n', key="k", id="bytes"),
    ]
    await dead_letter(kafka.bus(**settings), *messages)
    async with asyncio.timeout(60), kafka.bus(**settings) as bus:
        letters = await listed(bus)
        assert {letter.message.id: letter.message.body for letter in letters} == {"null": None, "bytes": b'"\xff\r\n'}
        assert await bus.dead_letters().replay() == 2
        own = await bus.adapter().own_queue(kafka.topic(), "wallet", is_queue=False, create=False)
        replayed = {one.headers["bk-origin"]: one async for one in bus.adapter().browse([own])}
        assert len([one async for one in bus.adapter().browse([kafka.topic()])]) == 2
    null, plain = replayed[b"null"], replayed[b"bytes"]
    assert (null.body, null.key, null.headers["binary"]) == (None, b"\xfe", b"\xff\x00")
    assert (plain.body, plain.key) == (b'"\xff\r\n', b"k")


@pytest.mark.parametrize(("room", "groups"), [(0, "one"), (30, "many")])
async def test_what_has_no_room_for_its_history_comes_from_the_overflow_file_when_its_id_is_forgotten(
    memory: Broker, tmp_path: Path, room: int, groups: str
) -> None:
    limit = 1_000
    settings = {"options": {"max_message_bytes": limit, "groups": groups}, "overflow": str(tmp_path / "over"), **ONCE}
    start, end = b'{"playerId": 1, "more": "', b'"}'
    body = start + b"x" * (limit - room - len(start) - len(end) - len("event") - len(NAME)) + end
    await dead_letter(memory.bus(**settings), Message(NAME, body, id="id-1"))
    recorder = Recorder().record(NAME)
    async with recorder.serving(memory.bus(**settings)) as bus:
        # SQS FIFO would drop the id of the original, and there is no room for another beside it.
        assert await bus.dead_letters().replay() == 0
        later = _clock.use(lambda: time.time() + 400)
        try:
            assert await bus.dead_letters().replay() == 1
        finally:
            _clock.use(later)
        [(_, _, message)] = await recorder.wait_for(1)
    assert (message.body, message.id, message.attempt) == (body, "id-1", 1)
    assert not (tmp_path / "over").read_bytes()


async def test_what_fits_in_no_form_stays(memory: Broker, tmp_path: Path) -> None:
    settings = {"overflow": str(tmp_path / "over"), **ONCE}
    await dead_letter(
        memory.bus(**settings, dead_letter=f"file://{tmp_path}/dead"), seated(1, headers={"h": "x" * 500})
    )
    async with memory.bus(**settings, dead_letter=f"file://{tmp_path}/dead", options={"max_message_bytes": 400}) as bus:
        assert await bus.dead_letters().replay() == 0
        assert len(await listed(bus)) == 1


async def test_a_letter_keeps_the_history_that_there_is_room_for(
    memory: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"options": {"max_message_bytes": 600}, **ONCE}
    await dead_letter(memory.bus(**settings), seated(1, id="id-1"), error=RuntimeError("x" * 1_000))
    async with memory.bus(**settings) as bus:
        sent, send = list[Outgoing](), bus.adapter().send

        async def sending(batch: Sequence[Outgoing]) -> Any:
            sent.extend(batch)
            return await send(batch)

        monkeypatch.setattr(bus.adapter(), "send", sending)
        assert await bus.dead_letters().replay() == 1
    again = sent[-1]
    assert again.headers["bk-error-type"] == "RuntimeError"
    assert "bk-error" not in again.headers


async def test_a_source_takes_its_own_letters_out_of_a_file_that_others_use(memory: Broker, tmp_path: Path) -> None:
    settings = {**ONCE, "dead_letter": f"file://{tmp_path}/dead.jsonl"}
    await dead_letter(memory.bus(**settings), seated(1))
    await dead_letter(memory.bus(**settings, topic=memory.topic("other")), seated(2))
    file = tmp_path / "dead.jsonl"
    file.write_bytes(file.read_bytes() + b'{"half": ')
    await dead_letter(memory.bus(**settings, topic=memory.topic("more"), group="bonus"), seated(3))
    async with memory.bus(**settings) as bus:
        assert await bus.dead_letters().purge() == 1
    first, half, last = file.read_bytes().splitlines()
    assert [json.loads(line)["body"] for line in (first, last)] == ['{"playerId": 2}', '{"playerId": 3}']
    assert half == b'{"half": '


async def test_without_a_place_or_a_queue_there_is_an_error(memory: Broker) -> None:
    async with memory.bus(options={"dead_letters": False}) as bus:
        with pytest.raises(ConfigError, match="no dead-letter store"):
            await bus.dead_letters().replay()
    async with memory.bus() as bus:
        with pytest.raises(NotFound):
            await bus.dead_letters().replay()
        with pytest.raises(ConfigError, match="no source 'other'"):
            await bus.dead_letters("other").purge()
        with pytest.raises(ConfigError, match="later than since"):
            await bus.dead_letters().purge(since=2.0, until=1.0)
    with pytest.raises(Closed):
        await memory.bus().dead_letters().replay()


texts = st.one_of(st.text(), st.binary())


@settings(max_examples=50)
@given(
    body=st.none() | st.binary(),
    key=st.none() | texts,
    headers=st.dictionaries(st.text(), texts, max_size=4),
    id=st.text(),
    type=st.none() | st.text(),
)
def test_a_line_of_a_file_says_all_of_a_letter(body: Any, key: Any, headers: Any, id: str, type: str | None) -> None:
    letter = Outgoing(topic="t", body=body, name="N", id=id, key=key, headers=headers, type=type)
    [read] = [from_line(line, "f") for line in [as_line(letter)]]
    assert read is not None
    assert (read.body, read.id, read.type) == (body, id, type)
    assert (read.key is None) == (key is None)
    assert _bytes(read.key or "") == _bytes(key or "")
    assert {name: _bytes(value) for name, value in read.headers.items()} == {
        name: _bytes(value) for name, value in headers.items()
    }


def _bytes(value: str | bytes) -> bytes:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value


async def test_a_file_that_is_added_to_while_it_is_replayed_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    services = [DeadLetterFile(path) for _ in range(3)]
    put = 0

    async def add(service: DeadLetterFile, name: str) -> None:
        nonlocal put
        for number in range(30):
            letter = Outgoing(topic="t", body=b"x", name="N", id=f"{name}-{number}")
            assert await service.put([letter]) == [None]
            put += 1

    removed: set[str | None] = set()
    adding = asyncio.gather(*(add(service, str(index)) for index, service in enumerate(services)))
    last = False
    while not last:
        last = adding.done()
        cursor = DeadLetterFile(path).cursor()
        await cursor.open()
        if letters := await cursor.fetch(7):
            await cursor.remove(letters)
            removed |= {letter.id for letter in letters}
            last = False
        await cursor.close()
    await adding
    assert len(removed) == put == 90
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b""


async def test_a_walk_through_a_file_marks_what_is_gone_and_writes_the_file_again_once(tmp_path: Path) -> None:
    file = DeadLetterFile(tmp_path / "letters")
    assert await file.put([Outgoing(topic="t", body=b"x" * 100, name="N", id=str(n)) for n in range(1_000)])
    before = file.path.stat()
    cursor = file.cursor()
    await cursor.open()
    assert cursor.unseen == 1_000
    for first in range(0, 1_000, 100):
        letters = await cursor.fetch(100)
        assert [letter.id for letter in letters] == [str(n) for n in range(first, first + 100)]
        await cursor.remove(letters[::2])
    assert file.path.stat().st_ino == before.st_ino
    assert file.path.stat().st_size < 1.2 * before.st_size
    # Whoever comes after one that was killed here sees what is left, and each of it once.
    again = file.cursor()
    await again.open()
    assert again.unseen == 500
    assert [letter.id for letter in await again.fetch(1_000)] == [str(n) for n in range(1, 1_000, 2)]
    assert await again.fetch(1) == []
    await again.close()
    await cursor.close()
    assert len(file.path.read_bytes().splitlines()) == 500


async def test_a_letter_that_was_taken_out_by_two_takes_no_equal_one_along_that_comes_later(tmp_path: Path) -> None:
    file, letter = DeadLetterFile(tmp_path / "letters"), Outgoing(topic="t", body=b"x", name="N", id="1")
    await file.put([letter])
    cursors = [file.cursor(), file.cursor()]
    for cursor in cursors:
        await cursor.open()
        await cursor.remove(await cursor.fetch(10))
    await file.put([letter])
    await cursors[0].close()
    assert len(file.path.read_bytes().splitlines()) == 1
    await cursors[1].close()
    assert len(file.path.read_bytes().splitlines()) == 1
