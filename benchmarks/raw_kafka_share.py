"""A share group of Kafka by hand: one thread that polls, handles, accepts each message, and commits what it has accepted."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from benchmarks import raw_kafka
from benchmarks.raw_kafka import drop, fill
from benchmarks.work import Meter, Testbed, Work

__all__ = ["consume", "create", "drop", "fill"]

_GROUP = "raw-share"


async def create(at: Testbed, reader: str) -> None:
    """A topic of four partitions, and a group that begins at its first message: by default it begins at the end."""
    await raw_kafka.create(at, reader)
    start = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    group = ConfigResource(ConfigResource.Type.GROUP, _GROUP, incremental_configs=[start])
    admin = AdminClient({"bootstrap.servers": at.address})
    for altered in admin.incremental_alter_configs([group]).values():
        await asyncio.wrap_future(altered)


async def consume(at: Testbed, work: Work, meter: Meter) -> None:
    """The client takes no second batch before everything of the first is accepted and committed."""

    def loop() -> None:
        consumer = ShareConsumer(
            {"bootstrap.servers": at.address, "group.id": _GROUP, "share.acknowledgement.mode": "explicit"}
        )
        read, tick = work.model.model_validate_json, meter.tick
        consumer.subscribe([at.topic])
        while meter.left > 0:
            messages = consumer.poll(0.1)
            for message in messages:
                if message.error() is None and dict(message.headers() or ())["event"] == work.name.encode():
                    tick(read(message.value() or b""))
                consumer.acknowledge(message, AcknowledgeType.ACCEPT)
            if messages:
                consumer.commit_sync(10)
        consumer.close()

    with ThreadPoolExecutor(1) as threads:
        await asyncio.get_running_loop().run_in_executor(threads, loop)
