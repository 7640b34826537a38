"""How the HTTP port answers, whatever is asked."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import PlainTextResponse, Response

HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def refused(status: int, reason: str) -> Response:
    """Return an answer that says why there is none."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return PlainTextResponse(f"{reason}\n", status, {**HEADERS, **headers})


def as_json(value: dict[str, Any], status: int) -> Response:
    """Return an answer in JSON."""
    return Response(json.dumps(value) + "\n", status, HEADERS, "application/json")
