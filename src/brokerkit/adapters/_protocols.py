"""The protocols of the seam: what an adapter, a source and a cursor do, and who calls them when."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from brokerkit._errors import BrokerkitError
from brokerkit._messages._delivery import Delivery, Outcome, Part, Settled
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters._values import Capabilities, Connection, Subscription, WaitingRetries


class Lost(Protocol):
    """The core's callback for deliveries that are no longer ours."""

    def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> Awaitable[None]:
        """Drop deliveries that have not started, and return when running handlers are done and their outcomes settled.

        The adapter may give up waiting (`Subscription.drain_timeout`). The core then begins nothing more of them.

        Args:
            deliveries: the deliveries.
            gone: whether another reader has them already. If they are only about to go, and the broker keeps one offset
                for many messages (`Capabilities.commits_offsets`), the core also handles waiting messages before a
                started one.
        """
        ...


class Source(Protocol):
    """Reads one subscription. `Adapter.subscribe` makes it; it does nothing before `open`."""

    async def open(self) -> None:
        """Provision what is ours and start to consume.

        Raises:
            ConnectionLost: the broker did not answer within the connect timeout.
            AccessDenied: the broker refused the credentials, or the right to read or to create.
            NotFound: a topic or queue must exist and does not exist.
            UnsupportedFeature: the topic or queue exists, but cannot do what the subscription asks for.
        """
        ...

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for the first message, then return at once what is there, at most ``limit`` messages.

        Called by up to `Capabilities.pollers` tasks of the core, and never cancelled. Returns an empty list after
        `stop`, and may return one at any time. After a lost connection it raises, and the next call reconnects. The
        core waits in between, longer each time. When the broker answers again, it returns, with an empty list if need
        be: that tells the core. If a client library reconnects by itself, the adapter must still report it in this way.

        Raises:
            ConnectionLost: trying again may help.
            BrokerkitError: anything else ends the source.
        """
        ...

    async def settle(self, pairs: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """Tell the broker the outcomes of deliveries. Return one answer for each, in order. Does not raise.

        One task at a time calls it, with everything that finished meanwhile, even while `Lost` is awaited.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> list[Settled]:
        """Renew the lease of deliveries. Return one answer for each. Called only if `Capabilities.lease` is set."""
        ...

    async def lag(self) -> int | None:
        """Return how many messages wait at the broker for this group, or None if the broker cannot tell.

        It may be called before `open`. Then it consumes nothing, and does not join the group.

        Raises:
            NotFound: it was called before `open`, and the topic, queue or group does not exist.
        """
        ...

    async def stop(self) -> None:
        """Take nothing new: make every `receive` return. Deliveries stay ours until they are settled."""
        ...

    async def close(self) -> None:
        """Leave the group and free everything, after `stop` and the last `settle`. Does not raise; may be called twice."""
        ...


@runtime_checkable
class PartitionLags(Protocol):
    """What a source can also do if its broker tells the lag of each partition."""

    async def partition_lags(self) -> Mapping[tuple[str, int], int]:
        """Return how many messages wait in each partition, by topic and number. Their sum is `Source.lag`.

        Raises:
            BrokerkitError: as `Source.lag` does.
        """
        ...


class Partitions(Protocol):
    """What a source can also do if `Capabilities.commits_offsets` is set. Both calls return at once and do not raise."""

    def pause(self, token: Any) -> None:
        """Take nothing more from the partition of this `Delivery.token`, and continue with the others.

        Messages that were fetched already may still come. Does nothing if the partition is no longer ours.
        """
        ...

    def resume(self, token: Any) -> None:
        """Continue with a partition that was paused."""
        ...


@runtime_checkable
class PausesReading(Protocol):
    """What a source can also do if it fetches messages that nobody has asked for yet, or waits long for them.

    While a source is paused, the core does not call `Source.receive`. Any other source needs no more than that: what it has
    fetched keeps, and what it brings in the end is kept by the core.
    """

    async def pause_reading(self) -> None:
        """Make every `receive` return, and fetch nothing more until `resume_reading`. Does not raise.

        What `receive` has not returned is given back, as far as somebody else could get it. Deliveries that it has
        returned stay ours, and are settled and extended as before.
        """
        ...

    async def resume_reading(self) -> None:
        """Go on. It does not wait for the broker, and does not raise: the next `receive` tells what is wrong."""
        ...


@runtime_checkable
class CountsRetries(Protocol):
    """What an `Adapter` can also do if its broker tells how many durable retries wait there."""

    async def waiting_retries(self, subscription: Subscription) -> Sequence[WaitingRetries]:
        """Return how many retries of a group wait, and where. It creates nothing, and joins no group.

        Args:
            subscription: what the group reads; never a broadcast, whose retries nobody else finds.

        Raises:
            BrokerkitError: the broker does not answer, or refuses to tell.
        """
        ...


class Transactional(Protocol):
    """What a `Source` is too where `Capabilities.transactions` is set and `Subscription.exactly_once` asks for it."""

    def check(self, outgoing: Outgoing) -> None:
        """Refuse a message that the client cannot send, before it becomes part of a transaction.

        Raises:
            InvalidMessage: it cannot be written.
            MessageTooLarge: it is larger than the client's limit.
        """
        ...

    async def commit(self, parts: Sequence[Part]) -> list[Settled | BrokerkitError]:
        """Publish the messages of all parts and settle their outcomes in one transaction, or nothing of it.

        Called by one task at a time, with everything that may be settled by now: where `Capabilities.commits_offsets` is
        set, the parts of a token are in the order of receipt, and nothing before them is open. Messages arrive in the
        order of the parts. It tries again by itself for as long as that may help, and does not raise.

        Returns:
            one answer for each part, in order. ``DONE``: it is in the transaction, which is committed. ``LOST``: the
            delivery is somebody else's, and nothing of the part has happened. An error: the broker takes one of the
            messages of this part in no case, and nothing of the part has happened. ``FAILED``: nothing of the part has
            happened, because a part before it, with the same token, has an error, or because the source is closing.
        """
        ...


class Cursor(Protocol):
    """One walk through a queue of our own, such as a dead-letter queue. It gives each message once and removes some.

    Messages that stay are not written again. They are in the same position after the cursor is closed, or its process
    has died. `Adapter.cursor` makes it; it does nothing before `open`. Several cursors on one queue lose nothing: at
    worst, two of them work on the same messages.
    """

    @property
    def unseen(self) -> int:
        """How many messages of those that existed at the beginning `fetch` has not returned, as far as the broker
        tells.

        It is 0 after the last `fetch`, unless the cursor could not see all messages because of a limit of the broker or
        another reader.
        """
        ...

    async def open(self) -> None:
        """Connect, and note which messages exist. The walk leaves out messages that arrive later.

        Raises:
            NotFound: there is no such queue.
            AccessDenied: the broker refuses.
            ConnectionLost: the broker did not answer.
        """
        ...

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        """Return the next messages, at most ``limit``, oldest first as far as the broker keeps an order; none at the
        end.

        Raises:
            BrokerkitError: the walk cannot go on.
        """
        ...

    async def remove(self, deliveries: Sequence[Delivery]) -> None:
        """Remove messages that `fetch` has returned. No cursor returns them again, not even after a crash.

        Raises:
            BrokerkitError: some of them may still be there.
        """
        ...

    async def close(self) -> None:
        """Leave the other messages as they were, and free everything. Does not raise; may be called twice."""
        ...


class LoneStarts(Protocol):
    """What a `Source` can also do if `Capabilities.attempts` is ``deliveries``: it counts lone starts at the broker.

    A message that was delivered too often is handled alone, while nothing else of its source is in progress. That is a
    lone start. The number of deliveries does not show that a message ends the process; unfinished lone starts do.
    Processes may start the message one after another, but never at once. So the number belongs to the message, and is
    kept for days. It is state, not set-up, so it does not depend on ``provision``.
    """

    async def begin_alone(self, delivery: Delivery) -> int:
        """Count one more start, durably, before the handler runs. Return how many starts `end_alone` has not removed.

        Raises:
            ConnectionLost: trying again may help. The start may have been counted.
            BrokerkitError: starts cannot be counted here, because a right or the store for the count is missing. The
                message runs alone anyway, and never becomes a dead letter because of its deliveries.
        """
        ...

    async def end_alone(self, delivery: Delivery) -> None:
        """Remove all starts of a message that is done, is a dead letter, or was released.

        The delivery may be settled already. A second call does no harm.

        Raises:
            BrokerkitError: the starts stay until the broker forgets them.
        """
        ...

    def delivery_limit(self, topic: str) -> int | None:
        """How often the broker delivers a message of a topic before it takes it away by itself; None for no end.

        Asked after `open`, and again after each reconnect. Where the broker does not tell, what it does by default counts.
        """
        ...


class Adapter(Protocol):
    """One broker behind one URL.

    The constructor checks URL and options, and raises `ConfigError` or `MissingExtra`; it connects to nothing.
    """

    def __init__(self, connection: Connection, /) -> None: ...

    def capabilities(self, topic: str = "") -> Capabilities:
        """Return what this broker promises. It may depend on the topic (SQS standard and FIFO queues).

        Raises:
            ConfigError: this broker cannot have a topic of that name.
        """
        ...

    async def open(self) -> None:
        """Connect, so that `send` and `ensure` work.

        Raises:
            ConnectionLost: nobody answered within ``connection.connect_timeout``.
            AccessDenied: the broker refused the credentials.
        """
        ...

    async def ensure(self, topics: Sequence[str], *, is_queue: bool, create: bool) -> None:
        """Check that topics (queues, with ``is_queue``) exist, and create missing ones if ``create`` allows it.

        What exists is never altered.

        Raises:
            NotFound: a topic is missing and may not be created.
            AccessDenied: the broker refuses to tell or to create.
        """
        ...

    async def send(self, batch: Sequence[Outgoing]) -> list[Receipt | BrokerkitError]:
        """Publish, wait for confirmation, and return one result for each message, in order. Not atomic. Does not raise.

        Messages of one key arrive in the order of the batch. Several calls may be in progress at once. An error is a
        `MessageTooLarge`, `InvalidMessage`, `Unroutable`, `NotFound` or `AccessDenied`. If the broker may still have
        the message, it is a `ConnectionLost` or `PublishError`.
        """
        ...

    def derived(self, topic: str, group: str | None, role: str) -> str:
        """Return a name for one of brokerkit's own queues (``role`` is ``"dlq"`` or ``"retry"``) that is legal on this
        broker.

        Different arguments never give the same name. `derived_name` does the work.
        """
        ...

    async def own_queue(self, topic: str, group: str | None, *, is_queue: bool, create: bool) -> str:
        """Find the queue for messages that only this group must read, and create it if ``create`` allows it.

        Replays are sent there (`Outgoing.is_queue`). Every source of the group also reads this queue, and its
        deliveries have the topic's name. If `Capabilities.own_queues` is set, only members of the group write to it,
        and its deliveries say so (`Delivery.is_ours`). Otherwise it may be a queue that producers write to, as long as
        no other group reads it.

        Args:
            topic: the topic that the group reads.
            group: the group; None if the broker needs none.
            is_queue: whether ``topic`` is a queue, as in `Subscription.is_queue`.
            create: whether the queue may be created.

        Raises:
            NotFound: it is missing and may not be created, or the group does not exist yet.
            AccessDenied: the broker refuses to tell or to create.
            ConnectionLost: the broker did not answer.
            UnsupportedFeature: this broker has no such queues.
        """
        ...

    def subscribe(self, subscription: Subscription, lost: Lost) -> Source:
        """Return a source for one subscription.

        Raises:
            UnsupportedFeature: the broker cannot do what the subscription asks for.
        """
        ...

    def browse(
        self, topics: Sequence[str], *, is_queue: bool = False, past: bool = True, follow: bool = False
    ) -> AsyncGenerator[Delivery, None]:
        """Read messages without taking them from anybody: no group, no acknowledgement, nothing to settle.

        Each message comes once. Closing the generator (``aclose``) frees everything and releases the messages;
        cancelling its ``anext`` ends it too. `Capabilities.browse` says what the broker does to messages meanwhile.

        Args:
            topics: what to browse.
            is_queue: whether they are queues, as in `Subscription.is_queue`.
            past: whether to yield the messages that exist at the beginning, oldest first as far as the broker keeps an
                order. There are none if `Capabilities.browse` is ``new``.
            follow: whether to continue with new messages, without an end.

        Raises:
            NotFound: a topic or queue does not exist.
            AccessDenied: the broker refuses.
            ConnectionLost: the connection broke, which ends the generator.
            UnsupportedFeature: this broker cannot be browsed in this way.
        """
        ...

    def cursor(self, queue: str) -> Cursor:
        """Return a cursor for a walk through a queue.

        Raises:
            UnsupportedFeature: this broker stores nothing.
        """
        ...

    async def close(self) -> None:
        """Finish sending, and free everything. Does not raise; may be called twice."""
        ...
