"""``brokerkit catalog import`` and ``catalog diff``: specifications in, and what changed between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from rich.text import Text

from brokerkit import ConfigError
from brokerkit._logging import escape
from brokerkit._specifications import Change, changes, module_text, read
from brokerkit.cli._output import UsageError, console, say_document, say_json, writing

FailOn = Literal["readers", "writers", "any"]

_BREAKING: Final = 1


def import_(file: Path, /, *, output: Path | None = None, family: str | None = None) -> None:
    """Turn an AsyncAPI document or JSON Schemas into a module of models with a typed `on`.

    Nothing is fetched from a network. The same input gives the same module.

    Args:
        file: an AsyncAPI 2.x or 3.0 document or a JSON Schema (JSON or YAML), or a folder of JSON Schemas.
        output: the module to write; standard output by default.
        family: the family's name; by default the name of the file.
    """
    made = module_text(read(file), family=family)
    if output is None:
        say_document(made)
    else:
        with writing(output, instead="--output"):
            output.write_text(made, encoding="utf-8")


def diff(
    old: str,
    new: str,
    /,
    *,
    fail_on: FailOn = "any",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Compare two versions of a family or a specification, and show which changes break readers or writers.

    Exit codes: 0 if nothing that `--fail-on` names is broken, 1 if something is broken, 2 if a version cannot be read.

    Args:
        old: the version in use: an AsyncAPI document, a JSON Schema or a folder of them, a Python file or module with a
            family (`package.module`, or `package.module:NAME` if it is not FAMILY), or a known family's name.
        new: the new version, in the same way.
        fail_on: which breaks count: of `readers` (consumers of the old version), of `writers` (its producers), or `any`.
        as_json: write one JSON document instead of lines for people.
    """
    try:
        found = changes(read(old), read(new))
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if as_json:
        say_json(_document(found), indent=2)
    else:
        _show(found)
    return _BREAKING if any(_counts(change, fail_on) for change in found) else 0


def _counts(change: Change, fail_on: FailOn) -> bool:
    readers = change.breaks_readers and fail_on != "writers"
    return readers or (change.breaks_writers and fail_on != "readers")


def _document(found: Sequence[Change]) -> dict[str, object]:
    return {
        "breaksReaders": any(change.breaks_readers for change in found),
        "breaksWriters": any(change.breaks_writers for change in found),
        "changes": [
            {
                "event": change.event,
                "path": change.path,
                "kind": change.kind,
                "text": change.text,
                "breaksReaders": change.breaks_readers,
                "breaksWriters": change.breaks_writers,
            }
            for change in found
        ],
    }


def _show(found: Sequence[Change]) -> None:
    out = console()
    for event, group in groupby(found, key=lambda change: change.event):
        out.print(escape(event), style="bold", markup=False)
        for change in group:
            field = f"{change.path}: " if change.path else ""
            line = escape(f"  {_verdict(change):<25}  {field}{change.text}")
            out.print(Text(line, style="" if change.is_safe else "red"), soft_wrap=True)
    if not found:
        out.print("no changes")
        return
    readers = sum(change.breaks_readers for change in found)
    writers = sum(change.breaks_writers for change in found)
    safe = sum(change.is_safe for change in found)
    out.print(f"break readers: {readers}, break writers: {writers}, safe: {safe}", markup=False)


def _verdict(change: Change) -> str:
    broken = [who for who, breaks in (("readers", change.breaks_readers), ("writers", change.breaks_writers)) if breaks]
    return f"breaks {' and '.join(broken)}" if broken else "safe"
