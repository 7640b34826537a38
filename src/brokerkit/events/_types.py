"""Field types for loosely documented wire forms: tolerant when read, canonical when written.

Each is an ``Annotated`` type, so checkers see the plain Python type. What can be left to pydantic's own validators is:
a Python function on a field costs as much as parsing ten plain ones, so functions run only for what the plain form
cannot say (a zero date, a null).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

ZERO_DATE: Final = "0000-00-00 00:00:00"

BoolWord = Annotated[
    bool, PlainSerializer(lambda value: "True" if value else "False", return_type=str, when_used="json")
]
"""A boolean documented as the words "True" and "False"; true, false, 1 and 0 are read too."""

BoolNumber = Annotated[bool, PlainSerializer(int, return_type=int, when_used="json")]
"""A boolean documented as 1 or 0; true, false and the words are read too."""


@dataclass(frozen=True, slots=True)
class NullAs:
    """Make an explicit None (or a JSON null) the empty form that is documented for the field: "" or 0, say.

    An absent field stays None.
    """

    empty: str | int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] == "nullable":
            schema = schema["schema"]
        none = core_schema.no_info_after_validator_function(lambda _: self.empty, core_schema.none_schema())
        return core_schema.union_schema([schema, none], mode="left_to_right")


@dataclass(frozen=True, slots=True)
class KnownFirst:
    """Try the choices of a union in order: in ``SomeEnum | int`` known codes become members, unknown stay ints."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if schema["type"] != "union":
            raise TypeError(f"KnownFirst needs a union, got {source!r}")
        return core_schema.union_schema(schema["choices"], mode="left_to_right")


@dataclass(frozen=True, slots=True)
class _SqlDateTime:
    """'YYYY-MM-DD HH:MM:SS' without a zone; the zero date, "" and null are None, which is written as the zero date."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.datetime_schema(tz_constraint="naive"),
                core_schema.no_info_plain_validator_function(_no_date),
            ],
            mode="left_to_right",
            serialization=core_schema.plain_serializer_function_ser_schema(
                _sql_text, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": ["2026-03-02 21:14:05", ZERO_DATE]}


def _no_date(value: object) -> None:
    if value is None or value == "" or (isinstance(value, str) and value.startswith("0000-00-00")):
        return
    raise ValueError("not a 'YYYY-MM-DD HH:MM:SS' time without a zone")


def _sql_text(value: datetime | None) -> str:
    return ZERO_DATE if value is None else value.isoformat(sep=" ")


SqlDateTime = Annotated[datetime | None, _SqlDateTime()]
"""A naive datetime written 'YYYY-MM-DD HH:MM:SS'; None is the zero date."""


@dataclass(frozen=True, slots=True)
class _Epoch:
    """A UNIX time as a number. Its size tells seconds from milliseconds when it is read."""

    per_second: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        moment = core_schema.datetime_schema(
            tz_constraint="aware",
            serialization=core_schema.plain_serializer_function_ser_schema(self._number, when_used="json"),
        )
        return moment if source is datetime else core_schema.nullable_schema(moment)

    def _number(self, value: datetime) -> int | float:
        elapsed = value - datetime(1970, 1, 1, tzinfo=UTC)
        microseconds = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
        whole, rest = divmod(microseconds * self.per_second, 1_000_000)
        return whole if not rest else microseconds * self.per_second / 1_000_000

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "number", "description": "UNIX time in " + ("s" if self.per_second == 1 else "ms")}


EpochSeconds = Annotated[datetime | None, _Epoch(1)]
"""An aware UTC datetime, a UNIX time in seconds on the wire."""

EpochMillis = Annotated[datetime | None, _Epoch(1000)]
"""An aware UTC datetime, a UNIX time in milliseconds on the wire."""

SentAtMillis = Annotated[datetime, _Epoch(1000)]
"""`EpochMillis` for a field that a body must hold."""


def _split_cards(value: object) -> list[int]:
    if isinstance(value, str):
        return [int(code) for code in value.split(";")] if value else []
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        codes = list(cast("Iterable[object]", value))
        if all(type(code) is int for code in codes):
            return cast("list[int]", codes)
    raise ValueError("not card codes split by ';'")


def _join_cards(cards: list[int] | None) -> str:
    return ";".join(map(str, cards or ()))


@dataclass(frozen=True, slots=True)
class _Cards:
    """Card codes in one string, split by ';'; "" and null mean no cards."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _split_cards,
            serialization=core_schema.plain_serializer_function_ser_schema(
                _join_cards, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": ["40;36;32;7;12", ""]}


Cards = Annotated[list[int] | None, _Cards()]
"""A list of card codes, '3;28;1' on the wire; None only where the field was not sent."""


@dataclass(frozen=True, slots=True)
class Combination:
    """A coded hand of cards, 'H.50;47.H.H' on the wire.

    Attributes:
        combination: letter of the combination.
        cards: card codes, best first as sent; may be empty.
        game: letter of the game the hand is valued in (H is Hold'em).
        mode: letter of the mode (H is high, L is low).
    """

    combination: str
    cards: tuple[int, ...] = ()
    game: str = "H"
    mode: str = "H"

    def __post_init__(self) -> None:
        if "." in self.combination or "." in self.game or "." in self.mode:
            raise ValueError("a part of a combination code cannot hold a '.'")

    @classmethod
    def parse(cls, code: str) -> Combination:
        """Read a code of four parts split by '.'. Raises ValueError for any other text."""
        parts = code.split(".")
        if len(parts) != 4:
            raise ValueError("not a combination code of four parts split by '.'")
        return cls(parts[0], tuple(_split_cards(parts[1])), parts[2], parts[3])

    def __str__(self) -> str:
        return f"{self.combination}.{_join_cards(list(self.cards))}.{self.game}.{self.mode}"


def _read_combination(value: object) -> Combination | None:
    if isinstance(value, str):
        return Combination.parse(value) if value else None
    if value is None or isinstance(value, Combination):
        return value
    raise ValueError("not a combination code")


@dataclass(frozen=True, slots=True)
class _CombinationCode:
    """A `Combination`; "" and null are None, which is written as ""."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _read_combination,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: "" if value is None else str(value),
                return_schema=core_schema.str_schema(),
                when_used="json",
            ),
        )

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": ["E.44;40;36;32;31.H.H", "J..H.L", ""]}


CombinationCode = Annotated[Combination | None, _CombinationCode()]
"""A hand of cards, a four-part code on the wire; None is ""."""


BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark that some writers put before UTF-8; it is not part of the JSON."""

_MARK: Final = os.urandom(8).hex()
_MARK_BYTES: Final = _MARK.encode()
_BACKSLASH: Final = ord("\\")
_MARKED: Final = re.compile(rb'"\\u0000' + _MARK_BYTES + rb':([^"]*)"')


def _money_number(value: Decimal) -> int | float | str:
    if value == (number := float(value)) and Decimal(repr(number)) == value:
        return int(value) if number.is_integer() and abs(number) < 1e15 else number
    return f"\x00{_MARK}:{value}"


Money = Annotated[Decimal, PlainSerializer(_money_number, when_used="json"), WithJsonSchema({"type": "number"})]
"""An exact amount, a JSON number on the wire.

pydantic has no way to write a number that a double cannot hold, so such an amount is written as marked text, and
`unmark` takes the quotes off again.
"""


def unmark(body: bytes) -> bytes:
    """Turn the amounts that `Money` had to mark into the numbers they are."""
    # A mark begins with an escape, and to look for one byte costs a tenth of looking for sixteen.
    return _MARKED.sub(rb"\1", body) if _BACKSLASH in body and _MARK_BYTES in body else body


class ExactFloat(float):
    """A float that prints as the JSON text it came from, from which pydantic takes a Decimal without loss."""

    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __str__(self) -> str:
        return self.text


Text = Annotated[str | None, NullAs("")]
"""Text whose documented empty form is "": an explicit None becomes ""."""
