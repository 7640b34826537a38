#!/usr/bin/env bash
# A negative decimal number in an AMQP header is negative for Python, Go and Java, but positive for Node: amqplib reads the
# digits as an unsigned number, the others write them as a signed one.
#
# version: amqplib 2.3.1 (Node), pamqp 4.0.1 (Python, used by aio-pika)
# guess: both read what both write, as the type "D" is old and money is what it is for.
# seen: pamqp writes Decimal("-0.50") as scale 2 and digits -50. amqplib reads digits 4294967246, which is 42949672.46.
# Why it matters: a refund in a header becomes a payment of millions. Text is safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
(cd "$folder" && npm install --silent --no-audit --no-fund amqplib@2.3.1)
table=$("$folder/venv/bin/python" - <<'PYTHON'
from decimal import Decimal

from pamqp import decode, encode

table = encode.field_table({"refund": Decimal("-0.50")})
assert decode.field_table(table)[1] == {"refund": Decimal("-0.5")}
print(table[4:].hex())
PYTHON
)
cd "$folder" && TABLE=$table node - <<'JS'
const { decodeFields } = require("./node_modules/amqplib/lib/codec.js");
const { refund } = decodeFields(Buffer.from(process.env.TABLE, "hex"));
console.log("amqplib reads", JSON.stringify(refund));
const { digits, places } = refund.value;
if (digits !== 4294967246 || places !== 2) throw new Error("this finding is out of date");
JS
