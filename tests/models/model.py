"""What a broker may do with the messages of one topic and one group, as far as its capabilities say.

The model knows what was published, who has what, and how it was settled. It is told of each delivery, and notes what must
not have happened. It also notes what has been *seen*: what a broker does where its capabilities leave it a choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from brokerkit._messages._headers import as_text
from brokerkit._messages._retry_state import FAILURES
from brokerkit.adapters.api import ACK, RELEASE, Capabilities, Delivery, Outcome, RetryLater, Settled

HEADER: Final = "trace"
_EARLY: Final = 0.02
"""Seconds by which clocks may differ that are read one after another."""


@dataclass(slots=True, repr=False)
class Entry:
    """One message.

    Attributes:
        state: ``parked`` is given back to a log, which brings it only to the next owner of its partition.
        holder: who has it.
        delivery: the delivery that counts.
        since: it was not given to its holder before this time, so its lease has not begun before.
        ready_since: it could not be given to anybody before this time.
        not_before: it must not come before this time.
        copies: how many copies a retry has made of it.
        seen: how often it, or its last copy, was delivered.
        taken: how many of these deliveries ended without being given back.
        hidden: how many more there may have been that nobody saw.
        is_fresh: nobody can have had it yet.
        may_repeat: why it may come again although it is settled, or twice; "" if it may not.
        released: it was given back, and has not come again yet.
        position: what the broker calls it.
    """

    number: int
    key: str | None
    ready_since: float
    state: Literal["ready", "held", "later", "parked", "done"] = "ready"
    holder: object = None
    delivery: Delivery | None = None
    since: float = 0.0
    not_before: float = 0.0
    copies: int = 0
    seen: int = 0
    taken: int = 0
    hidden: int = 0
    is_fresh: bool = True
    may_repeat: str = ""
    released: bool = False
    last_holder: object = None
    position: str | None = None
    position_is_open: bool = False
    partition: str = ""

    def __repr__(self) -> str:
        return f"<message {self.number} of key {self.key}: {self.state}, holder: {self.holder}>"


@dataclass(repr=False)
class Model:
    """The messages of a topic, as one group must see them.

    Attributes:
        lease: seconds for which a delivery is its holder's; None if it is as long as the connection lives.
        now: the clock of whoever runs this.
        is_abrupt: a log may take partitions away, and say so only afterwards.
        fetches_ahead: a client gets messages that nobody has asked for, and gives them back: those deliveries count too.
        wrong: what must not have happened.
        seen: what the broker does where it may choose.
        arrivals: how many deliveries there were.
        lines: what has happened.
    """

    promises: Capabilities
    lease: float | None
    now: Callable[[], float]
    is_abrupt: bool = False
    fetches_ahead: bool = False
    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    wrong: list[str] = field(default_factory=list[str])
    seen: set[str] = field(default_factory=set[str])
    arrivals: int = 0
    lines: list[str] = field(default_factory=list[str])
    _logs: dict[tuple[object, str], dict[int, tuple[Entry, bool]]] = field(
        default_factory=dict[tuple[object, str], dict[int, tuple[Entry, bool]]]
    )
    _first: dict[tuple[object, str], int] = field(default_factory=dict[tuple[object, str], int])

    def note(self, what: str) -> None:
        """Note what happens."""
        self.lines.append(f"{self.now():.3f} {what}")

    def blame(self, what: str) -> None:
        """Note what must not have happened."""
        self.note(f"WRONG: {what}")
        self.wrong.append(what)

    @staticmethod
    def body(number: int) -> bytes:
        """The body of a message."""
        return b'{"player_id": %d}' % number

    # ---- what members see ------------------------------------------------------------------------------------

    def publish(self, key: str | None) -> int:
        """A message is about to be published. Return its number."""
        number = len(self.entries)
        self.note(f"publish {number} of key {key}")
        self.entries[number] = Entry(number, key, self.now())
        return number

    def arrive(self, holder: object, asked: float, delivery: Delivery) -> None:
        """A member that asked at a time has got a delivery."""
        self.arrivals += 1
        body = delivery.body or b""
        number = int(body[len(b'{"player_id": ') : -1]) if body.startswith(b'{"player_id": ') else -1
        self.note(f"{number} comes to {holder}: count {delivery.count}, {delivery.broker_id}")
        entry = self.entries.get(number)
        if entry is None:
            self.blame(f"{body!r} was never published")
            return
        self._check_content(entry, delivery)
        self._check_turn(entry, holder)
        is_copy = entry.copies > 0 and delivery.is_ours
        self._check_count(entry, delivery, is_copy=is_copy)
        if entry.is_fresh:
            self._check_order(entry, holder)
        self._check_position(entry, delivery)
        self._look(entry, holder)
        entry.state, entry.holder, entry.last_holder = "held", holder, holder
        entry.delivery, entry.is_fresh, entry.released = delivery, False, False
        entry.since = max(asked, entry.ready_since)
        entry.seen += 1
        entry.partition = (delivery.broker_id or "").rpartition("/")[0]
        self._log(holder, delivery, entry, is_done=False)

    def _log(self, holder: object, delivery: Delivery, entry: Entry, *, is_done: bool) -> None:
        """Note what a log would have to keep."""
        if self.promises.commits_offsets and isinstance(delivery.position, tuple):
            log = self._logs.setdefault((holder, entry.partition), {})
            log[delivery.position[1]] = entry, is_done

    def _check_content(self, entry: Entry, delivery: Delivery) -> None:
        name = f"message {entry.number}"
        if delivery.body != self.body(entry.number):
            self.blame(f"{name} has the body {delivery.body!r}")
        if self.promises.metadata:
            if as_text(delivery.headers.get(HEADER, "")) != f"t{entry.number}":
                self.blame(f"{name} has the header {delivery.headers.get(HEADER)!r}")
            key = None if delivery.key is None else as_text(delivery.key)
            if key != entry.key:
                self.blame(f"{name} has the key {key!r}, and not {entry.key!r}")
        failures = delivery.headers.get(FAILURES)
        if delivery.is_ours:
            if not entry.copies:
                self.blame(f"{name} says that a member of the group wrote it")
            elif int(as_text(failures or "0")) != entry.copies and not entry.may_repeat:
                self.blame(f"{name} has {failures!r} failures, and not {entry.copies}")
        elif entry.copies and not entry.may_repeat and self.promises.copies_retries and self.promises.own_queues:
            self.blame(f"{name} was replaced by a copy, and came itself")

    def _check_turn(self, entry: Entry, holder: object) -> None:
        name, now = f"message {entry.number}", self.now()
        if entry.may_repeat:
            return
        if entry.state == "done":
            self.blame(f"{name} comes again although it is settled")
        elif entry.state == "held":
            if self.is_abrupt and holder is not entry.holder:
                held = [one for one in self.held_by(entry.holder) if one.partition == entry.partition]
                self.lost(entry.holder, [one.delivery for one in held if one.delivery], gone=True)
            elif self.lease is None:
                self.blame(f"{name} comes to {holder}, and {entry.holder} has it")
            elif now - entry.since < self.lease - _EARLY:
                self.blame(f"{name} comes to {holder} {now - entry.since:.2f} s after {entry.holder} got it")
            else:
                entry.taken += 1
                entry.hidden += 1
                self.seen.add("a lease ends")
        elif entry.state == "later" and now < entry.not_before - _EARLY:
            self.blame(f"{name} comes {entry.not_before - now:.2f} s before its time")

    def _check_count(self, entry: Entry, delivery: Delivery, *, is_copy: bool) -> None:
        if self.promises.attempts == "none":
            if delivery.count:
                self.blame(f"message {entry.number} has a count, and the broker does not count")
            return
        if entry.may_repeat:
            return
        least, most = 1 + entry.taken, 1 + entry.seen + entry.hidden
        if delivery.count < least or (delivery.count > most and not self.fetches_ahead):
            self.blame(f"message {entry.number} has the count {delivery.count}, and not {least} to {most}")
        if entry.released and not entry.hidden:
            self.seen.add("giving back counts" if delivery.count > least else "giving back does not count")

    def _check_order(self, entry: Entry, holder: object) -> None:
        if entry.key is None or self.promises.order == "none":
            return
        last = self._first.get((holder, entry.key), -1)
        if last > entry.number:
            self.blame(f"message {entry.number} comes to {holder} after message {last} of the same key")
        self._first[holder, entry.key] = max(last, entry.number)

    def _check_position(self, entry: Entry, delivery: Delivery) -> None:
        if not self.promises.stable_id:
            return
        found = delivery.broker_id
        if found is None:
            self.blame(f"message {entry.number} has no id")
        elif not entry.position_is_open and entry.position not in (None, found) and not entry.may_repeat:
            self.blame(f"message {entry.number} was {entry.position}, and is {found}")
        entry.position, entry.position_is_open = found, False

    def _look(self, entry: Entry, holder: object) -> None:
        """Note what the broker chose."""
        if entry.state == "done":
            self.seen.add("what is settled comes again")
        if entry.released:
            self.seen.add("given back: to the same one" if entry.last_holder is holder else "given back: to another")
        for other in self.entries.values():
            if other.number >= entry.number or other is entry:
                continue
            if other.released and other.state == "ready" and entry.is_fresh:
                self.seen.add("given back: others come first")
            if other.state == "held" and other.key == entry.key is not None and other.holder is not holder:
                self._check_key(entry, holder, other)
            if other.state == "held" and other.key == entry.key is not None and other.holder is holder:
                self.seen.add("two of a key at one member")
            if other.state in ("later", "parked") and other.key == entry.key is not None:
                self.seen.add("a retry is overtaken")

    def _check_key(self, entry: Entry, holder: object, other: Entry) -> None:
        """Another member has a message of the same key."""
        self.seen.add("a key at two members")
        is_over = self.lease is not None and self.now() - other.since >= self.lease - _EARLY
        if self.promises.order == "group" and not (is_over or entry.may_repeat or other.may_repeat or self.is_abrupt):
            self.blame(
                f"message {entry.number} comes to {holder}, and {other.holder} has {other.number} of the same key"
            )

    # ---- what members do -------------------------------------------------------------------------------------

    def settling(self, holder: object, delivery: Delivery, outcome: Outcome) -> Entry | None:
        """A member is about to settle a delivery. Return its message, if the delivery still counts.

        The message may come again before the member knows that it is settled.
        """
        found = [one for one in self.entries.values() if one.delivery is delivery and one.state == "held"]
        if not found or found[0].holder is not holder:
            return None  # it is somebody else's, which `arrive` has looked at
        [entry] = found
        now = self.now()
        self.note(f"{holder} settles {entry.number}: {type(outcome).__name__}")
        if outcome is RELEASE:
            entry.state, entry.released, entry.ready_since = "ready", True, now
            if self.promises.commits_offsets:
                entry.state = "parked"
        elif isinstance(outcome, RetryLater):
            entry.state, entry.not_before, entry.ready_since = "later", now + outcome.after, now
            if self.promises.copies_retries:
                entry.copies += 1
                entry.seen = entry.taken = entry.hidden = 0
                entry.position_is_open = True
        return entry

    def settled(self, entry: Entry, delivery: Delivery, outcome: Outcome, answer: Settled) -> None:
        """The broker has answered."""
        self.note(f"{entry.number} is settled: {answer.value}")
        self.seen.add(f"settled: {answer.value}")
        if answer is Settled.DONE:
            if outcome is ACK and entry.delivery is delivery:
                entry.state = "done"
            if outcome is not RELEASE and (entry.last_holder, entry.partition) in self._logs:
                self._log(entry.last_holder, delivery, entry, is_done=True)
            return
        if self.lease is None or self.now() - entry.since < self.lease - _EARLY:
            self.blame(f"message {entry.number} was not lost, and settling it was answered with {answer.value}")
        entry.may_repeat = f"settling it was answered with {answer.value}"
        if entry.delivery is delivery:
            self.lose(entry)

    def extended(self, holder: object, delivery: Delivery, answer: Settled, begun: float) -> None:
        """A member has extended the lease of a delivery."""
        for entry in self.entries.values():
            if entry.delivery is delivery and entry.holder is holder and entry.state == "held":
                if answer is Settled.DONE:
                    entry.since = begun
                elif self.lease is not None and self.now() - entry.since < self.lease - _EARLY:
                    self.blame(f"message {entry.number} was {holder}'s, and its lease was {answer.value}")

    def lose(self, entry: Entry) -> None:
        """A delivery is nobody's any more: its message comes again."""
        entry.state, entry.holder, entry.delivery = "ready", None, None
        entry.taken += 1
        entry.hidden += 1
        entry.ready_since = 0.0
        if self.promises.attempts == "deliveries":
            entry.taken -= 1  # whether it counts depends on how the broker noticed

    def lost(self, holder: object, deliveries: list[Delivery], *, gone: bool) -> None:
        """The broker takes deliveries away, or is about to."""
        self.note(f"{'taken from' if gone else 'asked back from'} {holder}: {deliveries}")
        self.seen.add("taken away" if gone else "asked back")
        partitions: set[str] = set()
        for entry in self.entries.values():
            if entry.state == "held" and entry.holder is holder and entry.delivery in deliveries:
                partitions.add(entry.partition)
                self.lose(entry)
        self._end_session(holder, None if gone else partitions, committed=not gone)

    def left(self, holder: object, *, died: bool) -> None:
        """A member is gone."""
        self.note(f"{holder} {'is dead' if died else 'leaves'}")
        self._end_session(holder, None, committed=not died)
        for entry in self.entries.values():
            if entry.holder is holder and entry.state == "held":
                self.lose(entry)
            if entry.state != "done":
                # What the client had fetched, and nobody has seen, was delivered too.
                entry.is_fresh = False
                entry.hidden += 1

    def _end_session(self, holder: object, partitions: set[str] | None, *, committed: bool) -> None:
        """A log repeats what is behind the offset that it keeps: the first that is not done."""
        for owner, partition in list(self._logs):
            if owner is not holder or (partitions is not None and partition not in partitions):
                continue
            log = self._logs.pop((owner, partition))
            first = min((offset for offset, (_, is_done) in log.items() if not is_done), default=math.inf)
            for offset, (entry, is_done) in log.items():
                if is_done and (not committed or offset > first):
                    entry.may_repeat = "its offset was not kept"
                elif entry.state == "parked":
                    entry.state = "ready"

    # ---- what must come --------------------------------------------------------------------------------------

    def held_by(self, holder: object) -> list[Entry]:
        """What a member has."""
        return [one for one in self.entries.values() if one.state == "held" and one.holder is holder]

    @property
    def open(self) -> list[Entry]:
        """What is not settled for good."""
        return [one for one in self.entries.values() if one.state != "done"]

    @property
    def must_come(self) -> bool:
        """Whether something is there that a member would get if all of them asked."""
        busy = {one.key for one in self.open if one.state in ("held", "parked") and one.key is not None}
        if self.promises.order != "group":
            busy.clear()
        return any(one.state in ("ready", "later") and one.key not in busy for one in self.open)
