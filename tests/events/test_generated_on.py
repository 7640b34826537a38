"""The generated signature of ``on`` and the index of names are in step with the families."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from brokerkit._vendors import _on as _on
from brokerkit.events import families, find, suggest
from brokerkit.events._registry import BUILT_IN

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "generate_on.py"


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_on", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_modules_are_what_the_generator_makes_now(generator: Any) -> None:
    made = generator.rendered(BUILT_IN)
    assert [path.name for path in made] == ["_on.py", "_names.py"]
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text


def test_every_name_means_exactly_one_model() -> None:
    for name in get_args(_on.Name):
        assert len(find(name)) == 1, name


def test_every_built_in_event_has_its_qualified_name() -> None:
    known = set(get_args(_on.Name))
    for name in BUILT_IN:
        assert {f"{name}:{event}" for event in families()[name].models} <= known


def test_a_name_of_two_families_is_there_in_its_qualified_forms_only() -> None:
    known = set(get_args(_on.Name))
    for name in ("RaffleWinEvent", "OptInEvent"):
        assert [found.family.name for found in find(name)] == ["thrillconnect", "thrillpots"]
        assert name not in known
        assert {f"thrillconnect:{name}", f"thrillpots:{name}"} <= known


@pytest.mark.parametrize(
    "look_up", ["find('OnGameDone')", "find('thrillpots:JackpotWinEvent')", "suggest('OnGameDnoe')"]
)
def test_looking_a_name_up_imports_no_other_family(look_up: str) -> None:
    code = (
        f"import sys; from brokerkit.events import find, suggest; assert {look_up};"
        "assert 'brokerkit.events.accelbyte' not in sys.modules; assert 'brokerkit.events.session' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_class_is_found_in_its_family() -> None:
    from brokerkit.events import accelbyte, thrillconnect, thrillpots

    assert [found[:2] for found in find(accelbyte.PartyCreated)] == [(accelbyte.FAMILY, "onPartyCreated")]
    assert [found.family for found in find(thrillconnect.RaffleWinEvent)] == [thrillconnect.FAMILY]
    assert [found.family for found in find(thrillpots.RaffleWinEvent)] == [thrillpots.FAMILY]
    assert suggest("partycreatedevent") == "; did you mean 'PartyCreatedEvent'?"
