#!/usr/bin/env bash
# CloudEvents' SDK for JavaScript does not read the Kafka headers that Kafka clients for JavaScript deliver. They deliver buffers;
# the SDK takes a buffer for the attribute itself. Without a content-type, which CloudEvents does not demand, toEvent raises
# nothing; only who asks for event.validate() is told.
#
# version: cloudevents 10.0.0 with a message in the form of kafkajs 2.2.4 (KafkaMessage: key, value and header values are buffers)
# guess: type, source and id are text, as with HTTP, or toEvent refuses the message.
# seen: event.type is a Buffer, so `event.type === "Paid"` is false; as JSON it is {"type": "Buffer", "data": [80, …]}. The
#       partition key is a buffer too. With text for headers all is well. (With a content-type, toEvent raises a TypeError.)
# Why it matters: a consumer that chooses by type handles nothing, and acknowledges everything.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" && npm install --silent --no-audit --no-fund cloudevents@10.0.0 kafkajs@2.2.4
cat > read.cjs <<'JS'
const { Kafka, CloudEvent } = require("cloudevents");
const encodeRecord = require("./node_modules/kafkajs/src/protocol/recordBatch/record/v0");
const decodeRecord = require("./node_modules/kafkajs/src/protocol/recordBatch/record/v0/decoder");
const Decoder = require("./node_modules/kafkajs/src/protocol/decoder");

// A record as kafkajs writes it, and as it reads it.
const headers = { ce_id: "1", ce_type: "Paid", ce_source: "/wallet", ce_specversion: "1.0" };
const encoded = encodeRecord({ offsetDelta: 0, timestampDelta: 0, key: "player-1", value: '{"amount":"1.10"}', headers });
const context = { firstOffset: "0", firstTimestamp: "0", magicByte: 2, isControlBatch: false };
const decoder = new Decoder(encoded.buffer);
decoder.readVarInt(); // the record's length
const message = decodeRecord(decoder, context);
console.log("kafkajs delivers ce_type as", message.headers.ce_type);
const event = Kafka.toEvent(message);
console.log("the event's type:", event.type, "is text:", event.type === "Paid", "valid:", event.validate());
const asText = Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, value.toString()]));
const beside = Kafka.toEvent({ ...message, headers: asText });
console.log("with text for headers:", beside.type);
const seen = [Buffer.isBuffer(message.headers.ce_type), Buffer.isBuffer(event.type), event.validate(), beside.type];
if (JSON.stringify(seen) !== JSON.stringify([true, true, false, "Paid"])) throw new Error("this finding is out of date: " + seen);
JS
node read.cjs
