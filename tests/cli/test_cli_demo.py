"""``brokerkit demo`` ends with every message accounted for, in a file, in memory and on a real broker."""

import fcntl
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.brokers.redis import RedisBroker
from tests.cli.program import PROGRAM, Cli, Start

from brokerkit import Handlers
from brokerkit.cli._demo_handlers import Books, make_handlers

ACCOUNTED = "Every message is accounted for."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo leaves a file where it runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demo_survives_a_bad_message_and_failing_handlers(cli: Cli) -> None:
    result = cli("demo", "--fast")
    assert result.code == 0
    assert ACCOUNTED in result.out
    assert re.search(r"published +502\n", result.out)
    assert re.search(r"handled +500\n", result.out)
    assert re.search(r"retried +4 ", result.out)
    assert re.search(r"dead letters +2 +in brokerkit-demo\.demo\.dlq on sqlite:///brokerkit-demo\.db", result.out)
    assert "the handlers start again: 63 messages wait for them" in result.out
    assert "greet failed on OnUserLoggedIn #1 (attempt 1 of 3)" in result.out
    assert "dead letter: OnGameDone" in result.out
    assert "dead letter: OnTransactionNotification" in result.out


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGKILL])
def test_the_next_run_handles_what_a_stopped_one_left(
    ended: signal.Signals, cli: Cli, start: Start, folder: Path
) -> None:
    process = start(["demo", "--seconds", "5"], cwd=folder)
    assert process.stdout is not None
    while "the handlers stop" not in process.stdout.readline():
        assert process.poll() is None
    file = folder / "brokerkit-demo.db"
    while not _waiting_at_rest(process, file):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    process.send_signal(ended)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    waiting = _waiting(file)  # a message more, where the process was killed in the last step of a commit
    if ended is signal.SIGINT:
        [said] = [int(number) for number in re.findall(r"stopped; (\d+) messages wait in the file", out)]
        assert waiting - said in (0, 1)  # the publish under way may have ended after that
    result = cli("demo", "--fast")
    assert waiting >= 1
    assert result.code == 0, result.out
    assert f"{waiting} messages were left by a run that was stopped" in result.out
    assert re.search(rf"left before +{waiting} ", result.out)
    assert re.search(rf"handled +{500 + waiting}\n", result.out)
    assert ACCOUNTED in result.out


def _waiting_at_rest(process: subprocess.Popen[str], file: Path) -> int:
    """How many messages wait while the process stands still."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    return _waiting(file)


def _waiting(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        topic = "SELECT id FROM bk_topics WHERE name = 'brokerkit-demo'"
        count: int = db.execute(f"SELECT count(*) FROM bk_messages WHERE topic = ({topic})").fetchone()[0]
    return count


def test_without_a_terminal_there_are_plain_lines(start: Start) -> None:
    process = start(["demo", "--fast", "--url", "memory://"])
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "\x1b" not in out
    assert err == ""


def test_on_a_terminal_the_tables_change_in_place() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, str(PROGRAM), "demo", "--seconds", "0.5", "--url", "memory://"])
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
    assert "only counted and logged" in result.out


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
    result = cli("demo", "--fast", "--url", "memory://")
    assert result.code == 1
    assert "The numbers do not add up: the handlers counted a different number of events." in result.out


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


@pytest.mark.parametrize("url", ["sqlite:///demo.db", "memory://"])
def test_the_brokers_without_a_client_need_no_library(url: str) -> None:
    command = [sys.executable, "-c", NO_CLIENTS, "demo", "--seconds", "0.8", "--url", url]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broker_whose_client_library_is_missing_is_one_line_with_the_pip_command() -> None:
    command = [sys.executable, "-c", NO_CLIENTS, "demo", "--url", "redis://localhost"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: redis:// needs redis")
    assert "pip install 'brokerkit-sdk[" in done.stderr
    assert done.stderr.count("\n") == 1
