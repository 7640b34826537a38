"""Derived names: legal on each broker, and never one name for two things."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brokerkit.adapters._derived_names import NameStyle, derived_name
from brokerkit.adapters.aws._queues import NAME_STYLE as SQS
from brokerkit.adapters.kafka._topics import NAME_STYLE as KAFKA
from brokerkit.adapters.rabbitmq._wire import NAME_STYLE as RABBITMQ
from brokerkit.adapters.redis._client import NAME_STYLE as REDIS

STYLES = {"kafka": KAFKA, "rabbitmq": RABBITMQ, "redis": REDIS, "sqs": SQS}
PIECES = st.sampled_from(["a", "b", ".", "_", "__", "-", "é", " ", "{", "}", "dlq", "retry", "wallet", "x" * 70])
TOPICS = st.builds(
    lambda pieces, suffix: "".join(pieces) + suffix,
    st.lists(PIECES, min_size=1, max_size=5),
    st.sampled_from(["", ".fifo"]),
)
GROUPS = st.sampled_from([None, "a", "b", "wallet", "a.b", "_a", "a_", "a__b", "dlq", "é", "x" * 90, ""])
ROLES = st.sampled_from(["dlq", "retry"])
ARGUMENTS = st.tuples(TOPICS, GROUPS, ROLES)
EVERY_STYLE = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def hash_tag(key: str) -> str:
    """What a Redis cluster hashes: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/."""
    opened = key.find("{")
    closed = key.find("}", opened + 1)
    return key[opened + 1 : closed] if opened >= 0 and closed > opened + 1 else key


@EVERY_STYLE
@given(one=ARGUMENTS, other=ARGUMENTS)
def test_two_different_things_never_have_one_name(
    style: NameStyle, one: tuple[str, str | None, str], other: tuple[str, str | None, str]
) -> None:
    assume(one != other)
    assert derived_name(*one, style) != derived_name(*other, style)


@EVERY_STYLE
@given(topics=st.lists(st.sampled_from(["a", "b", ".", "_", "-"]), min_size=2, max_size=6))
def test_moving_the_border_between_topic_and_group_gives_another_name(style: NameStyle, topics: list[str]) -> None:
    whole = "".join(topics)
    splits = {(whole[:at], whole[at:]) for at in range(1, len(whole))}
    splits |= {(whole[:at], whole[at + 1 :]) for at in range(1, len(whole) - 1)}
    assert len({derived_name(topic, group, "dlq", style) for topic, group in splits}) == len(splits)


@EVERY_STYLE
@given(arguments=ARGUMENTS)
def test_every_name_is_legal_and_short_enough_in_bytes(
    style: NameStyle, arguments: tuple[str, str | None, str]
) -> None:
    name = derived_name(*arguments, style)
    assert 0 < len(name.encode()) <= style.limit
    bare = name.removesuffix(style.suffix) if style.suffix else name
    assert style.illegal is None or not style.illegal.search(bare)


@given(ARGUMENTS)
def test_a_fifo_topic_has_fifo_queues_and_no_other_has(arguments: tuple[str, str | None, str]) -> None:
    name = derived_name(*arguments, SQS)
    assert name.endswith(".fifo") == arguments[0].endswith(".fifo")
    assert re.fullmatch(r"[A-Za-z0-9_-]+(\.fifo)?", name)


@given(TOPICS, GROUPS)
def test_what_is_derived_of_a_redis_key_shares_one_slot(topic: str, group: str | None) -> None:
    assume("}" not in topic or hash_tag(topic) != topic)  # a key with a stray "}" can share its slot with no other
    assert {hash_tag(derived_name(topic, group, role, REDIS)) for role in ("dlq", "retry")} == {hash_tag(topic)}


@pytest.mark.parametrize(
    ("style", "topic", "group", "expected"),
    [
        (KAFKA, "evenbet.events", "wallet", "evenbet.events.wallet.dlq"),
        (KAFKA, "orders", None, "orders-dlq"),
        (RABBITMQ, "Spiele übrig", "wallet", "Spiele übrig.wallet.dlq"),
        (SQS, "orders", "wallet", "orders__wallet__dlq"),
        (SQS, "orders.fifo", None, "orders-dlq.fifo"),
        (REDIS, "orders", "wallet", "{orders}.wallet.dlq"),
    ],
)
def test_plain_parts_give_plain_names(style: NameStyle, topic: str, group: str | None, expected: str) -> None:
    assert derived_name(topic, group, "dlq", style) == expected


def test_the_same_parts_always_give_the_same_name() -> None:
    long = "x" * 300
    assert derived_name(long, "wallet", "dlq", KAFKA) == derived_name(long, "wallet", "dlq", KAFKA)


def test_the_limit_counts_bytes_not_characters() -> None:
    assert len(derived_name("é" * 95, "wallet", "dlq", RABBITMQ).encode()) <= 200
    assert derived_name("é" * 94, "wallet", "dlq", RABBITMQ).endswith(".wallet.dlq")
