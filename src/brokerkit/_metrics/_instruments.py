"""The metrics of a bus: names, units and attributes. Spans have attributes of the same names.

Names that begin with ``messaging.`` are those of OpenTelemetry's semantic conventions, in the release `CONVENTIONS`
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/). The others are brokerkit's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

CONVENTIONS: Final = "1.44.0"
"""The release of the semantic conventions."""
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{CONVENTIONS}"

SYSTEM: Final = "messaging.system"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
GROUP: Final = "messaging.consumer.group.name"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
ERROR_TYPE: Final = "error.type"
SOURCE: Final = "brokerkit.source"
TARGET: Final = "brokerkit.target"
HANDLER: Final = "brokerkit.handler"
EVENT: Final = "brokerkit.event"
OUTBOX: Final = "brokerkit.outbox"
GATEWAY: Final = "brokerkit.gateway"

# Only spans have these: they say what is different for each message.
ADDRESS: Final = "server.address"
PORT: Final = "server.port"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION: Final = "messaging.message.conversation_id"
BATCH: Final = "messaging.batch.message_count"
ROUTING_KEY: Final = "messaging.rabbitmq.destination.routing_key"
KAFKA_KEY: Final = "messaging.kafka.message.key"
KAFKA_OFFSET: Final = "messaging.kafka.offset"
KAFKA_TOMBSTONE: Final = "messaging.kafka.message.tombstone"
ATTEMPT: Final = "brokerkit.attempt"
OUTCOME: Final = "brokerkit.outcome"
RETRY_WAIT: Final = "brokerkit.retry.wait"

_SYSTEMS: Final = {"amqp": "rabbitmq", "amqps": "rabbitmq", "sqs": "aws_sqs", "sns": "aws.sns", "rediss": "redis"}


def system_of(scheme: str) -> str:
    """Return the ``messaging.system`` of a URL scheme. Where the conventions have none, it is the name of the broker."""
    first = scheme.partition("+")[0]
    return _SYSTEMS.get(first, first)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes:
        name: as OpenTelemetry has it.
        kind: a ``counter`` only rises; a ``sum`` rises and falls, and can be added up over processes; a ``gauge`` cannot.
        unit: in the notation of UCUM.
        text: what it says.
        attributes: what may tell its values apart.
    """

    name: str
    kind: Literal["counter", "sum", "gauge", "histogram"]
    unit: str
    text: str
    attributes: tuple[str, ...]

    @property
    def prometheus(self) -> str:
        """The name in Prometheus text, by OpenTelemetry's rules for it, without ``_total`` or ``_bucket``."""
        return self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")


_OF_SOURCE: Final = (SYSTEM, DESTINATION, GROUP, SOURCE)
_OF_TARGET: Final = (SYSTEM, DESTINATION, TARGET)


def _count(name: str, unit: str, text: str, *more: str) -> Instrument:
    return Instrument(name, "counter", unit, text, (*_OF_SOURCE, *more))


CONSUMED: Final = _count(
    "messaging.client.consumed.messages", "{message}", "Messages that arrived, including repeated ones.", OPERATION
)
PROCESS_DURATION: Final = Instrument(
    "messaging.process.duration",
    "histogram",
    "s",
    "How long attempts of handlers took.",
    (*_OF_SOURCE, OPERATION, HANDLER, EVENT, ERROR_TYPE),
)
SENT: Final = Instrument(
    "messaging.client.sent.messages",
    "counter",
    "{message}",
    "Messages that were sent, with the type of error where the broker has not confirmed them.",
    (*_OF_TARGET, OPERATION, ERROR_TYPE),
)
OPERATION_DURATION: Final = Instrument(
    "messaging.client.operation.duration",
    "histogram",
    "s",
    "How long publishes took, from the call to the broker's confirmation.",
    (*_OF_TARGET, OPERATION, OPERATION_TYPE, ERROR_TYPE),
)
HANDLED: Final = _count("brokerkit.handled.messages", "{message}", "Messages whose handlers are all done.")
FAILED: Final = _count("brokerkit.failed.attempts", "{attempt}", "Attempts that failed.", HANDLER, ERROR_TYPE)
RETRIED: Final = _count(
    "brokerkit.retried.attempts", "{attempt}", "Attempts that failed and will be followed by another."
)
DEAD_LETTERED: Final = _count("brokerkit.dead_lettered.messages", "{message}", "Messages stored as dead letters.")
SKIPPED: Final = _count("brokerkit.skipped.messages", "{message}", "Messages that no handler wants.")
TOMBSTONES: Final = _count("brokerkit.tombstone.messages", "{message}", "Messages without a value that nobody takes.")
RELEASED: Final = _count("brokerkit.released.messages", "{message}", "Deliveries given back at a shutdown.")
LOST: Final = _count("brokerkit.lost.messages", "{message}", "Deliveries that the broker took away and delivers again.")
DUPLICATES: Final = _count("brokerkit.duplicate.messages", "{message}", "Messages, or handlers, that were done before.")
FOREIGN: Final = _count("brokerkit.foreign.messages", "{message}", "Events whose body sets no field of their model.")
LEASE_RENEWALS: Final = _count("brokerkit.lease.renewals", "{renewal}", "Leases of messages that were renewed.")
RECONNECTS: Final = Instrument(
    "brokerkit.reconnects",
    "counter",
    "{reconnect}",
    "Lost connections that came back.",
    (SYSTEM, DESTINATION, GROUP, SOURCE, TARGET),
)
READY: Final = Instrument(
    "brokerkit.ready",
    "gauge",
    "",
    "1 while a source consumes or a target is open, else 0.",
    (SYSTEM, DESTINATION, GROUP, SOURCE, TARGET),
)
IN_FLIGHT: Final = Instrument(
    "brokerkit.in_flight.messages", "sum", "{message}", "Messages that arrived and are not settled.", _OF_SOURCE
)
HELD: Final = Instrument(
    "brokerkit.held.messages", "sum", "{message}", "Failed messages that wait here for their next attempt.", _OF_SOURCE
)
LIMITED: Final = Instrument(
    "brokerkit.limited.messages", "sum", "{message}", "Messages that wait here for a rate limit.", _OF_SOURCE
)
SUSPECTS: Final = Instrument(
    "brokerkit.suspect.messages",
    "sum",
    "{message}",
    "Messages that were delivered too often and run alone.",
    _OF_SOURCE,
)
OLDEST: Final = Instrument(
    "brokerkit.oldest_message.age",
    "gauge",
    "s",
    "Time since the oldest message that is here and not handled was produced.",
    _OF_SOURCE,
)
LAG: Final = Instrument(
    "brokerkit.lag",
    "gauge",
    "{message}",
    "Messages that wait at the broker, for each partition where the broker tells.",
    (*_OF_SOURCE, PARTITION),
)
UNCONFIRMED: Final = Instrument(
    "brokerkit.unconfirmed.messages", "sum", "{message}", "Messages sent and not confirmed.", _OF_TARGET
)
OUTBOX_BACKLOG: Final = Instrument(
    "brokerkit.outbox.messages", "gauge", "{message}", "Events in the outbox that are not sent.", (OUTBOX,)
)
GATEWAY_CLIENTS: Final = Instrument(
    "brokerkit.gateway.clients", "sum", "{client}", "Clients that are connected to the gateway.", (GATEWAY,)
)

INSTRUMENTS: Final = (
    CONSUMED,
    PROCESS_DURATION,
    SENT,
    OPERATION_DURATION,
    HANDLED,
    FAILED,
    RETRIED,
    DEAD_LETTERED,
    SKIPPED,
    TOMBSTONES,
    RELEASED,
    LOST,
    DUPLICATES,
    FOREIGN,
    LEASE_RENEWALS,
    RECONNECTS,
    READY,
    IN_FLIGHT,
    HELD,
    LIMITED,
    SUSPECTS,
    OLDEST,
    LAG,
    UNCONFIRMED,
    OUTBOX_BACKLOG,
    GATEWAY_CLIENTS,
)
