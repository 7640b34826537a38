"""Log lines about messages have fields, and a formatter writes them as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from brokerkit import Message, Reject, RetryPolicy
from brokerkit._logging import FIELDS, get_logger
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._log_fields import about
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.logs import JsonFormatter
from brokerkit.tracing import instrument
from tests.every_broker import Broker, until
from tests.tracing.spans import NAME, SENDER, Spans, trace_of

HOSTILE = "a\n2026-01-01 forged\x1b[2J\u202e"


class Lines(logging.Handler):
    """Keeps records, and the lines that the formatter makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(fields={"service": "wallet"}))
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("brokerkit")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize("traced", [False, True])
async def test_a_failure_and_a_dead_letter_have_fields(memory: Broker, lines: Lines, traced: bool) -> None:
    bus, spans = memory.bus(retry=RetryPolicy(attempts=2, first=0.01, cap=0.02)), Spans()
    if traced:
        instrument(bus, tracer_provider=spans.provider, same_trace=False)

    @bus.on(NAME)
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        if message.attempt == 2:
            raise Reject(HOSTILE)
        raise LookupError(HOSTILE)

    async with asyncio.timeout(30), bus, bus.serving():
        await bus.publish(Message(NAME, b"{}", id="m-1", headers={"traceparent": SENDER}))
        await until(lambda: bus.stats["bus"].dead_lettered == 1)
    found = [json.loads(line) for line in lines.lines if "brokerkit_id" in line]
    assert [(each["level"], each["brokerkit_attempt"]) for each in found] == [("warning", 1), ("error", 2)]
    for each in found:
        assert each["service"] == "wallet"
        assert each["brokerkit_source"] == "bus"
        assert each["brokerkit_topic"] == memory.topic()
        assert each["brokerkit_event"] == NAME
        assert each["brokerkit_id"] == "m-1"
        assert each["brokerkit_handler"].endswith("handle")
        assert "forged" in each["message"]
    assert "raise LookupError" in found[0]["exception"]
    expected = [f"{trace_of(span):032x}" for span in spans.named("process")] if traced else [SENDER[3:35]] * 2
    assert [each["trace_id"] for each in found] == expected
    assert all(line.isprintable() and line.isascii() for line in lines.lines)


def test_fields_are_escaped_and_only_made_for_lines_that_are_written(lines: Lines) -> None:
    logger = get_logger("brokerkit.test-of-fields")
    delivery = Delivery(
        body=b"", topic=HOSTILE, id=HOSTILE, position=(3, 7), headers={"traceparent": f"00-{HOSTILE}-x"}
    )
    logger.setLevel("ERROR")
    logger.warning("nothing", extra={FIELDS: _never})
    logger.error("something", extra=about(delivery, HOSTILE, handler=HOSTILE))
    logger.error("nobody", extra=about(None, "bus"))
    record, nobody = lines.records
    found = {name: value for name, value in vars(record).items() if name.startswith(("brokerkit_", "trace"))}
    escaped = HOSTILE.encode("unicode_escape").decode()
    assert found == {
        "brokerkit_source": escaped,
        "brokerkit_topic": escaped,
        "brokerkit_id": escaped,
        "brokerkit_handler": escaped,
        "brokerkit_attempt": 0,
        "brokerkit_partition": 3,
        "brokerkit_offset": 7,
    }
    assert vars(nobody)["brokerkit_source"] == "bus"


def test_no_field_is_one_that_every_record_has() -> None:
    ours = about(Delivery(body=b"", topic="t", position=(3, 7), headers={"traceparent": SENDER}), "s", handler="h")
    made = ours[FIELDS]()
    assert made["trace_id"] == SENDER[3:35]
    assert not {*made, FIELDS} & {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
    assert "event" not in made  # the name under which structlog has the message


def test_what_the_program_has_set_in_a_record_stays(lines: Lines) -> None:
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.trace_id = "its own"
        return record

    logging.setLogRecordFactory(make)
    try:
        delivery = Delivery(body=b"", topic="t", headers={"traceparent": SENDER})
        get_logger("brokerkit.test-of-fields").error("something", extra=about(delivery, "s"))
    finally:
        logging.setLogRecordFactory(before)
    assert json.loads(lines.lines[0])["trace_id"] == "its own"


def test_json_takes_what_other_libraries_log() -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    handler = Lines()
    try:
        raise LookupError(HOSTILE)
    except LookupError:
        record = logging.LogRecord("lib", logging.INFO, "f.py", 1, "said %s", (HOSTILE,), None)
        failed = logging.LogRecord("lib", logging.ERROR, "f.py", 1, "failed", None, None)
        failed.exc_info = __import__("sys").exc_info()
    vars(record).update(amount=12.5, silent=Silent(), level="not ours", service="theirs")
    handler.emit(record)
    handler.emit(failed)
    first, second = map(json.loads, handler.lines)
    assert (first["level"], first["logger"], first["message"]) == ("info", "lib", f"said {HOSTILE}")
    assert (first["amount"], first["silent"]) == (12.5, "(a Silent without a readable text)")
    assert first["service"] == "wallet"
    assert first["time"].endswith("+00:00")
    assert second["exception"].startswith("Traceback")
    assert all(line.isprintable() and line.isascii() for line in handler.lines)


def _never() -> Any:
    raise AssertionError("a line that is not written has made its fields")
