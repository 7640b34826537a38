"""Starts several workers that serve one bus, replaces workers that die, and stops them together.

Each worker is spawned with a fresh interpreter: client libraries and event loops do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Final

from brokerkit import BrokerkitError, RetryPolicy
from brokerkit._logging import get_logger
from brokerkit.cli._asking import Asked, Workers
from brokerkit.cli._pausing import TOGGLE, Order, Pauses
from brokerkit.cli._worker import STOP, Failure, Line, Orders, Serving, work

logger = get_logger(__name__)

_SPAWN: Final = multiprocessing.get_context("spawn")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_BACKOFF: Final = RetryPolicy(first=0.5, cap=30.0)
"""Waits before a worker is replaced. Its number of attempts is not used."""
_STEADY: Final = 60.0
"""Seconds of serving after which the next end counts as a first failure."""
_STARTS: Final = 5
"""How many starts of a worker may fail in a row while no other worker serves."""
_LOOK: Final = 1.0
"""Seconds between two checks of all workers. A dead worker's line may stay open in processes that the worker has forked."""


class Supervisor:
    """Keeps a number of workers running.

    Args:
        count: how many workers.
        orders: what each worker does.
        pauses: what is paused in all of them.
        answers: where those who ask over HTTP find the workers; None if nobody asks.
    """

    def __init__(self, count: int, orders: Orders, pauses: Pauses, answers: Workers | None = None) -> None:
        self._orders = orders
        self._pauses = pauses
        self._workers = [_Slot(number, answers) for number in range(1, count + 1)]
        self._signals = 0
        self._kill_at: float | None = None
        self._error: str | None = None
        self._status = 0

    def __repr__(self) -> str:
        running = sum(worker.process is not None for worker in self._workers)
        return f"<Supervisor: {running} of {len(self._workers)} workers run>"

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, which makes the workers drain. A second signal kills them. SIGUSR1 pauses them,
        and the next one resumes them.

        Returns:
            The highest exit status of the stopped workers: 0 if all drained, 128 or more after a signal.

        Raises:
            BrokerkitError: a worker failed with an error that a retry cannot fix, or no worker can be started.
        """
        try:
            with self._woken_by_signals():
                while self._kill_at is None or any(worker.process for worker in self._workers):
                    self._start_and_stop()
                    wait([self._pauses.woken, *self._lines()], timeout=_LOOK)
                    if self._pauses.woken.poll():
                        self._pauses.woken.recv()
                    self._pause_or_resume()
                    for worker in self._workers:
                        self._check(worker)
                        worker.tell_what_stands(self._pauses)
        finally:
            for worker in self._workers:
                worker.kill()
        if self._error is not None:
            raise BrokerkitError(self._error)
        return self._status

    @contextmanager
    def _woken_by_signals(self) -> Generator[None]:
        """Note each signal, and wake the supervisor, while the block runs."""

        def signalled(*_: object) -> None:
            self._signals += 1
            self._pauses.wake()

        def toggled(*_: object) -> None:
            self._pauses.toggle()

        before = {number: signal.signal(number, signalled) for number in _SIGNALS}
        if TOGGLE is not None:
            before[TOGGLE] = signal.signal(TOGGLE, toggled)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _lines(self) -> Iterable[Line]:
        return [worker.line for worker in self._workers if worker.line is not None]

    def _pause_or_resume(self) -> None:
        """Tell the workers what was asked for."""
        for order in self._pauses.take():
            for worker in self._workers:
                worker.tell(order)

    def _start_and_stop(self) -> None:
        """Start, stop or kill the workers that are due."""
        now = time.monotonic()
        if self._signals and self._kill_at is None:
            self._stop()
        elif self._kill_at is None:
            for worker in self._workers:
                if worker.process is None and worker.start_at <= now:
                    worker.start(self._orders, self._pauses.standing())
        elif self._signals > 1 or self._kill_at <= now:
            for worker in self._workers:
                if worker.process is not None:
                    logger.warning("killing %s; the messages that it has not finished come again", worker)
                    worker.process.kill()
                    worker.process.join()

    def _stop(self) -> None:
        self._kill_at = time.monotonic() + self._orders.kill_after
        for worker in self._workers:
            worker.stop()

    def _check(self, worker: _Slot) -> None:
        worker.listen()
        if worker.process is None or worker.process.is_alive():
            return
        worker.listen()  # to its last messages
        what, status = str(worker), worker.end()
        if self._kill_at is not None:
            self._status = max(self._status, status)
            if worker.failure is not None and worker.failure.text != self._error:
                logger.error("%s failed: %s", what, worker.failure.text)
            return
        if status == 0 and worker.serving:
            worker.leave(time.monotonic())
            logger.info("%s has drained; a new worker starts in %.1f s", what, worker.start_at - time.monotonic())
            return
        worker.fail(time.monotonic())
        reason = worker.failure.text if worker.failure is not None else f"it ended with status {status}"
        in_vain = worker.failed_starts >= _STARTS and not any(one.serving for one in self._workers)
        if in_vain or (worker.failure is not None and worker.failure.lasting):
            self._error = (
                f"{what} failed {worker.failed_starts} times in a row before it served: {reason}" if in_vain else reason
            )
            self._stop()
            return
        logger.error("%s failed: %s; a new worker starts in %.1f s", what, reason, worker.start_at - time.monotonic())


class _Slot:
    """A worker, and the workers that replace it.

    Attributes:
        process: the process of the present worker, or None between two workers.
        line: the connection to it.
        serving: whether it has reported that it serves.
        start_at: when the next worker starts, in monotonic time.
        failed_starts: how many workers in a row ended before they served.
        failure: the error of the present or last worker.
    """

    def __init__(self, number: int, answers: Workers | None = None) -> None:
        self.process: SpawnProcess | None = None
        self.line: Line | None = None
        self.start_at = 0.0
        self.failed_starts = 0
        self.failure: Failure | None = None
        self._number = number
        self._answers = answers
        self._knows_what_stands = False
        self._begun_paused: Sequence[str] = ()
        self._serving_since: float | None = None
        self._failures = 0

    def __repr__(self) -> str:
        return f"worker {self._number}" + (f" (pid {self.process.pid})" if self.process is not None else "")

    @property
    def serving(self) -> bool:
        return self._serving_since is not None

    def start(self, orders: Orders, standing: Order) -> None:
        """Start a process, which begins with what is paused now."""
        self._begun_paused = [change.source for change in standing.changes if change.source is not None]
        self.line, other = _SPAWN.Pipe()
        self.failure, self._knows_what_stands = None, False
        asked, questions = _SPAWN.Pipe() if self._answers is not None else (None, None)
        arguments = (self._number, other, orders, questions, standing)
        self.process = _SPAWN.Process(target=work, args=arguments, name=f"worker {self._number}")
        self.process.start()
        other.close()  # so that the line ends with the worker
        if self._answers is not None and asked is not None and questions is not None:
            questions.close()
            self._answers.asked[self._number] = Asked(asked)
        logger.info("%s has started", self)

    def listen(self) -> None:
        """Receive what the worker has sent."""
        try:
            while self.line is not None and self.line.poll():
                said = self.line.recv()
                if isinstance(said, Serving):
                    self._serving_since = time.monotonic()
                    self.failed_starts = 0
                    if self._answers is not None:
                        self._answers.asked[self._number].serving = True
                    logger.info("%s serves", self)
                else:
                    self.failure = said
        except (EOFError, OSError):
            self._hang_up()

    def stop(self) -> None:
        """Make the worker drain, if there is one."""
        self._say(STOP)

    def tell(self, order: Order) -> None:
        """Tell what to pause or to resume, unless `tell_what_stands` will."""
        if self._knows_what_stands:
            logger.info("%s is told to %s", self, ", ".join(map(str, order.changes)) or "go on")
            self._say(order)

    def tell_what_stands(self, pauses: Pauses) -> None:
        """Tell a worker that has begun to serve what was paused and resumed while it started."""
        if self.serving and not self._knows_what_stands:
            self._knows_what_stands = True
            self.tell(pauses.standing(self._begun_paused))

    def _say(self, order: str | Order) -> None:
        if self.line is not None:
            with suppress(OSError):
                self.line.send(order)

    def end(self) -> int:
        """Forget a process that has ended, and return its exit status."""
        assert self.process is not None
        code = self.process.exitcode or 0
        self.process.close()
        self.process = None
        self._hang_up()
        if self._answers is not None:
            self._answers.asked.pop(self._number).leave()
        return code if code >= 0 else 128 - code

    def leave(self, now: float) -> None:
        """Note an end that was asked for, and delay the next start as after a first failure."""
        self._serving_since = None
        self.start_at = now + _BACKOFF.wait(1)

    def fail(self, now: float) -> None:
        """Count an unexpected end, and delay the next start."""
        if self._serving_since is None:
            self.failed_starts += 1
        steady = self._serving_since is not None and now - self._serving_since >= _STEADY
        self._failures = 1 if steady else self._failures + 1
        self._serving_since = None
        self.start_at = now + _BACKOFF.wait(self._failures)

    def kill(self) -> None:
        """Kill the worker, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.end()

    def _hang_up(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None
