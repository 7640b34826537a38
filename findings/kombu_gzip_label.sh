#!/usr/bin/env bash
# version: kombu 5.7.0 (Python 3.11), and so Celery: a message that is published with compression="gzip" or "zlib" has the header
# compression: application/x-gzip, but its body is what zlib.compress makes, not a gzip member. gzip readers refuse it:
# Python's gzip module says "Not a gzipped file". Node's gunzip and Go's compress/gzip look for the same two bytes.
# Guess before looking: a body that begins with 1f 8b.
# Seen: the body begins with 78 9c, and zlib reads it.
# The script fails when kombu writes something else.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet kombu==5.7.0
"$folder/venv/bin/python" - <<'PYTHON'
import gzip
import zlib

import kombu
from kombu.compression import compress

seen = []
for name in ("gzip", "zlib"):
    body, label = compress(b'{"player": 5}', name)
    try:
        gzip.decompress(body)
        reads = "gzip reads it"
    except gzip.BadGzipFile as error:
        reads = f"gzip refuses it: {error}"
    seen.append((name, label, body[:2].hex(), zlib.decompress(body)))
    print(f"kombu {kombu.__version__}: compression={name} -> {label}, begins with {body[:2].hex()}; {reads}")

assert seen == [
    ("gzip", "application/x-gzip", "789c", b'{"player": 5}'),
    ("zlib", "application/x-gzip", "789c", b'{"player": 5}'),
], seen
PYTHON
