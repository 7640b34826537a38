"""Dead letters over HTTP, on every broker: seen, grouped, mended, replayed and purged, with a record of who did it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brokerkit import Bus, ConfigError, Message, RetryPolicy
from brokerkit._http import _letters
from tests.every_broker import Broker, until
from tests.http.port import Port

NAME = "OnPlayerSeatedDown"
LETTERS = "/sources/bus/dead-letters"
TOKEN = "a-token-that-nobody-guesses"


class Seats:
    """A handler that fails for players below a hundred."""

    def __init__(self) -> None:
        self.seated = list[int]()

    async def seat(self, event: Any, message: Message) -> None:
        if (event.player_id or 0) < 100:
            raise LookupError(f"no seat for {event.player_id}")
        self.seated.append(event.player_id)


def seated(number: int, **given: Any) -> Message:
    return Message(NAME, json.dumps({"playerId": number}).encode(), **given)


@asynccontextmanager
async def failed(bus: Bus, port: Port, *messages: Message, **settings: Any) -> AsyncIterator[Seats]:
    """Serve a bus with a console, whose dead letters are these messages."""
    seats = Seats()
    bus.handlers._on(NAME)(seats.seat)
    await port.open(bus.http(**{"console": True, "control": True, **settings}))
    async with asyncio.timeout(100), bus, bus.serving():
        for message in messages:
            await bus.publish(message)
        await until(lambda: bus.stats["bus"].dead_lettered == len(messages), seconds=60)
        yield seats


async def listed(port: Port, query: str = "") -> dict[str, Any]:
    answer = await port.get(f"{LETTERS}{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def audited(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "brokerkit.audit"]


def store(broker: Broker, folder: Path) -> dict[str, Any]:
    """Where there is no queue for dead letters they go to a file."""
    return {"dead_letter": f"file://{folder}/dead.jsonl"} if broker.at_most_once else {}


async def test_a_letter_is_seen_mended_replayed_handled_and_gone(
    broker: Broker, port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = broker.bus(retry=RetryPolicy(attempts=1), **store(broker, tmp_path))
    messages = [seated(number, id=f"id-{number}", key=f"k{number}", headers={"trace": "é"}) for number in (1, 2, 3)]
    async with failed(bus, port, *messages) as seats:
        found = await listed(port)
        assert sorted(each["id"] for each in found["letters"]) == ["id-1", "id-2", "id-3"]
        assert (found["more"], found["looked_at"], found["unseen"]) == (False, 3, 0)
        [group] = (await port.get(f"{LETTERS}/errors")).json()["errors"]
        assert (group["error_type"], group["count"], group["events"]) == ("LookupError", 3, {NAME: 3})
        assert group["error"].startswith("no seat for ")

        [shown] = (await listed(port, "?id=id-1&contents=1"))["letters"]
        assert (shown["body"], shown["key"], shown["headers"]["trace"]) == ('{"playerId": 1}', "k1", "é")
        assert (shown["error"], "seat" in shown["traceback"]) == ("no seat for 1", True)

        mended = {"ids": ["id-1"], "body": '{"playerId": 101}', "digest": shown["digest"], "by": "Zoë"}
        answer = await port.order(f"{LETTERS}/replay", **mended)
        assert (answer.status_code, answer.json()["done"], answer.json()["error"]) == (200, 1, None), answer.text
        await until(lambda: seats.seated == [101], seconds=60)
        answer = await port.order(f"{LETTERS}/purge", ids=["id-2"], by="Zoë")
        assert (answer.json()["done"], answer.json()["error"]) == (1, None)
        assert [each["id"] for each in (await listed(port))["letters"]] == ["id-3"]

        # What fails again still says who has changed it, and what it was.
        [shown] = (await listed(port, "?id=id-3&contents=1"))["letters"]
        worse = {"ids": ["id-3"], "body": '{"playerId": 33}', "digest": shown["digest"], "by": "Ann"}
        assert (await port.order(f"{LETTERS}/replay", **worse)).json()["done"] == 1
        await until(lambda: bus.stats["bus"].dead_lettered == 4, seconds=60)
        [shown] = (await listed(port, "?contents=1"))["letters"]
        assert (shown["id"], shown["body"], [each["by"] for each in shown["edits"]]) == ("id-3", worse["body"], ["Ann"])
        [letter] = [each async for each in bus.dead_letters()]
        assert [each.body for each in letter.edits] == [b'{"playerId": 3}']
        assert (await port.order(f"{LETTERS}/purge", all=True)).json()["done"] == 1
        assert not (await listed(port))["letters"]

    said = [record.getMessage() for record in audited(caplog)]
    place = "source bus, by 'Zoë', 127.0.0.1"
    assert said[:3] == [
        f'control over HTTP: edit and replay dead letters of {place}: begins with {{"ids": ["id-1"]}}',
        f'control over HTTP: edit and replay dead letters of {place}: messages ["id-1"]',
        f"control over HTTP: edit and replay dead letters of {place}: done: 1",
    ]
    assert f'control over HTTP: purge dead letters of {place}: messages ["id-2"]' in said
    assert "playerId" not in "".join(said)


# ---- what is shown ------------------------------------------------------------------------------------------------


async def test_pages_filters_and_texts_choose_letters(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, *(seated(number, id=f"id-{number}") for number in range(7))):
        first = await listed(port, "?limit=3")
        last = await listed(port, "?limit=3&offset=6")
        assert ([each["id"] for each in first["letters"]], first["more"]) == (["id-0", "id-1", "id-2"], True)
        assert ([each["id"] for each in last["letters"]], last["more"]) == (["id-6"], False)
        assert (first["looked_at"], first["unseen"]) == (4, 3)  # one more, to know that there is one
        for query, ids in (
            ("?id=id-2&id=id-5", ["id-2", "id-5"]),
            ('?text="playerid": 4', ["id-4"]),
            ("?text=SEAT FOR 6", ["id-6"]),
            ("?event=OnGameDone", []),
            ("?error=ValueError", []),
            ("?since=1&until=2", []),
            ("?since=1", [f"id-{number}" for number in range(7)]),
        ):
            assert [each["id"] for each in (await listed(port, query))["letters"]] == ids, query


async def test_a_long_walk_ends_and_says_that_there_is_more(
    memory: Broker, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, *(seated(number) for number in range(5))):
        monkeypatch.setattr(_letters, "_LONGEST_WALK", -1.0)
        found = await listed(port)
        assert (found["letters"], found["looked_at"], found["unseen"]) == ([], 0, 5)
        assert (await port.get(f"{LETTERS}/errors")).json()["unseen"] == 5


async def test_fields_that_are_named_and_secrets_are_hidden_and_kept_by_an_edit(
    memory: Broker, port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    body = b'{"playerId": 1, "nick": "ann-of-york", "token": "T-123456"}'
    message = Message(NAME, body, id="id-1", key="ann-of-york", headers={"authorization": "Basic abcd", "trace": "t"})

    async with failed(bus, port, message, mask=["nick"]) as seats:
        [shown] = (await listed(port, "?contents=1"))["letters"]
        assert shown["body"] == '{"playerId": 1, "nick": "•••", "token": "•••"}'
        assert (shown["key"], shown["headers"]["authorization"], shown["headers"]["trace"]) == ("•••", "•••", "t")
        assert not (await listed(port, "?text=T-123456"))["letters"]
        edited = shown["body"].replace("1", "101", 1)
        answer = await port.order(f"{LETTERS}/replay", ids=["id-1"], body=edited, digest=shown["digest"], by="Ann")
        assert answer.json()["done"] == 1, answer.text
        await until(lambda: seats.seated == [101])
    said = "".join(str(vars(record)) for record in audited(caplog))
    assert "id-1" in said
    assert "T-123456" not in said
    assert "york" not in said


async def test_letters_without_text_cannot_be_edited_and_are_shown_by_their_size(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, Message(NAME, b"\xff\x00", id="id-1")):
        [shown] = (await listed(port, "?contents=1"))["letters"]
        assert (shown["body"], shown["body_bytes"], shown["error_type"]) == (None, 2, "DecodeError")
        given = {"ids": ["id-1"], "body": "{}", "digest": shown["digest"], "by": "Ann"}
        answer = await port.order(f"{LETTERS}/replay", **given)
        assert (answer.status_code, "only a body that is shown" in answer.text) == (502, True)
        assert len((await listed(port))["letters"]) == 1


# ---- what is done -------------------------------------------------------------------------------------------------


async def test_an_edit_of_another_body_than_the_one_that_was_shown_is_refused(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, seated(1, id="id-1")) as seats:
        given = {"ids": ["id-1"], "body": '{"playerId": 101}', "digest": "0" * 64, "by": "Ann"}
        answer = await port.order(f"{LETTERS}/replay", **given)
        assert (answer.json()["done"], "another body" in answer.json()["error"]) == (0, True)
        gone = await port.order(f"{LETTERS}/replay", **{**given, "ids": ["id-9"]})
        assert (gone.status_code, "no dead letter 'id-9'" in gone.json()["error"]) == (404, True)
        [letter] = [each async for each in bus.dead_letters()]
        assert (letter.message.body, letter.edits, seats.seated) == (b'{"playerId": 1}', (), [])


async def test_a_body_whose_record_is_too_large_for_a_header_is_not_edited(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    large = Message(NAME, b'{"playerId": 1, "text": "%s"}' % (b"x" * 70_000), id="id-1")
    async with failed(bus, port, large):
        [shown] = (await listed(port, "?contents=1"))["letters"]
        given = {"ids": ["id-1"], "body": "{}", "digest": shown["digest"], "by": "Ann"}
        answer = await port.order(f"{LETTERS}/replay", **given)
        assert (answer.json()["done"], "bodies before takes (65,536 bytes)" in answer.text) == (0, True), answer.text
        assert len((await listed(port))["letters"]) == 1


@pytest.mark.parametrize(
    ("given", "status", "why"),
    [
        ({}, 400, "all dead letters"),
        ({"ids": []}, 400, "all dead letters"),
        ({"all": "yes"}, 400, "all dead letters"),
        ({"ids": "id-1"}, 400, "ids must be a list"),
        ({"ids": [1]}, 400, "ids must be a list"),
        ({"id": ["id-1"], "all": True}, 400, "'id' is unknown here"),
        ({"all": True, "limit": 0}, 400, "limit must be a number from 1"),
        ({"all": True, "limit": True}, 400, "limit must be a number from 1"),
        ({"all": True, "since": "soon"}, 400, "since must be a Unix time"),
        ({"since": 2, "until": 1}, 404, "until must be later"),
        ({"ids": ["id-1"], "body": "{}"}, 400, "to edit a dead letter"),
        ({"ids": ["id-1", "id-2"], "body": "{}", "digest": "d", "by": "Ann"}, 400, "to edit a dead letter"),
        ({"all": True, "by": "x" * 101}, 400, "by must be a text"),
    ],
)
async def test_what_is_not_said_clearly_is_not_done(
    memory: Broker, port: Port, given: dict[str, Any], status: int, why: str
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, seated(1, id="id-1")):
        for action in ("purge", "replay"):
            answer = await port.order(f"{LETTERS}/{action}", **given)
            assert (answer.status_code, why in answer.text) == (status, True), answer.text
        assert len((await listed(port))["letters"]) == 1


async def test_there_is_one_walk_at_a_time(memory: Broker, port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with failed(bus, port, seated(1, id="id-1")):
        letters = bus.dead_letters()

        async def purge(**_: Any) -> int:
            begun.set()
            await go_on.wait()
            return 0

        monkeypatch.setattr(type(letters), "purge", lambda self, **given: purge(**given))
        purging = asyncio.create_task(port.order(f"{LETTERS}/purge", all=True))
        await begun.wait()
        busy = await port.get(LETTERS)
        assert (busy.status_code, "another walk" in busy.text) == (409, True)
        go_on.set()
        assert (await purging).status_code == 200
        assert (await port.get(LETTERS)).status_code == 200


# ---- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/console", LETTERS, f"{LETTERS}/errors", f"{LETTERS}/replay", f"{LETTERS}/purge"])
async def test_nothing_of_it_is_there_unless_asked_for(memory: Broker, port: Port, path: str) -> None:
    await port.open(memory.bus().http(control=True))
    assert (await port.get(path)).status_code == 404
    assert (await port.order(path, all=True)).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        ({"x_forwarded_for": "10.0.0.9"}, 403),
        ({}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/console", "/console/console.js", LETTERS, f"{LETTERS}/errors"])
async def test_without_a_token_it_is_for_programs_on_this_machine(
    memory: Broker, port: Port, path: str, headers: dict[str, str], status: int
) -> None:
    async with failed(memory.bus(), port):
        answer = await port.get(path, **headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


async def test_with_a_token_letters_are_for_those_who_send_it_and_the_page_says_nothing(
    memory: Broker, port: Port
) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, seated(1, id="id-1"), token=TOKEN):
        for path in (LETTERS, f"{LETTERS}/errors"):
            assert (await port.get(path)).status_code == 401
            assert (await port.get(path, authorization=f"Bearer {TOKEN}")).status_code == 200
        for action in ("replay", "purge"):
            assert (await port.order(f"{LETTERS}/{action}", all=True)).status_code == 401
        page = await port.get("/console")
        assert (page.status_code, "id-1" in page.text) == (200, False)
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert (await port.get("/console/no.js")).status_code == 404
        assert len([each async for each in bus.dead_letters()]) == 1


async def test_without_control_or_with_what_a_form_can_send_nothing_is_done(memory: Broker, port: Port) -> None:
    bus = memory.bus(retry=RetryPolicy(attempts=1))
    async with failed(bus, port, seated(1, id="id-1"), control=False):
        for action in ("replay", "purge"):
            refused = await port.order(f"{LETTERS}/{action}", all=True)
            assert (refused.status_code, "bus.http(control=True)" in refused.text) == (403, True)
            form = await port.client.post(f"{LETTERS}/{action}", data={"all": "true"})
            assert form.status_code == 415
            assert (await port.get(f"{LETTERS}/{action}")).status_code == 405
        assert len((await listed(port))["letters"]) == 1


async def test_what_is_not_there_is_said(memory: Broker, port: Port) -> None:
    bus = memory.bus()
    await port.open(bus.http(console=True, control=True))
    assert (await port.get(LETTERS)).status_code == 409  # the bus is not open
    async with bus:
        unknown = await port.get("/sources/games/dead-letters")
        assert (unknown.status_code, unknown.text) == (404, "there is no source 'games'; there are bus\n")
        assert (await port.order("/sources/games/dead-letters/purge", all=True)).status_code == 404
        assert (await port.get(f"{LETTERS}?limit=201")).status_code == 400
        assert (await port.get(f"{LETTERS}?contents=1&limit=11")).status_code == 400
    with pytest.raises(ConfigError, match="mask goes with console"):
        memory.bus().http(mask=["card"])
