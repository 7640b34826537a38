"""Lag is asked while the broker comes and goes: the process lives, which an admin client does not let it."""

from __future__ import annotations

import asyncio
import sys

from tests.brokers import kafka
from tests.brokers._ports import free_port

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


async def test_a_broker_that_goes_away_while_lag_is_asked_does_not_end_the_process() -> None:
    port = free_port()
    broker = kafka.broker(advertised=port)
    host, _, real = broker.address.rpartition(":")
    async with Proxy(host, int(real), listen=port) as proxy:
        await asyncio.to_thread(broker.start)
        url = f"kafka://{proxy.address}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKING, url, stdout=asyncio.subprocess.PIPE
        )
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
            await asyncio.to_thread(broker.server.close)
