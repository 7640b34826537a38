"""Warns of topics that Kafka empties while brokerkit still needs what is in them.

Kafka deletes a message that is older than ``retention.ms`` of its topic, that does not fit into ``retention.bytes``, or that
has the key of a later one (``cleanup.policy=compact``). It tells nobody. Topics for retries and dead letters that brokerkit
creates keep their messages; those that somebody else created have the cluster's defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from brokerkit.adapters.api import BrokerkitError, get_logger
from brokerkit.adapters.kafka._admin import KafkaAdmin

logger = get_logger(__name__)

LETTERS: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""A topic of dead letters keeps them until somebody removes them, whatever the cluster's defaults are."""


async def warn_of_lost_letters(admin: KafkaAdmin, where: str, topics: Iterable[str]) -> None:
    """Say which topics do not keep dead letters until somebody removes them. ``where`` is the URL of the cluster."""
    for topic, settings in await _read(admin, where, topics):
        texts = _other_limits(settings, "dead letters")
        if (age := _age(settings)) is not None:
            texts.append(
                f"deletes dead letters {_time(age)} after they were written, seen or not (retention.ms={age * 1000:.0f}); "
                "set it to -1 to keep them until they are removed"
            )
        for text in texts:
            logger.warning("%s: Kafka topic %s %s", where, topic, text)


async def warn_of_lost_retries(
    admin: KafkaAdmin, where: str, retries: Mapping[str, float], held: Iterable[str], longest: float
) -> None:
    """Say which topics delete a failed message before its last attempt.

    Args:
        admin: of the cluster.
        where: the URL of the cluster.
        retries: the retry topics, and the seconds that a message waits there.
        held: topics whose failed messages wait in the process, and are read again after its end.
        longest: seconds that all waits of one failed message can last together.
    """
    needed = dict.fromkeys(held, longest) | {topic: max(wait, longest) for topic, wait in retries.items()}
    for topic, settings in await _read(admin, where, needed):
        texts = _other_limits(settings, "retries") if topic in retries else []
        if (age := _age(settings)) is not None and age <= needed[topic]:
            texts.append(
                f"deletes messages {_time(age)} after they were written (retention.ms={age * 1000:.0f}), and one that fails "
                f"may wait {_time(needed[topic])}: it can be lost before its last attempt. Raise the one or lower the other"
            )
        for text in texts:
            logger.warning("%s: Kafka topic %s %s", where, topic, text)


async def _read(admin: KafkaAdmin, where: str, topics: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """The settings of the topics that exist. None where they cannot be seen: that is no reason not to start."""
    try:
        return sorted((await admin.topic_settings(topics)).items())
    except BrokerkitError as error:
        logger.info("%s: it cannot be seen how long topics keep their messages: %s", where, error)
        return []


def _age(settings: Mapping[str, str]) -> float | None:
    """Seconds after which a message is deleted; None where its age is no reason."""
    age = int(settings["retention.ms"])
    return age / 1000 if "delete" in settings["cleanup.policy"] and age >= 0 else None


def _other_limits(settings: Mapping[str, str], what: str) -> list[str]:
    policy, size, texts = settings["cleanup.policy"], int(settings["retention.bytes"]), list[str]()
    if "delete" in policy and size >= 0:
        texts.append(f"deletes {what} when a partition has more than {size} bytes (retention.bytes); set it to -1")
    if "compact" in policy:
        texts.append(f"deletes {what} when a later one has the same key (cleanup.policy={policy}); set it to delete")
    return texts


def _time(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
