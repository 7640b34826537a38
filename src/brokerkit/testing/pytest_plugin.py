"""The pytest plugin: a fixture that makes test buses, and what happened on them in the report of a failed test.

The fixture is a plain function, so it does not matter whether pytest-asyncio or anyio runs the test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokerkit import Bus
    from brokerkit.testing import TestBus

_MADE: pytest.StashKey[list[TestBus]] = pytest.StashKey()


@pytest.fixture
def brokerkit_test(request: pytest.FixtureRequest) -> Callable[..., TestBus]:
    """What makes test buses for this test; call it with a bus."""
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
