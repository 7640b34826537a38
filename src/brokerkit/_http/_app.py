"""The ASGI application: probes, metrics, state, and control."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brokerkit._errors import Closed, ConfigError
from brokerkit._http._access import Token, refusal, refusal_of_change
from brokerkit._http._answers import Answers
from brokerkit._http._audit import Audit
from brokerkit._http._console import console
from brokerkit._http._letters import Letters
from brokerkit._http._live import live
from brokerkit._http._replies import HEADERS, as_json, refused
from brokerkit._http._retries import Retries

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_NO_METRICS: Final = "metrics need prometheus_client, which is not installed: pip install 'brokerkit-sdk[prometheus]'\n"
_NO_CONTROL: Final = (
    "this port only shows; brokerkit run --control, or bus.http(control=True), lets it pause and resume"
)


def application(
    answers: Answers, *, token: Token | None = None, control: bool = False, letters: Letters | None = None
) -> Starlette:
    """Return the application.

    Args:
        answers: what it says.
        token: needed for everything but probes and metrics; None admits programs on the same machine alone.
        control: whether sources can be paused and resumed, and dead letters replayed and purged.
        letters: answers about dead letters; None to have no console.
    """
    endpoints = _Endpoints(answers, token)
    changes = _Changes(answers, token, control=control)
    return Starlette(
        routes=[
            Route("/livez", endpoints.livez),
            Route("/readyz", endpoints.readyz),
            Route("/metrics", endpoints.metrics),
            Route("/state", endpoints.state),
            *(
                Route(path, change, methods=["POST"])
                for verb, change in (("pause", changes.pause), ("resume", changes.resume))
                for path in (f"/{verb}", f"/sources/{{source:path}}/{verb}")
            ),
            *(
                [
                    *console(letters, token, control=control),
                    *live(answers, Retries(letters.opening), letters.masking, token),
                ]
                if letters is not None
                else ()
            ),
        ]
    )


class _Endpoints:
    def __init__(self, answers: Answers, token: Token | None) -> None:
        self._answers = answers
        self._token = token

    async def livez(self, _: Request) -> Response:
        reasons = await self._answers.live()
        return as_json({"live": not reasons, "reasons": list(reasons)}, _status(reasons))

    async def readyz(self, _: Request) -> Response:
        reasons = await self._answers.ready()
        return as_json({"ready": not reasons, "reasons": list(reasons)}, _status(reasons))

    async def metrics(self, _: Request) -> Response:
        if find_spec("prometheus_client") is None:
            return PlainTextResponse(_NO_METRICS, 501, HEADERS)
        return Response(await self._answers.metrics(), 200, HEADERS, _PROMETHEUS)

    async def state(self, request: Request) -> Response:
        if (why := refusal(request, self._token)) is not None:
            return refused(*why)
        return as_json(await self._answers.state(), 200)


class _Changes:
    """Pauses and resumes sources. Each request that may do so leaves a line in the log."""

    def __init__(self, answers: Answers, token: Token | None, *, control: bool) -> None:
        self._answers = answers
        self._token = token
        self._control = control

    async def pause(self, request: Request) -> Response:
        return await self._change(request, pause=True)

    async def resume(self, request: Request) -> Response:
        return await self._change(request, pause=False)

    async def _change(self, request: Request, *, pause: bool) -> Response:
        if (why := refusal_of_change(request, self._token)) is not None:
            return refused(*why)
        if not self._control:
            return refused(403, _NO_CONTROL)
        source: str | None = request.path_params.get("source")
        audit = Audit(request, "pause" if pause else "resume", source, token=self._token is not None)
        try:
            state = await self._answers.change(pause=pause, source=source, why="paused over HTTP")
        except (ConfigError, Closed) as error:
            audit.note(str(error))
            return refused(404 if isinstance(error, ConfigError) else 409, str(error))
        except Exception as error:
            audit.note(f"failed with {type(error).__name__}")
            raise
        silent = [f"worker {each['worker']}: {each['reasons'][0]}" for each in state["workers"] if each["pid"] is None]
        audit.note("; ".join(silent) or "done")
        return as_json(state, 200)


def _status(reasons: Sequence[str]) -> int:
    return 503 if reasons else 200
