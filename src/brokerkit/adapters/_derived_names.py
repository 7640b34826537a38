"""Names of the objects that brokerkit creates beside a topic: queues, retry levels, dead letters.

One pure function for all brokers, so that a name can be computed without asking the broker.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class NameStyle:
    """What names look like on one broker.

    Attributes:
        separator: comes between topic, group and role.
        illegal: matches what a name must not contain; None if everything is legal.
        limit: the most bytes of UTF-8.
        suffix: an ending that a topic's name keeps (``.fifo``), or None.
        hash_tag: whether to put the topic into braces, so that a Redis cluster keeps all derived keys in its slot.
    """

    separator: str = "."
    illegal: re.Pattern[str] | None = None
    limit: int
    suffix: str | None = None
    hash_tag: bool = False


def derived_name(topic: str, group: str | None, role: str, style: NameStyle) -> str:
    """Join topic, group and role into one legal name, such as ``evenbet.events.wallet.dlq`` or ``orders-dlq``.

    The plain form is used if it is legal and unambiguous (only the topic may hold a separator). Otherwise the name ends
    in a digest of the exact parts, so that different arguments never give the same name. ``role`` is one of brokerkit's
    own words, letters only.
    """
    suffix = style.suffix if style.suffix and topic.endswith(style.suffix) else ""
    stem = topic.removesuffix(suffix)
    plain = _legal(stem, style) and not _edgy(stem, style) and (group is None or _plain(group, style))
    base = stem
    if style.hash_tag:
        plain = plain and "{" not in stem and "}" not in stem
        if not _has_hash_tag(stem):
            base = "{" + stem + "}"
    # Without a group the role follows a hyphen: "a.b-dlq" is never the dead letters of topic a and group b.
    name = f"{base}-{role}" if group is None else style.separator.join([base, group, role])
    if plain and len(name.encode()) + len(suffix) <= style.limit:
        return name + suffix
    digest = hashlib.sha256(
        "\0".join([topic, "" if group is None else f"={group}", role]).encode(errors="surrogatepass")
    )
    ending = f"-{digest.hexdigest()[:16]}{suffix}"
    if style.illegal:
        name = style.illegal.sub("-", name)
    return name.encode()[: style.limit - len(ending)].decode(errors="ignore") + ending


@lru_cache
def is_role(name: str, role: str) -> bool:
    """Whether `derived_name` may have made a name for this role, on a broker of any style."""
    return re.fullmatch(rf".+[._-]{role}(-[0-9a-f]{{16}})?(\.fifo)?", name, re.DOTALL) is not None


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
