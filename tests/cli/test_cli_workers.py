"""``brokerkit run --workers``: processes on one group of a real broker that die, are replaced, and stop together."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.brokers.kafka import KafkaBroker
from tests.brokers.rabbitmq import RabbitBroker
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli, Program, Start

from brokerkit import Bus, Message
from brokerkit.cli._pausing import Order
from brokerkit.cli._supervisor import _Slot
from brokerkit.cli._worker import Orders, Serving, work

SERVICE = """
    import asyncio, os, sys
    from pathlib import Path
    from brokerkit import Handlers

    handlers = Handlers()
    log = os.open("handled", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    held = Path("held")

    @handlers.on("OnUserLoggedIn")
    async def handle(event, message):
        if held.exists() and held.read_text() == str(os.getpid()):
            print("holding", os.getpid(), flush=True)
            await asyncio.sleep(3600)
        await asyncio.sleep(0.002)
        os.write(log, f"{os.getpid()} {event.player_id}\\n".encode())
"""


HANGING = """
    import os, time
    from brokerkit import Handlers

    handlers = Handlers()

    @handlers.on("OnUserLoggedIn")
    async def handle(event):
        with open("hanging", "w") as hanging:
            hanging.write("now")
        time.sleep(3600)
"""
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def service(write_module: Callable[[str], str]) -> str:
    return write_module(SERVICE)


Run = Callable[..., Program]


@pytest.fixture
def run(start: Start, tmp_path: Path, service: str) -> Run:
    """Run the service in workers."""

    def call(url: str, *, workers: int = 2, more: Sequence[str] = (), **settings: object) -> Program:
        lines = {"topic": topic_of(tmp_path), "group": "workers", "format": "evenbet", "provision": "all", **settings}
        write_config(tmp_path, {"url": url, **lines})
        arguments = ["run", f"{service}:handlers", "--config", "brokerkit.toml", "--workers", str(workers), *more]
        return Program(start(arguments, cwd=tmp_path, own_session=True))

    return call


def write_config(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    options = settings.get("options", {})
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "options"]
    table = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in options.items()]
    (tmp_path / "brokerkit.toml").write_text("\n".join(["[bus]", *lines, "[bus.options]", *table, ""]))


def topic_of(tmp_path: Path) -> str:
    return f"workers-{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-")


def publish(url: str, tmp_path: Path, before: range = range(0), *, count: int = 500) -> range:
    """Publish events with the numbers that come next, each with a key of its own; all numbers so far."""

    async def send() -> None:
        async with Bus(url, topic=topic_of(tmp_path), format="evenbet", provision="all") as bus:
            batch = [
                Message(
                    "OnUserLoggedIn",
                    f'{{"playerId": {number}}}'.encode(),
                    key=str(number),
                    headers={"event": "OnUserLoggedIn"},
                )
                for number in range(before.stop, before.stop + count)
            ]
            for result in await bus.publish_many(batch):
                assert not isinstance(result, BaseException), result

    asyncio.run(send())
    return range(before.stop + count)


def handled(tmp_path: Path) -> dict[int, list[int]]:
    """The processes that have handled each number."""
    found: dict[int, list[int]] = {}
    for line in (tmp_path / "handled").read_text().splitlines():
        pid, number = map(int, line.split())
        found.setdefault(number, []).append(pid)
    return found


async def until_handled(tmp_path: Path, numbers: range) -> None:
    while not set(numbers) <= handled(tmp_path).keys():
        await asyncio.sleep(0.05)


def wait_for_death(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([end], [], [], 60)
        assert ready, f"process {pid} lives on"
    finally:
        os.close(end)


# ---- sharing, dying, stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kafka", "rabbitmq", "redis"])
def test_workers_share_the_work_a_killed_one_is_replaced_and_a_stop_repeats_nothing(
    name: str, request: pytest.FixtureRequest, run: Run, tmp_path: Path
) -> None:
    fixture = {"kafka": "kafka_broker", "rabbitmq": "rabbit_broker", "redis": "redis_broker"}[name]
    broker: KafkaBroker | RabbitBroker | RedisBroker = request.getfixturevalue(fixture)
    options = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500} if name == "kafka" else {}
    program = run(broker.url, lease=4.0, max_in_flight=20, options=options)
    workers = program.serving(2)

    numbers = range(0)
    while {pid for pids in handled(tmp_path).values() for pid in pids} != set(workers.values()):
        numbers = publish(broker.url, tmp_path, numbers)  # again, until Kafka has given each of them partitions
        asyncio.run(asyncio.wait_for(until_handled(tmp_path, numbers), 60))
    assert all(len(pids) == 1 for pids in handled(tmp_path).values())

    os.kill(workers[1], signal.SIGKILL)
    numbers = publish(broker.url, tmp_path, numbers)
    [death] = program.wait_for(r"worker 1 \(pid (\d+)\) failed: it ended with status 137; a new worker starts in")
    assert int(death[1]) == workers[1]
    [(number, replacement)] = program.serving(1).items()
    assert number == 1
    assert replacement not in workers.values()
    asyncio.run(asyncio.wait_for(until_handled(tmp_path, numbers), 60))

    before = handled(tmp_path)
    numbers = publish(broker.url, tmp_path, numbers)
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)
    for pid in (workers[2], replacement):
        wait_for_death(pid)
    stopped = handled(tmp_path)

    program = run(broker.url, lease=4.0, max_in_flight=20, options=options)
    program.serving(2)
    asyncio.run(asyncio.wait_for(until_handled(tmp_path, numbers), 60))
    program.process.send_signal(signal.SIGINT)
    assert program.end() == 0, "".join(program.said)
    repeated = {number for number in stopped.keys() - before.keys() if len(handled(tmp_path)[number]) > 1}
    assert repeated == set()


def test_workers_end_when_their_parent_is_killed(run: Run, redis_broker: RedisBroker) -> None:
    program = run(redis_broker.url)
    workers = program.serving(2)
    program.process.kill()
    for pid in workers.values():
        wait_for_death(pid)


def test_sigusr1_pauses_all_workers_also_one_that_is_replaced_and_the_next_resumes_them(
    run: Run, redis_broker: RedisBroker, tmp_path: Path
) -> None:
    program = run(redis_broker.url, lease=2.0)
    workers = program.serving(2)
    program.process.send_signal(signal.SIGUSR1)
    program.wait_for(r"source bus: paused: paused by SIGUSR1", times=2)
    numbers = publish(redis_broker.url, tmp_path, count=50)
    os.kill(workers[1], signal.SIGKILL)
    program.wait_for(r"source bus: paused: paused by SIGUSR1")
    program.serving(1)  # it is paused before that
    assert not handled(tmp_path)
    program.process.send_signal(signal.SIGUSR1)
    program.wait_for(r"source bus: resumed", times=2)
    asyncio.run(asyncio.wait_for(until_handled(tmp_path, numbers), 60))
    program.process.terminate()
    assert program.end() == 0, "".join(program.said)


def test_a_second_signal_kills_workers_whose_handlers_go_on(
    run: Run, redis_broker: RedisBroker, tmp_path: Path
) -> None:
    program = run(redis_broker.url, lease=2.0)
    workers = program.serving(2)
    (tmp_path / "held").write_text(str(workers[1]))
    publish(redis_broker.url, tmp_path, count=200)
    program.wait_for(f"holding {workers[1]}")
    program.process.terminate()
    wait_for_death(workers[2])
    program.process.terminate()
    assert program.end() == 137
    assert f"killing worker 1 (pid {workers[1]});" in "".join(program.said)


def test_ctrl_c_on_a_terminal_which_reaches_all_processes_lets_them_drain_on_uvloop_too(
    run: Run, redis_broker: RedisBroker, tmp_path: Path
) -> None:
    program = run(redis_broker.url, more=["--uvloop"])
    workers = program.serving(2)
    for pid in workers.values():
        assert "uvloop" in Path(f"/proc/{pid}/maps").read_text()
    publish(redis_broker.url, tmp_path, count=300)
    os.killpg(program.process.pid, signal.SIGINT)
    assert program.end() == 0, "".join(program.said)
    assert "Traceback" not in "".join(program.said)
    first = handled(tmp_path)
    program = run(redis_broker.url)
    program.serving(2)
    asyncio.run(asyncio.wait_for(until_handled(tmp_path, range(300)), 60))
    program.process.terminate()
    assert program.end() == 0
    assert {number for number in first if len(handled(tmp_path)[number]) > 1} == set()


def test_a_worker_that_is_stopped_alone_is_replaced(run: Run, redis_broker: RedisBroker) -> None:
    program = run(redis_broker.url)
    workers = program.serving(2)
    os.kill(workers[2], signal.SIGTERM)
    program.wait_for(r"worker 2 \(pid \d+\) has drained; a new worker starts")
    assert list(program.serving(1)) == [2]
    program.process.terminate()
    assert program.end() == 0


def test_a_worker_ends_though_a_handler_holds_up_its_loop(
    write_module: Callable[[str], str], redis_broker: RedisBroker, tmp_path: Path
) -> None:
    service = write_module(HANGING)
    bus = {"url": redis_broker.url, "topic": topic_of(tmp_path), "group": "g", "format": "evenbet", "provision": "all"}
    write_config(tmp_path, bus)
    publish(redis_broker.url, tmp_path, count=1)
    os.mkfifo(tmp_path / "hanging")
    line, other = SPAWN.Pipe()
    orders = Orders(
        f"{service}:handlers",
        Path("brokerkit.toml"),
        uvloop=False,
        log_level="error",
        log_format="text",
        kill_after=0.2,
    )
    worker = SPAWN.Process(target=work, args=(1, other, orders, None, Order((), 0)))
    worker.start()
    other.close()
    assert isinstance(line.recv(), Serving)
    with (tmp_path / "hanging").open() as hanging:
        assert hanging.read() == "now"
    line.close()
    worker.join(30)
    assert worker.exitcode == 1


def test_the_pause_before_a_replacement_grows_and_is_short_again_after_a_minute_of_serving() -> None:
    worker, now = _Slot(1), 1000.0
    for longest in (0.5, 1, 2, 4, 8, 16, 30, 30):
        worker.fail(now)
        assert longest / 2 <= worker.start_at - now <= longest
        now = worker.start_at
    assert worker.failed_starts == 8
    for served, longest in ((59.0, 30), (61.0, 0.5), (1.0, 1)):
        worker._serving_since = now
        worker.fail(now + served)
        assert longest / 2 <= worker.start_at - now - served <= longest
        assert not worker.serving


# ---- what can be wrong ------------------------------------------------------------------------------------------


def test_what_trying_again_does_not_help_ends_all_workers_and_is_said_once(run: Run, redis_broker: RedisBroker) -> None:
    program = run(redis_broker.wrong_password_url, workers=3)
    assert program.end() == 1
    assert sum("a new worker starts" in line for line in program.said) == 0
    assert sum(line.startswith("error: ") for line in program.said) == 1


def test_workers_that_never_come_to_serve_end_the_program(run: Run) -> None:
    program = run("redis://127.0.0.1:1", connect_timeout=0.1)
    assert program.end() == 1
    [error] = [line for line in program.said if line.startswith("error: ")]
    assert re.match(r"error: worker \d \(pid \d+\) failed 5 times in a row before it served: .*127\.0\.0\.1:1", error)
    assert sum("a new worker starts in" in line for line in program.said) >= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "memory://"}, "the embedded broker lives in one process"),
        ({"url": "redis+pubsub://localhost"}, "each event would be handled 2 times"),
        ({"url": "thrillconnect+wss://localhost"}, "each event would be handled 2 times"),
        ({"url": "kafka://localhost", "broadcast": True}, "each event would be handled 2 times"),
        (
            {"url": "kafka://localhost", "options": {"group.instance.id": "one"}},
            "group.instance.id is the name of one member",
        ),
        ({"url": "redis://localhost", "order": "strict"}, 'order = "strict" does not reach across processes'),
        ({"url": "redis://localhost", "dedupe": "memory://"}, "remembers in one process only, and"),
        ({"url": "redis://localhost", "hold": -1}, "hold"),
    ],
)
def test_what_workers_would_do_wrongly_is_refused_before_one_is_started(
    cli: Cli, service: str, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    write_config(tmp_path, {"topic": "t", "group": "g", "format": "evenbet", **settings})
    result = cli("run", f"{service}:handlers", "--config", "brokerkit.toml", "--workers", "2")
    assert result.code == 1
    assert message in result.err
    assert result.err.count("error: ") == 1
    assert "started" not in result.err


def test_a_number_of_workers_below_one_is_a_wrong_call(cli: Cli, service: str) -> None:
    assert cli("run", f"{service}:handlers", "--workers", "0").code == 2
