"""The harness: what the suite has to know of a broker, and what it asks of it."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from brokerkit._bus import Bus
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import ACK, Delivery, Settled
from brokerkit._messages._outgoing import Outgoing
from brokerkit.adapters import make
from brokerkit.adapters.api import Adapter, Capabilities, Source, Subscription


class NotPromised(Exception):
    """The adapter does not promise what the case is about; the text names the promise."""


class NotTried(Exception):
    """The harness has no means to bring about what the case needs; the text names them."""


class Harness:
    """One broker as the suite sees it; made anew for each case. Subclass it.

    Only `url` and `plain_publish` are needed. The more a harness can do, the more cases run: cases that need a method
    that it does not implement are reported as not tried.

    Attributes:
        name: heads the adapter's column in the table of results.
        url: the broker.
        settings: further settings of a `Bus`, such as ``endpoint`` or ``options``.
        suffix: ending that names of topics need, such as ``.fifo``.
        plain_rule: the rule (``name_from``) for the place to which `plain_publish` writes the event name.
        lease: the shortest lease in seconds that the broker takes.
        late: seconds after the end of a lease, or the death of a member, by which the messages are with somebody else.
        many: how many messages a case about many of them has.
        limit: seconds that one case may take.
        largest: a size in bytes that the broker refuses; None if there is no limit that a test can reach.
        connected: the client keeps a connection and notices its end; over HTTP each call may have its own.
        topics_must_exist: a topic that nobody made is an error, instead of coming into being.
        processes: other processes can reach the broker.
        virtual: time may be jumped over; for brokers that live in the process.
        unreachable: settings with an address where nobody listens.
        bad_option: settings with a client option that does not exist.
    """

    name: str = ""
    url: str = ""
    settings: Mapping[str, Any] = {}
    suffix: str = ""
    plain_rule: str = "header:event"
    lease: float = 1.0
    late: float = 3.0
    many: int = 200
    limit: float = 100.0
    largest: int | None = None
    connected: bool = True
    topics_must_exist: bool = True
    processes: bool = True
    virtual: bool = False
    unreachable: Mapping[str, Any] = {}
    bad_option: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self._prefix = f"c{uuid.uuid4().hex[:10]}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def __aenter__(self) -> Self:
        """Begin a case; where a harness needs the event loop, a proxy for one, here is the place to start it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End a case."""

    # ---- what a subclass provides ----------------------------------------------------------------------------

    async def plain_publish(self, topic: str, body: bytes, *, name: str, headers: Mapping[str, str]) -> None:
        """Publish with the client library alone, as a program that knows nothing of brokerkit does.

        Args:
            topic: exists.
            body: JSON.
            name: the event name; `plain_rule` says where it goes.
            headers: to travel beside the body, where the broker has headers; nothing otherwise.
        """
        raise NotTried("the harness has no plain client")

    async def create_topic(self, topic: str) -> None:
        """Create a topic as its owner does. By default brokerkit does it."""
        given: dict[str, Any] = {**self.settings, "topic": topic, "provision": "all"}
        async with Bus(self.url, **given):
            pass

    async def restart_broker(self) -> None:
        """Stop the broker, and start it again with what it had; returns when it answers."""
        raise NotTried("the harness cannot restart the broker")

    async def cut_connections(self) -> None:
        """Break all connections to the broker at once; new ones work."""
        raise NotTried("the harness cannot cut connections")

    async def delete_group(self, topic: str, group: str) -> None:
        """Delete what the broker has for a group, while it is read: its queue, subscription or stream."""
        raise NotTried("the harness cannot delete a group")

    # ---- what the cases use ----------------------------------------------------------------------------------

    def topic(self, stem: str = "events") -> str:
        """A topic of this case's own; the same for the same stem."""
        return f"{self._prefix}-{stem}{self.suffix}"

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter promises for such a topic."""
        return self.make_adapter().capabilities(self.topic())

    def promised(self, holds: object, what: str) -> None:
        """Go on only where the adapter promises something.

        Raises:
            NotPromised: it does not.
        """
        if not holds:
            raise NotPromised(what)

    def tried(self, possible: object, what: str) -> None:
        """Go on only where the harness can do something.

        Raises:
            NotTried: it cannot.
        """
        if not possible:
            raise NotTried(what)

    def bus(self, topic: str | Sequence[str] | None = None, *, group: str = "wallet", **settings: Any) -> Bus:
        """A bus on a topic of this case; everything is created, leases are short."""
        usual: dict[str, Any] = {
            "topic": topic or self.topic(),
            "group": group,
            "provision": "all",
            "lease": self.lease,
            "format": "json",
            "stop_timeout": 10.0,
        }
        merged: dict[str, Any] = {"url": self.url, **usual, **self.settings, **settings}
        return Bus(merged.pop("url"), **merged)

    def make_adapter(self, **settings: Any) -> Adapter:
        """An adapter that is not open."""
        given = {"url": self.url, **self.settings, **settings}
        return make(ConnectionSettings.model_validate(given).connection())

    @asynccontextmanager
    async def adapter(self) -> AsyncGenerator[Adapter]:
        """An open adapter, and this case's topic."""
        adapter = self.make_adapter()
        await adapter.open()
        try:
            await adapter.ensure([self.topic()], is_queue=False, create=True)
            yield adapter
        finally:
            await adapter.close()

    @asynccontextmanager
    async def reading(self, *topics: str, lost: Lost | None = None, **subscription: Any) -> AsyncGenerator[Reader]:
        """A member of a group, with a connection of its own; what it does not settle is left unsettled."""
        async with self.adapter() as adapter:
            usual: dict[str, Any] = {"group": "wallet", "provision": "all", "lease": self.lease}
            asked = Subscription(topics=topics or (self.topic(),), **{**usual, **subscription})
            source = adapter.subscribe(asked, lost or Lost())
            try:
                await source.open()
                yield Reader(source)
            finally:
                await source.stop()
                await source.close()

    async def make_group(self, *topics: str, group: str = "wallet") -> None:
        """Have a group exist that nobody reads yet."""
        async with self.reading(*topics, group=group):
            pass

    async def dead_letters(self, count: int, *, group: str = "wallet") -> list[Delivery]:
        """Take this number of dead letters of this case's topic out of their queue."""
        queue = self.make_adapter().derived(self.topic(), group, "dlq")
        async with self.reading(queue, group="letters", is_queue=True, lease=30.0) as reader:
            letters = await reader.receive(count)
            await reader.ack(*letters)
            return letters

    async def let_die(self, what: str) -> None:
        """Have a process of its own die as a ``publisher`` or a ``member`` of this case's topic; see `_dying`."""
        self.tried(self.processes, "processes beside this one")
        usual: dict[str, Any] = {"topic": self.topic(), "group": "wallet", "format": "json", "lease": self.lease}
        given = json.dumps({"url": self.url, **usual, **self.settings}).encode()
        program = [sys.executable, "-m", "brokerkit.testing.conformance._dying", what]
        process = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE)
        await process.communicate(given)
        assert process.returncode == 9, f"the {what} failed before it died"

    def outgoing(self, number: int = 0, *, topic: str | None = None, **fields: Any) -> Outgoing:
        """A numbered message for `Adapter.send`."""
        usual: dict[str, Any] = {
            "topic": topic or self.topic(),
            "body": b"%d" % number,
            "name": "Numbered",
            "id": f"id-{number}",
            "headers": {"event": "Numbered"},
        }
        return Outgoing(**{**usual, **fields})


class Lost:
    """Where a source reports lost deliveries when no core is there."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def __call__(self, deliveries: Sequence[Delivery], *, gone: bool = True) -> None:
        self.deliveries += deliveries


class Reader:
    """A source without a core."""

    def __init__(self, source: Source) -> None:
        self.source = source

    async def receive(self, count: int) -> list[Delivery]:
        """Wait until there are this many."""
        got: list[Delivery] = []
        while len(got) < count:
            got += await self.source.receive(count - len(got))
        return got

    async def ack(self, *deliveries: Delivery) -> None:
        """Acknowledge, and see that it worked."""
        answers = await self.source.settle([(delivery, ACK) for delivery in deliveries])
        assert answers == [Settled.DONE] * len(deliveries), answers
