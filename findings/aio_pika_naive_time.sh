#!/usr/bin/env bash
# aio-pika takes one time without a zone in two ways: as local time where it says when a message expires, and as UTC where it
# says when the message was made, or stands in a header. On a machine in UTC they agree.
#
# version: aio-pika 10.2.1, pamqp 4.0.1 (Python 3.11), with the time zone Asia/Tokyo
# guess: local time for both, as Python's datetime.timestamp() takes it, or a refusal.
# seen: with datetime.now(), a message that was made now and expires in ten minutes lives ten minutes (expiration 600000), and
#       was made nine hours from now (timestamp). py-amqp 5.4.2 (Celery) and pika 1.4.4 take UTC too.
# Why it matters: ages and delays are off by the zone: a message seems to come from the future, and a rule for old ones keeps it.
# datetime.now(timezone.utc) is safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'aio-pika==10.2.1' 'pamqp==4.0.1'
TZ=Asia/Tokyo "$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta, timezone

from aio_pika import Message
from pamqp import decode, encode

now = datetime.now()
message = Message(b"", timestamp=now, expiration=now + timedelta(minutes=10))
properties = message.properties
lives = round(int(properties.expiration) / 60_000)
_, made = decode.timestamp(encode.timestamp(properties.timestamp))
_, header = decode.field_table(encode.field_table({"made": now}))
ahead = [round((each - datetime.now(timezone.utc)) / timedelta(hours=1)) for each in (made, header["made"])]
print(f"expires in {lives} minutes; made {ahead[0]} hours from now; in a header {ahead[1]} hours from now")
assert (lives, ahead) == (10, [9, 9]), "this finding is out of date"
PYTHON
