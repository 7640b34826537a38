#!/usr/bin/env bash
# Two Avro packages for Go write one local-timestamp-millis in two ways: hamba/avro the moment in UTC, twmb/avro (and fastavro
# for Python) what the clock on the wall shows. Where the time zone is UTC, as on most servers, they agree.
#
# version: github.com/hamba/avro/v2 2.31.0, github.com/twmb/avro 1.9.1, fastavro 1.13.1 (Python)
# guess: noon in Tokyo is noon for every reader, as Avro says of local timestamps: the same on the wall, whatever the zone.
# seen: 2026-01-01 12:00 +09:00 is written as 12:00 by twmb/avro and fastavro, and as 03:00 by hamba/avro. With
#       timestamp-millis, which is a moment, all write 03:00 UTC.
# Why it matters: the opening hour of a venue or the start of a tournament moves by the zone's difference, and no test on a
# machine in UTC shows it.
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
	"time"

	hamba "github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
)

func main() {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.FixedZone("JST", 9*60*60))
	for _, kind := range []string{"timestamp-millis", "local-timestamp-millis"} {
		schema := fmt.Sprintf(`{"type": "long", "logicalType": %q}`, kind)
		one, err := hamba.Marshal(hamba.MustParse(schema), noon)
		if err != nil {
			panic(err)
		}
		parsed, err := twmb.Parse(schema)
		if err != nil {
			panic(err)
		}
		other, err := parsed.Encode(noon)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s %x %x\n", kind, one, other)
	}
}
GO
go build -o program . 2>/dev/null
./program > written.txt
"$folder/venv/bin/python" - <<'PYTHON'
import io
from datetime import datetime, timedelta, timezone

import fastavro

noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=9)))
seen = {}
for line in open("written.txt"):
    kind, *written = line.split()
    schema = fastavro.parse_schema({"type": "long", "logicalType": kind})
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, noon)
    read = [fastavro.schemaless_reader(io.BytesIO(data), schema) for data in (*map(bytes.fromhex, written), buffer.getvalue())]
    seen[kind] = [f"{each:%H:%M}" for each in read]
    print(kind, "by hamba/avro, twmb/avro, fastavro:", *seen[kind])
expected = {"timestamp-millis": ["03:00"] * 3, "local-timestamp-millis": ["03:00", "12:00", "12:00"]}
assert seen == expected, "this finding is out of date"
PYTHON
