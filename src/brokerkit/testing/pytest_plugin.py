"""The pytest plugin: a fixture that makes test buses. The report of a failed test shows what happened on them.

It also has the option ``--conformance``, which writes down what the conformance suite found.

The fixture is a plain function, so it does not matter whether pytest-asyncio or anyio runs the test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokerkit import Bus
    from brokerkit.testing import TestBus

# Its cases use plain assertions, which pytest must rewrite.
pytest.register_assert_rewrite("brokerkit.testing.conformance")

_MADE: pytest.StashKey[list[TestBus]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--conformance", metavar="PATH", help="write a table of what brokerkit's conformance suite found")


def pytest_configure(config: pytest.Config) -> None:
    """Write the table, if it was asked for."""
    if path := config.getoption("--conformance"):
        from brokerkit.testing.conformance._table import Table

        config.pluginmanager.register(Table(Path(path)))


@pytest.fixture
def brokerkit_test(request: pytest.FixtureRequest) -> Callable[..., TestBus]:
    """Return a function that makes a test bus for a bus."""
    from brokerkit.testing import TestBus

    made: list[TestBus] = []
    request.node.stash[_MADE] = made

    def make(bus: Bus, /, **settings: Any) -> TestBus:
        made.append(TestBus(bus, **settings))
        return made[-1]

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened on the buses of a test that failed."""
    report = yield
    if report.failed:
        none: list[TestBus] = []
        for made in item.stash.get(_MADE, none):
            report.sections.append((f"brokerkit: {made.bus!r}", made.describe()))
    return report
