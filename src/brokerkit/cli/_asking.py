"""What a supervisor asks its workers for HTTP, over a second line to each.

The first line, with orders to stop, is not used for this: an answer that takes long must not delay a stop. No files and no
ports are needed, so it works with a read-only file system.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, Literal, TypeAlias

from brokerkit import BrokerkitError
from brokerkit._errors import describe
from brokerkit._http._answers import Answers, Held, State, Taken
from brokerkit._http._merging import merged_held, merged_messages, merged_metrics, merged_state
from brokerkit._logging import get_logger
from brokerkit._runtime import Runtime
from brokerkit._status._history import Step, merged
from brokerkit._status._samples import Wanted
from brokerkit.cli._pausing import Change, Pauses, Pausing

logger = get_logger(__name__)

Line: TypeAlias = "Connection[Any, Any]"
"""Carries questions one way, and triples of question, answer and error the other way."""

_PATIENCE: Final = 2.0
"""Seconds for an answer. A probe of Kubernetes waits a second longer in our example."""
_MOST: Final = 20
"""How many questions may wait for a worker. More could fill its line, which holds up whoever asks."""
_ENDED: Final = "it has ended"


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker is asked.

    Attributes:
        about: which method of `Answers` answers.
        after: the number of an order that must be carried out first; 0 if none must.
        given: the arguments of that method.
    """

    about: Literal["live", "ready", "metrics", "state", "held", "messages", "history"]
    after: int = 0
    given: tuple[Any, ...] = ()


class NoAnswer(BrokerkitError):
    """A worker has not answered; the text says why."""


class Asked:
    """A worker as its supervisor sees it.

    Attributes:
        serving: whether it has reported that it serves. Earlier, it is not asked.
        ended: whether its end of the line is closed. Its supervisor learns of its end a moment later.

    Args:
        line: to the worker.
    """

    def __init__(self, line: Line) -> None:
        self.serving = self.ended = False
        self._line = line
        self._waiting: dict[Question, asyncio.Future[tuple[Any, str]]] = {}
        self._listener: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Asked: {len(self._waiting)} questions wait>"

    async def ask(self, question: Question) -> Any:
        """Return the worker's answer. Several at once share one question, so a worker that hangs piles up none.

        Raises:
            NoAnswer: it has ended, or does not answer in time.
        """
        loop = asyncio.get_running_loop()
        if self.ended:
            raise NoAnswer(_ENDED)
        if question not in self._waiting:
            if len(self._waiting) >= _MOST:
                raise NoAnswer(f"{_MOST} questions wait for an answer already")
            self._waiting[question] = loop.create_future()
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, args=(loop,), daemon=True)
                self._listener.start()
            with suppress(OSError):  # it has ended, which `_listen` notices
                self._line.send(question)
        try:
            async with asyncio.timeout(_PATIENCE):
                answer, error = await asyncio.shield(self._waiting[question])
        except TimeoutError:
            raise NoAnswer(f"no answer within {_PATIENCE:.0f} seconds") from None
        if error:
            raise NoAnswer(error)
        return answer

    def leave(self) -> None:
        """Forget a worker that has ended."""
        if self._listener is None:
            self._line.close()  # else the listener does, which reads it

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with self._line as line, suppress(EOFError, OSError):
                while True:
                    question, answer, error = line.recv()
                    loop.call_soon_threadsafe(self._answered, question, answer, error)
            loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop has ended: nobody asks any more
            return

    def _answered(self, question: Question, answer: Any, error: str) -> None:
        waiting = self._waiting.pop(question, None)
        if waiting is not None:
            waiting.set_result((answer, error))

    def _end(self) -> None:
        self.ended = True
        for question in list(self._waiting):
            self._answered(question, None, _ENDED)


class Workers:
    """Answers for all workers of one bus.

    Args:
        count: how many there should be.
        runtime: the bus's, in this process: it knows the sources.
        pauses: what is paused in all workers.

    Attributes:
        asked: those that run, by number.
    """

    def __init__(self, count: int, runtime: Runtime, pauses: Pauses) -> None:
        self.asked: dict[int, Asked] = {}
        self._count = count
        self._runtime = runtime
        self._pauses = pauses
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Workers: {len(self.asked)} of {self._count} run>"

    async def live(self) -> Sequence[str]:
        """Return which workers serve and do not answer. Those that have ended are replaced, which needs no restart."""
        _, missing = await self._all(Question("live"))
        silent = {number for number, asked in self.asked.items() if asked.serving and not asked.ended}
        return [f"worker {number}: {reason}" for number, reason in missing.items() if number in silent]

    async def ready(self) -> Sequence[str]:
        """Return why which worker is not ready."""
        found, missing = await self._all(Question("ready"))
        reasons = [(number, reason) for number, several in found.items() for reason in several]
        return [f"worker {number}: {reason}" for number, reason in sorted([*reasons, *missing.items()])]

    async def metrics(self) -> str:
        """Return the metrics of the workers that answer, with the label ``worker``."""
        found, _ = await self._all(Question("metrics"))
        return merged_metrics(found)

    async def state(self) -> State:
        """Return the state of all workers as one."""
        return merged_state(*await self._all(Question("state")))

    async def held(self, source: str) -> Sequence[Held]:
        """Return some of what waits in the workers."""
        return merged_held(await self._each("held", source))

    async def messages(self, source: str, watcher: str, wanted: Wanted) -> Taken:
        """Return some of the messages that have arrived in the workers."""
        return merged_messages(await self._each("messages", source, watcher, wanted))

    async def history(self, source: str) -> Mapping[int, Step]:
        """Return what a source did in all workers together."""
        return merged((await self._each("history", source)).values())

    async def _each(self, about: Literal["held", "messages", "history"], source: str, *given: Any) -> dict[int, Any]:
        """Ask about a source, and return the answers of the workers that answer."""
        found, _ = await self._all(Question(about, given=(self._runtime.source_name(source), *given)))
        return found

    async def change(self, *, pause: bool, source: str | None, why: str) -> State:
        """Pause or resume in all workers, and in those that start later; return the state of all."""
        if source is not None:
            self._runtime.source_name(source)
        # One at a time: a worker answers no probe while it waits for what is asked here.
        async with self._changing:
            number = self._pauses.ask(Change(pause, source, why))
            return merged_state(*await self._all(Question("state", after=number)))

    async def _all(self, question: Question) -> tuple[dict[int, Any], dict[int, str]]:
        """Return the answers, and why others are missing, by number of the worker."""
        serving = {number: asked for number, asked in list(self.asked.items()) if asked.serving}
        answers = await asyncio.gather(*(each.ask(question) for each in serving.values()), return_exceptions=True)
        found = dict[int, Any]()
        missing = {number: "it does not serve yet" for number in range(1, self._count + 1) if number not in serving}
        for number, answer in zip(serving, answers, strict=True):
            if isinstance(answer, NoAnswer):
                missing[number] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[number] = answer
        return found, missing


def answer(line: Line, answers: Answers, pausing: Pausing, loop: asyncio.AbstractEventLoop) -> None:
    """Answer a supervisor, in a thread, until it or the event loop ends."""

    async def found(question: Question) -> Any:
        if question.after:
            await pausing.carried_out(question.after)
        return await getattr(answers, question.about)(*question.given)

    with line, suppress(EOFError, OSError):
        while True:
            question: Question = line.recv()
            if loop.is_closed():
                return
            try:
                line.send((question, asyncio.run_coroutine_threadsafe(found(question), loop).result(), ""))
            except Exception as error:
                logger.exception("the supervisor's question %r has no answer", question.about)
                line.send((question, None, f"{type(error).__name__}: {describe(error)}"))
