"""What producers and handlers write forges no line of any command's output, and moves no cursor.

Names, header names, keys and bodies break the line in every known way and then look like a line of the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import every_broker
from tests.cli.program import Cli, Start
from tests.every_broker import Broker

from brokerkit import Bus, Message
from brokerkit.cli._output import set_up_logging

FORGED = "2026-01-01 00:00:00,000 INFO    brokerkit.cli.run: forged"
BREAKS = (
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1b[1A\x1b[2K",
    "\x9b1A",
    "\x08" * 9,
)
HOSTILE = FORGED.join(["a", *BREAKS[1:], ""])
LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING|ERROR) +[\w.]+: |  ")

SERVICE = """
    import logging
    from brokerkit import Bus, Handlers, Reject

    handlers = Handlers()

    @handlers.on("OnUserLoggedIn")
    async def refuse(event, message) -> None:
        text = message.body.decode()
        logging.getLogger("shop").warning("got %s with %s", text, list(message.headers))
        try:
            raise ValueError(text)
        except ValueError as error:
            logging.getLogger("shop").exception("failed: " + text)
            error.add_note(text)
            raise

    bus = Bus(
        {url!r}, topic={topic!r}, group="wallet", start="earliest", provision="all", unknown="reject",
        retry={{"attempts": 2, "first": 0.01}},
    )
    bus.include(handlers)
"""


@pytest.fixture
def shop() -> Broker:
    return every_broker.sqlite()


def hostile_messages() -> list[Message]:
    """Messages that the handler refuses, messages of an unknown name, and one without JSON."""
    made = []
    for each in BREAKS:
        text = f"a{each}{FORGED}"
        body = json.dumps({"nick": text}, ensure_ascii=False).encode()
        headers = {f"x-{text}": text, "x": text}
        made.append(Message("OnUserLoggedIn", body, key=text, headers=headers))
        made.append(Message(text, body, key=text, headers=headers))
    return [*made, Message("OnUserLoggedIn", HOSTILE.encode(), headers={"x": HOSTILE})]


def check(text: str, allowed: re.Pattern[str] | None = None) -> None:
    """No line begins as the forged ones do, and nothing but line ends is there that is not printable."""
    assert FORGED.split()[-1] in text
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert not line.startswith(FORGED), line
        assert allowed is None or not line or allowed.match(line), line


def test_no_output_of_a_command_can_be_forged(
    shop: Broker, cli: Cli, start: Start, write_module: Callable[[str], str], tmp_path: Path
) -> None:
    url, topic = shop.settings["url"], shop.topic()
    module = write_module(SERVICE.format(url=url, topic=topic))
    messages = hostile_messages()

    async def publish() -> None:
        async with Bus(url, topic=topic, provision="all") as bus:
            for message in messages:
                await bus.publish(message)

    asyncio.run(publish())
    place = (url, "--topic", topic)
    for command in (("tail", *place, "--from-start", "--limit", str(len(messages))), ("inspect", *place)):
        result = cli(*command)
        assert result.code == 0, result.err
        check(result.out)
        assert result.err == ""

    with (tmp_path / "log").open("w") as log:
        process = start(["run", f"{module}:bus"], cwd=tmp_path, stderr=log)
        group = (*place, "--group", "wallet")
        until(lambda: cli("dlq", "list", *group, "--json").out.count("\n") == len(messages))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    text = (tmp_path / "log").read_text()
    check(text, LINE)
    assert text.count("WARNING shop: got ") == 2 * (len(BREAKS))
    letters = cli("dlq", "list", *group)
    check(letters.out)
    assert f"\n{len(messages)} dead letters\n" in letters.out
    shown = cli("dlq", "show", *group, "--limit", "100")
    check(shown.out)
    assert json.loads(cli("lag", *group, "--json").out)["waiting"] == 0
    facts = ("id", "event", "key", "topic", "group", "handler", "error", "attempts", "first", "last", "header")
    for line in filter(None, shown.out.split("\n")):
        assert line.startswith((*facts, "  ", '{"nick": "a', "a")), line


def until(done: Callable[[], bool]) -> None:
    """Wait until something holds; the test's own timeout ends a wait in vain."""
    while not done():
        time.sleep(0.1)


def test_an_error_is_one_line_that_steers_no_terminal(cli: Cli) -> None:
    result = cli("run", f"json:{HOSTILE}")
    assert result.code == 2
    assert result.err.count("\n") == 1
    check(result.err)


def test_the_traceback_of_an_error_is_escaped_too(cli: Cli) -> None:
    result = cli("--traceback", "run", f"json:{HOSTILE}")
    assert result.code == 2
    first, *others = result.err.rstrip("\n").split("\n")
    assert first == "Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in others)
    check(result.err)


def test_other_loggers_cannot_forge_a_line(capsys: pytest.CaptureFixture[str], log_as_before: None) -> None:
    set_up_logging("info")
    logger = logging.getLogger("a-library")
    logger.warning("got %s", HOSTILE)
    logger.warning("%s", {HOSTILE: HOSTILE})
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception(HOSTILE)
    check(capsys.readouterr().err, re.compile(r"\S+ \S+ (WARNING|ERROR  ) a-library: |  "))
