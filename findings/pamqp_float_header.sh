#!/usr/bin/env bash
# aio-pika writes a Python float in a header with 32 bits, although AMQP tables have a type of 64 bits and Python's float
# is one. Amounts lose their last digits on the way out, without an error.
#
# version: aio-pika 10.2.1, pamqp 4.0.1
# guess: the type "d" (64 bits), as clients for Node, Go and Java write their floating-point numbers.
# seen: the type "f" (32 bits): 19.99 becomes 19.989999771118164, and 1234567.89 becomes 1234567.875.
# Why it matters: a limit or an amount in a header is another number for whoever reads it. Text is safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'aio-pika==10.2.1' 'pamqp==4.0.1'
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import aio_pika
from pamqp.commands import Basic

print("aio-pika", version("aio-pika"), "pamqp", version("pamqp"))
for amount in (19.99, 1234567.89, 0.5):
    written = aio_pika.Message(b"", headers={"amount": amount}).properties
    read = Basic.Properties()
    data = written.marshal()
    read.unmarshal(int.from_bytes(data[:2], "big"), data[2:])
    arrived = read.headers["amount"]
    print(f"{amount!r} arrives as {arrived!r}")
    # Only what 32 bits can hold survives.
    assert (arrived == amount) == (amount == 0.5), "this finding is out of date"
PYTHON
