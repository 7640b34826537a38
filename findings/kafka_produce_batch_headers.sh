#!/usr/bin/env bash
# confluent-kafka's produce_batch takes dicts with the keys of produce(), and drops their headers: no error, no warning, and
# the message counts as taken. A time stamp in such a dict is refused, and so is a header in the asyncio producer, which sends
# by produce_batch; a header in the dict is not.
#
# version: confluent-kafka 2.16.1 (librdkafka 2.16), with librdkafka's own mock cluster as the broker; the same on Kafka 4.4.0
# guess: the headers arrive, as value, key and partition of the dict do, or the call is refused.
# seen: produce() with a header: it arrives. produce_batch() with the same: it returns 1, and the message has no headers.
#       With "timestamp" it raises NotImplementedError. AIOProducer.produce(headers=…) raises NotImplementedError too.
# Why it matters: event types, ids, trace context and CloudEvents attributes are in headers. Messages without them are
# acknowledged by the broker, and nobody can tell what they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'confluent-kafka==2.16.1'
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio

from confluent_kafka import Consumer, Producer
from confluent_kafka.aio import AIOProducer

MOCK = {"test.mock.num.brokers": 1, "log_level": 2}
producer = Producer(MOCK)
address = next(iter(producer.list_topics(timeout=30).brokers.values()))
SERVERS = {"bootstrap.servers": f"{address.host}:{address.port}", "log_level": 2}
HEADERS = [("event", b"paid")]

producer.list_topics("topic", timeout=30)
producer.produce("topic", key=b"one", value=b"1", headers=HEADERS)
assert producer.flush(30) == 0
taken = producer.produce_batch("topic", [{"key": b"many", "value": b"2", "headers": HEADERS}])
assert producer.flush(30) == 0
refused = []
try:
    producer.produce_batch("topic", [{"value": b"3", "timestamp": 1_767_225_600_000}])
except NotImplementedError:
    refused.append("a time stamp in produce_batch")


async def asynchronous() -> None:
    aio = AIOProducer(SERVERS)
    try:
        await aio.produce("topic", value=b"4", headers=HEADERS)
    except NotImplementedError:
        refused.append("headers in AIOProducer")
    finally:
        await aio.close()


asyncio.run(asynchronous())
consumer = Consumer({**SERVERS, "group.id": "group", "auto.offset.reset": "earliest"})
consumer.subscribe(["topic"])
seen = {}
while len(seen) < 2:
    message = consumer.poll(30)
    assert message is not None, "nothing came within 30 s"
    if message.error() is None:
        seen[message.key()] = message.headers()
consumer.close()
print("arrived:", seen)
print("taken:", taken, "refused:", refused)
assert taken == 1, "this finding is out of date"
assert seen == {b"one": HEADERS, b"many": None}, "this finding is out of date"
assert refused == ["a time stamp in produce_batch", "headers in AIOProducer"], "this finding is out of date"
PYTHON
