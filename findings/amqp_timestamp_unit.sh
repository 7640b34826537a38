#!/usr/bin/env bash
# An AMQP timestamp is seconds since 1970 as 64 bits. pamqp, the codec of aiormq and aio-pika, takes every value above
# 4,294,967,295 for milliseconds. So a moment after 2106-02-07 06:28:15 UTC, which AMQP can say, comes out as one of 1970.
#
# version: pamqp 4.0.1 (Python 3.11). No broker is needed: the same codec writes the value and reads it.
# seen: 2106-02-07 06:28:15 comes back as it was; one second later comes back as 1970-02-19 17:02:47.296000.
# Why it matters: a schedule or an expiry far away becomes one long ago, and nothing raises.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
"$folder/venv/bin/python" - <<'PYTHON'
import datetime

from pamqp import decode, encode

last = datetime.datetime(2106, 2, 7, 6, 28, 15, tzinfo=datetime.UTC)
for moment in (last, last + datetime.timedelta(seconds=1)):
    written = encode.timestamp(moment)
    _, read = decode.timestamp(written)
    print(f"wrote {moment:%F %T} as {int.from_bytes(written, 'big')}, read {read:%F %T}")
    assert int.from_bytes(written, "big") == int(moment.timestamp()), "the writer has changed"
    assert (read == moment) is (moment == last), "the reader has changed: this finding is out of date"
    assert moment == last or read.year == 1970, read
PYTHON
