#!/usr/bin/env bash
# The Kafka client segmentio/kafka-go cannot tell an empty value from none: both arrive as nil. It writes them as two things,
# as it should. So a program that copies messages with it turns each empty value into a tombstone.
#
# version: github.com/segmentio/kafka-go 0.4.51, beside github.com/twmb/franz-go 1.22.3, on franz-go's own stand-in for a
#          broker (kfake 01f206a7e32c); the same on Kafka 4.4.0, where sarama, kafkajs and librdkafka tell them apart
# guess: []byte{} comes back as an empty slice that is not nil, as it was written.
# seen: kafka-go's Writer writes []byte{} with length 0 and nil with length -1, and franz-go reads both so. kafka-go's own
#       Reader gives nil for both.
# Why it matters: on a compacted topic a tombstone deletes its key. A copy of the topic loses every key whose value was empty.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
export GOPATH=$folder/go GOFLAGS=-mod=mod
cat > go.mod <<'GO'
module program

go 1.25

require (
	github.com/segmentio/kafka-go v0.4.51
	github.com/twmb/franz-go v1.22.3
	github.com/twmb/franz-go/pkg/kfake v0.0.0-20260918054303-01f206a7e32c
)
GO
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "topic"))
	check(err)
	defer broker.Close()
	address := broker.ListenAddrs()[0]

	writer := &kafka.Writer{Addr: kafka.TCP(address), Topic: "topic", BatchTimeout: time.Millisecond}
	check(writer.WriteMessages(ctx, kafka.Message{Key: []byte("empty"), Value: []byte{}}, kafka.Message{Key: []byte("none")}))
	check(writer.Close())

	consumer, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("topic"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	check(err)
	for read := 0; read < 2; {
		fetched := consumer.PollFetches(ctx)
		check(fetched.Err())
		fetched.EachRecord(func(record *kgo.Record) {
			read++
			fmt.Printf("franz-go %s: nil is %v\n", record.Key, record.Value == nil)
		})
	}
	consumer.Close()

	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: "topic"})
	for read := 0; read < 2; read++ {
		message, err := reader.ReadMessage(ctx)
		check(err)
		fmt.Printf("kafka-go %s: nil is %v\n", message.Key, message.Value == nil)
	}
	check(reader.Close())
}
GO
go build -o program . 2> build.log || { cat build.log; exit 1; }
./program | tee seen
cat > expected <<'TEXT'
franz-go empty: nil is false
franz-go none: nil is true
kafka-go empty: nil is true
kafka-go none: nil is true
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
