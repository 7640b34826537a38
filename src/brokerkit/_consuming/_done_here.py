"""Which messages are only to be acknowledged when they come again: this process is done with them.

Their dead letters are stored, or their handlers finished after the broker had taken the message away. A connection may break
between a letter's confirmation and the acknowledgement of its message, and AMQP does not confirm acknowledgements at all.
Without this memory each redelivery would store one more letter, and a message that RabbitMQ took away because of its
`consumer_timeout` would be handled twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

from brokerkit._messages._delivery import Delivery

_SECONDS: Final = 300.0
"""How long a message is remembered. A replay that looks like the message itself comes later."""
_REMEMBERED: Final = 10_000

_Identity = tuple[str, bytes]
"""An id, and a digest of everything that a message has."""


@dataclass(slots=True)
class _Done:
    """What is known of a message, or of twins that have everything in common.

    Attributes:
        since: the event loop's time at which one of them was done last.
        count: how many of them are done.
        acknowledged: how many of those the broker was told of over this connection, as far as we know.
        has_letter: their dead letters are stored.
    """

    since: float
    count: int = 0
    acknowledged: int = 0
    has_letter: bool = False


class DoneHere:
    """The messages that may come again although this process is done with them.

    It lives as long as the source, and knows a message by its `Delivery.broker_id`, or else by its producer's id, together
    with topic, time, key, body and headers: a topic that is made anew gives the same ids again, and producers use ids twice.
    By a producer's id, only what the broker says it delivers again is recognised. A message with neither id is not.

    Args:
        counted: the broker tells a redelivery from a first delivery.
    """

    def __init__(self, *, counted: bool) -> None:
        self._counted = counted
        self._known: dict[_Identity, _Done] = {}
        # So that no digest is made of messages that nothing is known of.
        self._ids: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    def __bool__(self) -> bool:
        """Whether there is any; asked for each batch, so that nothing is looked up once all are forgotten."""
        self._forget_old()
        return bool(self._known)

    def __repr__(self) -> str:
        return f"<DoneHere: {len(self._known)} messages>"

    def stored(self, delivery: Delivery) -> None:
        """Its dead letter is stored, and it is being acknowledged."""
        _keep_body(delivery)
        if (done := self._remember(delivery)) is not None:
            done.has_letter = True
            done.count += 1
            done.acknowledged += 1
            delivery.need_retry_state().is_done_here = True

    def lost(self, delivery: Delivery) -> None:
        """The broker had taken it away when it was acknowledged: it comes again."""
        if (done := self._remember(delivery)) is None:
            return
        if delivery.retry_state is None or not delivery.retry_state.is_done_here:
            done.count += 1
        elif done.acknowledged:
            done.acknowledged -= 1

    def begin_anew(self) -> None:
        """There is a new connection: what was acknowledged over the one before may come again."""
        for done in self._known.values():
            done.acknowledged = 0

    def take(self, delivery: Delivery) -> bool:
        """Whether this process is done with this message; who is told so acknowledges it."""
        by_broker = delivery.broker_id is not None
        if not self._known or not (by_broker or (self._counted and delivery.count != 1)):
            return False
        if (id := _id(delivery)) is None or id not in self._ids:
            return False
        if (done := self._known.get((id, _digest(delivery)))) is None:
            return False
        if not by_broker:
            if done.acknowledged >= done.count:
                return False
            done.acknowledged += 1
        if done.has_letter:
            _keep_body(delivery)
        delivery.need_retry_state().is_done_here = True
        return True

    def _remember(self, delivery: Delivery) -> _Done | None:
        self._forget_old()
        if (id := _id(delivery)) is None:
            return None
        if len(self._known) >= _REMEMBERED:
            self._forget(next(iter(self._known)))
        identity = id, _digest(delivery)
        done = self._known.pop(identity, None)
        if done is None:
            done = _Done(0.0)
            self._ids[id] += 1
        done.since = self._loop.time()
        self._known[identity] = done  # the latest goes last
        return done

    def _forget_old(self) -> None:
        while self._known and next(iter(self._known.values())).since < self._loop.time() - _SECONDS:
            self._forget(next(iter(self._known)))

    def _forget(self, identity: _Identity) -> None:
        del self._known[identity]
        self._ids[identity[0]] -= 1
        if not self._ids[identity[0]]:
            del self._ids[identity[0]]


def _id(delivery: Delivery) -> str | None:
    return delivery.broker_id or delivery.id


def _digest(delivery: Delivery) -> bytes:
    headers = sorted(delivery.headers.items(), key=repr)
    digest = hashlib.blake2b(digest_size=16)
    for part in (delivery.topic, delivery.time, delivery.key, delivery.body, headers):
        digest.update(repr(part).encode(errors="surrogatepass"))
        digest.update(b"\0")
    return digest.digest()


def _keep_body(delivery: Delivery) -> None:
    """The dead letter has the same pointer: the body outlives the message."""
    if delivery.offloaded is not None:
        delivery.offloaded.shared = True
