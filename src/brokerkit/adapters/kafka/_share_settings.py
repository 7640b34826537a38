"""The configuration of the members of a share group.

A share consumer refuses many settings of a consumer: its broker decides them, for the whole group. So an option must be one
that the share consumer or the producer knows.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from brokerkit.adapters.api import ConfigError, Connection, MissingExtra
from brokerkit.adapters.kafka._client import Settings, takes
from brokerkit.adapters.kafka._errors import kafka_error
from brokerkit.adapters.kafka._login import OAUTH, OnError

try:
    from confluent_kafka import ShareConsumer
except ImportError as error:  # a client that is older than share groups serves kafka:// all the same
    raise MissingExtra(
        "kafka+share:// needs confluent-kafka 2.15 or later: pip install 'brokerkit-sdk[kafka-share]'"
    ) from error

__all__ = ["ShareConsumer", "ShareSettings"]

_MODE: Final = "share.acknowledgement.mode"
_RECORDS: Final = "max.poll.records"
_MEMBERS: Final = "members"
_MOST: Final = 200
"""Members of a group that a broker takes by default (``group.share.max.size``)."""
_REFUSED: Final = ("not applicable for share consumer", "not supported for share consumer", "or share consumer")
_SILENT: Final = logging.Logger("brokerkit.adapters.kafka.check", logging.CRITICAL + 1)  # noqa: LOG001


class ShareSettings:
    """The configuration of all clients of one adapter for share groups. It is checked at creation, without connecting.

    Attributes:
        clients: that of the producer, the admin client, and the consumer of the retry topics.
        members: how many members one source has at most; None where nobody has said.

    Raises:
        ConfigError: as `Settings`, or an option has no effect on a share group.
    """

    def __init__(self, connection: Connection) -> None:
        options = dict(connection.options)
        where = str(connection.url)
        if _MODE in options:
            raise ConfigError(f"{where}: option {_MODE!r} cannot be set: brokerkit acknowledges each message by itself")
        self.members = _number(where, options.pop(_MEMBERS)) if _MEMBERS in options else None
        token = {OAUTH: options.pop(OAUTH)} if OAUTH in options else {}
        self._own = {name: value for name, value in options.items() if _is_known(name, value)}
        for name, value in options.items():
            if name not in self._own and not takes(Producer, {}, name, value) and _is_refused(name, value):
                raise ConfigError(
                    f"{where}: option {name!r} has no effect on a share group: the broker decides it, by its own settings "
                    "or by those of the group"
                )
        options.pop(_RECORDS, None)
        self.clients = Settings(replace(connection, options={**options, **token}))
        self._check(where)

    def __repr__(self) -> str:
        return f"<ShareSettings {self.clients.where}>"

    def configure(self, on_error: OnError, *, group: str, records: int) -> dict[str, Any]:
        """Build the configuration of a `confluent_kafka.ShareConsumer` that asks for so many records at once."""
        return {
            _RECORDS: records,
            **self.clients.common,
            **self._own,
            "bootstrap.servers": self.clients.servers,
            "group.id": group,
            _MODE: "explicit",
            "error_cb": on_error,
        }

    def _check(self, where: str) -> None:
        try:
            ShareConsumer({**self.clients.common, **self._own, "group.id": "check"}, logger=_SILENT).close()
        except KafkaException as error:
            raise ConfigError(f"{where}: {kafka_error(error).str()}") from error
        except Exception as error:  # confluent-kafka reports a wrong value in many ways
            raise ConfigError(f"{where}: {error}") from error


def _number(where: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        raise ConfigError(f"{where}: option {_MEMBERS!r} is a number from 1 to {_MOST}, not {value!r}")
    return number


def _is_known(name: str, value: object) -> bool:
    return takes(ShareConsumer, {"group.id": "check"}, name, value) and not _is_refused(name, value)


def _is_refused(name: str, value: object) -> bool:
    """Whether the share consumer knows an option and refuses it."""
    try:
        ShareConsumer({"group.id": "check", name: value}, logger=_SILENT).close()
    except KafkaException:
        return False
    except Exception as error:  # noqa: BLE001 (a ValueError today)
        return any(text in str(error) for text in _REFUSED)
    return False
