#!/usr/bin/env bash
# Two Kafka clients show the producer's time for messages of a topic with message.timestamp.type = LogAppendTime, where the
# broker's time counts. The broker leaves the producer's differences in the batch and marks the batch; these clients do not look
# at the mark.
#
# version: github.com/segmentio/kafka-go 0.4.51 (Go), @platformatic/kafka 1.35.0 (Node), beside confluent-kafka 2.16.1, on
#          Kafka 4.4.0; sarama 1.61.1, franz-go 1.22.3 and kafkajs 2.2.4 show the broker's time, as confluent-kafka does
# needs: Java 17, Maven, Go and Node 20; about 150 MB of jars
# guess: every client shows the broker's time, as the type of the topic says.
# seen: a message with a time of an hour ago is shown with the time of its arrival by confluent-kafka, and with that of
#       an hour ago by both others.
# Why it matters: such a topic is made because producers' clocks are not trusted. Ages, windows and joins by time use them again,
# in one service and not in the next.
set -euo pipefail
folder=$(mktemp -d)
broker=''
cleanup() {
  [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
  wait 2>/dev/null || true
  chmod -R u+w "$folder"
  rm -rf "$folder"
}
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'confluent-kafka==2.16.1'
cd "$folder"
npm install --silent --no-audit --no-fund @platformatic/kafka@1.35.0
mkdir go-program
cat > go-program/go.mod <<'GO'
module program

go 1.23

require github.com/segmentio/kafka-go v0.4.51
GO
cat > go-program/main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
)

func main() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{os.Args[1]}, Topic: "topic"})
	message, err := reader.ReadMessage(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("kafka-go", message.Time.UnixMilli())
}
GO
export GOPATH=$folder/go GOFLAGS=-mod=mod
(cd go-program && go build -o program . 2> build.log || { cat build.log; exit 1; })
cat > read.mjs <<'NODE'
import { Consumer } from "@platformatic/kafka";
const consumer = new Consumer({ groupId: "group", clientId: "client", bootstrapBrokers: [process.argv[2]] });
const stream = await consumer.consume({ topics: ["topic"], mode: "earliest", autocommit: false });
for await (const message of stream) {
  console.log("@platformatic/kafka", String(message.timestamp));
  break;
}
process.exit(0);
NODE
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
group.initial.rebalance.delay.ms=0
TEXT
java -cp 'lib/*' kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c server.properties > format.log 2>&1 || { cat format.log; exit 1; }
java -Xmx512m -cp 'lib/*' kafka.Kafka server.properties > broker.log 2>&1 &
broker=$!
venv/bin/python - "127.0.0.1:$port" <<'PYTHON' | tee seen
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": sys.argv[1], "log_level": 2}
admin = AdminClient(servers)
admin.list_topics(timeout=60)
config = {"message.timestamp.type": "LogAppendTime"}
admin.create_topics([NewTopic("topic", 1, 1, config=config)])["topic"].result(60)
sent = int(time.time() * 1000) - 3_600_000
producer = Producer(servers)
producer.produce("topic", b"value", timestamp=sent)
assert producer.flush(60) == 0
consumer = Consumer({**servers, "group.id": "first", "auto.offset.reset": "earliest"})
consumer.subscribe(["topic"])
message = consumer.poll(60)
assert message is not None and message.error() is None
consumer.close()
print("sent", sent)
print("confluent-kafka", message.timestamp()[1])
PYTHON
go-program/program "127.0.0.1:$port" | tee -a seen
timeout 120 node --no-warnings read.mjs "127.0.0.1:$port" | tee -a seen
venv/bin/python - <<'PYTHON'
with open("seen") as lines:
    times = {name: int(time) for name, time in map(str.split, lines)}
sent = times.pop("sent")
late = {name: time - sent >= 3_000_000 for name, time in times.items()}
print("shows the broker's time:", late)
assert late == {"confluent-kafka": True, "kafka-go": False, "@platformatic/kafka": False}, "this finding is out of date"
PYTHON
