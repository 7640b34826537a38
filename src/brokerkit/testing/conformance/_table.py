"""The table of results: each case with its result on each adapter, as a page of Markdown."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from brokerkit.testing.conformance._cases import in_order

CASE = "brokerkit case"
ADAPTER = "brokerkit adapter"

_NOT_PROMISED = "not promised: "
_HEAD = """\
# Conformance

This page shows which promises each adapter keeps. The conformance suite runs each case on a running broker;
[every adapter](writing-an-adapter.md#the-conformance-suite) can use it. `make conformance` writes this page.

- **passed**: the adapter passes the case
- **not promised**: the adapter's `Capabilities` do not promise it; the end of the page says what is missing
- **–**: the case did not run; the end of the page says why
"""


class Table:
    """A pytest plugin that collects results, and writes them at the end of the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, dict[str, str]] = defaultdict(dict)
        self._reasons: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result of a test."""
        found = dict(report.user_properties)
        if CASE in found and (report.when == "call" or report.failed):
            case, adapter = str(found[CASE]), str(found[ADAPTER])
            self._results[adapter][case] = self._result(report, case, adapter)

    def _result(self, report: pytest.TestReport, case: str, adapter: str) -> str:
        if report.failed:
            return "**failed**"
        if report.passed:
            return "passed"
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if adapter not in self._reasons[f"{case}: {reason}"]:
            self._reasons[f"{case}: {reason}"].append(adapter)
        return "not promised" if reason.startswith(_NOT_PROMISED) else "–"

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        adapters = list(self._results)
        lines = [_HEAD]
        section = ""
        for case in in_order():
            if case.section != section:
                section = case.section
                lines += ["", f"## {section}", "", "| case | " + " | ".join(["", *adapters]) + " |"]
                lines.append("| --- | --- |" + " --- |" * len(adapters))
            results = [self._results[adapter].get(case.number, "–") for adapter in adapters]
            lines.append(f"| {case.number} | {case.title} | " + " | ".join(results) + " |")
        lines += ["", "## Cases that did not run", ""]
        numbers = [case.number for case in in_order()]
        for reason, where in sorted(self._reasons.items(), key=lambda one: numbers.index(one[0].partition(":")[0])):
            lines.append(f"- {reason} ({'; '.join(where)})")
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")
