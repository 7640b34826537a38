#!/usr/bin/env bash
# The Kafka client segmentio/kafka-go takes IsolationLevel: ReadCommitted, and delivers aborted messages all the same. It also
# delivers the transaction markers, which no client shows, as messages with a binary key.
#
# version: github.com/segmentio/kafka-go 0.4.51, beside github.com/twmb/franz-go 1.22.3, on franz-go's own stand-in for a
#          broker (kfake 01f206a7e32c); the same on Kafka 4.4.0, where sarama 1.61.1, kafkajs 2.2.4 and @platformatic/kafka
#          1.35.0 skip both
# guess: only what was committed, as with every other client that has the setting.
# seen: three transactions with one message each, of which the second is aborted. franz-go reads "paid 1" and "paid 3".
#       kafka-go reads five messages: all three, and two markers (key 00 00 00 01 and 00 00 00 00, commit and abort).
# Why it matters: a payment that was taken back is paid out, and whoever parses each value stops at a marker.
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

	producer, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID("id"), kgo.DefaultProduceTopic("topic"))
	check(err)
	for _, value := range []string{"paid 1", "paid 2, taken back", "paid 3"} {
		check(producer.BeginTransaction())
		check(producer.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr())
		check(producer.EndTransaction(ctx, kgo.TransactionEndTry(value != "paid 2, taken back")))
	}
	producer.Close()

	consumer, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("topic"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(err)
	for last := ""; last != "paid 3"; {
		fetched := consumer.PollFetches(ctx)
		check(fetched.Err())
		fetched.EachRecord(func(record *kgo.Record) {
			last = string(record.Value)
			fmt.Printf("franz-go %x %q\n", record.Key, last)
		})
	}
	consumer.Close()

	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: "topic", IsolationLevel: kafka.ReadCommitted})
	for last := ""; last != "paid 3"; {
		message, err := reader.ReadMessage(ctx)
		check(err)
		last = string(message.Value)
		fmt.Printf("kafka-go %x %q\n", message.Key, last)
	}
	check(reader.Close())
}
GO
go build -o program . 2> build.log || { cat build.log; exit 1; }
./program | tee seen
cat > expected <<'TEXT'
franz-go  "paid 1"
franz-go  "paid 3"
kafka-go  "paid 1"
kafka-go 00000001 "\x00\x00\x00\x00\x00\x00"
kafka-go  "paid 2, taken back"
kafka-go 00000000 "\x00\x00\x00\x00\x00\x00"
kafka-go  "paid 3"
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
