"""What a handler publishes becomes part of a transaction, where its source is told to handle each message exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, Protocol

from brokerkit._errors import BrokerkitError
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.api import Adapter


class Collector(Protocol):
    """Keeps what one call of a handler publishes, until its message is settled."""

    def collect(self, batch: Sequence[Outgoing], *, target: str, adapter: Adapter) -> list[Receipt | BrokerkitError]:
        """Keep messages for the transaction. Return one result for each.

        Raises:
            UnsupportedFeature: the target is not where the source is.
            Closed: the handler whose transaction this is has ended.
        """
        ...


TRANSACTION: Final[ContextVar[Collector | None]] = ContextVar("brokerkit_transaction", default=None)
"""The collector of the running handler. Tasks and threads that the handler starts see it too."""
