#!/usr/bin/env bash
# Ruby's AMQP codec, amq-protocol, which bunny, Sneakers and Hutch use, writes a BigDecimal in a header without what is behind
# the point, although the type of AMQP has a scale and BigDecimal is what Ruby counts money with. There is no error.
#
# version: amq-protocol 2.3.2 (Debian 12's ruby-amq-protocol 2.3.2-1) on Ruby 3.1; the same with 2.8.0
# needs: Debian 12 with ruby
# guess: 19.99 is written as scale 2 and digits 1999.
# seen: scale 0 and digits 19; 0.25 and -0.50 are 0, and 0.05 is 0 with scale 2. 5 and 0.001 are right. pamqp reads the same.
# Why it matters: prices lose their cents, and fees below one are nothing. Text is safe.
set -euo pipefail
command -v ruby > /dev/null || { echo "needs ruby: apt-get install ruby"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
cd "$folder"
apt-get download -qq -o APT::Sandbox::User=root ruby-amq-protocol=2.3.2-1
dpkg -x ./*.deb package
lib=package/usr/lib/ruby/vendor_ruby
ruby -I "$lib" - > written <<'RUBY'
require "amq/protocol/client"
require "bigdecimal"
%w[19.99 0.25 -0.50 0.05 0.001 5].each do |text|
  puts "#{text} #{AMQ::Protocol::Table.encode({"amount" => BigDecimal(text)}).unpack1("H*")}"
end
RUBY
venv/bin/python - <<'PYTHON' | tee seen
from pamqp import decode

with open("written") as lines:
    for text, table in map(str.split, lines):
        print(text, "arrives as", decode.field_table(bytes.fromhex(table))[1]["amount"])
PYTHON
cat > expected <<'TEXT'
19.99 arrives as 19
0.25 arrives as 0
-0.50 arrives as 0
0.05 arrives as 0.00
0.001 arrives as 0.001
5 arrives as 5
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
