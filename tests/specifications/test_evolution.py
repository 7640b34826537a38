"""What is said of each change between two versions, and that an instance proves it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from brokerkit._specifications import Change, Specification, changes, read
from brokerkit.events._registry import BUILT_IN

SAFE, READERS, WRITERS, BOTH = (False, False), (True, False), (False, True), (True, True)
TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}
NULL: dict[str, Any] = {"type": "null"}


def version(schema: dict[str, Any], **shared: dict[str, Any]) -> Specification:
    return Specification("a test", "shop", {"Order": schema}, shared)


def compared(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    return changes(version(old), version(new))


def fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def closed(**properties: Any) -> dict[str, Any]:
    return {**fields(**properties), "additionalProperties": False}


CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[tuple[str, str, tuple[bool, bool]]]]] = [
    ("optional field added", fields(), fields(a=TEXT), [("a", "field-added", SAFE)]),
    ("optional field removed", fields(a=TEXT), fields(), [("a", "field-removed", SAFE)]),
    ("required field added", fields(), fields("a", a=TEXT), [("a", "field-added", WRITERS)]),
    ("required field removed", fields("a", a=TEXT), fields(), [("a", "field-removed", READERS)]),
    ("field becomes required", fields(a=TEXT), fields("a", a=TEXT), [("a", "required-added", WRITERS)]),
    ("field becomes optional", fields("a", a=TEXT), fields(a=TEXT), [("a", "required-removed", READERS)]),
    ("field added to a closed object", closed(), closed(a=TEXT), [("a", "field-added", READERS)]),
    ("field removed from a closed object", closed(a=TEXT), closed(), [("a", "field-removed", WRITERS)]),
    ("object closed", fields(a=TEXT), closed(a=TEXT), [("", "closed", WRITERS)]),
    ("object opened", closed(a=TEXT), fields(a=TEXT), [("", "opened", READERS)]),
    ("type of other fields", {"additionalProperties": TEXT}, {"additionalProperties": WHOLE}, [("*", "type-changed", BOTH)]),
    ("type changed", fields(a=TEXT), fields(a=WHOLE), [("a", "type-changed", BOTH)]),
    ("type of a list's items changed", {"items": TEXT}, {"items": WHOLE}, [("[]", "type-changed", BOTH)]),
    ("integer to number", WHOLE, {"type": "number"}, [("", "type-widened", READERS)]),
    ("number to integer", {"type": "number"}, WHOLE, [("", "type-narrowed", WRITERS)]),
    ("anything to text", {}, TEXT, [("", "type-narrowed", WRITERS)]),
    ("text to anything", TEXT, {}, [("", "type-widened", READERS)]),
    ("null allowed", TEXT, {"type": ["string", "null"]}, [("", "type-widened", READERS)]),
    ("null allowed, as anyOf", TEXT, {"anyOf": [TEXT, NULL]}, [("", "type-widened", READERS)]),
    ("null forbidden", {"anyOf": [TEXT, NULL]}, TEXT, [("", "type-narrowed", WRITERS)]),
    ("null, said in another way", {"anyOf": [TEXT, NULL]}, {"type": ["null", "string"]}, []),
    ("null, as OpenAPI says it", {"anyOf": [TEXT, NULL]}, {"type": "string", "nullable": True}, []),
    ("value added", {"enum": ["a"]}, {"enum": ["a", "b"]}, [("", "value-added", READERS)]),
    ("value removed", {"enum": ["a", "b"]}, {"enum": ["a"]}, [("", "value-removed", WRITERS)]),
    (
        "value added and removed",
        {"enum": ["a", "b"]},
        {"enum": ["b", "c"]},
        [("", "value-added", READERS), ("", "value-removed", WRITERS)],
    ),
    ("enumeration closed", TEXT, {"type": "string", "enum": ["a"]}, [("", "type-narrowed", WRITERS)]),
    ("enumeration opened", {"type": "string", "enum": ["a"]}, TEXT, [("", "type-widened", READERS)]),
    (
        "open enumeration grows",
        {"anyOf": [{"enum": [1]}, WHOLE]},
        {"anyOf": [{"enum": [1, 2]}, WHOLE]},
        [("", "value-added", SAFE)],
    ),
    ("constant changed", {"const": "a"}, {"const": "b"}, [("", "const-changed", BOTH)]),
    ("constant to an enumeration with it", {"const": "a"}, {"enum": ["a", "b"]}, [("", "value-added", READERS)]),
    ("constant added", TEXT, {"type": "string", "const": "a"}, [("", "type-narrowed", WRITERS)]),
    ("format added", TEXT, {"type": "string", "format": "uuid"}, [("", "format-changed", WRITERS)]),
    ("format removed", {"type": "string", "format": "uuid"}, TEXT, [("", "format-changed", READERS)]),
    ("format changed", {**TEXT, "format": "uuid"}, {**TEXT, "format": "date"}, [("", "format-changed", BOTH)]),
    ("lower limit raised", {"minimum": 1}, {"minimum": 2}, [("", "limit-tightened", WRITERS)]),
    ("upper limit raised", {"maxLength": 1}, {"maxLength": 2}, [("", "limit-loosened", READERS)]),
    ("limit removed", {"type": "array", "maxItems": 1}, {"type": "array"}, [("", "limit-loosened", READERS)]),
    ("pattern added", TEXT, {"type": "string", "pattern": "a"}, [("", "rule-changed", WRITERS)]),
    ("pattern changed", {"pattern": "a"}, {"pattern": "b"}, [("", "rule-changed", BOTH)]),
    ("a rule that cannot be judged", {"not": {"const": 1}}, {"not": {"const": 2}}, [("", "rule-changed", BOTH)]),
    ("unit changed", {**WHOLE, "unit": "cents"}, {**WHOLE, "unit": "euro"}, [("", "unit-changed", BOTH)]),
    ("default changed", {**WHOLE, "default": 1}, {**WHOLE, "default": 2}, [("", "default-changed", SAFE)]),
    ("words changed", {**WHOLE, "title": "A", "description": "a"}, WHOLE, []),
    ("allOf, said in one", {"allOf": [fields("a", a=TEXT), fields(b=TEXT)]}, fields("a", a=TEXT, b=TEXT), []),
    ("choice added", {"oneOf": [TEXT]}, {"oneOf": [TEXT, WHOLE]}, [("", "type-widened", READERS)]),
    (
        "field of a choice",
        {"oneOf": [TEXT, fields(a=TEXT)]},
        {"oneOf": [TEXT, fields("a", a=TEXT)]},
        [("a", "required-added", WRITERS)],
    ),
    ("fields of a field", fields(a=fields(b=TEXT)), fields(a=fields(b=WHOLE)), [("a.b", "type-changed", BOTH)]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_whom_a_change_breaks(
    old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str, tuple[bool, bool]]]
) -> None:
    found = compared(old, new)
    assert [(each.path, each.kind, (each.breaks_readers, each.breaks_writers)) for each in found] == expected
    assert all(each.event == "Order" and each.text for each in found)
    # Seen the other way round, readers and writers change places.
    assert sorted((one.breaks_writers, one.breaks_readers) for one in compared(new, old)) == sorted(
        (each.breaks_readers, each.breaks_writers) for each in found
    )


INSTANCES: list[Any] = [
    None, True, 0, 1, 2, 3, 1.5, "", "a", "b", "c", "ab", "7f9f1c46-1234-4abc-8def-000000000001", "2026-01-31", [], [1],
    ["a"], ["a", "b"], {}, {"a": "x"}, {"a": 1}, {"b": "x"}, {"a": "x", "b": "x"}, {"a": {}}, {"a": {"b": "x"}},
    {"a": {"b": 1}},
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "expected"), CASES, ids=[case[0] for case in CASES])
def test_an_instance_proves_each_breaking(
    name: str, old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str, tuple[bool, bool]]]
) -> None:
    if name in ("unit changed", "null, as OpenAPI says it"):
        return  # the first is in the meaning, not in the form; the second's word is not in JSON Schema
    checks = Draft202012Validator.FORMAT_CHECKER
    old_version = Draft202012Validator(old, format_checker=checks)
    new_version = Draft202012Validator(new, format_checker=checks)
    read_by_new_only = any(new_version.is_valid(each) and not old_version.is_valid(each) for each in INSTANCES)
    read_by_old_only = any(old_version.is_valid(each) and not new_version.is_valid(each) for each in INSTANCES)
    readers, writers = (any(breaks[side] for _, _, breaks in expected) for side in (0, 1))
    if "field" in name and name.split()[1] == "field" and name.split()[-1] in ("added", "removed"):
        # In an open object the other version may hold anything under that name: taken as never sent.
        assert readers <= read_by_new_only
        assert writers <= read_by_old_only
    else:
        assert (read_by_new_only, read_by_old_only) == (readers, writers)


def test_events_that_come_and_go_and_change_case() -> None:
    old = Specification("a test", "shop", {"A": TEXT, "onB": TEXT, "C": TEXT}, {})
    new = Specification("a test", "shop", {"D": TEXT, "OnB": WHOLE, "C": TEXT}, {})
    assert [(each.event, each.kind, each.breaks_readers, each.breaks_writers) for each in changes(old, new)] == [
        ("A", "event-removed", True, True),
        ("D", "event-added", False, False),
        ("onB", "event-renamed", True, True),
        ("onB", "type-changed", True, True),
    ]


def test_definitions_are_followed_even_round_in_circles() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Tree"}}}
    old = version({"$ref": "#/$defs/Tree"}, Tree={**tree, "required": []})
    new = version({"$ref": "#/$defs/Tree"}, Tree={**tree, "required": ["next"]})
    assert changes(old, old) == []
    assert [(each.path, each.kind) for each in changes(old, new)] == [("next", "required-added")]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_a_family_compared_with_itself_has_no_changes(name: str) -> None:
    assert changes(read(name), read(name)) == []


leaves = st.sampled_from(
    [
        {}, {"type": "string"}, {"type": "integer", "minimum": 1}, {"type": ["number", "null"]}, {"const": "a"},
        {"enum": ["a", 1, None]}, {"type": "string", "format": "uuid"}, {"$ref": "#/$defs/Shared"},
        {"not": {"type": "null"}},
        {"type": "boolean", "default": True}, {"type": "string", "pattern": "^a", "maxLength": 3},
    ]
)  # fmt: skip


def composed(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["a", "b", "c"])
    return st.one_of(
        st.builds(
            lambda properties, required, more: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                "additionalProperties": more,
            },
            st.dictionaries(names, inner, max_size=3),
            st.sets(names),
            st.booleans() | inner,
        ),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.builds(
            lambda key, choices: {key: choices},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
    )


schemas = st.recursive(leaves, composed, max_leaves=8)


@settings(max_examples=150)
@given(schemas, schemas)
def test_any_schema_equals_itself_and_compares_with_any_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert changes(version(one, Shared=other), version(one, Shared=other)) == []
    for change in changes(version(one, Shared={}), version(other, Shared=one)):
        assert change.text
        assert change.is_safe == (not change.breaks_readers and not change.breaks_writers)


flat = st.builds(
    lambda properties, required, is_closed: {
        "type": "object",
        "properties": properties,
        "required": sorted(required & properties.keys()),
        **({"additionalProperties": False} if is_closed else {}),
    },
    st.dictionaries(
        st.sampled_from(["a", "b"]),
        st.sampled_from(
            [
                TEXT,
                WHOLE,
                {"type": "number"},
                {"type": ["string", "null"]},
                {"enum": ["a", "b"]},
                {"enum": ["b"]},
                {"const": 1},
            ]
        ),
    ),
    st.sets(st.sampled_from(["a", "b"])),
    st.booleans(),
)
BODIES: list[Any] = [
    body
    for a in (..., None, "a", "b", "z", 1, 2, 1.5)
    for b in (..., None, "a", "b", "z", 1, 2, 1.5)
    for c in (..., 0)
    if (body := {key: value for key, value in (("a", a), ("b", b), ("c", c)) if value is not ...}) is not None
]


@settings(max_examples=300)
@given(flat, flat)
def test_no_instance_breaks_where_nothing_is_said_to_break(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = compared(old, new)
    old_version, new_version = Draft202012Validator(old), Draft202012Validator(new)
    # A producer sends no field that its version does not name.
    sent_by_new = [body for body in BODIES if new_version.is_valid(body) and body.keys() <= new["properties"].keys()]
    sent_by_old = [body for body in BODIES if old_version.is_valid(body) and body.keys() <= old["properties"].keys()]
    said = [change for change in found if change.kind not in ("closed", "opened")]  # of fields that nobody names
    assert any(change.breaks_readers for change in said) == any(not old_version.is_valid(body) for body in sent_by_new)
    assert any(change.breaks_writers for change in said) == any(not new_version.is_valid(body) for body in sent_by_old)


def test_a_choice_that_leads_back_to_its_schema_through_a_list_of_parts_ends() -> None:
    itself = {"anyOf": [TEXT, {"allOf": [{"$ref": "#/$defs/Shared"}, fields("a", a=WHOLE)]}]}
    assert changes(version(itself, Shared=itself), version(itself, Shared=itself)) == []
