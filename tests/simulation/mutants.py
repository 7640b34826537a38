"""The faults that are put into the core on purpose, as texts that are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PACKAGE: Final = Path(__file__).parents[2] / "src" / "brokerkit"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault.

    Attributes:
        name: what is wrong.
        path: the module, below ``src/brokerkit``.
        old: the text that is replaced; it occurs once.
        new: what replaces it.
        simulation: which one finds it.
    """

    name: str
    path: str
    old: str
    new: str
    simulation: Literal["core", "dedupe"] = "core"

    @property
    def text(self) -> str:
        """The module as it is."""
        return (PACKAGE / self.path).read_text(encoding="utf-8")


_M: Final = Mutation
CORE_MUTATIONS: Final = (
    _M(
        "a failed message is acknowledged",
        "_consuming/_retries.py",
        "                self._hold(delivery)\n            case RetryAtBroker",
        "                self._flow.finish(delivery, ACK)\n            case RetryAtBroker",
    ),
    _M(
        "a message is acknowledged before its dead letter is stored",
        "_consuming/_retries.py",
        "            self.writer.add(delivery)\n        else:\n            self.transactions.add_letter",
        "            self._flow.settle(delivery, ACK)\n            self.writer.add(delivery)\n        else:\n"
        "            self.transactions.add_letter",
    ),
    _M(
        "a dead letter that was refused counts as stored",
        "_dead_letters/_writer.py",
        "                if failure is None:",
        "                if failure is None or not self._stopping.is_set():",
    ),
    _M(
        "a dead letter that was refused is forgotten",
        "_dead_letters/_writer.py",
        "                self._waiting += again\n",
        "",
    ),
    _M(
        "a dead letter that was refused at a stop is not given back",
        "_dead_letters/_writer.py",
        "                    self._kept(delivery)",
        "                    pass",
    ),
    _M(
        "one attempt too many",
        "_consuming/_failure.py",
        "failures >= decides.attempts",
        "failures > decides.attempts",
    ),
    _M(
        "one attempt too few",
        "_consuming/_failure.py",
        "failures >= decides.attempts",
        "failures + 1 >= decides.attempts",
    ),
    _M(
        "a rejected message is tried again",
        "_consuming/_failure.py",
        "isinstance(error, (Reject, DecodeError)) or ",
        "",
    ),
    _M(
        "a message that a stop cancelled has failed",
        "_consuming/_failure.py",
        "    return not isinstance(error, (Stopped, Postponed))",
        "    return not isinstance(error, Postponed)",
    ),
    _M(
        "waits are half as long",
        "_consuming/_failure.py",
        "    return max(decides.wait(failures) if asked is None else asked, LEAST_WAIT)",
        "    return max((decides.wait(failures) if asked is None else asked) / 2, LEAST_WAIT)",
    ),
    _M(
        "a wait that a handler asks for is ignored",
        "_consuming/_failure.py",
        "    asked = error.after if isinstance(error, Retry) else None",
        "    asked = None",
    ),
    _M(
        "waits do not grow",
        "_config/_retry_policy.py",
        "        return wait(failures, first=self.first",
        "        return wait(1, first=self.first",
    ),
    _M(
        "a held message is not held under a strict order",
        "_consuming/_failure.py",
        "        if self.strict or not self.durable or (wait",
        "        if not self.durable or (wait",
    ),
    _M(
        "a copy does not count the failures",
        "_messages/_retry_state.py",
        "            FAILURES: str(self.failures),",
        '            FAILURES: "0",',
    ),
    _M(
        "a copy forgets which handlers are done",
        "_messages/_retry_state.py",
        "            done=_names(headers.get(DONE)),",
        "            done=(),",
    ),
    _M(
        "handlers that are done run again",
        "_consuming/_executor.py",
        "        left, batch = route.left(earlier)\n",
        "        left, batch = route.left(())\n",
    ),
    _M(
        "what is known of a message that comes again is not restored",
        "_consuming/_remembered.py",
        '        return self._known.pop(_known_by(delivery) or "", None)',
        "        return None",
    ),
    _M(
        "two deliveries share what is known of a message",
        "_consuming/_remembered.py",
        "replace(delivery.retry_state, timer=None)",
        "delivery.retry_state",
    ),
    _M(
        "an attempt has the time of the one before it",
        "_consuming/_executor.py",
        "        slot.seen = (None, None, 0.0)  # The same",
        "        # The same",
    ),
    _M(
        "a handler is never cancelled",
        "_consuming/_executor.py",
        "                    slot.timed_out = True\n                    slot.task.cancel()",
        "                    pass",
    ),
    _M(
        "a handler has twice its time",
        "_consuming/_executor.py",
        "now - since > (call",
        "now - since > 2 * (call",
    ),
    _M(
        "a lane is never left",
        "_consuming/_flow.py",
        "        if delivery.lane is not None and (following := self.lanes.leave(delivery)) is not None:",
        "        if False and (following := self.lanes.leave(delivery)) is not None:",
    ),
    _M(
        "a lane is left twice",
        "_consuming/_flow.py",
        "        self.stats.handled += 1\n        self.settlement.add(delivery, ACK)\n",
        "        self.stats.handled += 1\n        self.settlement.add(delivery, ACK)\n        key = delivery.lane\n"
        "        if key is not None:\n            self.lanes.leave(delivery)\n"
        "            delivery.lane = key if key in self.lanes else None\n",
    ),
    _M(
        "the next message of a key goes last",
        "_consuming/_flow.py",
        "            self.inbox.appendleft(following)\n\n    def skip",
        "            self.inbox.append(following)\n\n    def skip",
    ),
    _M(
        "the last message of a lane goes on first",
        "_consuming/_lanes.py",
        "following = waiting.popleft()",
        "following = waiting.pop()",
    ),
    _M(
        "messages of one key run at once",
        "_consuming/_executor.py",
        "                    and not enter(delivery, key)",
        "                    and not (enter(delivery, key) or len(flow.lanes) > 1)",
    ),
    _M(
        "a lane goes on while the broker keeps its message for later",
        "_consuming/_flow.py",
        "        if delivery.lane is not None and not isinstance(outcome, RetryLater):",
        "        if delivery.lane is not None:",
    ),
    _M(
        "no idle slot is woken for the next message of a key",
        "_consuming/_flow.py",
        "else self.inbox).appendleft(following)\n            self.wake(1)",
        "else self.inbox).appendleft(following)",
    ),
    _M(
        "no idle slot is woken for a message that is tried again",
        "_consuming/_flow.py",
        "else self.inbox).append(delivery)\n        self.wake(1)",
        "else self.inbox).append(delivery)",
    ),
    _M(
        "room is never given back for what is not acknowledged",
        "_consuming/_flow.py",
        "        self.in_flight -= count\n",
        "        self.in_flight -= count if count > 1 else 0\n",
    ),
    _M(
        "room is given back twice",
        "_consuming/_flow.py",
        "        self.in_flight -= count\n",
        "        self.in_flight -= count + 1\n",
    ),
    _M(
        "pollers are not woken when there is room",
        "_consuming/_flow.py",
        "        self.in_flight -= count\n        self.wake_pollers()\n",
        "        self.in_flight -= count\n",
    ),
    _M(
        "leases are not extended",
        "_consuming/_leases.py",
        "            if due:\n",
        "            if due and False:\n",
    ),
    _M(
        "a lease is extended once",
        "_consuming/_leases.py",
        "                self._batches.append((now, due))\n",
        "",
    ),
    _M(
        "leases are extended too late",
        "_consuming/_leases.py",
        "now - since >= self._seconds / 3",
        "now - since >= self._seconds * 1.1",
    ),
    _M(
        "the end of a lease is not noticed",
        "_consuming/_leases.py",
        "                        self._lost(delivery)",
        "                        pass",
    ),
    _M(
        "what is lost stays in its lane",
        "_consuming/_giving_back.py",
        "        if self._let_go(delivery):\n            self._flow.advance(delivery)",
        "        self._let_go(delivery)",
    ),
    _M(
        "what is lost is handled all the same",
        "_consuming/_giving_back.py",
        "        delivery.state = State.LOST\n        self._flow.backlog",
        "        self._flow.backlog",
    ),
    _M(
        "what is lost makes no room",
        "_consuming/_giving_back.py",
        '        self._flow.tell("lost", delivery)\n        self._flow.forget()',
        '        self._flow.tell("lost", delivery)',
    ),
    _M(
        "a stop does not give back what is held",
        "_consuming/_giving_back.py",
        "        waiting = [*self._retries.held, *next_ones",
        "        waiting = [*next_ones",
    ),
    _M(
        "a stop does not give back what waits in lanes",
        "_consuming/_giving_back.py",
        "*next_ones, *flow.lanes.waiting(), *others",
        "*next_ones, *others",
    ),
    _M(
        "a stop does not wait for handlers",
        "_consuming/_consumer.py",
        "await self._executor.stop(timeout=max(deadline - self._loop.time(), 0), grace=_GRACE)",
        "await self._executor.stop(timeout=0, grace=_GRACE)",
    ),
    _M(
        "a stop does not wait for settlements",
        "_consuming/_consumer.py",
        "            await self._flow.progress(_GRACE)\n",
        "            break\n",
    ),
    _M(
        "what comes before a started message is given back",
        "_consuming/_giving_back.py",
        "        self._needed = self.before_started().union(batches)\n",
        "        self._needed = frozenset(batches)\n",
    ),
    _M(
        "a settlement that was refused is forgotten",
        "_consuming/_settlement.py",
        "guarded(self._add_again, self._crashed), delivery, outcome)",
        "guarded(id, self._crashed), delivery)",
    ),
    _M(
        "an answer is taken for another delivery",
        "_consuming/_settlement.py",
        "            for (delivery, outcome), answer in zip(pairs, answers, strict=True):",
        "            for (delivery, outcome), answer in zip(pairs, answers[1:] + answers[:1], strict=True):",
    ),
    _M(
        "a message that cannot be put off is forgotten",
        "_consuming/_settlement.py",
        "            self._not_put_off(delivery, outcome)\n",
        "",
    ),
    _M(
        "a suspect is never run alone",
        "_consuming/_isolation.py",
        "        self._keep_all()\n        self._wanted.set()",
        "        self._keep_all()",
    ),
    _M(
        "after suspects nothing goes on",
        "_consuming/_isolation.py",
        "        ready.extend(self.suspects.clear())\n",
        "        self.suspects.clear()\n",
    ),
    _M(
        "a suspect is given up after its first lone start",
        "_consuming/_isolation.py",
        "        if starts > self._limit:",
        "        if starts > 0:",
    ),
    _M(
        "a limit counts only what waited for it",
        "_consuming/_rate_limits.py",
        "        for limit in limits:\n            limit.take(now)\n        self._wake_in_time()",
        "        for limit in limits:\n            limit.take(limit.free_at)\n        self._wake_in_time()",
    ),
    _M(
        "what waits for a limit passes others of its key",
        "_consuming/_rate_limits.py",
        "            if not self._is_first_of_key(delivery):\n                continue\n",
        "            self._is_first_of_key(delivery)\n",
    ),
    _M(
        "what waits for a limit is not woken",
        "_consuming/_rate_limits.py",
        "            self._timer = self._loop.call_at(when",
        "            self._timer = self._loop.call_at(when + 1e6",
    ),
    _M(
        "a message that runs alone waits for no limit",
        "_consuming/_isolation.py",
        "                await wait_for_limits(self._flow, self._stopping)\n",
        "",
    ),
    _M(
        "an offset moves past a message that is not done",
        "adapters/_offsets.py",
        "        first = next(iter(self._open), self._end)\n        return first if first is None",
        "        first = self._end\n        return first if first is None",
    ),
    _M(
        "a released message is committed",
        "adapters/_offsets.py",
        "        self._released = offset if self._released is None else min(offset, self._released)\n",
        "",
    ),
)
