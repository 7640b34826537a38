#!/usr/bin/env bash
# pika reads a floating-point number in an AMQP header as a whole number: what is behind the point is gone, without an error.
# It cannot write one either, so that its own tests never meet one.
#
# version: pika 1.4.4 (Python), amqplib 2.3.1 (Node) as the writer
# guess: 19.99 arrives as 19.99, as in every other client.
# seen: amqplib writes 19.99 as the type "d" (64 bits). pika reads 19, and 0 for 0.5 and -0.75.
# Why it matters: an amount, a rate or a limit in a header is another number, and a rate below one is nothing. Text is safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pika==1.4.4'
cd "$folder" && npm install --silent --no-audit --no-fund amqplib@2.3.1
table=$(node - <<'JS'
const { encodeTable, decodeFields } = require("./node_modules/amqplib/lib/codec.js");
const buffer = Buffer.alloc(200);
const written = buffer.subarray(0, encodeTable(buffer, { amount: 19.99, rate: 0.5, change: -0.75, count: 3 }, 0));
console.error("Node reads", JSON.stringify(decodeFields(written.subarray(4))));
console.log(written.toString("hex"));
JS
)
TABLE=$table "$folder/venv/bin/python" - <<'PYTHON'
import os

from pika import data

headers, _ = data.decode_table(bytes.fromhex(os.environ["TABLE"]), 0)
print("pika reads", headers)
assert headers == {"amount": 19, "rate": 0, "change": 0, "count": 3}, "this finding is out of date"
PYTHON
