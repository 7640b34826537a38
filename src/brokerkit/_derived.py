"""Names of what brokerkit creates beside a topic: queues, retry levels, dead letters.

One pure function for all brokers, so that a name can be told without asking anybody.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NameStyle:
    """What names look like on one broker.

    Attributes:
        separator: stands between topic, group and role.
        illegal: matches what a name must not contain, or None where everything is legal.
        limit: the most bytes of UTF-8.
        suffix: an ending that a topic keeps at its end (``.fifo``), or None.
        hash_tag: wrap the topic in braces, so that a Redis cluster keeps all derived keys beside it.
    """

    separator: str = "."
    illegal: re.Pattern[str] | None = None
    limit: int
    suffix: str | None = None
    hash_tag: bool = False


KAFKA = NameStyle(illegal=re.compile(r"[^A-Za-z0-9._-]"), limit=249)
"""https://kafka.apache.org/documentation/#adminapi: letters, digits, dot, underscore, hyphen; 249 characters."""

RABBITMQ = NameStyle(limit=200)
"""AMQP short strings hold 255 bytes of UTF-8; 200 leave room for a delay level."""

SQS = NameStyle(separator="__", illegal=re.compile(r"[^A-Za-z0-9_-]"), limit=80, suffix=".fifo")
"""Letters, digits, hyphen and underscore, 80 characters, the ending ``.fifo`` counted in."""

REDIS = NameStyle(limit=1024, hash_tag=True)
"""Keys hold any bytes up to 512 MB; the limit only keeps them readable."""


def derived_name(topic: str, group: str | None, role: str, style: NameStyle) -> str:
    """Join topic, group and role into one legal name, such as ``evenbet.events.wallet.dlq`` or ``orders-dlq``.

    The plain form is used where it is legal and can be read back without doubt (only the topic may hold a separator).
    ``role`` is one of ours, letters only. Everything else gets a digest of the exact parts at its end, so that two
    different arguments never meet.
    """
    suffix = style.suffix if style.suffix and topic.endswith(style.suffix) else ""
    stem = topic.removesuffix(suffix)
    plain = _legal(stem, style) and not _edgy(stem, style) and (group is None or _plain(group, style))
    place = stem
    if style.hash_tag:
        plain = plain and "{" not in stem and "}" not in stem
        if not _has_hash_tag(stem):
            place = "{" + stem + "}"
    # Without a group the role follows a hyphen: "a.b-dlq" is never the dead letters of topic a and group b.
    name = f"{place}-{role}" if group is None else style.separator.join([place, group, role])
    if plain and len(name.encode()) + len(suffix) <= style.limit:
        return name + suffix
    digest = hashlib.sha256(
        "\0".join([topic, "" if group is None else f"={group}", role]).encode(errors="surrogatepass")
    )
    ending = f"-{digest.hexdigest()[:16]}{suffix}"
    if style.illegal:
        name = style.illegal.sub("-", name)
    return name.encode()[: style.limit - len(ending)].decode(errors="ignore") + ending


def _plain(part: str, style: NameStyle) -> bool:
    return bool(part) and _legal(part, style) and style.separator not in part and not _edgy(part, style)


def _legal(part: str, style: NameStyle) -> bool:
    return not (style.illegal and style.illegal.search(part))


def _edgy(part: str, style: NameStyle) -> bool:
    """Whether a part begins or ends with a piece of a separator of several characters."""
    return len(style.separator) > 1 and (part[:1] == style.separator[0] or part[-1:] == style.separator[0])


def _has_hash_tag(topic: str) -> bool:
    opened = topic.find("{")
    return opened >= 0 and topic.find("}", opened) > opened + 1
