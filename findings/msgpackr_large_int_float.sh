#!/usr/bin/env bash
# A widely used MessagePack package for Node, msgpackr, writes whole numbers from 2^32 on as floating-point numbers, although MessagePack has
# integers of 64 bits and the number is exact in JavaScript. @msgpack/msgpack writes an integer.
#
# version: msgpackr 2.1.4, beside @msgpack/msgpack 3.1.3 (Node 20), read by msgpack 1.2.4 (Python)
# guess: the type uint 64 (cf), as for every whole number that JavaScript holds exactly.
# seen: msgpackr writes 4294967295 as an integer (ce) and 5000000000 as float 64 (cb), which Python reads as 5000000000.0. A
#       BigInt is written as an integer.
# Why it matters: an id that is turned into text is "5000000000.0": another key for deduplication and for a database than the one
# that JSON gave, and only for ids and times in milliseconds that are large enough.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'msgpack==1.2.4'
cd "$folder"
npm install --silent --no-audit --no-fund msgpackr@2.1.4 @msgpack/msgpack@3.1.3
node - > written <<'NODE'
const { pack } = require("msgpackr");
const { encode } = require("@msgpack/msgpack");
for (const number of [4294967295, 5000000000]) {
  console.log("msgpackr", pack(number).toString("hex"));
  console.log("@msgpack/msgpack", Buffer.from(encode(number)).toString("hex"));
}
console.log("msgpackr,BigInt", pack(5000000000n).toString("hex"));
NODE
venv/bin/python - <<'PYTHON' | tee seen
import msgpack

with open("written") as lines:
    for package, text in map(str.split, lines):
        print(package, text[:2], repr(msgpack.unpackb(bytes.fromhex(text))))
PYTHON
cat > expected <<'TEXT'
msgpackr ce 4294967295
@msgpack/msgpack ce 4294967295
msgpackr cb 5000000000.0
@msgpack/msgpack cf 5000000000
msgpackr,BigInt d3 5000000000
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
