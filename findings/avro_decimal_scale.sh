#!/usr/bin/env bash
# Apache's own Avro package for Python writes a Decimal that has fewer digits after the point than the schema's scale
# without filling them up. 5 becomes 0.05, and 1.1 becomes 0.11. There is no error, and its own reader agrees.
#
# version: avro 1.12.2, beside fastavro 1.13.1
# guess: 5 is written as 500 with the scale 2, as fastavro does, or refused, as a Decimal with too many digits is.
# seen: the unscaled digits are written as they are: 5, 1.1 and 1E+3 arrive as 0.05, 0.11 and 0.01 in both packages.
# Why it matters: amounts are a hundredth of what was meant, and only round ones, so that tests with 12.34 pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'avro==1.12.2' 'fastavro==1.13.1'
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json
from decimal import Decimal

import avro.io
import avro.schema
import fastavro

SCHEMA = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
writer = avro.io.DatumWriter(avro.schema.parse(json.dumps(SCHEMA)))
for amount, arrived in (("12.34", "12.34"), ("5", "0.05"), ("1.1", "0.11"), ("1E+3", "0.01")):
    buffer = io.BytesIO()
    writer.write(Decimal(amount), avro.io.BinaryEncoder(buffer))
    own = avro.io.DatumReader(avro.schema.parse(json.dumps(SCHEMA))).read(avro.io.BinaryDecoder(io.BytesIO(buffer.getvalue())))
    other = fastavro.schemaless_reader(io.BytesIO(buffer.getvalue()), fastavro.parse_schema(SCHEMA))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(SCHEMA), Decimal(amount))
    beside = fastavro.schemaless_reader(io.BytesIO(buffer.getvalue()), fastavro.parse_schema(SCHEMA))
    print(f"{amount}: written by avro, avro reads {own}, fastavro {other}; written by fastavro, fastavro reads {beside}")
    assert own == other == Decimal(arrived), "this finding is out of date"
    assert beside == Decimal(amount)
PYTHON
