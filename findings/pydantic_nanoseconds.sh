#!/usr/bin/env bash
# pydantic reads one moment with nanoseconds as two times: the text is cut to microseconds, the number is rounded. Java's Jackson 2
# writes an Instant in both forms, by one setting (WRITE_DATES_AS_TIMESTAMPS).
#
# version: pydantic 2.14.4 (Python 3.11)
# guess: both are cut, as pydantic says of more than six digits.
# seen: "2026-01-01T00:00:00.123456789Z" is .123456, and 1767225600.123456789 is .123457.
# Why it matters: two services that tell events apart by their time, or sort by it, see two events where there is one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pydantic==2.14.4'
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime

from pydantic import TypeAdapter

seen = {}
for text in ('"2026-01-01T00:00:00.123456789Z"', "1767225600.123456789"):
    seen[text] = TypeAdapter(datetime).validate_json(text).microsecond
    print(text, "->", seen[text])
assert list(seen.values()) == [123_456, 123_457], "this finding is out of date"
PYTHON
