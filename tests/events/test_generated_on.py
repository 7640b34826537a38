"""The generated signature of ``on`` is in step with the families."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, get_args

import pytest

from brokerkit import _on
from brokerkit.events import families, find

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "generate_on.py"


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_on", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_module_is_what_the_generator_makes_now(generator: Any) -> None:
    assert generator.TARGET.read_text(encoding="utf-8") == generator.formatted(generator.render(generator.BUILT_IN))


def test_every_name_means_exactly_one_model() -> None:
    for name in get_args(_on.Name):
        assert len(find(name)) == 1, name


def test_every_built_in_event_has_its_qualified_name() -> None:
    known = set(get_args(_on.Name))
    for name in ("evenbet",):
        assert {f"{name}:{event}" for event in families()[name].models} <= known
