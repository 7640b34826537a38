"""Paths into JSON: ``a.b.0``, ``a[0].b``, and ``["a.b"].c`` for keys that hold a dot or a bracket."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from brokerkit._errors import ConfigError

Path = tuple[str, ...]

MISSING: Final = object()
"""What `walk` returns where a path leads nowhere."""

_STEP: Final = re.compile(r"""\[(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<index>\d+))\]|(?P<plain>[^.\[\]]+)""")


def parse_path(text: str) -> Path:
    """Split a path into keys and list indices.

    Raises:
        ConfigError: it is empty, or a bracket or dot is in a wrong place; the message shows how to write it.
    """
    steps: list[str] = []
    at = 0
    while at < len(text):
        if steps and text[at] == ".":
            at += 1
        elif steps and text[at] != "[":
            break
        if (found := _STEP.match(text, at)) is None:
            break
        steps.append(next(part for part in found.groups() if part is not None))
        at = found.end()
    if not steps or at < len(text) or text.endswith("."):
        raise ConfigError(f'{text!r} is not a path; write a.b, a.0 or a[0], and ["a.b"] for a key that holds a dot')
    return tuple(steps)


def join_path(steps: Iterable[str]) -> str:
    """Write a path as `parse_path` reads it."""
    made = ""
    for step in steps:
        plain = not set(step) & set(".[]|'\"")
        made += f"{'.' if made else ''}{step}" if plain else f'["{step}"]' if '"' not in step else f"['{step}']"
    return made


def walk(value: Any, path: Path) -> Any:
    """Return what a path leads to in parsed JSON, or `MISSING`."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step, MISSING)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else MISSING  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        else:
            return MISSING
    return value  # pyright: ignore[reportUnknownVariableType]
