"""What the services of AWS write, on the way to a handler."""

from __future__ import annotations

import json

from pydantic import BaseModel

from tests import every_broker
from tests.every_broker import until

TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "hands", "RequestId": "1", "HostId": "2"}


class Removed(BaseModel):
    eventName: str  # noqa: N815 (the wire's name)
    eventSource: str  # noqa: N815


def record(number: int) -> dict[str, object]:
    return {"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "number": number}


async def test_the_test_event_of_s3_is_passed_over_and_several_records_are_never_read_as_one() -> None:
    broker = every_broker.memory()
    topic = broker.topic()
    bus = broker.bus(topic=topic, format="s3")
    handled: list[Removed] = []

    @bus.on("ObjectRemoved:Delete", Removed)
    async def handle(event: Removed) -> None:
        handled.append(event)

    bodies = [TEST_EVENT, {"Records": [record(1)]}, {"Records": [record(2), record(3)]}, {"Records": []}]
    async with bus, bus.serving():
        await broker.plain(topic, [("any", json.dumps(body).encode()) for body in bodies], place="header:event")
        await until(lambda: bus.stats["bus"].dead_lettered == 2)
        errors = [letter.error async for letter in bus.dead_letters()]
    assert len(handled) == 1
    assert sorted("has 2" in error for error in errors) == [False, True]
