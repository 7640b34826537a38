"""`Bus.sync()` where nobody closes it: at the end of the interpreter, after a fork, under gunicorn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.brokers._ports import free_port
from tests.every_broker import Broker, Recorder, complaints

COUNT = 300

ENDS = """
import json, os, threading
from brokerkit import Bus, Message

settings = json.loads(os.environ["SETTINGS"])
publisher = Bus(settings.pop("url"), **settings).sync()
begun = threading.Event()

def many():
    begun.set()
    for number in range(300):
        yield Message("later", b"{}")

def go_on():
    results = publisher.publish_many(many())
    print(sum(not isinstance(each, Exception) for each in results), flush=True)

publisher.publish(Message("first", b"{}"))
threading.Thread(target=go_on).start()
begun.wait()
"""

FORKS = """
import json, os
from brokerkit import Bus, Closed, Message

settings = json.loads(os.environ["SETTINGS"])
url = settings.pop("url")
unused, used = Bus(url, **settings).sync(), Bus(url, **settings).sync()
used.publish(Message("parent", b"{}"))
children = []
for _ in range(2):
    if not (child := os.fork()):
        try:
            used.publish(Message("child", b"{}"))
        except Closed as error:
            assert "before a fork" in str(error)
        else:
            raise AssertionError
        receipt = unused.publish(Message("child", b"{}"))
        os.write(1, f"{receipt.id}\\n".encode())  # one write: the lines of the children do not mix
        raise SystemExit(7)
    children.append(child)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
used.publish(Message("parent", b"{}"))
"""

SERVICE = """
import json, os
from brokerkit import Bus, Message

settings = json.loads(os.environ["SETTINGS"])
publisher = Bus(settings.pop("url"), **settings).sync()

def app(environ, start_response):
    receipt = publisher.publish(Message("request", b"{}"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {receipt.id}".encode()]
"""


def environment(broker: Broker) -> dict[str, str]:
    settings = {
        "topic": broker.topic(),
        "provision": "all",
        "format": "json",
        "publish_timeout": 80.0,
        "stop_timeout": 80.0,
        **broker.settings,
    }
    return {**os.environ, "SETTINGS": json.dumps(settings)}


@pytest.mark.parametrize(
    "broker", ["kafka", "rabbitmq", "sqs", "sns", "redis-streams", "redis-pubsub", "redis-list"], indirect=True
)
async def test_the_end_of_the_interpreter_waits_for_what_is_being_published_and_says_nothing(broker: Broker) -> None:
    recorder = Recorder().record("*")
    async with recorder.serving(broker.bus(format="json")):
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENDS), env=environment(broker), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(90):
            out, errors = await program.communicate()
            assert (out, complaints(errors.decode()), program.returncode) == (f"{COUNT}\n".encode(), "", 0)
            await recorder.wait_for(COUNT + 1)


@pytest.mark.parametrize("broker", ["kafka", "redis-streams", "sqs"], indirect=True)
def test_children_of_a_fork_publish_with_what_was_not_used_before_and_their_ids_differ(broker: Broker) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS],
        env=environment(broker),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    ids = done.stdout.split()
    assert len(ids) == len(set(ids)) == 2


@pytest.mark.parametrize("broker", ["kafka", "redis-streams"], indirect=True)
def test_workers_of_gunicorn_publish_with_what_was_made_before_their_fork(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    port = free_port()
    command = ["gunicorn", "--preload", "--workers", "2", "--log-level", "warning", "--bind", f"127.0.0.1:{port}"]
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", *command, "service:app"], cwd=tmp_path, env=environment(broker), stderr=subprocess.PIPE
    )
    try:
        answers = [_answer(port, deadline=time.monotonic() + 60) for _ in range(40)]
        gunicorn.send_signal(signal.SIGTERM)
        _, errors = gunicorn.communicate(timeout=40)
    finally:
        gunicorn.kill()
    assert (complaints(errors.decode()), gunicorn.returncode) == ("", 0)
    ids = [answer.split()[1] for answer in answers]
    assert len(set(ids)) == len(ids)


def _answer(port: int, *, deadline: float) -> str:
    """What the service says, as soon as it serves."""
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
