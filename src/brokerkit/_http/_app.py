"""The ASGI application: ``/livez``, ``/readyz``, ``/metrics`` and ``/state``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brokerkit._http._access import Token, refusal
from brokerkit._http._answers import Answers

_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_NO_METRICS: Final = "metrics need prometheus_client, which is not installed: pip install 'brokerkit-sdk[prometheus]'\n"


def application(answers: Answers, *, token: Token | None = None) -> Starlette:
    """Return the application.

    Args:
        answers: what it says.
        token: needed for everything but probes and metrics; None admits programs on the same machine alone.
    """
    endpoints = _Endpoints(answers, token)
    return Starlette(
        routes=[
            Route("/livez", endpoints.livez),
            Route("/readyz", endpoints.readyz),
            Route("/metrics", endpoints.metrics),
            Route("/state", endpoints.state),
        ]
    )


class _Endpoints:
    def __init__(self, answers: Answers, token: Token | None) -> None:
        self._answers = answers
        self._token = token

    async def livez(self, _: Request) -> Response:
        reasons = await self._answers.live()
        return _json({"live": not reasons, "reasons": list(reasons)}, _status(reasons))

    async def readyz(self, _: Request) -> Response:
        reasons = await self._answers.ready()
        return _json({"ready": not reasons, "reasons": list(reasons)}, _status(reasons))

    async def metrics(self, _: Request) -> Response:
        if find_spec("prometheus_client") is None:
            return PlainTextResponse(_NO_METRICS, 501, _HEADERS)
        return Response(await self._answers.metrics(), 200, _HEADERS, _PROMETHEUS)

    async def state(self, request: Request) -> Response:
        if (refused := refusal(request, self._token)) is not None:
            status, reason = refused
            headers = {"www-authenticate": "Bearer"} if status == 401 else {}
            return PlainTextResponse(f"{reason}\n", status, {**_HEADERS, **headers})
        return _json(await self._answers.state(), 200)


def _status(reasons: Sequence[str]) -> int:
    return 503 if reasons else 200


def _json(value: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(value) + "\n", status, _HEADERS, "application/json")
