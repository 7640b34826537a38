"""What holds for every event of every built-in family."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.events.strategies import events

from brokerkit._errors import DecodeError
from brokerkit.events import Event, Family, WireObject, families
from brokerkit.events._constants import Fixed
from brokerkit.events._registry import BUILT_IN

EVENTS = [(families()[family], name) for family in BUILT_IN for name in sorted(families()[family].models)]
each_event = pytest.mark.parametrize(
    ("family", "name"), EVENTS, ids=[f"{family.name}:{name}" for family, name in EVENTS]
)
NESTED = b'{"unknown": ' + b"[" * 5000 + b"]" * 5000 + b"}"
HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"17",
    b"{",
    b"\xff\xfe",
    b'{"unknown": NaN}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    NESTED,
]


@each_event
def test_whatever_is_written_reads_back_equal(family: Family, name: str) -> None:
    model = family.models[name]
    assert issubclass(model, WireObject)

    @settings(max_examples=20)
    @given(events(model))
    def check(event: WireObject) -> None:
        written = family.write(event)
        again = family.read(name, written)
        assert again == event
        assert again.model_fields_set == event.model_fields_set
        assert family.write(again) == written

    check()


@each_event
def test_hostile_bodies_raise_decode_error_and_nothing_else(family: Family, name: str) -> None:
    for body in HOSTILE:
        with pytest.raises(DecodeError) as caught:
            family.read(name, body)
        assert (caught.value.family, caught.value.event) == (family.name, name)

    @settings(max_examples=10)
    @given(st.binary(max_size=40) | st.dictionaries(st.text(max_size=5), st.text(max_size=3), max_size=3))
    def check(body: Any) -> None:
        try:
            assert isinstance(family.read(name, body), Event)
        except DecodeError:
            pass

    check()


@each_event
def test_a_missing_required_field_and_a_wrong_type_are_named(family: Family, name: str) -> None:
    model = family.models[name]
    for attribute, field in model.model_fields.items():
        wire_name = field.serialization_alias or field.alias or attribute
        if "Any" in str(field.annotation):
            continue
        with pytest.raises(DecodeError) as caught:
            family.read(name, b'{"%b": [{}, [[]]]}' % wire_name.encode())
        assert (caught.value.family, caught.value.event) == (family.name, name)
        assert caught.value.field
    if required := [attribute for attribute, field in model.model_fields.items() if field.is_required()]:
        with pytest.raises(DecodeError, match=r"[Rr]equired") as caught:
            family.read(name, b"{}")
        field = model.model_fields[required[0]]
        assert caught.value.field == (field.serialization_alias or field.alias or required[0])


@each_event
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_every_model_has_a_json_schema_with_descriptions(family: Family, name: str, mode: Any) -> None:
    schema = family.models[name].model_json_schema(mode=mode)
    assert schema["description"]
    for one in [schema, *schema.get("$defs", {}).values()]:
        for field, described in one.get("properties", {}).items():
            assert described.get("description"), field


@pytest.mark.parametrize("place", BUILT_IN.values())
def test_every_public_name_exists_once(place: str) -> None:
    module = import_module(place.partition(":")[0])
    family: Family = module.FAMILY
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert {model.__name__ for model in family.models.values()} <= set(module.__all__)
    assert len({model.__name__ for model in family.models.values()}) == len(family.models)


@each_event
def test_an_event_that_holds_its_name_is_written_with_it(family: Family, name: str) -> None:
    model = family.models[name]
    if issubclass(model, Fixed):
        assert name in model.constants.values()
        assert model.constants.keys() <= model.model_fields.keys()
