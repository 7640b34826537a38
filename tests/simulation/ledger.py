"""What has happened to each message, and what of it must not have happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from brokerkit._backoff import longest_backoff
from brokerkit._messages._headers import as_text
from brokerkit._messages._outgoing import Outgoing
from brokerkit._messages._retry_state import ERROR_TYPE, FAILURES
from tests.simulation.loop import LIFE, Life, SimulatedLoop
from tests.simulation.plan import Plan, Planned, Step

_SOON: Final = 0.03
_ENDED: Final = ("its process died", "it was taken away")


@dataclass(slots=True)
class Account:
    """What has happened to one message.

    Attributes:
        excuses: reasons for which it may be handled once more than it should.
        begun: for each handler, how often it has begun.
        open: for each handler, how many of these have not ended.
        done: for each handler, how often it has succeeded.
        failures: attempts that have failed.
        cut: attempts that a stop has cut short.
        not_before: when the next attempt may begin.
        place: its place in the order of publishing; 0 before that.
        life: the process that it began in last.
        failed_in: the processes in which an attempt has failed.
        attempt: the number of its last attempt.
    """

    plan: Planned
    excuses: list[str] = field(default_factory=list[str])
    begun: list[int] = field(default_factory=list[int])
    open: list[int] = field(default_factory=list[int])
    done: list[int] = field(default_factory=list[int])
    letters: int = 0
    failures: int = 0
    cut: int = 0
    rejected: bool = False
    killed: int = 0
    not_before: float = 0.0
    place: int = 0
    life: Life | None = None
    failed_in: list[Life] = field(default_factory=list[Life])
    attempt: int = 0

    @property
    def is_over(self) -> bool:
        return bool(self.letters) or all(self.done)


class Ledger:
    """Accounts of all messages.

    Attributes:
        wrong: what must not have happened.
    """

    def __init__(self, plan: Plan, loop: SimulatedLoop) -> None:
        self._setup = plan.setup
        self._loop = loop
        count = plan.setup.handlers
        self.accounts = {
            message.number: Account(message, begun=[0] * count, open=[0] * count, done=[0] * count)
            for message in plan.messages
        }
        self._running: dict[Life, list[tuple[int, int, str | None]]] = {}
        self._first: dict[tuple[Life, str], tuple[int, float]] = {}
        self._attempts: dict[Life, set[tuple[int, int]]] = {}
        self._began: dict[tuple[Life, int], list[float]] = {}
        self._failed: dict[Life, list[float]] = {}
        self._published = 0
        self._received = 0
        self.wrong: list[str] = []

    def blame(self, what: str) -> None:
        """Note what must not have happened."""
        self._loop.trace(f"WRONG: {what}")
        self.wrong.append(f"{self._loop.time():.3f} s: {what}")

    def excuse(self, number: int, why: str) -> None:
        """Note why a message may be handled once more."""
        self._loop.trace(f"excuse {number}: {why}")
        self.accounts[number].excuses.append(why)

    # ---- handlers --------------------------------------------------------------------------------------------

    def begin(self, life: Life, number: int, handler: int, attempt: int) -> Step:
        """A handler begins. Return what it is to do."""
        account, now = self.accounts[number], self._loop.time()
        self._loop.trace(f"begin {number} {handler} in {life.number}, attempt {attempt}")
        was_elsewhere = account.life not in (None, life) or any(one is not life for one in account.failed_in)
        if was_elsewhere and (attempt <= account.failures or account.cut):
            self.excuse(number, "what is known of it is in another process")
        account.life, account.attempt = life, attempt
        if not account.excuses:
            self._check_begin(account, handler, attempt, now)
        if attempt > self._setup.attempts:
            self.blame(f"message {number} is in attempt {attempt} of {self._setup.attempts}")
        running = self._running.setdefault(life, [])
        key = account.plan.key
        if self._setup.order != "none" and key is not None and any(key == each for *_, each in running):
            self.blame(f"two messages of key {key} run at once: {running} and {number}")
        running.append((number, handler, key))
        if len(running) > self._setup.concurrency:
            self.blame(f"{len(running)} handlers run, and {self._setup.concurrency} at most should")
        if key is not None and self._setup.order != "none":
            self._check_order(life, account, key)
        if self._setup.rates:
            self._check_rates(life, number, handler, attempt, now)
        steps = account.plan.steps[handler]
        step = steps[account.begun[handler]] if account.begun[handler] < len(steps) else Step("ok", 0.0)
        account.begun[handler] += 1
        account.open[handler] += 1
        return step

    def _check_begin(self, account: Account, handler: int, attempt: int, now: float) -> None:
        number = account.plan.number
        if account.letters:
            self.blame(f"message {number} begins although its dead letter is stored")
        if account.done[handler]:
            self.blame(f"message {number} begins again in handler {handler}, which is done with it")
        if account.open[handler]:
            self.blame(f"message {number} begins in handler {handler} while it runs there")
        if attempt != account.failures + 1:
            self.blame(f"message {number} begins in attempt {attempt} after {account.failures} failures")
        if now < account.not_before - _SOON:
            self.blame(f"message {number} begins {account.not_before - now:.3f} s too early")

    def _check_rates(self, life: Life, number: int, handler: int, attempt: int, now: float) -> None:
        """No more begin in any time than may. Later handlers of a message begin when the earlier ones have ended, so only
        the source and the first handler are checked.
        """
        is_new = (number, attempt) not in self._attempts.setdefault(life, set())
        self._attempts[life].add((number, attempt))
        for which, counts in ((0, is_new), (1, handler == 0)):
            rate = self._setup.rates[which]
            if rate is None or not counts:
                continue
            began = self._began.setdefault((life, which), [])
            began.append(now)
            for count, since in enumerate(reversed(began), 1):
                if count > rate.at_once + rate.per_second * (now - since) + 0.001:
                    self.blame(f"{count} messages begin within {now - since:.3f} s, with a limit of {rate}")
                    break

    def _check_order(self, life: Life, account: Account, key: str) -> None:
        """Messages of a key that nothing has happened to begin in order; under a strict order none passes another."""
        number = account.plan.number
        if account.excuses or account.failures or account.cut or sum(account.begun):
            return
        setup = self._setup
        strict = setup.order == "strict" and setup.promises.order == "group"
        for other in self.accounts.values():
            if other.plan.key != key or not 0 < other.place < account.place or other.excuses:
                continue
            if strict and not other.is_over:
                self.blame(f"message {number} passes {other.plan.number} of the same key, which is not over")
            elif setup.pulls_back and not (other.is_over or other.rejected or other.failures >= setup.attempts):
                self.blame(f"message {number} passes {other.plan.number} of the same key, which is tried again")
            elif not sum(other.begun) and not other.is_over and self._was_before(life, other, account):
                self.blame(f"message {number} begins before {other.plan.number} of the same key")

    def received(self, life: Life, number: int) -> None:
        """A message has come to a process."""
        self._loop.trace(f"receive {number} in {life.number}")
        self._received += 1
        self._first.setdefault((life, str(number)), (self._received, self._loop.time()))

    def given_back(self, life: Life, number: int) -> None:
        """A message has left a process."""
        self._first.pop((life, str(number)), None)

    def _was_before(self, life: Life, other: Account, account: Account) -> bool:
        first = self._first.get((life, str(other.plan.number)))
        second = self._first.get((life, str(account.plan.number)))
        return first is not None and second is not None and first < second and not self._goes_back(life, other)

    def _goes_back(self, life: Life, account: Account) -> bool:
        """Whether a message of this key has waited in a process for so long that it is given back, with all behind it.

        A slow broker hears of it late, and may send the next ones first.
        """
        limit, now = self._setup.promises.max_hold, self._loop.time()
        if limit is None:
            return False
        same = (str(one.plan.number) for one in self.accounts.values() if one.plan.key == account.plan.key)
        return any((life, one) in self._first and now - self._first[life, one][1] >= limit / 2 for one in same)

    def end(self, life: Life, number: int, handler: int, how: str, wait: float | None = None) -> None:
        """A handler has ended."""
        account = self.accounts[number]
        self._loop.trace(f"end {number} {handler} in {life.number}: {how}")
        self._running[life].remove((number, handler, account.plan.key))
        account.open[handler] -= 1
        if how not in ("ok", "cut"):
            account.failed_in.append(life)
            self._failed.setdefault(life, []).append(self._loop.time())
        match how:
            case "ok":
                account.done[handler] += 1
                if account.done[handler] > 1 + len(account.excuses):
                    self.blame(f"message {number} was handled {account.done[handler]} times without a reason")
            case "cut":
                account.cut += 1
            case "reject":
                account.rejected = True
                account.failures += 1
            case _:
                account.failures += 1
                setup = self._setup
                if wait is None:
                    longest = longest_backoff(account.attempt, first=setup.first, cap=setup.cap)
                    wait = longest / 2
                account.not_before = self._loop.time() + wait

    def check_failed(self, life: Life, counted: int, *, until: float) -> None:
        """A process has counted its failed attempts. One that ends when its stop is under way may have been cut short."""
        times = self._failed.get(life, [])
        if not sum(time < until for time in times) <= counted <= len(times):
            self.blame(f"process {life.number} has counted {counted} failed attempts, and there were {len(times)}")

    def runs(self, life: Life) -> bool:
        """Whether handlers of a process run."""
        return bool(self._running.get(life))

    def died(self, life: Life) -> None:
        """A process is dead."""
        for number, handler, _ in self._running.pop(life, []):
            self.accounts[number].open[handler] -= 1
            self.excuse(number, "its process died")

    # ---- the broker ------------------------------------------------------------------------------------------

    def publish(self, number: int) -> None:
        """A message is published."""
        self._published += 1
        self.accounts[number].place = self._published

    def acknowledge(self, number: int) -> None:
        """The broker is told that a message is done."""
        self._loop.trace(f"ack {number}")
        if not self.accounts[number].is_over:
            self.blame(f"message {number} is acknowledged, but neither handled nor a dead letter")

    def acknowledge_offset(self, number: int) -> None:
        """The offset of a log is moved behind a message: it is over, or a copy of it waits."""
        account = self.accounts[number]
        if not (account.is_over or account.failures or account.cut):
            self.blame(f"the offset is moved past message {number}, which is neither handled nor a dead letter")

    def letter(self, number: int, letter: Outgoing) -> None:
        """A dead letter is stored."""
        account = self.accounts[number]
        account.letters += 1
        failures, error = int(str(as_text(letter.headers[FAILURES]))), str(as_text(letter.headers[ERROR_TYPE]))
        self._loop.trace(f"letter {number}: {failures} {error}")
        if account.letters > 1 + len(account.excuses):
            self.blame(f"message {number} has {account.letters} dead letters without a reason")
        if all(account.done) and not account.excuses:
            self.blame(f"message {number} is handled, and a dead letter")
        if failures > account.failures:
            self.blame(f"the dead letter of {number} says {failures} failures, and there were {account.failures}")
        # What one process knows of its failures another one does not, so that the starts alone may be counted first.
        # A start alone that its process did not survive counts as one that the message ended.
        ended = account.killed + sum(why in _ENDED for why in account.excuses)
        enough = ended + account.failures >= (3 if ended else max(3, self._setup.attempts))
        given_up = error == "BrokerkitError" and enough
        if not (account.rejected or failures == self._setup.attempts or given_up):
            self.blame(
                f"message {number} is a dead letter after {failures} of {self._setup.attempts} attempts: {error}"
            )

    def finish(self) -> None:
        """Look at all accounts when everything is over."""
        for number, account in self.accounts.items():
            if not account.is_over:
                self.blame(f"message {number} is lost: neither handled nor a dead letter")
            if any(account.open):
                self.blame(f"message {number} still runs")


def running_life() -> Life:
    """The process that runs."""
    life = LIFE.get()
    assert life is not None
    return life
