"""What `Bus` takes as keywords, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from brokerkit._config._breaker import Breaker
from brokerkit._config._rate import Rate
from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import Foreign, Unknown
from brokerkit.adapters.api import Envelope, Order, Provision, ReadFrom, Start
from brokerkit.dedupe._dedupe import Dedupe
from brokerkit.dedupe._store import Store


class Settings(TypedDict, total=False):
    """Keywords of `Bus`; see `SourceSettings` and `TargetSettings` for what they mean."""

    topic: str | Sequence[str]
    queue: str | Sequence[str]
    group: str
    format: str
    name_from: str | Sequence[str]
    names: Mapping[str, str]
    key_from: str | Sequence[str]
    id_from: str | Sequence[str]
    tz: str
    order: Order
    start: Start
    broadcast: bool
    provision: Provision
    unknown: Unknown
    foreign: Foreign
    concurrency: int
    max_in_flight: int
    lease: float
    retry: RetryPolicy
    breaker: Breaker
    rate: Rate
    max_deliveries: int
    hold: float
    timeout: float
    dead_letter: str
    dedupe: Dedupe | Store | str
    exactly_once: bool
    overflow: str
    options: Mapping[str, object]
    connect_timeout: float
    endpoint: str
    body_field: str
    envelope: Envelope
    read_from: ReadFrom
    large_payloads: str
    password: str | Callable[[], str]
    password_file: str | Path
    publish_timeout: float
    propagate: bool
    stop_timeout: float
