#!/usr/bin/env bash
# CloudAMQP's own AMQP client for JavaScript writes whole numbers between 2^31 and 2^32 as negative ones. Smaller and larger
# numbers are right, so that neither a test with small amounts nor one with huge ones shows it.
#
# version: @cloudamqp/amqp-client 4.1.1 (Node), read by itself and by pamqp 4.0.1 (Python, used by aio-pika)
# guess: the type "l" (64 bits) from 2^31 on, as amqplib writes them.
# seen: up to 2^32 - 1 the type "I" (signed 32 bits) with the low bits. 3000000000 arrives as -1294967296; 2147483647,
#       4294967296 and 9007199254740991 arrive as they are.
# Why it matters: an amount in cents above 21 million, or a time in seconds after January 2038, becomes negative.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
cd "$folder" && npm install --silent --no-audit --no-fund @cloudamqp/amqp-client@4.1.1
table=$(node - <<'JS'
const { AMQPView } = require("./node_modules/@cloudamqp/amqp-client/lib/cjs/amqp-view.js");
const view = new AMQPView(new ArrayBuffer(500));
const size = view.setTable(0, { a: 2147483647, b: 2147483648, c: 3000000000, d: 4294967295, e: 4294967296, f: 9007199254740991 });
console.error("it reads", JSON.stringify(view.getTable(0)[0]));
console.log(Buffer.from(view.buffer, 0, size).toString("hex"));
JS
)
TABLE=$table "$folder/venv/bin/python" - <<'PYTHON'
import os

from pamqp import decode

headers = decode.field_table(bytes.fromhex(os.environ["TABLE"]))[1]
print("Python reads", headers)
expected = {"a": 2**31 - 1, "b": -(2**31), "c": -1294967296, "d": -1, "e": 2**32, "f": 2**53 - 1}
assert headers == expected, "this finding is out of date"
PYTHON
