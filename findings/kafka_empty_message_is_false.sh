#!/usr/bin/env bash
# A message of confluent-kafka is false where its value is empty or null. A loop that asks `if message:` instead of
# `if message is not None:` skips tombstones, and commits behind them.
#
# version: confluent-kafka 2.16.1 (librdkafka 2.16), with librdkafka's own mock cluster as the broker
# guess: every message is true; only None, nothing to read, is false.
# seen: len(message) is the length of the value, so bool(message) is False for a tombstone and for an empty value. Both have
#       a key, headers, an offset and no error.
# Why it matters: whoever reads a compacted topic never sees a deletion. The loop looks right, and works with every other
# message.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'confluent-kafka==2.16.1'
"$folder/venv/bin/python" - <<'PYTHON'
import time

from confluent_kafka import Consumer, Producer, TopicPartition

producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
[broker] = producer.list_topics(timeout=20).brokers.values()
for key, value in ((b"one", b"kept"), (b"two", None), (b"three", b"")):
    producer.produce("accounts", key=key, value=value, headers={"event": "Closed"}, partition=0)
assert producer.flush(20) == 0
consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "ledger", "log_level": 0})
consumer.assign([TopicPartition("accounts", 0, 0)])
arrived = []
until = time.monotonic() + 20
while len(arrived) < 3 and time.monotonic() < until:
    message = consumer.poll(1)
    if message is not None:
        assert message.error() is None, message.error()
        arrived.append((message.key(), message.value(), bool(message)))
        print("key", message.key(), "value", message.value(), "offset", message.offset(), "is", bool(message))
consumer.close()
assert arrived == [(b"one", b"kept", True), (b"two", None, False), (b"three", b"", False)], "this finding is out of date"
PYTHON
