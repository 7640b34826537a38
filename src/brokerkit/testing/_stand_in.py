"""The embedded broker in place of a real one: it makes the real one's promises, and reports to a test bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import ACK, Delivery, Outcome, Part, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Adapter, Capabilities, Connection, Lost, Subscription
from brokerkit.adapters.memory import MemoryAdapter, MemorySource


class Watch(Protocol):
    """Gets the reports."""

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
    """An embedded broker in place of a real one. The real adapter is made and asked for its promises, but never opened."""

    _real: Adapter
    _watch: Watch

    @classmethod
    def of(cls, connection: Connection, *, real: Adapter, watch: Watch) -> StandIn:
        """Make one for ``real``, at an address of the embedded broker."""
        made = cls(connection)
        made._real, made._watch = real, watch
        return made

    def __repr__(self) -> str:
        return f"<StandIn for {self._real!r}>"

    def capabilities(self, topic: str = "") -> Capabilities:
        """Return the real broker's promises; but dead letters can always be stored, and everything needed is created."""
        return replace(self._real.capabilities(topic), dead_letters=True, default_provision="all", pollers=1)

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """Return the name on the real broker."""
        return self._real.derived(topic, group, role)

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """Create what is missing, whatever the settings say: nothing can exist before."""
        await super().ensure(topics, is_queue=is_queue, create=True)

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Keep the messages, and report each."""
        results = [self.bring(outgoing) for outgoing in batch]
        for outgoing, result in zip(batch, results, strict=True):
            if isinstance(result, Receipt):
                self._watch.sent(outgoing, self)
        return results

    def bring(self, outgoing: Outgoing) -> Receipt | BrokerkitError:
        """Put a message into its topic, which is created if needed."""
        self.create(outgoing.topic, is_queue=outgoing.is_queue)
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
        self._stand_in = adapter
        self._dropped = list(self._held.items())

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """See `Source.settle`."""
        answers = await super().settle(pairs)
        for (delivery, outcome), answer in zip(pairs, answers, strict=True):
            if outcome is ACK and answer is Settled.DONE:
                self._watch.ended(delivery)
        self._watch.progressed()
        return answers

    async def commit(self, parts: Sequence[Part]) -> list[Settled | BrokerkitError]:
        """See `Transactional.commit`."""
        answers = await super().commit(parts)
        for part, answer in zip(parts, answers, strict=True):
            if answer is Settled.DONE:
                for outgoing in part.messages:
                    self._watch.sent(outgoing, self._stand_in)
                if part.outcome is ACK:
                    self._watch.ended(part.delivery)
        self._watch.progressed()
        return answers

    def drop(self) -> None:
        """Act as if the process had died: unsettled deliveries can no longer be settled, and all of them come again."""
        self._dropped += self._held.items()
        self._held.clear()

    async def end_alone(self, delivery: Delivery) -> None:
        """See `LoneStarts.end_alone`; a process that has died cannot do it."""
        if not any(entry is delivery.token for entry, _ in self._dropped):
            await super().end_alone(delivery)

    async def close(self) -> None:
        """See `Source.close`."""
        await super().close()
        for entry, (_, queue) in self._dropped:
            queue.put_back(entry)
        self._dropped.clear()
