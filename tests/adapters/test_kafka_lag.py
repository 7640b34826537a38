"""A broker that comes and goes, or hangs: lag is asked meanwhile, and health tells it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.brokers import kafka
from tests.brokers._ports import free_port
from tests.brokers.fixtures import running
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until_async

from brokerkit import Bus
from brokerkit.adapters.kafka import _watch
from brokerkit.testing import Proxy

ASKING = """
import asyncio, sys
from brokerkit import Bus

async def main(url):
    bus = Bus(url, topic="deals", group="wallet", provision="all", format="json")

    @bus.on("*")
    async def handle(message): ...

    async with bus, bus.serving():
        while True:
            print((await bus.health(lag=True)).sources["bus"].lag, flush=True)
            await asyncio.sleep(0.01)

asyncio.run(main(sys.argv[1]))
"""
OUTAGES = 4


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[int, KafkaBroker]]:
    """A port for a proxy, and a broker of our own that sends all its clients there."""
    port = free_port()
    with running(kafka.broker(advertised=port)) as broker:
        yield port, broker


@pytest.fixture
async def proxy(behind: tuple[int, KafkaBroker]) -> AsyncIterator[Proxy]:
    port, broker = behind
    host, _, real = broker.address.rpartition(":")
    async with Proxy(host, int(real), listen=port) as proxy:
        yield proxy


async def test_a_source_tells_that_the_cluster_hangs_long_before_its_client_does(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "LOOK", 0.2)
    bus = Bus(
        f"kafka://{proxy.address}", topic="deals", group="wallet", provision="all", format="json", connect_timeout=5
    )

    @bus.on("*")
    async def handle(message: object) -> None: ...

    async def is_state(state: str) -> bool:
        return (await bus.health()).sources["bus"].state == state

    async with bus, bus.serving():
        assert await is_state("consuming")
        proxy.pause()
        await until_async(lambda: is_state("reconnecting"))
        proxy.resume()
        await until_async(lambda: is_state("consuming"))


async def test_a_broker_that_goes_away_while_lag_is_asked_does_not_end_the_process(proxy: Proxy) -> None:
    """An admin client does not let it live."""
    url = f"kafka://{proxy.address}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ASKING, url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    answers = process.stdout

    async def told(lag: int) -> None:
        async with asyncio.timeout(30):
            while line := await answers.readline():
                if line == b"%d\n" % lag:
                    return
        raise AssertionError(f"the process ended: {await process.wait()}")

    try:
        for _ in range(OUTAGES):
            await told(0)
            proxy.refuse()
            await asyncio.sleep(0.15)  # within it, questions are asked that nobody answers
            await proxy.accept()
        await told(0)
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
