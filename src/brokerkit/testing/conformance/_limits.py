"""L: what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._errors import ConfigError, UnsupportedFeature
from brokerkit._messages._name_rules import PLACES
from brokerkit.adapters.api import Capabilities
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, not_in

case = section("What is refused")

_YEARS: Final = 1e9


def _missing(promises: Capabilities) -> dict[str, Mapping[str, Any]]:
    """Settings that ask for what is not promised, by what they ask for."""
    asked: dict[str, Mapping[str, Any]] = {}
    if not promises.broadcast:
        asked["broadcast"] = {"broadcast": True}
    for place in PLACES:
        if place not in promises.name_places:
            asked["name_from"] = {"name_from": place + ":x" * (place in ("header", "field"))}
    if promises.durable_retry and promises.durable_retry < _YEARS:
        asked["retries"] = {"retry": RetryPolicy(first=_YEARS, cap=_YEARS, attempts=2)}
    if promises.max_hold is not None:
        patient = RetryPolicy(first=promises.max_hold, cap=promises.max_hold, attempts=5)
        asked["strict"] = {"order": "strict", "retry": patient}
    if not promises.stable_id:
        asked["dedupe"] = {"dedupe": "memory://"}
    return asked


async def _start(h: Harness, settings: Mapping[str, Any]) -> None:
    async with Recorder().serving(h.bus(**settings)):
        pass


@case(67)
async def refused(h: Harness) -> None:
    """A feature that the broker lacks is refused at the start, with broker, feature and an alternative."""
    for feature, settings in _missing(h.capabilities).items():
        with pytest.raises(UnsupportedFeature, match=feature) as error:
            await _start(h, settings)
        assert error.value.broker == h.capabilities.broker
        assert feature in error.value.feature
        assert error.value.alternative


@case(68)
async def wrong_settings(h: Harness) -> None:
    """Settings that cannot work are one error when the bus is made, before anything connects."""
    wrong: list[Mapping[str, Any]] = [
        {"no_such_setting": 1},
        {"concurrency": 0},
        {"url": h.url.replace("://", "x://", 1)},
        {"name_from": "nonsense"},
    ]
    for settings in [*wrong, *([h.bad_option] if h.bad_option else [])]:
        with pytest.raises(ConfigError) as error:
            h.bus(**settings)
        assert not_in(h.url, error.value)
