"""The queues that replays will need, made when the first dead letter of a topic is stored.

On Kafka, members find a new topic only after a while. If the replay itself created it, the replay would wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from brokerkit._config._settings import SourceSettings
from brokerkit._errors import BrokerkitError
from brokerkit._logging import get_logger
from brokerkit.adapters.api import Adapter, Capabilities

logger = get_logger(__name__)


class ReplayQueues:
    """Makes the own queues of a source's topics.

    Args:
        run: runs a coroutine beside the consumer.
    """

    def __init__(
        self,
        adapter: Adapter,
        settings: SourceSettings,
        promises: Capabilities,
        run: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._adapter = adapter
        self._settings = settings
        self._create = (settings.provision or promises.default_provision) in ("group", "all")
        self._has_own = promises.own_queues and not settings.broadcast
        self._run = run
        self._known: set[str] = set()

    def __repr__(self) -> str:
        return f"<ReplayQueues of {len(self._known)} topics>"

    def letter_stored(self, topic: str) -> None:
        """Make the own queue of a topic, now that a dead letter of it is stored."""
        if self._has_own and topic not in self._known:
            self._known.add(topic)
            self._run(self._make(topic))

    async def _make(self, topic: str) -> None:
        settings = self._settings
        try:
            await self._adapter.own_queue(topic, settings.group, is_queue=bool(settings.queue), create=self._create)
        except BrokerkitError as error:
            logger.info("replays of dead letters of %s have no queue yet: %s", topic, error)
