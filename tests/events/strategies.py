"""Events with any values that their fields' types allow."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntFlag
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from brokerkit.events import WireObject
from brokerkit.events._constants import Fixed
from brokerkit.events._types import Combination, _Epoch, _SqlDateTime

LETTERS = st.text("ABCHIJL", max_size=1)
ANYTHING = st.none() | st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=3)
# From 1980 on, a number of milliseconds cannot be taken for one of seconds.
MOMENTS = st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(max_size=8),
    NoneType: st.none(),
    datetime: MOMENTS,
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    UUID: st.uuids(),
    Combination: st.builds(Combination, LETTERS, st.lists(st.integers(0, 52), max_size=5).map(tuple), LETTERS, LETTERS),
    Any: ANYTHING,
}


@cache
def events(model: type[WireObject]) -> st.SearchStrategy[WireObject]:
    """Events with all required and any optional fields, and unknown fields beside them."""
    constants = model.constants if issubclass(model, Fixed) else {}
    fields = {name: _field(field) for name, field in model.model_fields.items() if name not in constants}
    required = {name: value for name, value in fields.items() if model.model_fields[name].is_required()}
    optional = {name: value for name, value in fields.items() if name not in required}
    extra = st.dictionaries(st.sampled_from(["zz", "newField"]), st.none() | st.integers() | st.text(max_size=3))
    known = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda some, more: model(**some, **more), known, extra)


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    for mark in field.metadata:
        if isinstance(mark, _SqlDateTime):
            return st.datetimes() | st.none()
        if isinstance(mark, _Epoch):
            moments = MOMENTS.map(partial(_cut, 1_000_000 // mark.per_second))
            return moments if field.annotation is datetime else moments | st.none()
    return values(field.annotation)


def _cut(microseconds: int, moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // microseconds * microseconds)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, IntFlag):
        return st.integers(0, 15).map(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if isinstance(annotation, type) and issubclass(annotation, WireObject):
        return events(annotation)
    parts = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return values(parts[0])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, UnionType):
        # Text of digits alone would come back as the number that such a union prefers.
        choices = [values(part) for part in parts]
        return st.one_of(choices).filter(lambda value: not (int in parts and isinstance(value, str))) | (
            st.just("System") if str in parts and int in parts else st.nothing()
        )
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values(parts[1]), max_size=2)
    assert origin is list, annotation
    return st.lists(values(parts[0]), max_size=2)
