"""``brokerkit demo`` ends with every message accounted for, on the embedded broker and on a real one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest
from tests.brokers.redis import RedisBroker
from tests.cli.conftest import PROGRAM, Result

from brokerkit.cli import demo

Cli = Callable[..., Result]

ACCOUNTED = "Every message is accounted for."


def test_demo_survives_a_bad_message_and_failing_handlers(cli: Cli) -> None:
    result = cli("demo", "--fast")
    assert result.code == 0
    assert ACCOUNTED in result.out
    assert re.search(r"published +502\n", result.out)
    assert re.search(r"handled +500\n", result.out)
    assert re.search(r"retried +4 ", result.out)
    assert re.search(r"dead letters +2 +in brokerkit-demo-\w+\.demo\.dlq on memory://", result.out)
    assert "greet failed on OnUserLoggedIn #1 (attempt 1 of 3)" in result.out
    assert "dead letter: OnGameDone" in result.out
    assert "dead letter: OnTransactionNotification" in result.out


def test_without_a_terminal_there_are_plain_lines(start: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = start(["demo", "--fast"])
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "\x1b" not in out
    assert err == ""


def test_on_a_terminal_the_tables_change_in_place() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, str(PROGRAM), "demo", "--seconds", "0.5"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[1A" in shown
    assert shown.count(b"Balances") > 1
    assert ACCOUNTED.encode() in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux: the program has closed its end
        return b""


def test_demo_runs_on_a_real_broker(cli: Cli, redis_broker: RedisBroker) -> None:
    result = cli("demo", "--fast", "--url", redis_broker.url)
    assert result.code == 0, result.out
    assert ACCOUNTED in result.out
    assert ".demo.dlq on redis://" in result.out
    assert redis_broker.url.rpartition("@")[0].rpartition(":")[2] not in result.out


def test_demo_on_pubsub_says_that_it_is_at_most_once(cli: Cli, redis_broker: RedisBroker) -> None:
    result = cli("demo", "--fast", "--url", redis_broker.url.replace("redis://", "redis+pubsub://"))
    assert result.code == 0, result.out
    assert "at most once" in result.out
    assert "counted and logged alone" in result.out


def test_the_urls_query_and_the_topic_option_come_before_the_demos_own_settings(cli: Cli) -> None:
    assert "topic mine on" in cli("demo", "--fast", "--url", "memory://query?topic=mine").out
    assert "topic other on" in cli("demo", "--fast", "--url", "memory://option?topic=mine", "--topic", "other").out


def test_a_handler_that_counts_wrong_fails_the_demo(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    original = demo._Demo.__init__

    def with_wrong_rake(self: demo._Demo, url: str, settings: dict[str, object]) -> None:
        original(self, url, settings)
        self._rake = -1

    monkeypatch.setattr(demo._Demo, "__init__", with_wrong_rake)
    result = cli("demo", "--fast")
    assert result.code == 1
    assert "The numbers do not add up: the rake in the table is not the rake that was published." in result.out


def test_code_prints_handlers_that_are_python(cli: Cli) -> None:
    code = cli("demo", "--code").out
    compile(code, "handlers.py", "exec")
    assert '@handlers.on("OnGameDone")' in code


def test_demo_refuses_a_negative_time(cli: Cli) -> None:
    assert cli("demo", "--seconds", "-1").code == 2
