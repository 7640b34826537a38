"""OAUTHBEARER: a bus is made without a token."""

from __future__ import annotations

from typing import Any

import pytest

from brokerkit import Bus, ConfigError

SETTINGS = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}


@pytest.mark.parametrize("scheme", ["kafka", "kafka+share"])
def test_making_a_bus_asks_for_no_token(scheme: str) -> None:
    calls: list[str] = []

    def refuse(config: str) -> Any:
        calls.append(config)
        raise RuntimeError("the identity provider is closed")

    # A client that has the function waits ten seconds for a token, and then raises.
    Bus(f"{scheme}://127.0.0.1:1", topic="t", group="g", options={**SETTINGS, "oauth_cb": refuse})
    assert not calls


def test_what_asks_for_a_token_is_a_function() -> None:
    with pytest.raises(ConfigError, match="'oauth_cb' must be a function"):
        Bus("kafka://127.0.0.1:1", topic="t", group="g", options={**SETTINGS, "oauth_cb": "x"})
