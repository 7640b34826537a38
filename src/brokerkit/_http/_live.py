"""What a source is doing: the messages that arrive, the retries that wait, and the last quarter of an hour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brokerkit._errors import ConfigError
from brokerkit._http._access import Token, refusal
from brokerkit._http._answers import Answers, Held
from brokerkit._http._contents import Contents
from brokerkit._http._masking import Masking
from brokerkit._http._replies import as_json, refused
from brokerkit._http._retries import Retries
from brokerkit._status._figures import BOUNDARIES
from brokerkit._status._history import STEP, Step
from brokerkit._status._samples import LARGEST, LASTS, MOST_WATCHERS, RATE, Raw, Wanted

_LONGEST_NAME: Final = 100
_LONGEST_TURN: Final = 0.005
"""Seconds of hiding fields without a turn for the handlers, which may be on the same event loop."""
_LONGEST_ERROR: Final = 500
"""Characters of an error that are shown."""

Answer = dict[str, Any]


def live(answers: Answers, retries: Retries, masking: Masking, token: Token | None) -> Sequence[Route]:
    """Return the routes.

    Args:
        answers: of the process, or the workers.
        retries: asks the brokers.
        masking: hides fields of messages.
        token: needed for all of them; None admits programs on the same machine.
    """
    endpoints = _Live(answers, retries, masking, token)
    return [
        Route(f"/sources/{{source:path}}/{what}", answer)
        for what, answer in (
            ("messages", endpoints.messages),
            ("retries", endpoints.retries),
            ("history", endpoints.history),
        )
    ]


class _Live:
    def __init__(self, answers: Answers, retries: Retries, masking: Masking, token: Token | None) -> None:
        self._answers = answers
        self._retries = retries
        self._contents = Contents(masking)
        self._token = token

    async def messages(self, request: Request) -> Response:
        return await self._answer(request, self._messages)

    async def retries(self, request: Request) -> Response:
        return await self._answer(request, self._waiting)

    async def history(self, request: Request) -> Response:
        return await self._answer(request, self._steps)

    async def _answer(
        self, request: Request, answer: Callable[[str, Mapping[str, str]], Awaitable[Answer | None]]
    ) -> Response:
        if (why := refusal(request, self._token)) is not None:
            return refused(*why)
        try:
            found = await answer(request.path_params["source"], request.query_params)
        except ConfigError as error:
            return refused(404, str(error))
        if found is None:
            return refused(429, f"{MOST_WATCHERS} others look at the messages of this source already")
        return as_json(found, 200)

    async def _messages(self, source: str, query: Mapping[str, str]) -> Answer | None:
        wanted = Wanted(query.get("event", ""), query.get("key", ""))
        taken = await self._answers.messages(source, query.get("watcher", "")[:_LONGEST_NAME], wanted)
        if taken.full:
            return None
        shown, held_up = list[Answer](), time.monotonic() + _LONGEST_TURN
        for worker, raw in taken.messages:
            found = self._shown(raw)
            # Whoever guesses a hidden key must not learn from the filter that it is right.
            if not wanted.key or found["key"] == wanted.key:
                shown.append({"worker": worker, **found})
            if time.monotonic() > held_up:
                await asyncio.sleep(0)
                held_up = time.monotonic() + _LONGEST_TURN
        hidden_key = bool(wanted.key) and not shown
        return {
            "messages": shown,
            "matched": 0 if hidden_key else taken.matched,
            "per_second": RATE,
            "lasts": LASTS,
            "largest": LARGEST,
        }

    def _shown(self, raw: Raw) -> Answer:
        body, hidden = self._contents.body(raw.body, raw.headers)
        return {
            "id": raw.id,
            "event": raw.event,
            "key": self._contents.value(raw.key, hidden),
            "topic": raw.topic,
            "arrived": round(raw.arrived, 3),
            "headers": self._contents.headers(raw.headers, hidden),
            "body": body,
            "body_bytes": raw.size,
        }

    async def _waiting(self, source: str, _: Mapping[str, str]) -> Answer:
        held = [self._held(one) for one in await self._answers.held(source)]
        return {"held": held, **await self._retries.at_broker(source)}

    def _held(self, held: Held) -> Answer:
        raw = held.raw
        _, hidden = self._contents.body(raw.body, raw.headers)
        kind, text = held.why
        # What is hidden in a body that is too large is not known, so it cannot be taken out of the text.
        known = raw.size is None or raw.body is not None
        return {
            "worker": held.worker,
            "id": raw.id,
            "event": raw.event,
            "key": self._contents.value(raw.key, hidden) if known else None,
            "topic": raw.topic,
            "handler": held.handler,
            "attempts": held.failures,
            "due": held.due,
            "error_type": kind,
            "error": self._contents.text(text, hidden)[:_LONGEST_ERROR] if known else "",
        }

    async def _steps(self, source: str, _: Mapping[str, str]) -> Answer:
        steps = await self._answers.history(source)
        return {"seconds": STEP, "steps": [{"at": number * STEP, **_figures(step)} for number, step in steps.items()]}


def _figures(step: Step) -> Answer:
    attempts = sum(step.durations.values())
    return {
        "rate": step.handled / STEP,
        "failed": step.failed / STEP,
        "mean": step.seconds / attempts if attempts else None,
        "p99": _quantile(step.durations, 0.99) if attempts else None,
    }


def _quantile(durations: Mapping[int, int], share: float) -> float:
    """Return the upper end in seconds of the bucket that has this share of the durations; of the last one, its lower end."""
    left = share * sum(durations.values())
    for bucket, count in sorted(durations.items()):
        left -= count
        if left <= 0:
            return BOUNDARIES[min(bucket, len(BOUNDARIES) - 1)]
    return BOUNDARIES[-1]
