#!/usr/bin/env bash
# protobuf.js writes a number that does not fit into an int32 or uint32 as another number, and its verify(), which is there to
# find such values, says that all is well. fromObject() also cuts off what is behind the point, of numbers and of texts.
#
# version: protobufjs 8.8.1 with long 5.3.2 (Node), beside protobuf 7.36.2 for Python, which refuses
# guess: verify() returns a reason, or encode() raises.
# seen: verify() returns null for int32 3000000000 and uint32 5000000000 and -1; they are written as -1294967296, 705032704 and
#       4294967295. fromObject() makes 19 of "19.99" and of 19.99. Python's protobuf raises ValueError for the same numbers.
# Why it matters: an amount in cents above 21 million becomes negative, behind a check that passed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'protobuf==7.36.2'
cd "$folder"
npm install --silent --no-audit --no-fund protobufjs@8.8.1 long@5.3.2
node - <<'NODE' | tee seen
const protobuf = require("protobufjs");
const Paid = protobuf.parse('syntax = "proto3"; message Paid { int32 cents = 1; uint32 count = 2; int64 total = 3; }').root.lookupType("Paid");
const through = (value) => JSON.stringify(Paid.toObject(Paid.decode(Paid.encode(Paid.fromObject(value)).finish()), { longs: String }));
for (const value of [{ cents: 3000000000 }, { count: 5000000000 }, { count: -1 }])
  console.log(JSON.stringify(value), "verify:", Paid.verify(value), "arrives as", through(value));
for (const value of [{ cents: "19.99" }, { total: "19.99" }, { total: 19.99 }])
  console.log(JSON.stringify(value), "arrives as", through(value));
NODE
venv/bin/python - <<'PYTHON' | tee -a seen
from google.protobuf.wrappers_pb2 import Int32Value, UInt32Value

for kind, value in ((Int32Value, 3_000_000_000), (UInt32Value, 5_000_000_000), (UInt32Value, -1)):
    try:
        print("Python writes", kind(value=value))
    except ValueError:
        print("Python refuses", value)
PYTHON
cat > expected <<'TEXT'
{"cents":3000000000} verify: null arrives as {"cents":-1294967296}
{"count":5000000000} verify: null arrives as {"count":705032704}
{"count":-1} verify: null arrives as {"count":4294967295}
{"cents":"19.99"} arrives as {"cents":19}
{"total":"19.99"} arrives as {"total":"19"}
{"total":19.99} arrives as {"total":"19"}
Python refuses 3000000000
Python refuses 5000000000
Python refuses -1
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
