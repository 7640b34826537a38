#!/usr/bin/env bash
# A newer Kafka client for Node hashes keys as Java does, and then takes the sign differently: on a topic whose number of
# partitions is no power of two, about half of the keys go to another partition than those of Java, librdkafka
# (murmur2_random) and kafka-python.
#
# version: @platformatic/kafka 1.35.0, beside kafka-python 2.2.15
# guess: the partitions of Java's client, as the default of a client that implements murmur2.
# seen: `>>> 0` where Java has `& 0x7fffffff`. Same partitions with 1, 2, 4, 8 or 16; others with 3, 6, 10 or 12. Its
#       compatibilityPartitioner does what Java does.
# Why it matters: events of one player that two services publish are in two partitions, and their order is lost. A test
# with four partitions does not show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'kafka-python==2.2.15'
cd "$folder"
npm install --silent --no-audit --no-fund @platformatic/kafka@1.35.0
cat > partitions.mjs <<'JS'
import { compatibilityPartitioner, defaultPartitioner } from "@platformatic/kafka";
const keys = Array.from({ length: 1000 }, (_, number) => Buffer.from(`player-${number}`));
const [usual, compatible] = [defaultPartitioner, compatibilityPartitioner].map((hash) => keys.map((key) => hash({}, key)));
console.log(JSON.stringify({ usual, compatible }));
JS
node partitions.mjs > hashes.json
"$folder/venv/bin/python" - <<'PYTHON'
import json

from kafka.partitioner.default import murmur2

hashes = json.load(open("hashes.json"))
java = [murmur2(b"player-%d" % number) & 0x7FFFFFFF for number in range(1_000)]
assert hashes["compatible"] == java
for partitions in (1, 2, 3, 4, 6, 8, 10, 12, 16):
    other = sum(ours % partitions != usual % partitions for ours, usual in zip(java, hashes["usual"], strict=True))
    print(f"{partitions} partitions: {other} of 1,000 keys go elsewhere")
    assert (other > 300) == (partitions & (partitions - 1) != 0), "this finding is out of date"
PYTHON
