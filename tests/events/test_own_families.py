"""Families of users: dataclasses and TypedDicts beside pydantic models, in a package found by entry point."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from brokerkit import Bus, ConfigError, DecodeError, Handlers, InvalidMessage
from brokerkit.events import Family, find
from brokerkit.events._examples import example
from brokerkit.events._registry import _Families
from brokerkit.events._typed_on import render_on

PACKAGES = Path(__file__).parent.parent / "packages"


@dataclass(frozen=True, slots=True)
class Stake:
    """What a player put in."""

    amount: Decimal
    placed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """A bonus."""

    player: int
    stakes: list[Stake]


class Expired(TypedDict):
    """The end of a bonus."""

    player: int
    at: datetime


class Paid(BaseModel):
    """Money."""

    amount: Decimal


OWN = Family("own", {"Granted": Granted, "Expired": Expired, "Paid": Paid})
STAKES = st.builds(
    Stake,
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    placed=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    """The family is known to this module's tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        registry = _Families()
        registry.add(OWN)
        patch.setattr("brokerkit.events._registry._FAMILIES", registry)
        yield


@given(st.builds(Granted, player=st.integers(-(2**63), 2**63), stakes=st.lists(STAKES, max_size=3)))
def test_a_dataclass_is_read_as_it_was_written(event: Granted) -> None:
    assert OWN.read("Granted", OWN.write(event)) == event


@given(st.integers(-(2**63), 2**63), st.datetimes(timezones=st.just(UTC)))
def test_a_typed_dict_is_read_as_it_was_written(player: int, at: datetime) -> None:
    event = Expired(player=player, at=at)
    assert OWN.read("Expired", OWN.write(event, name="Expired")) == event


def test_amounts_in_a_dataclass_keep_every_digit() -> None:
    event = OWN.read("Granted", b'{"player": 1, "stakes": [{"amount": 0.123456789012345678901}]}')
    assert event.stakes[0].amount == Decimal("0.123456789012345678901")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Granted", b"[]", ""),
        ("Granted", b'{"player": 1}', "stakes"),
        ("Granted", b'{"player": 1, "stakes": [{"amount": "x"}]}', "stakes.0.amount"),
        ("Expired", b"7", ""),
        ("Expired", b'{"player": "ann", "at": "2026-01-01T00:00:00Z"}', "player"),
    ],
)
def test_a_wrong_body_names_the_field(name: str, body: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        OWN.read(name, body)
    assert (caught.value.family, caught.value.event, caught.value.field) == ("own", name, field)


@given(
    st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_body_raises_anything_but_a_decode_error(body: bytes) -> None:
    for name in OWN.models:
        with pytest.raises(DecodeError):
            OWN.read(name, body)


def test_classes_are_found_by_themselves() -> None:
    assert [found.name for found in find(Granted)] == ["Granted"]
    assert [found.name for found in find(Expired)] == ["Expired"]


@pytest.mark.parametrize("model", [int, list, "Granted", None])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"'Wrong' must be a pydantic model, a dataclass, a TypedDict or a msgspec Struct"
    ):
        Family("wrong", {"Wrong": model})


def test_a_wrong_annotation_is_refused_when_the_handler_is_registered() -> None:
    handlers = Handlers()

    def takes_stake(event: Stake) -> None: ...
    def takes_granted(event: Granted) -> None: ...
    def takes_expired(event: Expired) -> None: ...
    def takes_dict(event: dict) -> None: ...  # type: ignore[type-arg]
    def takes_anything(event: object) -> None: ...

    for wrong, name in (
        (takes_stake, "Granted"),
        (takes_expired, "Granted"),
        (takes_dict, "Granted"),
        (takes_granted, "Expired"),
    ):
        with pytest.raises(ConfigError, match=f"takes .*, but {name!r} arrives as {name}"):
            handlers.on(name)(wrong)  # type: ignore[call-overload]
    for right, event in (
        (takes_granted, Granted),
        (takes_expired, Expired),
        (takes_dict, Expired),
        (takes_anything, Granted),
    ):
        handlers.on(event)(right)
    assert len(handlers) == 4


def test_times_in_dataclasses_and_dicts_get_the_zone_of_their_source() -> None:
    from brokerkit.events._zones import in_zone

    zone = ZoneInfo("Europe/Malta")
    naive = datetime(2026, 1, 31, 12)
    assert in_zone(Granted(1, [Stake(Decimal(1), naive)]), zone).stakes[0].placed == naive.replace(tzinfo=zone)
    assert in_zone(Expired(player=1, at=naive), zone)["at"] == naive.replace(tzinfo=zone)


async def test_all_three_kinds_are_published_and_handled() -> None:
    bus = Bus("memory://own-families", topic="bonus", group="test")
    got: list[object] = []
    done = asyncio.Event()

    @bus.on(Granted)
    async def granted(event: Granted) -> None:
        got.append(event)

    @bus.on(Expired)
    async def expired(event: Expired) -> None:
        got.append(event)

    @bus.on(Paid)
    async def paid(event: Paid) -> None:
        got.append(event)
        done.set()

    sent = Granted(1, [Stake(Decimal("1.50"))])
    ended = Expired(player=1, at=datetime(2026, 1, 31, tzinfo=UTC))
    async with bus.serving():
        await bus.publish(sent, key="1")
        await bus.publish("Expired", ended, key="1")
        assert await bus.publish_many([("Paid", {"amount": "2"})], key="1")
        await asyncio.wait_for(done.wait(), 10)
        with pytest.raises(InvalidMessage, match="Expired is a Expired, not a Granted"):
            await bus.publish("Expired", sent)
        with pytest.raises(InvalidMessage, match="the payload does not fit Expired"):
            await bus.publish("Expired", {"player": 1})
    assert got == [sent, ended, Paid(amount=Decimal(2))]


def test_a_package_is_found_by_its_entry_point() -> None:
    code = """
from brokerkit import Handlers
from brokerkit.events import families, find, parse
assert "acme" in families()
event = parse("BonusGranted", b'{"playerId": 1, "amount": 1.50}')
from acme_bonus import BonusGranted, on
assert isinstance(event, BonusGranted) and find(BonusGranted)[0].family.name == "acme"
handlers = Handlers()
@on(handlers)("acme:BonusGranted")
async def grant(event: BonusGranted) -> None: ...
assert len(handlers) == 1
"""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment, timeout=30)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PACKAGES))
    return importlib.import_module("acme_bonus")


def test_the_typed_on_of_the_package_is_what_is_made_now(acme: Any) -> None:
    assert (PACKAGES / "acme_bonus" / "_on.py").read_text("utf-8") == render_on(acme, acme.FAMILY)
    with pytest.raises(ConfigError, match="does not have Expired, the model of own:Expired"):
        render_on(acme, OWN)


def test_examples_of_own_events_can_be_read(acme: Any) -> None:
    for family in (acme.FAMILY, OWN):
        for name in family.models:
            body = example(family, name)
            assert body is not None
            assert family.read(name, body)


def _checked(command: list[str], file: Path) -> str:
    environment = {**os.environ, "MYPYPATH": str(PACKAGES), "PYTHONPATH": str(PACKAGES)}
    # The settings of the project would name its .venv, which is not where these tests run with the lowest versions.
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    run = subprocess.run(
        [*command, str(file)], capture_output=True, text=True, check=False, cwd=file.parent, env=environment
    )
    return run.stdout


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checkers_know_the_events_of_the_package_and_refuse_wrong_handlers(checker: str, tmp_path: Path) -> None:
    source = """
from acme_bonus import BonusExpired, BonusGranted, on as acme_on
from brokerkit import Bus, Handlers

handlers = Handlers()
on = acme_on(handlers)

@on("BonusGranted")
async def granted(event: BonusGranted) -> None: ...
@on("acme:BonusExpired")
def expired(event: BonusExpired) -> None: ...
@handlers.on(BonusExpired)
def by_class(event: BonusExpired) -> None: ...
@on(BonusGranted, "BonusExpired")
def either(event: BonusGranted | BonusExpired) -> None: ...

async def publish(bus: Bus, one: BonusGranted, other: BonusExpired) -> None:
    await bus.publish(one)
    await bus.publish("BonusExpired", other)
    await bus.publish_many([one, ("BonusExpired", other)])

on("BonusExpired")(granted)  # error
on("BonusGrantde")  # error
handlers.on(BonusExpired)(granted)  # error
"""
    file = tmp_path / "checked.py"
    file.write_text(source)
    marked = {str(number) for number, line in enumerate(source.splitlines(), 1) if line.endswith("# error")}
    command = [sys.executable, "-m", checker]
    command += ["--strict"] if checker == "mypy" else ["--pythonpath", sys.executable]
    out = _checked(command, file)
    found = {line.split(":")[1] for line in out.splitlines() if " error: " in line or " - error: " in line}
    assert found == marked, out
