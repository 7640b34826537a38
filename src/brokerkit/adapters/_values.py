"""The values of the seam: what a broker promises, how it is reached, and what a source reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from brokerkit._url import Url

Provision = Literal["group", "all", "check", "off"]
"""What may be created.

- ``group``: what belongs to the group (queue, subscription, retry levels, dead letters).
- ``all``: the topic too.
- ``check``: nothing, but everything must exist.
- ``off``: nothing, and nothing is checked.
"""

Start = Literal["earliest", "latest"]
"""Where a new group begins."""

Order = Literal["none", "key", "strict"]
"""The order of handling.

- ``key``: messages of one key are handled in order in this process; later ones overtake a durable retry.
- ``strict``: a failing message is held, and its key waits.
- ``none``: no lanes at all.
"""

Browse = Literal["free", "touches", "new", "none"]
"""What browsing does to messages.

- ``free``: nothing.
- ``touches``: they count as delivered, and are hidden from readers meanwhile.
- ``new``: only messages that are published from then on can be seen, through a temporary queue or subscription.
- ``none``: nothing can be seen.
"""

ReadFrom = Literal["left", "right"]
"""The end of a Redis list that is read: ``left`` if its producer pushes with RPUSH, ``right`` if with LPUSH."""

Envelope = Literal["plain", "brokerkit"]
"""How a message is stored on a broker that only knows bytes (Redis lists and channels).

- ``plain``: the body and nothing else.
- ``brokerkit``: key, id, headers and body in a form that only brokerkit reads.
"""

Reach = Literal["group", "process", "none"]
"""How far order by key reaches: across all members of the ``group``, or within one ``process``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a broker promises through its adapter, as data. It is checked at start-up and shown in the documentation.

    Attributes:
        broker: its name in errors and documents.
        at_least_once: whether a message that was not acknowledged comes again.
        confirmed_publish: whether `Adapter.send` returns only when the broker has the message.
        publishes: whether events can be published at all; if not, every `Adapter.send` is refused.
        groups: ``many`` groups each get every message; ``one``: the topic is its only group; ``none``: no groups,
            every reader gets everything.
        needs_group: whether a source that reads a topic, and is not a broadcast, must name its group.
        order: how far order by key reaches: across the ``group``, within one ``process``, or ``none``.
        single_reader: whether with ``order="strict"`` one member of the group reads at a time, so that order reaches
            across the group.
        attempts: what `Delivery.count` is: ``deliveries`` (crashes included, and releases if the broker counts them) or
            ``none``. If deliveries are counted, sources are `LoneStarts` too.
        lease: seconds for which the broker leaves a delivery to us unless the lease is extended; None if it is ours as
            long as the connection lives.
        max_hold: the most seconds for which one delivery can be held, extensions included; None for no limit.
        hold: the longest wait in seconds that a failed message spends in the process where the broker can keep it too, less
            than the user's where what waits keeps others from coming; None for no limit of its own.
        durable_retry: the longest `RetryLater` in seconds that survives a crash; 0 where there is none.
        copies_retries: a `RetryLater` publishes its copy and acknowledges the original; otherwise the original itself
            comes back.
        own_queues: copies for one group (durable retries, replays) are in queues that only the group's members write to, and
            `Delivery.is_ours` tells them from what producers wrote. Without it, copies are only believed with a signature
            (``signing_key``).
        broadcast: a private group for each process is possible.
        commits_offsets: the broker keeps one offset for all deliveries with the same `Delivery.token` (a partition), and
            repeats everything behind the first delivery that is not done. Its sources are `Partitions` too.
        dead_letters: messages can be stored on the same broker under a derived name.
        stable_id: every delivery has an id that is the same on each redelivery, whoever produced it.
        delays: the longest time in seconds for which the broker keeps a message back (`Outgoing.due`); 0 if it cannot.
        priorities: queues may sort by `Outgoing.priority`.
        metadata: key, id and headers of what is published travel beside its body.
        name_places: where a producer can write the event name, of ``header``, ``key``, ``topic``, ``routing_key``,
            ``type``, ``field``.
        max_in_flight: the default number of unsettled deliveries for one process.
        pollers: how many `Source.receive` calls the core has in progress at once.
        pattern: whether the topic is a pattern, which stands for every topic that it matches and cannot be published
            to.
        one_process: why only one process can read; "" if several can.
        browse: what `Adapter.browse` does to the messages of a topic.
        browse_queue: what it does to the messages of a queue.
        default_provision: what may be created where the user says nothing about it.
        transactions: what a handler publishes to this broker and its acknowledgement can be made together. Its sources are
            `Transactional` too where `Subscription.exactly_once` asks for that.
    """

    broker: str
    at_least_once: bool = True
    confirmed_publish: bool = True
    publishes: bool = True
    groups: Literal["many", "one", "none"] = "many"
    needs_group: bool = False
    order: Reach = "process"
    single_reader: bool = False
    attempts: Literal["deliveries", "none"] = "none"
    lease: float | None = None
    max_hold: float | None = None
    hold: float | None = None
    durable_retry: float = 0.0
    copies_retries: bool = True
    own_queues: bool = False
    commits_offsets: bool = False
    broadcast: bool = True
    dead_letters: bool = True
    stable_id: bool = False
    delays: float = 0.0
    priorities: bool = False
    metadata: bool = True
    name_places: frozenset[str] = frozenset({"header", "topic", "field"})
    max_in_flight: int = 500
    pollers: int = 1
    pattern: bool = False
    one_process: str = ""
    browse: Browse = "none"
    browse_queue: Browse = "none"
    default_provision: Provision = "group"
    transactions: bool = False

    @property
    def written_places(self) -> frozenset[str]:
        """Where brokerkit can write the name of a published event: some of `name_places`."""
        return self.name_places if self.metadata else self.name_places - {"header", "key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach one broker.

    Attributes:
        url: the URL of the broker. Its query is empty, because the settings have read it.
        options: settings for the client library, unchanged. Values from a URL or the environment are text.
        connect_timeout: seconds within which `Adapter.open` must succeed or fail.
        endpoint: URL of an emulator or private endpoint (SQS, SNS), or None.
        body_field: field of a Redis stream entry that holds the body; ``*``: all its fields are the event.
        read_from: the end of a Redis list that is read.
        envelope: how a published message is stored in a Redis list or channel. Received messages may have either form.
        large_payloads: URL of the S3 bucket for bodies that are too large for SQS and SNS, or None.
        password: returns the password that counts now, for each new connection; None if it is in the URL, or nowhere. It
            may take seconds: call it in a thread. It raises ConnectionLost if there is none now.
    """

    url: Url
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    connect_timeout: float = 10.0
    endpoint: str | None = field(default=None, repr=False)
    body_field: str = "data"
    read_from: ReadFrom = "left"
    envelope: Envelope = "plain"
    large_payloads: str | None = field(default=None, repr=False)
    password: Callable[[], str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What one source reads.

    Attributes:
        topics: one or more topics; with ``is_queue`` they are queues.
        group: the group, or None if the broker has no groups.
        is_queue: whether to read queues with these names (RabbitMQ ``queue=``, a dead-letter queue).
        provision: what may be created.
        start: where a new group begins.
        broadcast: whether to use a private group that begins now and ends with the process.
        order: the order of handling.
        lease: seconds for which a delivery is ours before another reader may take it. The core extends it after a third
            of this time.
        max_in_flight: the most deliveries that will be unsettled at once. Deliveries that wait for another one of their
            key do not count: while they leave slots idle, `Source.receive` is called for more.
        drain_timeout: the longest time in seconds to await `Lost` before telling the broker to continue.
        max_deliveries: deliveries after which the core runs a message alone. A lower limit of the broker would take
            messages away earlier. 0 to say nothing about it.
        longest_retry: seconds that all waits of one failed message can last together. A broker that drops a message earlier
            loses it. 0 to say nothing about it.
        exactly_once: outcomes are settled by `Transactional.commit`, and never by `Source.settle`.
    """

    topics: tuple[str, ...]
    group: str | None = None
    is_queue: bool = False
    provision: Provision = "group"
    start: Start = "earliest"
    broadcast: bool = False
    order: Order = "key"
    lease: float = 30.0
    max_in_flight: int = 500
    drain_timeout: float = 20.0
    max_deliveries: int = 0
    longest_retry: float = 0.0
    exactly_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRetries:
    """Durable retries of a group that wait in one place at the broker.

    Attributes:
        place: name of the queue, topic or key.
        count: how many wait there.
        first_due: Unix time in seconds at which the first of them is due; None where the broker does not tell.
        wait: seconds that each of them waits there; None where that differs.
        exact: whether nothing else is counted. If not, messages that readers have right now are counted too.
    """

    place: str
    count: int
    first_due: float | None = None
    wait: float | None = None
    exact: bool = True
