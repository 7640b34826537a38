#!/usr/bin/env bash
# Go's AMQP client cuts an int in a header to 32 bits. An int of Go has 64 bits on every usual machine, Table.Validate allows
# it, and there is no error.
#
# version: github.com/rabbitmq/amqp091-go 1.16.0, read with pamqp 4.0.1
# guess: the AMQP type "l" (64 bits), or an error for a number that does not fit.
# seen: the type "I" (32 bits) with the low bits: int(5000000000) arrives as 705032704, int64(5000000000) as it is.
# Why it matters: amounts in cents and times in milliseconds are other numbers. int64 or text is safe.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
mkdir "$folder/program"
cd "$folder/program"
export GOPATH=$folder/go GOFLAGS=-mod=mod
cat > go.mod <<'GO'
module program

go 1.22

require github.com/rabbitmq/amqp091-go v1.16.0
GO
cat > main.go <<'GO'
package main

import (
	"context"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	connection, err := amqp.Dial("amqp://guest:guest@" + os.Args[1] + "/")
	check(err)
	channel, err := connection.Channel()
	check(err)
	headers := amqp.Table{"int": 5000000000, "int64": int64(5000000000)}
	check(headers.Validate())
	check(channel.PublishWithContext(context.Background(), "", "queue", false, false, amqp.Publishing{Headers: headers}))
	select {} // until the other end has read it
}
GO
go build -o program . 2>/dev/null
# Answers what a client needs before it publishes, and reads the headers of the first message.
"$folder/venv/bin/python" - "$folder/program/program" <<'PYTHON'
import socket
import subprocess
import sys

from pamqp import commands, frame
from pamqp.header import ContentHeader

with socket.create_server(("127.0.0.1", 0)) as server:
    client = subprocess.Popen([sys.argv[1], "127.0.0.1:%d" % server.getsockname()[1]])
    try:
        server.settimeout(30)
        connection, _ = server.accept()
        connection.settimeout(30)

        def say(command: object, channel: int = 0) -> None:
            connection.sendall(frame.marshal(command, channel))

        assert connection.recv(8) == b"AMQP\x00\x00\x09\x01"
        say(commands.Connection.Start(server_properties={}, mechanisms="PLAIN", locales="en_US"))
        received, headers = b"", None
        while headers is None:
            used, channel, command = 0, 0, None
            try:
                used, channel, command = frame.unmarshal(received)
            except Exception:
                pass  # the frame is not complete
            if not used:
                more = connection.recv(65_536)
                assert more, "the client went away"
                received += more
                continue
            received = received[used:]
            if isinstance(command, commands.Connection.StartOk):
                say(commands.Connection.Tune(channel_max=10, frame_max=131_072, heartbeat=0))
            elif isinstance(command, commands.Connection.Open):
                say(commands.Connection.OpenOk())
            elif isinstance(command, commands.Channel.Open):
                say(commands.Channel.OpenOk(), channel)
            elif isinstance(command, ContentHeader):
                headers = command.properties.headers
    finally:
        client.kill()
        client.wait()
print("read:", headers)
assert headers == {"int": 705032704, "int64": 5000000000}, "this finding is out of date"
PYTHON
