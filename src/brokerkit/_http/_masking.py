"""Hides fields of messages that the console shows, and puts them back into a body that was edited.

A number keeps its digits and a field its place: what was not edited is published as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeGuard

from brokerkit._errors import InvalidMessage

MASK: Final = "•••"
"""Stands for a value that is not shown."""
_SECRET: Final = re.compile(
    r"passw(or)?d|passphrase|secret|token|authorization|(api|private)[_-]?key|credential|cookie|signature",
    re.IGNORECASE,
)
"""Names that are always hidden, also as a part of a name."""
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
"""The user and password of a URL."""
_SHORTEST: Final = 4
"""Characters of a hidden value that is looked for in other texts. Shorter ones are found everywhere."""
_DEEPEST: Final = 200


class _Number(str):
    """A number, or true, false or null, as it is written."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """The fields of an object, in order. A name may come twice."""


class Masking:
    """Hides the fields with these names, and those that look like secrets.

    Args:
        names: names of fields and headers; upper and lower case are the same.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __repr__(self) -> str:
        return f"<Masking of {', '.join(sorted(self._names)) or 'secrets'}>"

    def hides(self, name: str) -> bool:
        """Whether a field or header with this name is hidden."""
        return name.lower() in self._names or _SECRET.search(name) is not None

    def body(self, body: str | None) -> tuple[str | None, tuple[str, ...]]:
        """Return a body as it is shown, and the values that are hidden in it. Without hidden fields it is unchanged.

        None stands for a body that is no text. It has no fields that could be hidden, so where some were named it is
        not shown at all; nor is a text that is not JSON.
        """
        tree = _tree(body) if body is not None else None
        if tree is None:
            return (body if body is not None and not self._names else None), ()
        hidden = list[str]()
        shown = self._masked(tree, hidden)
        return (_written(shown) if hidden else body), tuple(hidden)

    def text(self, text: str, hidden: Iterable[str] = ()) -> str:
        """Return a text without passwords of URLs, and without the values that are hidden elsewhere."""
        for value in sorted({each for each in hidden if len(each) >= _SHORTEST}, key=len, reverse=True):
            text = text.replace(value, MASK)
        return _IN_URL.sub(MASK, text)

    def restored(self, edited: str, original: str) -> str:
        """Return an edited body with the hidden values of the original in their places.

        Raises:
            InvalidMessage: it is not JSON where the original is, or a mask is where the original hides nothing.
        """
        hidden = list[str]()
        before = _tree(original)
        if before is not None:
            self._masked(before, hidden)
        if not hidden:
            return edited
        after = _tree(edited)
        if after is None:
            raise InvalidMessage("the body has hidden fields, so it must stay JSON")
        return _written(self._filled(after, before))

    def _masked(self, value: Any, hidden: list[str]) -> Any:
        if isinstance(value, _Object):
            return _Object(
                (name, self._hide(inner, hidden) if self.hides(name) else self._masked(inner, hidden))
                for name, inner in value
            )
        if _is_list(value):
            return [self._masked(inner, hidden) for inner in value]
        return value

    def _hide(self, value: Any, hidden: list[str]) -> Any:
        hidden.append("")
        hidden.extend(_leaves(value))
        return MASK

    def _filled(self, value: Any, before: Any) -> Any:
        if isinstance(value, _Object):
            known = dict(before) if isinstance(before, _Object) else {}
            return _Object(
                (name, self._original(name, known) if inner == MASK else self._filled(inner, known.get(name)))
                for name, inner in value
            )
        if _is_list(value):
            several = before if _is_list(before) and not isinstance(before, _Object) else []
            return [self._filled(inner, several[at] if at < len(several) else None) for at, inner in enumerate(value)]
        if value == MASK:
            raise InvalidMessage(f"{MASK} stands for a hidden field, and here there is none")
        return value

    def _original(self, name: str, known: dict[str, Any]) -> Any:
        if name not in known or not self.hides(name):
            raise InvalidMessage(f"{MASK} stands for a hidden field, and {name!r} is none here: give it a value")
        return known[name]


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _tree(text: str) -> Any:
    """Return JSON with its numbers as they are written; None if it is not JSON, or nested too deep."""
    try:
        found = json.loads(
            text, parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_Object
        )
    except (ValueError, RecursionError):
        return None
    return found if found is not None and _depth(found) else None


def _depth(value: Any, left: int = _DEEPEST) -> bool:
    """Whether it is not nested too deep for what is done with it."""
    if not _is_list(value):
        return True
    inner = [each for _, each in value] if isinstance(value, _Object) else value
    return left > 0 and all(_depth(each, left - 1) for each in inner)


def _written(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Object):
        return "{" + ", ".join(f"{_string(name)}: {_written(inner)}" for name, inner in value) + "}"
    if _is_list(value):
        return "[" + ", ".join(map(_written, value)) + "]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    # JSON's escapes can spell a lone surrogate, which cannot be encoded.
    return json.dumps(text, ensure_ascii=any("\ud800" <= sign <= "\udfff" for sign in text))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, _Object):
        for _, inner in value:
            yield from _leaves(inner)
    elif _is_list(value):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield str(value)
