"""No text from outside can forge a line of the log or steer the terminal that shows it."""

import ast
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brokerkit
from brokerkit._logging import escape, get_logger, traceback_text

SOURCES = Path(brokerkit.__file__).parent
HOSTILE = "a\n2026-01-01 00:00:00 INFO forged\r\x85\u2028\x1b[2J\x07\u202egnp\u200b\x00\udc80"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_PLACES = re.compile(r"%[-#0 +]*[\d.]*([a-zA-Z%])")


class Written:
    """A logger of ours, and what a plain handler writes of it."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger = get_logger("brokerkit.test-of-lines")
        self.logger.setLevel("DEBUG")
        self.logger.propagate = False
        self.logger.addHandler(self._handler)

    @property
    def lines(self) -> list[str]:
        """What was written, cut where any reader of lines would."""
        return self._stream.getvalue().removesuffix("\n").splitlines()

    def end(self) -> None:
        self.logger.removeHandler(self._handler)


@pytest.fixture
def written() -> Iterator[Written]:
    made = Written()
    yield made
    made.end()


class Hostile:
    """An object from outside, as an argument of a log line."""

    def __str__(self) -> str:
        return HOSTILE

    __repr__ = __str__


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def _log_calls() -> list[tuple[str, ast.Call]]:
    """Every call of a logger's method in brokerkit's own code."""
    found: list[tuple[str, ast.Call]] = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr=method, value=ast.Name(id="logger"))):
                    if method in METHODS:
                        found.append((f"{path.relative_to(SOURCES)}:{node.lineno}", node))
                case _:
                    pass
    return found


CALLS = _log_calls()


def test_all_log_lines_are_found() -> None:
    assert len(CALLS) > 50


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[where for where, _ in CALLS])
def test_no_log_line_can_be_forged(where: str, call: ast.Call, written: Written) -> None:
    words = call.args[1] if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else call.args[0]
    assert isinstance(words, ast.Constant), f"{where}: what changes belongs into the arguments, which are escaped"
    assert isinstance(words.value, str)
    places = [kind for kind in _PLACES.findall(words.value) if kind != "%"]
    arguments = [[HOSTILE, Hostile(), ValueError(HOSTILE)] if kind in "rsa" else [1] for kind in places]
    for choice in range(3):
        written.logger.warning(words.value, *(each[choice % len(each)] for each in arguments))
    assert len(written.lines) == 3
    assert all(line.isprintable() for line in written.lines), written.lines


def test_every_logger_escapes() -> None:
    makers = [
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if "logging.getLogger(" in path.read_text("utf-8")
    ]
    # The second one does not log there: it takes away what the client library logs about our connections.
    assert makers == ["_logging.py", "adapters/rabbitmq/_client_log.py"]


def test_commands_print_through_functions_that_escape() -> None:
    printing = {
        f"{path.name}: {ast.unparse(node)}"
        for path in (SOURCES / "cli").glob("*.py")
        if path.name != "_output.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {
        "__init__.py: print(flush=True)",  # nothing: to see whether anybody reads
        "demo.py: print(inspect.getsource(_demo_handlers), end='')",  # our own text
    }


def test_a_mapping_is_an_argument_like_any_other(written: Written) -> None:
    written.logger.warning("got %s", {Hostile(): Hostile()})
    assert len(written.lines) == 1
    assert written.lines[0].isprintable()


def test_each_module_logs_under_its_own_name() -> None:
    """All names begin with ``brokerkit.``. Two are for what a client library logs, and one is for who did what."""
    found = {
        name
        for path in SOURCES.rglob("*.py")
        for name in re.findall(r"^\w.*= get_logger\((.*)\)$", path.read_text("utf-8"), re.MULTILINE)
    }
    assert found == {
        "__name__",
        '"brokerkit"',  # the whole package's, to which the demo's screen adds a handler
        '"brokerkit.audit"',
        '"brokerkit.adapters.kafka.librdkafka"',
        '"brokerkit.adapters.rabbitmq.aiormq"',
    }


def test_the_lines_of_an_errors_text_are_indented_in_a_traceback(written: Written) -> None:
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as cause:
            error = ValueError(HOSTILE)
            error.add_note(HOSTILE)
            raise error from cause
    except ValueError:
        written.logger.exception("it failed")
    first, second, *others = written.lines
    assert (first, second) == ("ERROR it failed", "Traceback (most recent call last):")
    assert all(line.startswith("  ") and line.isprintable() for line in others if line.strip())
    assert sum("test_logging.py" in line for line in others) == 2


def test_an_error_without_a_readable_text_is_logged_all_the_same(written: Written) -> None:
    try:
        raise Broken
    except Broken as error:
        written.logger.exception("it failed: %s, %r", error, error)
    assert written.lines[0] == "ERROR it failed: (a Broken without a readable text), (a Broken without a readable text)"
    assert "Broken" in written.lines[-1]


def test_what_is_long_is_cut(written: Written) -> None:
    written.logger.info("%s", "x" * 1_000_000)
    assert len(written.lines[0]) < 5_000
    assert written.lines[0].endswith(" more characters)")
    try:
        raise ValueError("x" * 1_000_000)
    except ValueError as error:
        assert len(traceback_text(error, error.__traceback__)) < 20_000


def test_the_words_of_a_line_stay_what_collectors_group_by(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("brokerkit").warning("source %s: %d of %r", HOSTILE, 3, "it's")
    [record] = caplog.records
    assert record.msg == "source %s: %d of %r"
    assert record.getMessage() == f'source {escape(HOSTILE)}: 3 of "it\'s"'


@given(st.text())
def test_what_is_escaped_is_printable_and_says_the_same(text: str) -> None:
    assert escape(text).isprintable()
    assert escape(escape(text)) == escape(text)
    if text.isprintable():
        assert escape(text) == text
