"""Dead letters: nothing that cannot be handled is lost, wherever it is to go."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from pathlib import Path
from typing import Any, Final

import pytest

from brokerkit import BrokerkitError, Bus, ConfigError, Handlers, Message, RetryPolicy, adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._consuming._routes import NAMELESS
from brokerkit._dead_letters._file import DeadLetterFile
from brokerkit._dead_letters._store import DeadLetterQueue
from brokerkit._dead_letters._writer import dead_letter
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import DONE, ERROR, FAILURES, FIRST_FAILURE, RetryState
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests import every_broker
from tests.every_broker import Broker, until

NAME: Final = "OnPlayerSeatedDown"


def failing(error: Exception | None = None) -> Handlers:
    handlers = Handlers()

    @handlers.on(NAME)
    async def fail(event: OnPlayerSeatedDown) -> None:
        raise error or RuntimeError("broken")

    return handlers


async def let_fail(bus: Bus, *messages: Message, error: Exception | None = None) -> None:
    """Let all messages fail, and wait until they are stored."""
    bus.include(failing(error))
    async with asyncio.timeout(30), bus, bus.serving():
        for message in messages:
            await bus.publish(message)
        await until(lambda: bus.stats["bus"].dead_lettered == len(messages))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def seated(number: int = 1, **given: Any) -> Message:
    return Message(NAME, json.dumps({"playerId": number}).encode(), **given)


@pytest.fixture
def idempotent() -> dict[str, Any]:
    return {"retry": RetryPolicy(attempts=1)}


async def test_a_file_gets_one_line_for_each_and_belongs_to_its_owner(
    memory: Broker, tmp_path: Path, idempotent: dict[str, Any]
) -> None:
    file = tmp_path / "dead letters.jsonl"
    url = f"file://{str(file).replace(' ', '%20')}"
    headers: dict[str, str | bytes] = {"trace": "é", "binary": b"\xff"}
    await let_fail(memory.bus(dead_letter=url, **idempotent), seated(key="k", headers=headers, id="id-1"))
    await let_fail(memory.bus(dead_letter=url, **idempotent), Message(NAME, b'"\xff', key=b"\xfe"))
    first, second = lines(file)
    assert (first["event"], first["key"], json.loads(first["body"])) == (NAME, "k", {"playerId": 1})
    assert first["headers"]["trace"] == "é"
    assert base64.b64decode(first["headers"]["binary"]["base64"]) == b"\xff"
    assert first["headers"]["bk-origin"] == "id-1"
    assert (first["headers"][ERROR], first["headers"]["bk-error-type"]) == ("broken", "RuntimeError")
    assert base64.b64decode(second["body"]["base64"]) == b'"\xff'
    assert base64.b64decode(second["key"]["base64"]) == b"\xfe"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_another_broker_gets_them(memory: Broker, idempotent: dict[str, Any]) -> None:
    other = every_broker.memory()
    await let_fail(memory.bus(dead_letter=f"{other.settings['url']}?topic=graves", **idempotent), seated(id="id-1"))
    got: asyncio.Queue[Message] = asyncio.Queue()
    bus = Bus(other.settings["url"], queue="graves", format="evenbet")

    @bus.on("*")
    async def note(event: Any, message: Message) -> None:
        got.put_nowait(message)

    async with asyncio.timeout(30), bus, bus.serving():
        letter = await got.get()
    assert (letter.name, json.loads(letter.body or b"")) == (NAME, {"playerId": 1})


@pytest.mark.parametrize("place", ["nonsense", "gopher://host", "memory://other?nonsense=1"])
async def test_a_wrong_place_is_an_error_before_anything_connects(memory: Broker, place: str) -> None:
    with pytest.raises(ConfigError):
        memory.bus(dead_letter=place)


async def test_a_file_that_cannot_be_written_is_an_error_at_the_start(memory: Broker, tmp_path: Path) -> None:
    bus = memory.bus(dead_letter=f"file://{tmp_path}/missing/letters")
    bus.include(failing())
    with pytest.raises(BrokerkitError, match="cannot be written"):
        await asyncio.wait_for(bus.serve(), 30)


async def test_what_is_too_large_with_its_failure_headers_loses_them_first(
    memory: Broker, tmp_path: Path, idempotent: dict[str, Any]
) -> None:
    overflow = tmp_path / "overflow"
    settings = {"options": {"max_message_bytes": 600}, "overflow": str(overflow), **idempotent}
    await let_fail(memory.bus(**settings), seated(1, id="a" * 10), error=RuntimeError("x" * 1_000))
    [letter] = await memory.dead_letters(1)
    assert ERROR not in letter.headers
    assert as_text(letter.headers["bk-error-type"]) == "RuntimeError"
    assert not overflow.exists()


async def test_what_fits_nowhere_goes_to_the_overflow_file_with_all_headers(
    memory: Broker, tmp_path: Path, idempotent: dict[str, Any]
) -> None:
    overflow = tmp_path / "overflow"
    settings = {"options": {"max_message_bytes": 1_000}, "overflow": str(overflow), **idempotent}
    body = json.dumps({"playerId": 1, "more": "x" * 940}).encode()
    await let_fail(memory.bus(**settings), Message(NAME, body, id="id-1"))
    [line] = lines(overflow)
    assert line["body"] == body.decode()
    assert line["headers"][ERROR] == "broken"


async def test_a_letter_that_cannot_be_stored_stays_in_the_source(memory: Broker, tmp_path: Path) -> None:
    """The file's folder goes away: nothing is acknowledged, and the next bus gets the message again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    bus = memory.bus(dead_letter=f"file://{folder}/letters", retry=RetryPolicy(attempts=1))
    handlers, called = Handlers(), asyncio.Event()

    @handlers.on(NAME)
    async def fail(event: OnPlayerSeatedDown) -> None:
        (folder / "letters").unlink()
        folder.rmdir()
        called.set()
        raise RuntimeError

    bus.include(handlers)
    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(seated())
        await called.wait()
        await until(lambda: bus.stats["bus"].failed == 1)
        stats = bus.stats["bus"]
    assert (stats.dead_lettered, stats.released) == (0, 1)
    recorder = every_broker.Recorder().record(NAME)
    async with recorder.serving(memory.bus()):
        await recorder.wait_for(1)


def test_what_a_copy_says_of_its_failures_can_be_read_back() -> None:
    retry_state = RetryState(failures=3, done=("a.b", "c"), copies=1, origin="id-1", topic="t", first_failure=7.9)
    headers = retry_state.copy_headers({"trace": "x"})
    assert headers["trace"] == "x"
    back = RetryState.from_headers({name: value.encode() for name, value in headers.items() if isinstance(value, str)})
    expected = RetryState(failures=3, done=("a.b", "c"), copies=2, origin="id-1", topic="t", first_failure=7.0)
    expected.from_us = True
    assert back == expected


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "²", "9" * 30, b"\xff", "[" * 100_000, "{}", '"text"'])
def test_internal_headers_that_make_no_sense_count_as_absent(value: str | bytes) -> None:
    retry_state = RetryState.from_headers({FAILURES: value, DONE: value, FIRST_FAILURE: value})
    assert (retry_state.failures, retry_state.done, retry_state.first_failure) == (0, (), 0.0)


def test_the_text_of_an_error_is_cut_without_breaking_a_character() -> None:
    delivery = Delivery(body=b"", topic="t", id="1")
    delivery.route, delivery.retry_state = NAMELESS, RetryState(error=RuntimeError("é" * 2_000 + "\ud800"))
    letter = dead_letter(delivery, group=None)
    assert letter.headers[ERROR] == "é" * 512


async def test_a_file_keeps_what_was_in_it(tmp_path: Path) -> None:
    file = tmp_path / "letters"
    file.write_text('{"old": 1}\n', encoding="utf-8")
    file.chmod(0o600)
    letters = DeadLetterFile(file)
    await letters.open()
    assert await letters.put([Outgoing(topic="t", body=None, name="N", id="1")]) == [None]
    old, new = lines(file)
    assert (old, new["body"]) == ({"old": 1}, None)


async def test_a_letter_that_no_broker_takes_goes_to_the_overflow_file_and_not_round_and_round(
    memory: Broker, tmp_path: Path
) -> None:
    adapter = adapters.make(ConnectionSettings.model_validate(dict(memory.settings)).connection())
    await adapter.open()
    place = DeadLetterQueue(adapter, "dlq", create=True, overflow=DeadLetterFile(tmp_path / "overflow"))
    await place.open()
    letter = Outgoing(topic="t", body=b"x", name=NAME, id="1", headers={"h": "\ud800"})
    assert await place.put([letter]) == [None]
    assert b'"h": "\xed\xa0\x80"' in (tmp_path / "overflow").read_bytes()


async def test_a_file_of_dead_letters_is_no_symbolic_link_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    target, link, own = tmp_path / "target", tmp_path / "link", tmp_path / "own"
    target.write_bytes(b"somebody else's")
    link.symlink_to(target)
    with pytest.raises(BrokerkitError, match="link: it is a symbolic link; name the file itself"):
        await DeadLetterFile(link).open()
    assert target.read_bytes() == b"somebody else's"
    await DeadLetterFile(own).open()
    assert own.stat().st_mode & 0o777 == 0o600
    own.chmod(0o644)
    with pytest.raises(BrokerkitError, match="every user of this machine can read it; chmod 600"):
        await DeadLetterFile(own).open()
    own.chmod(0o640)  # as somebody decides who collects logs
    await DeadLetterFile(own).open()


async def test_what_is_purged_from_a_file_is_not_in_it_any_more(tmp_path: Path) -> None:
    file = tmp_path / "letters"
    bus = every_broker.memory().bus(dead_letter=f"file://{file}", retry=RetryPolicy(attempts=1))
    await let_fail(bus, *(seated(int(f"4111{number}"), id=f"id-{number}") for number in range(3)))
    assert all(f"4111{number}" in file.read_text() for number in range(3))
    async with bus:
        assert await bus.dead_letters().purge(ids="id-1") == 1
        assert ["41110" in file.read_text(), "41111" in file.read_text(), "41112" in file.read_text()] == [
            True,
            False,
            True,
        ]
        assert await bus.dead_letters().purge() == 2
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""]


@pytest.mark.parametrize("place", ["missing folder", "link"])
async def test_an_overflow_file_that_cannot_be_written_is_told_at_the_start(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "overflow.jsonl"
    if place == "missing folder":
        file = tmp_path / "no" / "overflow.jsonl"
    else:
        file.symlink_to(tmp_path / "target")
    broker = every_broker.memory()
    bus = broker.bus(overflow=str(file))
    bus.include(failing())
    async with bus, bus.serving():
        pass
    said = [
        record.getMessage() for record in caplog.records if "set overflow to a file that can be written" in record.msg
    ]
    assert len(said) == 1
    assert str(file) in said[0]


async def test_an_overflow_file_that_every_user_can_read_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "overflow.jsonl"
    file.touch()
    file.chmod(0o644)
    bus = every_broker.memory().bus(overflow=str(file))
    bus.include(failing())
    with pytest.raises(BrokerkitError, match="every user of this machine can read it; chmod 600"):
        async with bus, bus.serving():
            raise AssertionError("it served")
    file.chmod(0o640)
    async with bus, bus.serving():
        pass


async def test_an_overflow_file_that_can_be_written_is_not_made_and_not_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = every_broker.memory()
    bus = broker.bus(overflow=str(tmp_path / "overflow.jsonl"))
    bus.include(failing())
    async with bus, bus.serving():
        pass
    assert not list(tmp_path.iterdir())
    assert not [record for record in caplog.records if "overflow" in record.msg]
