"""The first messages of a source: until they show that its settings are right, nothing is acknowledged.

EvenBet's documents do not say where the event name travels, so a name rule is a guess until it has worked once. And
most vendors' models accept any object, so an envelope around the event goes unnoticed until a field has been read once.
A wrong guess must not acknowledge a vendor's whole stream without notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brokerkit._consuming._fit import Judge, show
from brokerkit._errors import ForeignBody, WrongNameRule
from brokerkit._messages._delivery import Delivery
from brokerkit.events._presence import Fit
from brokerkit.formats._foreign import recognised

FIRST_MESSAGES: Final = 100
"""If this many messages do not fit, and none before them did, the settings are wrong."""


class FirstMessagesGuard:
    """Keeps the messages that do not fit until one shows that the settings are right.

    Args:
        source: the source's name, for the error.
        rules: its name rules, for the error.
        limit: how many messages may be kept at most.
        names: whether messages with unknown names are kept.
        bodies: whether messages without a field of their model are kept.

    Attributes:
        kept: the messages that wait, in the order in which they came.
    """

    def __init__(self, *, source: str, rules: Iterable[str], limit: int, names: bool, bodies: bool) -> None:
        self._source = source
        self._rules = ", ".join(rules)
        self._limit = min(FIRST_MESSAGES, limit)
        self._names = names
        self._bodies = bodies
        self._undecided = 0
        self._foreign: dict[Delivery, Judge] = {}
        self.kept: list[Delivery] = []

    def __repr__(self) -> str:
        return f"<FirstMessagesGuard of {self._source}: {len(self.kept)} of {self._limit} kept>"

    def __contains__(self, delivery: object) -> bool:
        return delivery in self.kept

    @property
    def is_over(self) -> bool:
        """Whether the settings have proved right, so that nothing is kept any more."""
        return not (self._names or self._bodies)

    @property
    def sees_foreign(self) -> bool:
        """Whether a message is kept because it has no field of its model."""
        return bool(self._foreign)

    @property
    def judges(self) -> bool:
        """Whether bodies must still be judged."""
        return self._bodies

    def take(self, delivery: Delivery, fit: Fit, judge: Judge | None) -> list[Delivery]:
        """Keep a message or let it go on. Return the messages that may go on, in order: those that were kept, then this
        one.

        Raises:
            WrongNameRule: too many messages are kept. The error shows one of them.
        """
        if fit is Fit.FOREIGN and judge is not None and self._bodies:
            self._foreign[delivery] = judge
            return self._keep(delivery)
        if fit is Fit.UNKNOWN:
            return self._keep(delivery) if self._names or self._foreign else [delivery]
        self._names = False
        if fit is Fit.UNDECIDED and self._bodies:
            if self._foreign:
                return self._keep(delivery)  # in its order behind them
            self._undecided += 1
            self._bodies = self._undecided < FIRST_MESSAGES
        else:
            self._bodies = False
        free = [*self.kept, delivery]
        self.kept.clear()
        self._foreign.clear()
        return free

    def _keep(self, delivery: Delivery) -> list[Delivery]:
        self.kept.append(delivery)
        if len(self.kept) >= self._limit:
            raise self.error()
        return []

    def drop(self, delivery: Delivery) -> None:
        """Forget a message that the broker took away."""
        if delivery in self.kept:
            self.kept.remove(delivery)
            self._foreign.pop(delivery, None)

    def error(self) -> WrongNameRule:
        """Return the error that says what is wrong with the settings. It shows one of the kept messages."""
        if not self._foreign:
            return WrongNameRule(
                f"source {self._source!r}: none of the first {len(self.kept)} messages has a known event name by "
                f"name_from = {self._rules}; nothing was acknowledged. One of them: {show(self.kept[0])}. "
                'Set name_from to where the name is, or set unknown = "ack" to acknowledge such messages'
            )
        delivery, judge = next(iter(self._foreign.items()))
        content = judge.content(delivery) or {}
        if (envelope := recognised(delivery)) is not None:
            advice = f"It is {envelope.what}: {envelope.advice}"
        elif path := judge.presence.found_in(content):
            advice = f"Its fields are under {path!r}, where brokerkit cannot read them"
            if isinstance(content.get(path), dict):
                advice = (
                    f"Its fields are under {path!r}: a family of your own, Family(..., wrapper={path!r}), reads them"
                )
        else:
            advice = "Set format to what its producer writes"
        return ForeignBody(
            f"source {self._source!r}: none of the first {len(self.kept)} messages sets a field of its model; nothing was "
            f"acknowledged. One of them is {judge.name}: {judge.presence.describe(content)}; {show(delivery)}. {advice}, "
            'or set foreign = "handle" to handle such events without their fields'
        )
