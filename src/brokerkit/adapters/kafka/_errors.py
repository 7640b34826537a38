"""What an error of Kafka means: one table for consumers, producers and admin clients.

librdkafka says of an error that it is fatal (the client is useless) or retriable, but only where a call raises it. The
errors that a consumer polls and that a delivery report brings carry no flags (confluent-kafka 2.16). A fatal one has the
code `_FATAL`, and its cause is only in its text. So the flags count where they are, and the codes decide where they are not.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from brokerkit.adapters.api import AccessDenied, BrokerkitError, ConnectionLost, NotFound, PublishError

_NO_LOGIN: Final = {
    KafkaError._AUTHENTICATION,  # pyright: ignore[reportPrivateUsage]
    KafkaError.SASL_AUTHENTICATION_FAILED,
}
DENIED: Final = _NO_LOGIN | {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
MISSING: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # pyright: ignore[reportPrivateUsage]
    KafkaError._UNKNOWN_PARTITION,  # pyright: ignore[reportPrivateUsage]
}
LEADERLESS: Final = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
_PURGED: Final = {
    KafkaError._PURGE_QUEUE,  # pyright: ignore[reportPrivateUsage]
    KafkaError._PURGE_INFLIGHT,  # pyright: ignore[reportPrivateUsage]
    KafkaError._FATAL,  # pyright: ignore[reportPrivateUsage]
}
_UNREACHABLE: Final = (
    LEADERLESS
    | _PURGED
    | {
        KafkaError._TRANSPORT,  # pyright: ignore[reportPrivateUsage]
        KafkaError._RESOLVE,  # pyright: ignore[reportPrivateUsage]
        KafkaError._SSL,  # pyright: ignore[reportPrivateUsage]
        KafkaError._ALL_BROKERS_DOWN,  # pyright: ignore[reportPrivateUsage]
        KafkaError._TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
        KafkaError._TIMED_OUT_QUEUE,  # pyright: ignore[reportPrivateUsage]
        KafkaError._MSG_TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
        KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError._FAIL,  # pyright: ignore[reportPrivateUsage]
        KafkaError._WAIT_COORD,  # pyright: ignore[reportPrivateUsage]
        KafkaError._WAIT_CACHE,  # pyright: ignore[reportPrivateUsage]
        KafkaError._DESTROY_BROKER,  # pyright: ignore[reportPrivateUsage]
        KafkaError._INTR,  # pyright: ignore[reportPrivateUsage]
        KafkaError._RETRY,  # pyright: ignore[reportPrivateUsage]
        # The broker refused a message because of the producer's state, which the client mends or makes fatal, or which
        # the end of a transaction mends.
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError._FENCED,  # pyright: ignore[reportPrivateUsage]
        # Another message of the same batch was invalid.
        KafkaError._INVALID_DIFFERENT_RECORD,  # pyright: ignore[reportPrivateUsage]
    }
)
"""The cluster cannot do it now, and another try may help."""

_MEMBERSHIP: Final = {
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.MEMBER_ID_REQUIRED,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,  # pyright: ignore[reportPrivateUsage]
    KafkaError._NO_OFFSET,  # pyright: ignore[reportPrivateUsage]
}
"""The group changes, and this member with it. The client joins again, and tells of its partitions through its
callbacks."""

_STATIC: Final = {KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID}
"""Another member has the same ``group.instance.id``. A new client would expel it, and be expelled in turn."""

UNSUPPORTED: Final = {
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,  # pyright: ignore[reportPrivateUsage]
}
_HOPELESS: Final = (
    DENIED
    | MISSING
    | UNSUPPORTED
    | _STATIC
    | {
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_REQUEST,
        KafkaError.INVALID_SESSION_TIMEOUT,
        # The client reads on behind a message that it cannot read, or asks for it for ever.
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    }
)
"""Neither another try nor another client helps."""

_LOCAL: Final = -100
"""Codes below are errors of the client library; the others are answers of a broker. -1 is "unknown error" of a broker."""

_UNREAD: Final = "Failed to fetch committed offset"
"""The beginning of the text of an error after which the client leaves partitions unread until they are assigned again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """The rights that a request needs, for the error of a user who lacks one of them.

    Attributes:
        user: who asks; "" where no name is known here, as with a client certificate.
        right: to the topic, as Kafka calls the operation, e.g. "Read".
        topic: the topic that the request is about; "" where it is about none.
        group: the group that it is about. Who reads a topic needs to read it too. With no topic and no group it is about
            the cluster.
    """

    user: str
    right: str
    topic: str
    group: str = ""

    def say(self, code: int) -> str:
        """Name user, object and right."""
        user = f"user {self.user!r}" if self.user else "this user"
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            right = self.right if self.right == "Describe" or not self.topic else "Read"
            return f"{user} needs the right {right} on group {self.group!r}"
        if not self.topic:
            return f"{user} needs the right {self.right} on the cluster"
        text = f"{user} needs the right {self.right} on topic {self.topic!r}"
        if self.right == "Describe":
            return f"{text}, which Read and Write include"
        if code == KafkaError.CLUSTER_AUTHORIZATION_FAILED and self.right == "Write":
            return f"{text}, before Kafka 2.8 also IdempotentWrite on the cluster"
        return text


class Reaction(Enum):
    """What a consumer does about an error."""

    END = "end"
    """End the source: only somebody else can help."""
    RENEW = "renew"
    """Replace the client: this one is of no more use, and another one is."""
    REPORT = "report"
    """Say that the connection is lost. The client goes on by itself."""
    IGNORE = "ignore"
    """Log it. The group changes, which is not a fault."""


def reaction(error: KafkaError) -> Reaction:
    """Decide what a consumer does about an error that it has polled.

    An answer of the broker that is not fatal never ends a source, unless neither another try nor another client changes
    it. An unknown error of the client library itself does: it may have skipped messages that it could not read.
    """
    fatal = is_fatal(error)
    code = cause(error)
    if code in _HOPELESS:
        return Reaction.END
    if fatal or error.str().startswith(_UNREAD):
        return Reaction.RENEW
    if code in _MEMBERSHIP:
        return Reaction.IGNORE
    return Reaction.REPORT if code in _UNREACHABLE or code > _LOCAL or error.retriable() else Reaction.END


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that had this error is of no more use."""
    return error.fatal() or error.code() == KafkaError._FATAL  # pyright: ignore[reportPrivateUsage]


def is_purged(error: KafkaError) -> bool:
    """Whether a producer gave up a message because of a fatal error that has nothing to do with it."""
    return error.code() in _PURGED


def cause(error: KafkaError) -> int:
    """The code of an error, or of what made it fatal: its text names that.

    "Fatal error: Broker: The group id does not exist: ConsumerGroupHeartbeat fatal error: …"
    """
    if error.code() == KafkaError._FATAL:  # pyright: ignore[reportPrivateUsage]
        text = error.str()
        for code in (*_HOPELESS, *_MEMBERSHIP, *_UNREACHABLE):
            if text.startswith(f"Fatal error: {KafkaError(code).str()}:"):
                return code
    return error.code()


def translate(error: KafkaError, doing: str, *, needed: Needed | None = None, sending: bool = False) -> BrokerkitError:
    """Translate an error of the client library into one of brokerkit.

    ``sending`` says that it is about a message to publish. A producer with a fatal error is replaced, so another try helps.
    """
    code = cause(error)
    text = f"{doing}: {error.str()} ({error.name()})"
    if code in _NO_LOGIN:
        return AccessDenied(f"{text}; check user and password")
    if code in DENIED:
        return AccessDenied(f"{text}; {needed.say(code) if needed else 'check the rights of this user'}")
    if code in MISSING:
        return NotFound(f"{text}; create the topic, or use provision='all'")
    if code in _STATIC:
        return BrokerkitError(
            f"{text}; another member of the group has this group.instance.id, or a dead one had it and its session has not "
            "ended: give each process its own, or start this one later"
        )
    if code in _UNREACHABLE or error.retriable() or (sending and is_fatal(error)):
        return ConnectionLost(text)
    return PublishError(text) if sending else BrokerkitError(text)


@contextmanager
def translated(doing: str, needed: Needed | None = None) -> Generator[None]:
    """Translate what the client library raises inside, see `translate`."""
    try:
        yield
    except KafkaException as error:
        raise translate(kafka_error(error), doing, needed=needed) from error


def lost(error: KafkaError, doing: str) -> ConnectionLost:
    """The error of a client that goes on by itself, or that another one replaces."""
    return ConnectionLost(f"{doing}: {error.str()} ({error.name()})")


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside a `KafkaException`."""
    inside: KafkaError = error.args[0]
    return inside
