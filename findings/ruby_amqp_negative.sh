#!/usr/bin/env bash
# Ruby's AMQP codec, amq-protocol, which bunny, Sneakers and Hutch use, reads negative numbers from headers as large positive
# ones, and 32-bit floating-point numbers with their bytes the wrong way round. Ruby writes neither: its integers have 64 bits
# and its floats too, so that a test between two Ruby programs shows nothing.
#
# version: amq-protocol 2.3.2 (Debian 12's ruby-amq-protocol 2.3.2-1), read by Ruby 3.1; the same with 2.8.0.
#          Written by pika 1.4.4 and pamqp 4.0.1 (aio-pika) for Python.
# needs: Debian 12 with ruby
# guess: -5 arrives as -5 and 19.5 as 19.5, whatever size the writer chose.
# seen: pika writes -5 as the type "I" (signed, 32 bits): Ruby reads 4294967291. pamqp writes -5 as the type "b" (signed, 8
#       bits): Ruby reads 251. pamqp writes 19.5 as the type "f": Ruby reads 5.605333987145701e-41. -200, which pamqp writes as
#       "s" (16 bits), is right.
# Why it matters: a correction of -5 is a credit of four billion, and an odd of 19.5 is nothing. Text is safe.
set -euo pipefail
command -v ruby > /dev/null || { echo "needs ruby: apt-get install ruby"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pika==1.4.4' 'pamqp==4.0.1'
cd "$folder"
apt-get download -qq -o APT::Sandbox::User=root ruby-amq-protocol=2.3.2-1
dpkg -x ./*.deb package
lib=package/usr/lib/ruby/vendor_ruby
venv/bin/python - > written <<'PYTHON'
import pika.data
from pamqp import encode


def written_by_pika(value: object) -> bytes:
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, {"value": value})
    return b"".join(pieces)


print("pika -5", written_by_pika(-5).hex())
print("pamqp -5", encode.field_table({"value": -5}).hex())
print("pamqp -200", encode.field_table({"value": -200}).hex())
print("pamqp 19.5", encode.field_table({"value": 19.5}).hex())
PYTHON
ruby -I "$lib" - <<'RUBY' | tee seen
require "amq/protocol/client"
File.foreach("written") do |line|
  client, value, table = line.split
  puts "#{client} wrote #{value}, Ruby read #{AMQ::Protocol::Table.decode([table].pack("H*"))["value"]}"
end
RUBY
cat > expected <<'TEXT'
pika wrote -5, Ruby read 4294967291
pamqp wrote -5, Ruby read 251
pamqp wrote -200, Ruby read -200
pamqp wrote 19.5, Ruby read 5.605333987145701e-41
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
