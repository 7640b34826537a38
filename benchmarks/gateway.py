"""The gateway under load: `python -m benchmarks.gateway` (make bench-gateway). One line of figures for each phase.

A Redis of the tests, the gateway in a process of its own, and all clients in another: 2,000 that only wait and 500 that
get events, each for one player. A latency is from the publish to the client that has read the frame. The publisher and the
clients share the machine with the gateway, so the figures are the least that it can do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import redis.asyncio
from websockets.asyncio.client import ClientConnection, connect

TOPIC = f"bench-{uuid.uuid4().hex[:10]}"
_AT = '"at":'
"""Stands before the time at the end of an event, which is found without parsing: that would be the client's own time."""
_SUBSCRIBE = json.dumps({"SubscribeRequest": {"events": [{"source": "thrillgate", "event_type": "*"}]}})


def serve(url: str, topic: str, *, uvloop: bool) -> None:
    """The gateway. It prints its port, and its memory and counts whenever a line comes in."""
    from brokerkit import Bus
    from brokerkit.gateway import Credentials, Gateway, Player

    def check(credentials: Credentials) -> Player:
        return Player(operator_id="northlight", brand_id="lumen", player_id=credentials.token)

    bus = Bus(url, topic=topic, group="gateway", broadcast=True, format="thrillconnect", provision="all")
    gateway = Gateway(bus, check=check, port=0)

    def answer() -> None:
        while not gateway.port:
            time.sleep(0.01)
        print(gateway.port, flush=True)
        while sys.stdin.readline():
            figures = {"memory": _memory(), "cpu": time.process_time()}
            print(json.dumps({**asdict(gateway.stats), **figures}), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    gateway.run(uvloop=uvloop)


def _memory() -> float:
    """Resident memory in MiB, now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (no file in the ordinary sense)
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_048_576


async def hold(port: int, idle: int, active: int, latencies: list[float]) -> list[Any]:
    """Connect all clients; those that are active note how long each event took."""
    made: list[Any] = []
    for first in range(0, idle + active, 50):
        players = range(first, min(first + 50, idle + active))
        made += await asyncio.gather(*(_come(port, f"player-{number}") for number in players))
    return [asyncio.create_task(_read(each, latencies)) for each in made[:active]] + made[active:]


async def _come(port: int, player: str) -> ClientConnection:
    where = f"ws://127.0.0.1:{port}/v1/events/northlight/lumen?token={player}&currency=EUR"
    connection = await connect(where, compression=None, ping_interval=None, open_timeout=60)
    await connection.send(_SUBSCRIBE)
    return connection


async def _read(connection: ClientConnection, latencies: list[float]) -> None:
    async for text in connection:
        latencies.append(time.time() - float(text[text.rindex(_AT) + len(_AT) : -1]))  # noqa: PERF401 (read meanwhile)


def clients(port: int, idle: int, active: int) -> None:
    """All clients. Prints when they are connected, and the latencies since the last line whenever a line comes in."""

    async def main() -> None:
        latencies: list[float] = []
        kept = await hold(port, idle, active, latencies)
        gc.collect()
        gc.freeze()  # thousands of clients in one process are the benchmark's own: their collection is not measured
        print(len(kept), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            seen = sorted(latencies)
            latencies.clear()
            figures = {"count": len(seen)}
            for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                figures[name] = seen[min(int(len(seen) * part), len(seen) - 1)] * 1e3 if seen else 0.0
            print(json.dumps(figures), flush=True)
        for each in kept:
            if isinstance(each, asyncio.Task):
                each.cancel()

    asyncio.run(main())


async def publish(url: str, active: int, rate: int, seconds: float) -> None:
    """Events for the active players in turn, at an even rate, written by a plain client."""
    head = {"msg_type": "Event", "source": "thrillgate", "msg_name": "PlayerBonusAdded", "timestamp": 1767040591759}
    area = {"operator_id": "northlight", "brand_id": "lumen"}
    data = {
        "bonus_id": "3082e958-5fd4-4cfc-a5d3-6db4a20b6aad",
        "name": "Ten free spins",
        "value": 10.5,
        "currency": "EUR",
    }
    bodies = [
        json.dumps({**head, **area, "player_id": f"player-{number}", "data": data}).encode()[:-1] + f",{_AT}".encode()
        for number in range(active)
    ]
    number, step = 0, 0.01
    async with redis.asyncio.from_url(url) as client:
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            pipeline = client.pipeline(transaction=False)
            now = f"{time.time():.6f}}}".encode()
            while number < passed * rate:
                pipeline.xadd(TOPIC, {"data": bodies[number % active] + now}, maxlen=50_000, approximate=True)
                number += 1
            await pipeline.execute()
            await asyncio.sleep(max(step - (time.perf_counter() - begun - passed), 0))


def _start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.gateway", *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(process: subprocess.Popen[str], question: str = "\n") -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question)
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def _line(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def measure(idle: int, active: int, rate: int, seconds: float, rounds: int, *, uvloop: bool) -> None:
    """Start everything, and print a line for each round."""
    from tests.brokers import redis as broker
    from tests.brokers.fixtures import running

    with running(broker.broker()) as server:
        gateway = _start("serve", server.url, TOPIC, "uvloop" if uvloop else "asyncio")
        port = _line(gateway)
        empty = _ask(gateway)["memory"]
        crowd = _start("clients", port, idle, active)
        connected = _line(crowd)
        before = _ask(gateway)
        each = (before["memory"] - empty) / connected * 1024
        print(f"{connected} clients: {before['memory']:.0f} MiB, {each:.1f} KiB for each")
        try:
            for number in range(rounds):
                asyncio.run(publish(server.url, active, rate, seconds))
                time.sleep(1)
                heard, after = _ask(crowd), _ask(gateway)
                cpu = (after["cpu"] - before["cpu"]) / max(after["sent"] - before["sent"], 1) * 1e6
                print(
                    f"round {number + 1}: {heard['count'] / seconds:,.0f} events/s, p50 {heard['p50']:.1f} ms, "
                    f"p99 {heard['p99']:.1f} ms, max {heard['max']:.1f} ms, gateway {after['memory']:.0f} MiB, "
                    f"{cpu:.0f} µs of CPU an event, {after['slow']} closed as slow, {after['connected']} connected"
                )
                before = after
        finally:
            for process in (crowd, gateway):
                process.send_signal(signal.SIGKILL)
                process.communicate()


def main(words: Sequence[str]) -> None:
    """Run one of the parts, or all of them."""
    match words:
        case ["serve", url, topic, loop]:
            serve(url, topic, uvloop=loop == "uvloop")
        case ["clients", port, idle, active]:
            clients(int(port), int(idle), int(active))
        case _:
            parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
            parser.add_argument("--idle", type=int, default=2000)
            parser.add_argument("--active", type=int, default=500)
            parser.add_argument("--rate", type=int, default=5000, help="events a second in all")
            parser.add_argument("--seconds", type=float, default=10.0)
            parser.add_argument("--rounds", type=int, default=3)
            parser.add_argument("--uvloop", action="store_true", help="run the gateway on uvloop")
            chosen = parser.parse_args(words)
            measure(chosen.idle, chosen.active, chosen.rate, chosen.seconds, chosen.rounds, uvloop=chosen.uvloop)


if __name__ == "__main__":
    main(sys.argv[1:])
