"""What a request asks about dead letters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from brokerkit._dead_letters._selection import Selected
from brokerkit._http._letters import Page

_LARGEST: Final = 2 * 1024 * 1024
"""Bytes of the body of a request."""
_MOST: Final = 200
_MOST_CONTENTS: Final = 10
"""Dead letters in one answer, without and with their contents."""
_MOST_IDS: Final = 1_000
_LONGEST_NAME: Final = 100
_FILTERS: Final = {"id": "ids", "event": "events", "error": "errors"}


class Wrong(Exception):
    """The request cannot be understood; the text says why.

    Args:
        reason: why.
        status: of HTTP.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class NewBody:
    """Another body for one dead letter.

    Attributes:
        id: of its message.
        body: the new one, as a text.
        digest: of the body that was edited.
    """

    id: str
    body: str
    digest: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with dead letters.

    Attributes:
        selected: with which; without filters, with all.
        limit: with at most this number.
        by: who asks, as they say.
        edit: the new body of the only one; None to change nothing.
    """

    selected: Selected
    limit: int | None
    by: str
    edit: NewBody | None


def selected(query: QueryParams) -> Selected:
    """Return the filters in the query of a URL.

    Raises:
        Wrong: one of them is no filter.
    """
    found: dict[str, Any] = {name: query.getlist(key) for key, name in _FILTERS.items()}
    for name in ("since", "until"):
        if name in query:
            found[name] = _moment(name, query[name])
    return cast("Selected", found)


def page(query: QueryParams) -> Page:
    """Return which part of the dead letters a URL asks for.

    Raises:
        Wrong: a number is none, or too large.
    """
    contents = query.get("contents", "") not in ("", "0")
    most = _MOST_CONTENTS if contents else _MOST
    return Page(
        text=query.get("text", ""),
        offset=_number("offset", query.get("offset", "0"), 0, 10_000_000),
        limit=_number("limit", query.get("limit", str(min(50, most))), 1, most),
        contents=contents,
    )


async def order(request: Request) -> Order:
    """Read what a request wants to have done.

    Raises:
        Wrong: it cannot be understood, or it would be done with all dead letters and does not say ``"all": true``.
    """
    given = await _object(request)
    filters = cast("Selected", {name: _names(given, name) for name in _FILTERS.values()})
    for name in ("since", "until"):
        if given.get(name) is not None:
            filters[name] = _moment(name, given[name])
    if not any(filters.values()) and given.get("all") is not True:
        raise Wrong('this would be done with all dead letters: give a filter, or "all": true')
    limit, by, body, digest = given.get("limit"), given.get("by", ""), given.get("body"), given.get("digest", "")
    if limit is not None:
        limit = _number("limit", limit, 1, 10_000_000)
    if not isinstance(by, str) or len(by) > _LONGEST_NAME:
        raise Wrong(f"by must be a text of at most {_LONGEST_NAME} characters")
    if not isinstance(digest, str) or not isinstance(body, str | None):
        raise Wrong("body and digest must be texts")
    edit, ids = None, _names(given, "ids")
    if body is not None:
        if len(ids) != 1 or not digest or not by:
            raise Wrong(
                "to edit a dead letter, give its id alone in ids, the digest of the body that was edited, and by"
            )
        edit = NewBody(ids[0], body, digest)
    known = {*_FILTERS.values(), "since", "until", "all", "limit", "by", "body", "digest"}
    if unknown := given.keys() - known:
        raise Wrong(f"{min(unknown)!r} is unknown here; there are {', '.join(sorted(known))}")
    return Order(filters, limit, by, edit)


async def _object(request: Request) -> dict[str, Any]:
    raw = bytearray()
    try:
        async for part in request.stream():
            raw += part
            if len(raw) > _LARGEST:
                raise Wrong(f"a request may have {_LARGEST:,} bytes", 413)
        found: object = json.loads(raw or b"{}")
    except ClientDisconnect:
        raise Wrong("the request has ended early") from None
    except (ValueError, RecursionError):
        raise Wrong("the request is not JSON") from None
    if not isinstance(found, dict):
        raise Wrong("the request must be a JSON object")
    return cast("dict[str, Any]", found)


def _names(given: Mapping[str, Any], name: str) -> list[str]:
    found: object = given.get(name, [])
    names = cast("list[object]", found) if isinstance(found, list) else [None]
    if not all(isinstance(each, str) for each in names) or len(names) > _MOST_IDS:
        raise Wrong(f"{name} must be a list of at most {_MOST_IDS:,} texts")
    return cast("list[str]", names)


def _number(name: str, value: object, least: int, most: int) -> int:
    digits = str(value)
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else -1
    if not least <= number <= most:
        raise Wrong(f"{name} must be a number from {least} to {most:,}")
    return number


def _moment(name: str, value: object) -> float:
    try:
        moment = float(cast("str", value))
    except (TypeError, ValueError):
        moment = math.nan
    if not math.isfinite(moment):
        raise Wrong(f"{name} must be a Unix time in seconds")
    return moment
