#!/usr/bin/env bash
# A confluent-kafka client with oauth_cb is not made at once: the constructor calls the callback and waits, even if no
# broker is there. If the callback raises, the constructor waits ten seconds and raises an error that does not hold the
# callback's text.
#
# version: confluent-kafka 2.16.1 (librdkafka 2.16)
# guess: the constructor returns at once; the callback runs in the first poll, as it does for stats_cb and error_cb.
# seen: about 1 s in the constructor with a callback that returns at once. About 10 s with one that raises, then
#       "OAuth token not set within 10 seconds timeout".
# Why it matters: a client that is made on an event loop stops everything else for that time, and what the identity
# provider said is lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'confluent-kafka==2.16.1'
"$folder/venv/bin/python" - <<'PYTHON'
import time

import confluent_kafka
from confluent_kafka import KafkaException, Producer

print("confluent-kafka", confluent_kafka.version(), "librdkafka", confluent_kafka.libversion()[0])


def good(config: str) -> tuple[str, float]:
    return "a-token", time.time() + 3_600


def bad(config: str) -> tuple[str, float]:
    raise RuntimeError("the identity provider says no")


def making(**settings: object) -> tuple[float, str]:
    begun = time.monotonic()
    said = "no error"
    try:
        Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **settings})
    except KafkaException as error:
        said = error.args[0].str()
    return time.monotonic() - begun, said


sasl = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}
plain, fine, failing = making(), making(**sasl, oauth_cb=good), making(**sasl, oauth_cb=bad)
for name, (seconds, said) in (("no callback", plain), ("a good one", fine), ("one that raises", failing)):
    print(f"{name}: {seconds:.1f} s, {said}")
assert plain[0] < 0.5, plain
assert fine[0] > 0.8, "this finding is out of date"
assert failing[0] > 8, "this finding is out of date"
assert "identity provider" not in failing[1], "this finding is out of date"
PYTHON
