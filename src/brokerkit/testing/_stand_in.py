"""The embedded broker in the place of a real one: it promises what that one promises, and tells a test bus what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from brokerkit._errors import BrokerkitError
from brokerkit._message import ACK, Delivery, Outcome, Outgoing, Receipt, Settled
from brokerkit._transport import Adapter, Capabilities, Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource


class Watch(Protocol):
    """Who is told."""

    def opened(self, source: StandInSource) -> None:
        """A source was made."""
        ...

    def sent(self, outgoing: Outgoing, adapter: StandIn) -> None:
        """A message has reached the broker."""
        ...

    def ended(self, delivery: Delivery) -> None:
        """A delivery was acknowledged."""
        ...

    def progressed(self) -> None:
        """Something was settled."""
        ...


class StandIn(MemoryAdapter):
    """An embedded broker that stands in for a real one, which is made, and asked what it promises, but never opened."""

    _real: Adapter
    _watch: Watch

    @classmethod
    def of(cls, connection: Connection, *, real: Adapter, watch: Watch) -> StandIn:
        """One for ``real``, at an address of the embedded broker."""
        made = cls(connection)
        made._real, made._watch = real, watch
        return made

    def __repr__(self) -> str:
        return f"<StandIn for {self._real!r}>"

    def capabilities(self, topic: str = "") -> Capabilities:
        """What the real broker promises; but dead letters can always be stored, and whatever is needed is created."""
        return replace(self._real.capabilities(topic), dead_letters=True, default_provision="all", pollers=1)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """The name that it has on the real broker."""
        return self._real.derived(topic, group, role)

    async def ensure(self, topics: Sequence[str], *, stored: bool, create: bool) -> None:
        """Create what is missing, whatever the settings say: nothing can have been created before."""
        await super().ensure(topics, stored=stored, create=True)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Keep the messages, and tell of each."""
        results = [self.bring(outgoing) for outgoing in batch]
        for outgoing, result in zip(batch, results, strict=True):
            if isinstance(result, Receipt):
                self._watch.sent(outgoing, self)
        return results

    def bring(self, outgoing: Outgoing) -> Receipt | BrokerkitError:
        """Put a message into its topic, which comes into being if need be."""
        self.create(outgoing.topic, stored=outgoing.stored)
        return self.put(outgoing)

    def subscribe(self, subscription: Subscription, lost: Lost) -> StandInSource:
        """See `Adapter.subscribe`. What the real broker refuses is refused by the core, from what it promises."""
        source = StandInSource(self, self._broker, replace(subscription, provision="all"), lost, watch=self._watch)
        self._watch.opened(source)
        return source


class StandInSource(MemorySource):
    """One subscription of a stand-in."""

    def __init__(self, adapter: StandIn, broker: Any, subscription: Subscription, lost: Lost, *, watch: Watch) -> None:
        super().__init__(adapter, broker, subscription, lost)
        self._watch = watch
        self._dropped = list(self._held.items())

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        answers = await super().settle(pairs)
        for (delivery, outcome), answer in zip(pairs, answers, strict=True):
            if outcome is ACK and answer is Settled.DONE:
                self._watch.ended(delivery)
        self._watch.progressed()
        return answers

    def drop(self) -> None:
        """Be as if the process were gone: nothing that is out can be settled, and all of it comes again."""
        self._dropped += self._held.items()
        self._held.clear()

    async def close(self) -> None:
        """See `Source.close`."""
        await super().close()
        for entry, (_, queue) in self._dropped:
            queue.put_back(entry)
        self._dropped.clear()
