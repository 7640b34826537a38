#!/usr/bin/env bash
# A Date in the headers of amqplib is accepted and arrives as an empty table: the time is gone, without an error.
#
# version: amqplib 2.3.1 (Node), pamqp 4.0.1 (Python, used by aio-pika)
# guess: the AMQP type "T" (a time in seconds), or an error.
# seen: the type "F" with no fields. Python reads {}. The time is kept if it is written as {"!": "timestamp", value: seconds}.
# Why it matters: whoever looks for "when" or "valid until" in such a header finds nothing, and a rule that takes what is
# absent for "no limit" lets the message pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
cd "$folder" && npm install --silent --no-audit --no-fund amqplib@2.3.1
table=$(node - <<'JS'
const { encodeTable } = require("./node_modules/amqplib/lib/codec.js");
const buffer = Buffer.alloc(200);
const until = new Date("2026-01-01T00:00:00Z");
const size = encodeTable(buffer, { until, stated: { "!": "timestamp", value: until.getTime() / 1000 } }, 0);
console.log(buffer.subarray(0, size).toString("hex"));
JS
)
TABLE=$table "$folder/venv/bin/python" - <<'PYTHON'
import os
from datetime import UTC, datetime

from pamqp import decode

headers = decode.field_table(bytes.fromhex(os.environ["TABLE"]))[1]
print("Python reads", headers)
assert headers["until"] == {}, "this finding is out of date"
assert headers["stated"] == datetime(2026, 1, 1, tzinfo=UTC)
PYTHON
