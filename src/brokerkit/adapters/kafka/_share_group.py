"""The settings of a share group: what brokerkit sets for a new one, and the limits that it has to live with.

With Kafka's defaults a share group loses messages, because it begins at the end of its topics, and gets messages of aborted
transactions. So brokerkit sets what nobody has set for the group, and never alters what somebody has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from brokerkit.adapters.api import AccessDenied, BrokerkitError, Subscription, UnsupportedFeature, get_logger
from brokerkit.adapters.kafka._admin import GroupSetting, KafkaAdmin
from brokerkit.adapters.kafka._share_topics import OwnTopics, dropped_topic

logger = get_logger(__name__)

BROKER: Final = "Kafka share groups"

_LOCK: Final = "share.record.lock.duration.ms"
_START: Final = "share.auto.offset.reset"
_ISOLATION: Final = "share.isolation.level"
_DELIVERIES: Final = "share.delivery.count.limit"
_DROPPED: Final = "errors.deadletterqueue.topic.name"
_COPIED: Final = "errors.deadletterqueue.copy.record.enable"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """What the broker grants the members of a group.

    Attributes:
        lock: seconds for which a message is left with the member that took it.
        deliveries: how often a message is delivered. After the last one without an acknowledgement it is dropped.
    """

    lock: float = 30.0
    deliveries: int = 5


class ShareGroup:
    """The settings of one group.

    Args:
        group: its name.
        wanted: what is to be read, and what may be set.
    """

    def __init__(self, admin: KafkaAdmin, group: str, wanted: Subscription) -> None:
        self._admin = admin
        self._group = group
        self._wanted = wanted
        self._known: dict[str, GroupSetting] = {}

    def __repr__(self) -> str:
        return f"<ShareGroup {self._group}>"

    async def open(self) -> GroupLimits:
        """Set what nobody has set, as far as ``provision`` allows it, and return the limits of the group.

        Raises:
            UnsupportedFeature: the broker has no share groups, or it refuses the lease.
        """
        if self._wanted.provision == "off":
            return GroupLimits()
        try:
            self._known = await self._admin.group_settings(self._group)
        except AccessDenied as error:
            logger.warning(
                "%s: it cannot be checked where share group %s begins, or how long a lock lasts; assuming Kafka's defaults",
                error,
                self._group,
            )
            return GroupLimits()
        if _START not in self._known:
            raise UnsupportedFeature(
                broker=BROKER, feature="this broker, which has none", alternative="use Kafka 4.2 or later, or kafka://"
            )
        await self._set_up()
        self._report()
        return GroupLimits(lock=int(self._known[_LOCK].value) / 1000, deliveries=await self._most_deliveries())

    async def _set_up(self) -> None:
        wanted = self._wanted
        settings = {
            _START: wanted.start,
            _ISOLATION: "read_committed",
            _LOCK: str(int(wanted.lease * 1000)),
        }
        if _DELIVERIES in self._known:
            settings[_DELIVERIES] = await self._broker_setting("group.share.max.delivery.count.limit") or ""
        try:
            await self._set({name: value for name, value in settings.items() if value})
        except BrokerkitError as error:
            raise UnsupportedFeature(
                broker=BROKER,
                feature=f"a lease of {wanted.lease:g} s: {error}",
                alternative="choose a lease that the broker takes (group.share.min.record.lock.duration.ms and max), "
                "15 to 60 s by default",
            ) from error

    async def _set(self, settings: Mapping[str, str]) -> bool:
        """Set what nobody has set for this group. False where that is not allowed.

        Raises:
            BrokerkitError: the broker refuses a value.
        """
        known = self._known
        missing = {
            name: value for name, value in settings.items() if not known[name].own and known[name].value != value
        }
        if missing and self._wanted.provision not in ("group", "all"):
            return False
        try:
            if missing:
                await self._admin.set_group(self._group, missing)
        except AccessDenied as error:
            logger.warning("%s", error)
            return False
        known.update({name: GroupSetting(value, own=True) for name, value in missing.items()})
        return True

    def _report(self) -> None:
        """Log what differs from what was asked for. A group keeps what somebody has set for it."""
        known, wanted = self._known, self._wanted
        if wanted.start == "earliest" and known[_START].value == "latest":
            logger.warning(
                "share group %s has %s=latest: if it is new, it skips every message that was published before it read its "
                "topics for the first time. Set it to earliest (kafka-configs --entity-type groups)",
                self._group,
                _START,
            )
        if known[_ISOLATION].value != "read_committed":
            logger.warning(
                "share group %s has %s=%s: it also gets messages of transactions that were aborted",
                self._group,
                _ISOLATION,
                known[_ISOLATION].value,
            )
        if (lock := int(known[_LOCK].value) / 1000) != wanted.lease:
            logger.warning(
                "share group %s has locks of %g s (%s), and not of lease = %g s", self._group, lock, _LOCK, wanted.lease
            )

    async def _most_deliveries(self) -> int:
        """Kafka 4.2 has the limit only as a setting of the broker."""
        if _DELIVERIES in self._known:
            return int(self._known[_DELIVERIES].value)
        return int(await self._broker_setting(f"group.{_DELIVERIES}") or GroupLimits().deliveries)

    async def _broker_setting(self, name: str) -> str | None:
        try:
            return await self._admin.broker_setting(name)
        except AccessDenied as error:
            logger.debug("%s", error)
            return None

    async def keep_dropped(self, topics: OwnTopics) -> bool:
        """Have the broker note what it drops, and ``topics`` read that. False where it drops messages for good."""
        if _DROPPED not in self._known:
            return False
        name = self._known[_DROPPED].value
        if self._known[_DROPPED].own:
            ours = [dropped_topic(name[: name.find(".") + 1], self._group)]
        else:
            prefix = await self._broker_setting("errors.deadletterqueue.topic.name.prefix")
            ours = [name := dropped_topic("dlq." if prefix is None else prefix, self._group)]
        if name not in ours:
            logger.info("share group %s: what Kafka drops goes to %s, which somebody has set", self._group, name)
            return True
        if not await topics.open_dropped(name):
            return False
        try:
            return await self._set({_DROPPED: name, _COPIED: "true"})
        except BrokerkitError as error:
            logger.warning("%s", error)
            return False
