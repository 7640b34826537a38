"""What is refused of a Redis cluster before anything connects."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot
from tests.adapters.redis.cluster.seam import ADAPTERS, at

from brokerkit._errors import ConfigError, UnsupportedFeature
from brokerkit.adapters.api import Adapter, Subscription
from brokerkit.adapters.redis.streams import RedisStreamsAdapter


def test_all_keys_of_a_topic_share_a_slot() -> None:
    streams = RedisStreamsAdapter(at("redis+cluster://h"))
    for topic in ("deals", "a.b", "{wallet}.deals", "a{b}c", "ü"):
        source: Any = streams.subscribe(Subscription(topics=(topic,), group="g"), _nobody)
        (stream, retry) = source._streams
        keys = [stream.key.decode(), retry.key.decode(), stream.waiting, stream.starts.key]
        keys.append(streams.derived(topic, "g", "dlq"))
        assert {key_slot(key.encode()) for key in keys} == {key_slot(topic.encode())}


@pytest.mark.parametrize("topic", ["a}b", "a{}b", "x" * 1100])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_topic_whose_keys_could_not_share_a_slot_is_refused(topic: str, kind: str) -> None:
    adapter: Adapter = ADAPTERS[kind](at(f"redis+cluster{kind}://h"))
    with pytest.raises(UnsupportedFeature, match="hash tag"):
        adapter.subscribe(Subscription(topics=(topic,), group="g"), _nobody)


async def _nobody(deliveries: object) -> None:
    raise AssertionError("nothing is lost here")


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis+cluster://u:secret@h/1", {}, "only database 0"),
        ("redis+cluster://u:secret@h", {"read_from_replicas": True}, "behind its primary"),
        ("redis+cluster://u:secret@h", {"startup_nodes": "x"}, "they are in the URL"),
        ("redis+cluster://u:secret@h", {"single": 1}, "see the arguments of redis.asyncio.RedisCluster"),
        ("redis+cluster://u:secret@h", {"wait_replicas": "many"}, "must be a number"),
        ("redis+cluster://u:secret@h", {"wait_replicas": -1}, "a whole number, 0 or more"),
        ("redis+cluster://u:secret@h", {"ssl_ca_certs": "x"}, r"rediss\+cluster://"),
        ("redis+cluster:///0", {}, "a host is needed"),
    ],
)
def test_a_wrong_url_or_option_is_found_before_connecting(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        RedisStreamsAdapter(at(url, **options))
    assert "secret" not in str(caught.value)
