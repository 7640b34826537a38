"""Publishing without an event loop."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import pytest

from brokerkit import Bus, Closed, ConfigError, NotFound, Receipt
from brokerkit.events.evenbet import OnUserLoggedIn


def make_bus(**settings: str) -> Bus:
    return Bus(f"memory://{uuid.uuid4().hex}", topic="t", format="evenbet", **settings)  # type: ignore[arg-type]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "brokerkit-sync"]


def test_it_starts_with_the_first_publish_and_ends_with_close() -> None:
    publisher = make_bus().sync()
    assert (repr(publisher), threads()) == ("<SyncBus: not started>", [])
    assert publisher.publish(OnUserLoggedIn(), id="id-1").id == "id-1"
    assert (repr(publisher), len(threads())) == ("<SyncBus: open>", 1)
    publisher.close()
    publisher.close()
    assert (repr(publisher), threads()) == ("<SyncBus: closed>", [])
    with pytest.raises(Closed):
        publisher.publish(OnUserLoggedIn())


def test_closing_what_never_started_is_fine() -> None:
    with make_bus().sync() as publisher:
        pass
    with pytest.raises(Closed):
        publisher.publish(OnUserLoggedIn())


def test_many_threads_publish_at_once() -> None:
    receipts: list[Receipt] = []
    with make_bus().sync() as publisher:

        def publish() -> None:
            receipts.extend(publisher.publish(OnUserLoggedIn()) for _ in range(20))

        running = [threading.Thread(target=publish) for _ in range(8)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert len(threads()) == 1
    assert len({receipt.id for receipt in receipts}) == 160


def test_many_at_once_have_one_result_each() -> None:
    with make_bus().sync() as publisher:
        good, bad = publisher.publish_many([OnUserLoggedIn(), ("OnNothing", {})])
    assert isinstance(good, Receipt)
    assert not isinstance(bad, Receipt)


def test_errors_are_those_of_the_bus() -> None:
    with make_bus().sync() as publisher, pytest.raises(ConfigError, match="no target"):
        publisher.publish(OnUserLoggedIn(), to="nowhere")


def test_a_start_that_failed_is_tried_again_by_the_next_publish() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    publisher = Bus(url, topic="t", format="evenbet", provision="check").sync()
    for _ in range(2):
        with pytest.raises(NotFound):
            publisher.publish(OnUserLoggedIn())
        assert threads() == []
    with Bus(url, topic="t", format="evenbet").sync() as creator:
        creator.publish(OnUserLoggedIn())
    assert publisher.publish(OnUserLoggedIn()).topic == "t"
    publisher.close()


FORK = """
import os
from brokerkit import Bus, Closed
from brokerkit.events.evenbet import OnUserLoggedIn

bus = Bus("memory://", topic="t", format="evenbet")
publisher = bus.sync()
publisher.publish(OnUserLoggedIn())
child = os.fork()
if child == 0:
    try:
        publisher.publish(OnUserLoggedIn())
    except Closed as error:
        assert "fork" in str(error), error
        publisher.close()
        with Bus("memory://", topic="t", format="evenbet").sync() as own:
            own.publish(OnUserLoggedIn())
        os._exit(7)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
publisher.publish(OnUserLoggedIn())
"""


def test_the_child_of_a_fork_is_refused_and_may_have_its_own() -> None:
    """The parent goes on, and its publisher ends with the interpreter without being closed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
