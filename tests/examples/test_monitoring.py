"""The dashboard and the alert rules ask for metrics that are really exported, with labels that these have."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.brokers._ports import free_port
from tests.every_broker import until_async

from brokerkit import Bus
from brokerkit._metrics._instruments import INSTRUMENTS
from brokerkit.metrics import PrometheusCollector

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"


def _exported() -> dict[str, set[str]]:
    """The names of all samples that there can be, each with its labels."""
    text = PrometheusCollector(Bus("memory://", topic="t")).text()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for each in INSTRUMENTS:
        labels = {attribute.replace(".", "_") for attribute in each.attributes}
        name = each.prometheus + ("_total" if each.kind == "counter" else "")
        assert name in types
        if types[name] == "histogram":
            found |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": {*labels, "le"}}
        else:
            found[name] = labels
    return found


def _asked() -> dict[str, str]:
    """All expressions, by where they are."""
    board: Any = json.loads((FOLDER / "grafana.json").read_text("utf-8"))
    rules: Any = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))
    shown = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    variables = {
        each["name"]: each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"
    }
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    return {**shown, **variables, **alerts}


EXPORTED = _exported()
ASKED = _asked()


@pytest.mark.parametrize("where", ASKED)
def test_what_is_asked_for_is_exported(where: str) -> None:
    words = set(re.findall(r"\b(?:brokerkit|messaging)_[a-z_]+\b", ASKED[where]))
    names = words & EXPORTED.keys()
    assert names, ASKED[where]
    labels = set[str]().union(*(EXPORTED[name] for name in names))
    assert words - names <= labels
    grouped = {label for by in re.findall(r"by \(([^)]*)\)", ASKED[where]) for label in by.split(", ")}
    assert grouped <= {*labels, "instance"}  # which Prometheus adds


def test_every_metric_that_changes_what_somebody_does_is_on_the_dashboard_or_in_a_rule() -> None:
    asked = " ".join(ASKED.values())
    left_out = {"tombstone", "foreign", "skipped", "unconfirmed", "retried"}
    missing = [
        each.prometheus
        for each in INSTRUMENTS
        if each.prometheus not in asked and not any(word in each.prometheus for word in left_out)
    ]
    assert missing == []


async def test_the_service_shows_its_metrics(tmp_path: Path) -> None:
    port = free_port()
    service = subprocess.Popen([sys.executable, FOLDER / "service.py", str(port)], cwd=tmp_path)

    def read() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            return ""

    async def is_ready() -> bool:
        text = await asyncio.to_thread(read)
        return re.search(r'^brokerkit_ready\{.*brokerkit_source="bus".*\} 1\.0$', text, re.MULTILINE) is not None

    try:
        await until_async(is_ready, seconds=60)
    finally:
        service.terminate()
        assert service.wait(60) == 0
