"""The suite as pytest sees it: a class with one test for each case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

import pytest

from brokerkit.testing._virtual_time import virtual_time
from brokerkit.testing.conformance import (
    _ack,
    _batches,
    _dead_letters,
    _dispatch,
    _faults,
    _groups,
    _lifecycle,
    _limits,
    _order,
    _payload,
    _pressure,
    _publish,
    _retry,
    _transactions,
    _trust,
)
from brokerkit.testing.conformance._cases import Case, in_order
from brokerkit.testing.conformance._harness import Harness, NotPromised, NotTried
from brokerkit.testing.conformance._table import ADAPTER, CASE

SECTIONS: Final = (
    _publish,
    _payload,
    _ack,
    _retry,
    _dead_letters,
    _order,
    _groups,
    _lifecycle,
    _faults,
    _pressure,
    _dispatch,
    _limits,
    _trust,
    _transactions,
    _batches,
)
"""The modules of the cases."""


class Conformance:
    """The suite. Subclass it with a fixture ``harness``; each case is a test then, ``test_case_01`` and on.

    Example::

        class TestNats(Conformance):
            @pytest.fixture
            def harness(self, nats_server):
                return NatsHarness(nats_server)
    """


def _test(case: Case) -> Callable[..., None]:
    def test(self: Conformance, harness: Harness, record_property: Callable[[str, object], None]) -> None:
        record_property(CASE, case.number)
        record_property(ADAPTER, harness.name)
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(_run(case, harness))
        except NotPromised as reason:
            pytest.skip(f"not promised: {reason}")
        except NotTried as reason:
            pytest.skip(f"not tried: {reason}")

    test.__name__ = test.__qualname__ = f"test_case_{case.id}"
    test.__doc__ = f"{case.title}."
    return test


async def _run(case: Case, harness: Harness) -> None:
    with virtual_time() if harness.virtual else nullcontext():
        async with asyncio.timeout(harness.limit), harness:
            await case.run(harness)


def _add_tests(to: Any) -> None:
    for case in in_order():
        test = _test(case)
        setattr(to, test.__name__, test)


_add_tests(Conformance)
