#!/usr/bin/env bash
# Go's hamba/avro fits an amount to the scale of the schema without an error, and always downwards: what is paid and what is
# paid back are not the same.
#
# version: github.com/hamba/avro/v2 2.31.0, beside github.com/twmb/avro 1.9.1 (Go) and fastavro 1.13.1 (Python)
# guess: refused, as both others do, or rounded half up.
# seen: with scale 2, 2/3 is written as 0.66 and -2/3 as -0.67; 1.005 as 1.00 and -1.005 as -1.01. The others refuse them.
# Why it matters: a share of an amount and its refund differ by a cent, and no error says that digits were lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'fastavro==1.13.1'
mkdir "$folder/program"
cd "$folder/program"
export GOPATH=$folder/go GOFLAGS=-mod=mod
cat > go.mod <<'GO'
module program

go 1.22

require (
	github.com/hamba/avro/v2 v2.31.0
	github.com/twmb/avro v1.9.1
)
GO
cat > main.go <<'GO'
package main

import (
	"fmt"
	"math/big"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
)

const schema = `{"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}`

func main() {
	one, other := hamba.MustParse(schema), twmb.MustParse(schema)
	for _, text := range []string{"12.34", "2/3", "-2/3", "1.005", "-1.005"} {
		amount, _ := new(big.Rat).SetString(text)
		written, err := hamba.Marshal(one, amount)
		if err != nil {
			panic(err)
		}
		_, refused := other.Encode(amount)
		fmt.Printf("%s %x %t\n", text, written, refused != nil)
	}
}
GO
go build -o program . 2>/dev/null
./program > written.txt
"$folder/venv/bin/python" - <<'PYTHON'
import io
from decimal import Decimal

import fastavro

schema = fastavro.parse_schema({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2})
arrived = {}
for line in open("written.txt"):
    text, written, refused = line.split()
    arrived[text] = str(fastavro.schemaless_reader(io.BytesIO(bytes.fromhex(written)), schema)), refused
    print(text, "arrives as", arrived[text][0], "- refused by twmb/avro:", refused)
try:
    fastavro.schemaless_writer(io.BytesIO(), schema, Decimal("1.005"))
except ValueError as error:
    print("fastavro refuses 1.005:", error)
else:
    raise SystemExit("fastavro writes 1.005: this finding is out of date")
assert arrived == {
    "12.34": ("12.34", "false"),
    "2/3": ("0.66", "true"),
    "-2/3": ("-0.67", "true"),
    "1.005": ("1.00", "true"),
    "-1.005": ("-1.01", "true"),
}, "this finding is out of date"
PYTHON
