"""Settings of `dedupe=`, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brokerkit import Bus, ConfigError, Handlers, UnsupportedFeature
from brokerkit.dedupe import Dedupe, MemoryStore


async def handle(event: object) -> None:
    """A handler for a bus that must have one."""


def plain(event: object) -> None:
    """One that runs in a thread."""


def routed(bus: Bus) -> None:
    """What `serving` does before the first claim, without a broker."""
    bus.runtime.routes(bus.handlers)


def test_without_an_id_there_is_nothing_to_tell_messages_by() -> None:
    def bus(**settings: Any) -> Bus:
        made = Bus("amqp://127.0.0.1:1", topic="t", group="g", format="evenbet", **settings)
        made.on("*")(handle)
        return made

    with pytest.raises(UnsupportedFeature, match=r"dedupe of .*handle by the message's id.*id_from"):
        routed(bus(dedupe="memory://"))
    routed(bus())
    routed(bus(dedupe="memory://", id_from="header:deal-id"))
    routed(bus(dedupe=Dedupe(MemoryStore(), key="id")))
    routed(bus(dedupe=Dedupe(MemoryStore(), key=lambda event: event.game_id)))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    bus = Bus("memory://x", topic="t", broadcast=True, format="evenbet", dedupe="memory://")
    bus.on("*")(handle)
    with pytest.raises(ConfigError, match="with broadcast each process runs"):
        routed(bus)
    bus = Bus("memory://x", topic="t", group="g", format="evenbet", dedupe=f"sqlite+aiosqlite:///{tmp_path}/x.db")
    bus.on("*")(plain)
    with pytest.raises(ConfigError, match="plain is a plain function, and the session"):
        routed(bus)
    with pytest.raises(ConfigError, match=r"dedupe must be Dedupe\(store, ...\) or False"):
        Handlers().on("*", dedupe=MemoryStore())  # type: ignore[call-overload]


def test_settings_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "brokerkit.toml"
    file.write_text(
        '[bus]\nurl = "memory://x"\nformat = "evenbet"\ngroup = "g"\n'
        '[sources.a]\ntopic = "a"\ndedupe = { url = "redis://u:very-secret@h", keep = 3600 }\n'
        '[sources.b]\ntopic = "b"\n'
    )
    monkeypatch.setenv("BROKERKIT_SOURCES__B__DEDUPE", "redis://u:very-secret@other")
    bus = Bus.from_config(file)
    sources = bus.runtime.settings.sources
    assert sources["a"].dedupe is not None and sources["a"].dedupe.keep == 3600
    shown = f"{sources} {[one.model_dump_json() for one in sources.values()]} {bus!r}"
    assert "very-secret" not in shown and "RedisStore redis://***@other" in shown
    file.write_text(file.read_text().replace("redis:", "gopher:"))
    with pytest.raises(ConfigError, match=r"brokerkit.toml: sources.a: .*is not a dedupe store") as caught:
        Bus.from_config(file)
    assert "very-secret" not in str(caught.value)
