#!/usr/bin/env bash
# Perl's AMQP codec, Net::AMQP, looks at a text in a header and writes it as a number if it consists of digits. The number has 32
# bits, so leading zeros go, and longer numbers become other ones, without an error. Net::AMQP::Value::String, an object around
# the text, keeps it.
#
# version: Net::AMQP 0.06 (Debian 12's libnet-amqp-perl 0.06~dfsg-4) on Perl 5.36, read by pamqp 4.0.1 (Python)
# needs: Debian 12 (its archive has this version)
# guess: a quoted text arrives as that text, as Perl's JSON and MessagePack modules tell texts from numbers.
# seen: "00123" arrives as 123, "3000000000" as -1294967296, "5000000000" as 705032704. "19.99" and "1e5" stay texts.
# Why it matters: account numbers, postcodes and ids in headers are other values, and only some of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'pamqp==4.0.1'
cd "$folder"
apt-get download -qq -o APT::Sandbox::User=root libnet-amqp-perl=0.06~dfsg-4
dpkg -x ./*.deb package
perl -I package/usr/share/perl5 - > written <<'PERL'
use strict;
use warnings;
use Net::AMQP::Common qw(:all);
use Net::AMQP::Value;
for my $text ("00123", "3000000000", "5000000000", "19.99", "1e5") {
    print $text, " ", unpack("H*", pack_field_table({id => $text})), "\n";
}
PERL
venv/bin/python - <<'PYTHON' | tee seen
from pamqp import decode

with open("written") as lines:
    for text, table in map(str.split, lines):
        print(repr(text), "arrives as", repr(decode.field_table(bytes.fromhex(table))[1]["id"]))
PYTHON
cat > expected <<'TEXT'
'00123' arrives as 123
'3000000000' arrives as -1294967296
'5000000000' arrives as 705032704
'19.99' arrives as '19.99'
'1e5' arrives as '1e5'
TEXT
cmp seen expected || { echo "this finding is out of date"; exit 1; }
