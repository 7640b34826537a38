"""Errors that say where the mistake is, and what to write instead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brokerkit import Bus, ConfigError
from brokerkit.events.evenbet import OnGameDone


@pytest.mark.parametrize(
    ("key", "meant"), [("grup", "group"), ("tpic", "topic"), ("formt", "format"), ("nmae_from", "name_from")]
)
def test_a_setting_misspelt_in_a_url_is_no_option_of_the_client(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"URL of bus: '{key}' is not a setting; did you mean '{meant}'"):
        Bus(f"redis://localhost?{key}=x", topic="t")


@pytest.mark.parametrize(
    ("keywords", "environ"), [({"grup": "x"}, {}), ({}, {"BROKERKIT_GRUP": "x"})], ids=["keyword", "environment"]
)
def test_a_setting_misspelt_elsewhere_is_too(
    keywords: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"(?i)did you mean '?(BROKERKIT_)?group"):
        Bus("memory://", topic="t", **keywords)


def test_options_of_clients_that_look_a_little_like_settings_are_passed_on() -> None:
    Bus("redis://localhost?socket_connect_timeout=3", topic="t", group="g")


@pytest.mark.parametrize("url", ["file:/var/dead.jsonl", "file:var/dead.jsonl"])
def test_the_url_of_a_file_is_spelt_out(url: str) -> None:
    with pytest.raises(ConfigError, match="three slashes, file:///var/dead.jsonl"):
        Bus("memory://", topic="t", dead_letter=url)


async def test_run_in_a_running_loop_says_what_to_await() -> None:
    with pytest.raises(ConfigError, match="await bus.serve"):
        Bus("memory://", topic="t").run()


async def test_publishing_from_another_loop_says_where_to() -> None:
    async with Bus("memory://other-loop", topic="t", format="evenbet") as bus:
        publishing = asyncio.to_thread(asyncio.run, bus.publish(OnGameDone(game_id=1)))
        with pytest.raises(ConfigError, match=r"another event loop.*bus\.sync\(\)"):
            await asyncio.wait_for(publishing, 10)
        await bus.publish(OnGameDone(game_id=1))
