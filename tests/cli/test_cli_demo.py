"""``brokerkit demo`` ends with every message accounted for, on the embedded broker and on a real one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from tests.brokers.redis import RedisBroker
from tests.cli.program import PROGRAM, Cli, Start

from brokerkit import Handlers
from brokerkit.cli._demo_handlers import Books, make_handlers

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


def test_without_a_terminal_there_are_plain_lines(start: Start) -> None:
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


def test_books_that_do_not_balance_fail_the_demo(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_double_count(books: Books) -> Handlers:
        handlers = make_handlers(books)

        @handlers.on("*")
        async def count_again(event: object) -> None:
            books.handled["again"] += 1

        return handlers

    monkeypatch.setattr("brokerkit.cli.demo.make_handlers", with_a_double_count)
    result = cli("demo", "--fast")
    assert result.code == 1
    assert "The numbers do not add up: the handlers saw another number of events." in result.out


def test_code_prints_handlers_that_are_python(cli: Cli) -> None:
    code = cli("demo", "--code").out
    compile(code, "handlers.py", "exec")
    assert '@handlers.on("OnGameDone")' in code


def test_demo_refuses_a_negative_time(cli: Cli) -> None:
    assert cli("demo", "--seconds", "-1").code == 2


NO_CLIENTS = """
import sys
for library in ("confluent_kafka", "aio_pika", "aiobotocore", "botocore", "redis"):
    sys.modules[library] = None
from brokerkit.cli import main
main()
"""


def test_the_embedded_broker_needs_no_client_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_CLIENTS, "demo", "--fast"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broker_whose_client_library_is_missing_is_one_line_with_the_pip_command() -> None:
    command = [sys.executable, "-c", NO_CLIENTS, "demo", "--url", "redis://localhost"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: redis:// needs redis")
    assert "pip install 'brokerkit-sdk[" in done.stderr
    assert done.stderr.count("\n") == 1
