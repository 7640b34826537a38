"""AsyncFast on its AMGI servers for Kafka and SQS; docs/performance.md says why not on the others."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncfast import AsyncFast

from benchmarks.work import Meter, Stopwatch, Testbed, Work


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """One channel with the model as its payload; its servers acknowledge after the handler."""
    app = AsyncFast()

    async def handle(payload: Any) -> None:
        meter.tick(payload)

    handle.__annotations__["payload"] = work.model
    app.channel(at.topic)(handle)
    server = _server(at, app)
    serving = asyncio.ensure_future(server.serve())
    await meter.done.wait()
    server.stop()
    await serving


def _server(at: Testbed, app: AsyncFast) -> Any:
    if at.kind == "kafka":
        from amgi_aiokafka import Server

        return Server(app, at.topic, bootstrap_servers=at.address, group_id="asyncfast", auto_offset_reset="earliest")
    from amgi_aiobotocore.sqs import Server as SqsServer

    return SqsServer(app, at.topic, endpoint_url=at.address)


async def publish_each(at: Testbed, work: Work, count: int, watch: Stopwatch) -> None:
    """What its handlers send with, on SQS: 100 concurrent calls, again and again, sent ten at a time."""
    from amgi_aiobotocore.sqs import MessageSend

    event = work.model.model_validate_json(work.body)

    async def one() -> None:
        await send(
            {
                "type": "message.send",
                "address": at.topic,
                "headers": [(b"event", work.name.encode())],
                "payload": event.model_dump_json(by_alias=True).encode(),
            }
        )

    async with MessageSend(endpoint_url=at.address) as send:
        with watch:
            for first in range(0, count, 100):
                await asyncio.gather(*(one() for _ in range(min(100, count - first))))
