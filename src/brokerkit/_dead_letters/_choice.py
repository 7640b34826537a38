"""Which store the dead letters of a source go to: the configured one, or else a queue derived from its first topic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from brokerkit._config._loading import settings_of_url
from brokerkit._config._settings import ConnectionSettings, SourceSettings
from brokerkit._dead_letters._file import DeadLetterFile
from brokerkit._dead_letters._store import DeadLetterQueue, DeadLetterStore, NoDeadLetterStore
from brokerkit._url import Url
from brokerkit.adapters.api import Adapter

_FILE_SCHEME: Final = "file"


def store_of(
    settings: SourceSettings, adapter: Adapter, adapter_for: Callable[[ConnectionSettings], Adapter]
) -> DeadLetterStore:
    """Return the dead-letter store of a source.

    Args:
        settings: the source's.
        adapter: the source's.
        adapter_for: returns the adapter of a connection, for dead letters that go to another broker.

    Raises:
        ConfigError: the URL of the store is wrong.
    """
    overflow = DeadLetterFile(Path(settings.overflow))
    topic = (settings.topic or settings.queue)[0]
    capabilities = adapter.capabilities(topic)
    provision = settings.provision or capabilities.default_provision
    create = None if provision == "off" else provision != "check"
    if settings.dead_letter is None:
        if not capabilities.dead_letters:
            return NoDeadLetterStore()
        queue = adapter.derived(topic, settings.group, "dlq")
        return DeadLetterQueue(adapter, queue, create=create, overflow=overflow)
    url = Url.parse(settings.dead_letter.get_secret_value())
    if url.scheme == _FILE_SCHEME:
        return DeadLetterFile(Path("/", url.path) if not url.hosts else Path(*url.hosts, url.path))
    query = dict(url.query)
    queue = query.pop("topic", "")
    plain = settings.dead_letter.get_secret_value().partition("?")[0]
    other = adapter_for(settings_of_url(plain, query, beside=settings))
    queue = queue or other.derived(topic, settings.group, "dlq")
    return DeadLetterQueue(other, queue, create=create, overflow=overflow)
