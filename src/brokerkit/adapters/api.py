"""The seam between the core and a broker: everything that the author of an adapter needs.

Provisional: this module may change in any release before 1.0, and the changelog says how. The conformance suite
(`brokerkit.testing.conformance`) checks an adapter against it.

An adapter translates and never decides. It turns a URL and options into connections, turns a topic and a group into
what the broker has for them, and moves batches. Retries, attempt limits, dead letters, order, concurrency and shutdown
belong to the core. An adapter class is found by URL scheme through the entry-point group ``brokerkit.adapters``.

Everything runs on one event loop. An adapter that needs a thread keeps it to itself.
"""

from __future__ import annotations

from brokerkit._backoff import backoff
from brokerkit._clock import plausible_time, wall_time
from brokerkit._deadline import wait_for_event
from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    Closed,
    ConfigError,
    ConnectionLost,
    DecodeError,
    InvalidMessage,
    MessageTooLarge,
    MissingExtra,
    NotFound,
    PublishError,
    Unroutable,
    UnsupportedFeature,
    describe,
)
from brokerkit._guard import Failed, guarded, start, watch
from brokerkit._logging import Reminder, get_logger
from brokerkit._messages._delivery import (
    ACK,
    RELEASE,
    Ack,
    Delivery,
    Outcome,
    OwnDelivery,
    Part,
    Release,
    RetryLater,
    Settled,
    State,
)
from brokerkit._messages._headers import (
    CONTENT_TYPE,
    CORRELATION,
    ID_HEADER,
    INTERNAL_PREFIX,
    KEY_HEADER,
    NAMED_PROPERTIES,
    NULL_HEADER,
    PROPERTY_PREFIX,
    TIME_HEADER,
    Headers,
    as_text,
    header_text,
    strict_json,
    without_internal,
)
from brokerkit._messages._outgoing import Offloaded, Outgoing, Receipt
from brokerkit._tls import TlsFiles, no_prompt
from brokerkit._url import Url
from brokerkit._version import __version__
from brokerkit.adapters._browsing import (
    browse_cursor,
    browse_source,
    browse_subscription,
    ignore_lost,
    refuse_to_follow,
)
from brokerkit.adapters._delays import DELAY_LEVELS, delay_label, delay_level
from brokerkit.adapters._derived_names import NameStyle, derived_name, is_role
from brokerkit.adapters._offsets import Offsets
from brokerkit.adapters._protocols import (
    Adapter,
    CountsRetries,
    Cursor,
    LoneStarts,
    Lost,
    PartitionLags,
    Partitions,
    PausesReading,
    Source,
    Transactional,
)
from brokerkit.adapters._seeking import Move, Seekable, SeekPlan, SeekTo
from brokerkit.adapters._topic_patterns import compile_pattern, is_pattern
from brokerkit.adapters._values import (
    Browse,
    Capabilities,
    Connection,
    Envelope,
    Order,
    Provision,
    Reach,
    ReadFrom,
    Start,
    Subscription,
    WaitingRetries,
)

__all__ = [
    "ACK",
    "CONTENT_TYPE",
    "CORRELATION",
    "DELAY_LEVELS",
    "ID_HEADER",
    "INTERNAL_PREFIX",
    "KEY_HEADER",
    "NAMED_PROPERTIES",
    "NULL_HEADER",
    "PROPERTY_PREFIX",
    "RELEASE",
    "TIME_HEADER",
    "AccessDenied",
    "Ack",
    "Adapter",
    "BrokerkitError",
    "Browse",
    "Capabilities",
    "Closed",
    "ConfigError",
    "Connection",
    "ConnectionLost",
    "CountsRetries",
    "Cursor",
    "DecodeError",
    "Delivery",
    "Envelope",
    "Failed",
    "Headers",
    "InvalidMessage",
    "LoneStarts",
    "Lost",
    "MessageTooLarge",
    "MissingExtra",
    "Move",
    "NameStyle",
    "NotFound",
    "Offloaded",
    "Offsets",
    "Order",
    "Outcome",
    "Outgoing",
    "OwnDelivery",
    "Part",
    "PartitionLags",
    "Partitions",
    "PausesReading",
    "Provision",
    "PublishError",
    "Reach",
    "ReadFrom",
    "Receipt",
    "Release",
    "Reminder",
    "RetryLater",
    "SeekPlan",
    "SeekTo",
    "Seekable",
    "Settled",
    "Source",
    "Start",
    "State",
    "Subscription",
    "TlsFiles",
    "Transactional",
    "Unroutable",
    "UnsupportedFeature",
    "Url",
    "WaitingRetries",
    "__version__",
    "as_text",
    "backoff",
    "browse_cursor",
    "browse_source",
    "browse_subscription",
    "compile_pattern",
    "delay_label",
    "delay_level",
    "derived_name",
    "describe",
    "get_logger",
    "guarded",
    "header_text",
    "ignore_lost",
    "is_pattern",
    "is_role",
    "no_prompt",
    "plausible_time",
    "refuse_to_follow",
    "start",
    "strict_json",
    "wait_for_event",
    "wall_time",
    "watch",
    "without_internal",
]
