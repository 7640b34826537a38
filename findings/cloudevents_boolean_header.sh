#!/usr/bin/env bash
# CloudEvents' Python SDK writes a Boolean extension as "True" in the headers of Kafka and HTTP. CloudEvents 1.0 (section 3.1,
# type system) says that it is "true" or "false".
#
# version: cloudevents 2.2.0
# guess: "true", as in its JSON form.
# seen: b"True" with Kafka and "True" with HTTP in binary mode; true in structured mode.
# Why it matters: one event has two values for one attribute, by its mode. A filter for "true" in another language never matches.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'cloudevents==2.2.0'
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

print("cloudevents", version("cloudevents"))
event = CloudEvent(
    attributes={"type": "Paid", "source": "/wallet", "id": "1", "specversion": "1.0", "test": True},
    data={"amount": "1.10"},
)
on_kafka = kafka.to_binary(event, JSONFormat()).headers["ce_test"]
on_http = http.to_binary(event, JSONFormat()).headers["ce-test"]
in_json = json.loads(kafka.to_structured(event, JSONFormat()).value)["test"]
print("Kafka:", on_kafka, "HTTP:", on_http, "structured:", in_json)
assert (on_kafka, on_http, in_json) == (b"True", "True", True), "this finding is out of date"
PYTHON
