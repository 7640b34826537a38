#!/usr/bin/env bash
# In a Kafka group of the newer protocol (KIP-848), a consumer that does not poll for longer than max.poll.interval.ms keeps its
# partition for the session timeout of the broker as well, and its commits count. When it polls again it becomes a member again,
# with another partition or none, and its commits of the old partition still count: the broker compares the epoch of the member,
# and not who owns the partition. A late commit sets the offset of the group back under the hands of the next owner.
#
# version: Kafka 4.4.0, confluent-kafka 2.16.1 (librdkafka 2.16)
# needs: Java 17 and Maven; about 150 MB of jars
# guess: the partition moves after max.poll.interval.ms, as with the classic protocol, and later commits are refused.
# seen: with max.poll.interval.ms of 4 s and a session timeout of 15 s, a commit after 6 s is accepted, and the partition moves
#       after 19 s. The next owner commits 7. The first consumer polls, gets _MAX_POLL_EXCEEDED, and commits 2: accepted, and the
#       offset of the group is 2.
# Why it matters: a consumer that commits when its slow work is done repeats messages that others have handled, if the next
# owner dies or hands over before it commits again. Forget the offsets of a partition when it is lost.
set -euo pipefail
folder=$(mktemp -d)
broker=''
cleanup() { [ -z "$broker" ] || kill "$broker" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'confluent-kafka==2.16.1'
cd "$folder"
cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib > build.log || { cat build.log; exit 1; }
read -r port control < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))')
cat > server.properties <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$control
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$control
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$folder/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.consumer.min.session.timeout.ms=15000
group.consumer.session.timeout.ms=15000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
TEXT
java -cp 'lib/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c server.properties > format.log 2>&1 || { cat format.log; exit 1; }
java -Xmx512m -cp 'lib/*' kafka.Kafka server.properties > broker.log 2>&1 &
broker=$!
venv/bin/python - "127.0.0.1:$port" <<'PYTHON'
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": sys.argv[1], "log_level": 2}
admin = AdminClient(servers)
admin.list_topics(timeout=180)
admin.create_topics([NewTopic("topic", 1, 1)])["topic"].result(60)
producer = Producer(servers)
for number in range(10):
    producer.produce("topic", b"%d" % number)
assert producer.flush(60) == 0
group = {"group.id": "group", "group.protocol": "consumer", "enable.auto.commit": False, "auto.offset.reset": "earliest"}


def offset(number: int) -> list[TopicPartition]:
    return [TopicPartition("topic", 0, number)]


def first_of(consumer: Consumer) -> int:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            return message.offset()
    raise SystemExit("no message came within 90 s")


stuck = Consumer({**servers, **group, "max.poll.interval.ms": 4_000})
stuck.subscribe(["topic"])
assert first_of(stuck) == 0
begun = time.monotonic()
following = Consumer({**servers, **group})
following.subscribe(["topic"])
while time.monotonic() < begun + 6:
    assert following.poll(0.5) is None, "the partition moved at once: this finding is out of date"
stuck.commit(offsets=offset(1), asynchronous=False)
print(f"after {time.monotonic() - begun:.0f} s: a commit of the consumer that does not poll is accepted")
assert first_of(following) == 1, "this finding is out of date"
waited = time.monotonic() - begun
print(f"after {waited:.0f} s: the next owner begins at 1")
assert waited > 12, "the partition did not stay for the session timeout: this finding is out of date"
following.commit(offsets=offset(7), asynchronous=False)
errors = set()
end = time.monotonic() + 8
while time.monotonic() < end:
    message = stuck.poll(0.5)
    if message is not None and message.error() is not None:
        errors.add(message.error().code())
assert errors == {KafkaError._MAX_POLL_EXCEEDED}, errors
assert stuck.assignment() == [] and len(following.assignment()) == 1, "the partition went back"
stuck.commit(offsets=offset(2), asynchronous=False)
[committed] = following.committed(offset(0), 30)
print("the owner has committed 7, the other member 2; the offset of the group is", committed.offset)
assert committed.offset == 2, "this finding is out of date"
stuck.close()
following.close()
PYTHON
