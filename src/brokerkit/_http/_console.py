"""The console: a page for the browser, and the paths for dead letters that it asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brokerkit._dead_letters._walk import Progress
from brokerkit._errors import BrokerkitError, Closed, ConfigError, ConnectionLost, Incomplete, NotFound, describe
from brokerkit._http._access import Token, refusal, refusal_of_change
from brokerkit._http._audit import Audit
from brokerkit._http._letters import Busy, Letters
from brokerkit._http._questions import Order, Wrong, order, page, selected
from brokerkit._http._replies import HEADERS, as_json, refused

Work = Literal["replay", "purge"]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", "": "text/plain"}
_FILES: Final = frozenset(
    (
        *("console.html", "console.css", "console.js", "live.js", "charts.js"),
        *("uplot/uPlot.iife.min.js", "uplot/uPlot.min.css", "uplot/LICENSE"),
    )
)
_NO_CONTROL: Final = (
    "this port only shows; brokerkit run --control, or bus.http(control=True), lets it replay and purge dead letters"
)
_STATUS: Final[tuple[tuple[type[BrokerkitError], int], ...]] = (
    (Busy, 409),
    (Closed, 409),
    (NotFound, 404),
    (ConfigError, 404),
    (ConnectionLost, 503),
)
"""The first that fits counts; of all other errors it is 502."""


def console(letters: Letters, token: Token | None, *, control: bool) -> Sequence[Route]:
    """Return the routes of the console.

    Args:
        letters: answers about dead letters.
        token: needed for all but the page itself, which holds nothing; None admits programs on the same machine alone.
        control: whether dead letters can be replayed and purged.
    """
    endpoints = _Console(letters, token, control=control)
    where = "/sources/{source:path}/dead-letters"
    return [
        Route("/console", endpoints.file),
        Route("/console/{file:path}", endpoints.file),
        Route(where, endpoints.listed),
        Route(f"{where}/errors", endpoints.grouped),
        Route(f"{where}/replay", endpoints.replay, methods=["POST"]),
        Route(f"{where}/purge", endpoints.purge, methods=["POST"]),
    ]


class _Console:
    def __init__(self, letters: Letters, token: Token | None, *, control: bool) -> None:
        self._letters = letters
        self._token = token
        self._control = control

    async def file(self, request: Request) -> Response:
        # A browser sends no token with an address that somebody types. These files say nothing about the bus.
        if self._token is None and (why := refusal(request, None)) is not None:
            return refused(*why)
        name = request.path_params.get("file", "console.html")
        if name not in _FILES:
            return refused(404, "there is no such file")
        text = files("brokerkit._http").joinpath("_page", *name.split("/")).read_text("utf-8")
        headers = {**HEADERS, "content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
        text = text.replace("{control}", "yes" if self._control else "no")
        return Response(text, 200, headers, _KINDS[PurePosixPath(name).suffix])

    async def listed(self, request: Request) -> Response:
        return await self._answer(request, grouped=False)

    async def grouped(self, request: Request) -> Response:
        return await self._answer(request, grouped=True)

    async def _answer(self, request: Request, *, grouped: bool) -> Response:
        if (why := refusal(request, self._token)) is not None:
            return refused(*why)
        source, query = request.path_params["source"], request.query_params
        try:
            if grouped:
                return as_json(await self._letters.grouped(source, selected(query)), 200)
            return as_json(await self._letters.listed(source, page(query), selected(query)), 200)
        except Wrong as wrong:
            return refused(wrong.status, str(wrong))
        except BrokerkitError as error:
            return refused(_status(error), describe(error))

    async def replay(self, request: Request) -> Response:
        return await self._change(request, "replay")

    async def purge(self, request: Request) -> Response:
        return await self._change(request, "purge")

    async def _change(self, request: Request, work: Work) -> Response:
        if (why := refusal_of_change(request, self._token)) is not None:
            return refused(*why)
        if not self._control:
            return refused(403, _NO_CONTROL)
        try:
            wanted = await order(request)
            if wanted.edit is not None and work == "purge":
                raise Wrong("a purge takes no body")
        except Wrong as wrong:
            return refused(wrong.status, str(wrong))
        return await self._work(request, work, request.path_params["source"], wanted)

    async def _work(self, request: Request, work: Work, source: str, wanted: Order) -> Response:
        verb = f"edit and {work}" if wanted.edit is not None else work
        audit = Audit(request, f"{verb} dead letters of", source, token=self._token is not None, by=wanted.by)
        filters = {name: given for name, given in wanted.selected.items() if given}
        audit.note(f"begins with {json.dumps(filters) if filters else 'all'}", limit=wanted.limit or 0)
        last = Progress()

        def told(progress: Progress) -> None:
            nonlocal last
            last = progress
            audit.note_ids(progress.ids)

        error: BrokerkitError | None = None
        try:
            await self._begin(work, source, wanted, told)
        except BrokerkitError as found:
            error = found
        except BaseException as found:
            audit.note(f"ended with {type(found).__name__} after {last.done}", done=last.done)
            raise
        audit.note(f"{'done' if error is None else f'ended, {describe(error)}'}: {last.done}", done=last.done)
        answer = {
            "done": last.done,
            "kept": last.kept - last.foreign,
            "unseen": last.unseen,
            "error": None if error is None else describe(error),
        }
        return as_json(answer, 200 if error is None or isinstance(error, Incomplete) else _status(error))

    async def _begin(self, work: Work, source: str, wanted: Order, told: Callable[[Progress], None]) -> None:
        if wanted.edit is None:
            await self._letters.worked(source, work, wanted.selected, limit=wanted.limit, told=told)
            return
        edit = wanted.edit
        await self._letters.edited(source, edit.id, body=edit.body, of=edit.digest, by=wanted.by, told=told)


def _status(error: BrokerkitError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 502)
