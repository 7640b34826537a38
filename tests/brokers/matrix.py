"""Runs what tests an adapter on each version of its broker: `python -m tests.brokers.matrix rabbitmq-4.3 redis-8.2`.

Without names it runs all. What fails is tried once more by itself: a stall of a busy machine says nothing about a version.
Results are kept in docs/brokers.json, where each run replaces those of its own versions; `scripts/generate_docs.py` makes
docs/brokers.md of them, which says how much passed only when it was tried again.
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from tests.brokers import versions
from tests.brokers._server import CHECKOUT
from tests.brokers.limits import LIMITS

RESULTS: Final = CHECKOUT / "docs" / "brokers.json"

KAFKAS: Final = ("kafka-4.4.0", "kafka-4.3.0", "kafka-4.2.0", "kafka-3.9.1")
WITHOUT_SHARE_GROUPS: Final = ("kafka-3.9.1",)

ADAPTER_TESTS: Final[Mapping[str, Sequence[str]]] = {
    "rabbitmq": ("test_rabbit*.py", "rabbitmq/test_*.py"),
    "redis": ("test_redis*.py", "redis/**/test_*.py"),
    "kafka": ("test_kafka*.py", "kafka/**/test_*.py"),
    "sqs": ("test_sqs*.py", "sqs/test_*.py"),
    "sns": ("sns/test_*.py",),
}
"""For each broker its tests in tests/adapters."""

_SELECTED: Final = {"sqs": "sqs", "sns": "sns", "kafka": "kafka", "rabbitmq": "rabbitmq", "redis": "redis-"}
"""What the ids of a broker's cases begin with, in the tests that run on every broker."""


SUITES: Final = ("conformance", "adapter", "every broker")


def names() -> list[str]:
    """All versions, as the table has them."""
    return [*versions.VERSIONS, *KAFKAS]


def broker_of(version: str) -> str:
    """The adapter's broker: Valkey is a Redis here."""
    return version.partition("-")[0].replace("valkey", "redis")


def suites(version: str) -> dict[str, list[str]]:
    """The words for pytest, for each suite that a version runs."""
    broker = broker_of(version)
    tests = CHECKOUT / "tests" / "adapters"
    own = sorted(str(path) for pattern in ADAPTER_TESTS[broker] for path in tests.glob(pattern))
    expression = f"[{_SELECTED[broker]}"
    if version in WITHOUT_SHARE_GROUPS:
        expression += " and not kafka-share"
        own = [path for path in own if "kafka_share" not in path]
    selected = ["-k", expression]
    words = (["tests/conformance", *selected], own, ["tests/test_every_broker.py", *selected])
    return dict(zip(SUITES, words, strict=True))


def main(asked: Sequence[str]) -> int:
    """Run the versions; return 1 if a test failed for a reason that `limits` does not explain."""
    strange = False
    for version in asked or names():
        environment = {**os.environ, versions.VARIABLE: version, "BROKERKIT_CONFORMANCE": "full"}
        subprocess.run(["bash", "tests/brokers/install.sh"], cwd=CHECKOUT, env=environment, check=True)
        found = {suite: _run(words, environment) for suite, words in suites(version).items()}
        _keep(version, {"exact": versions.exact(version), "suites": found})
        for suite, result in found.items():
            unexplained = [test for test in result["failed"] if explanation(version, test) is None]
            strange = strange or bool(unexplained)
            print(
                f"{version} {suite}: {result['passed']} passed ({len(result['passed again'])} when tried again), "
                f"{len(result['failed'])} failed",
                *unexplained,
                sep="\n  ",
            )
    return int(strange)


def explanation(version: str, test: str) -> str | None:
    """Why a test fails on a version; None where nobody has said."""
    for limit in LIMITS:
        if any(fnmatchcase(version, each) for each in limit.versions) and fnmatchcase(test, limit.test):
            return limit.why
    return None


def _run(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        first = _cases(["-o", f"cache_dir={folder}/cache", *words], Path(folder) / "first.xml", environment)
        if not (failed := _failed(first)):
            return _result(first, failed, [])
        again = _cases(
            ["-o", f"cache_dir={folder}/cache", "--last-failed", *words], Path(folder) / "again.xml", environment
        )
        failed_twice = _failed(again)
        # Only what was really tried again has passed.
        passed = {_name(case) for case in again} - set(failed_twice)
        return _result(
            first, [name for name in failed if name not in passed], [name for name in failed if name in passed]
        )


def _cases(words: Sequence[str], report: Path, environment: Mapping[str, str]) -> list[ET.Element]:
    command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}", *words]
    subprocess.run(command, cwd=CHECKOUT, env=dict(environment), stdin=subprocess.DEVNULL, check=False)
    return list(ET.parse(report).iter("testcase"))


def _failed(cases: Sequence[ET.Element]) -> list[str]:
    return sorted({_name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None})


def _name(case: ET.Element) -> str:
    return f"{str(case.get('classname')).rpartition('.test_')[2]}::{case.get('name')}"


def _result(cases: Sequence[ET.Element], failed: Sequence[str], again: Sequence[str]) -> dict[str, Any]:
    skipped = sum(case.find("skipped") is not None for case in cases)
    # A test that fails, and whose fixtures fail after it, is two cases.
    passed = len({(case.get("classname"), case.get("name")) for case in cases}) - skipped - len(failed)
    return {"passed": passed, "passed again": list(again), "not promised": skipped, "failed": list(failed)}


def read() -> dict[str, Any]:
    """What the runs found, by version."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return kept


def _keep(version: str, result: Mapping[str, Any]) -> None:
    kept = {**read(), version: result}
    ordered = {name: kept[name] for name in names() if name in kept}
    RESULTS.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
