"""Redis Streams at the seam, against a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from tests.adapters.redis_seam import (
    BODIES,
    WEIRD,
    confirmed,
    connection,
    has_lag,
    ignore_lost,
    nothing_comes,
    numbers,
    opened,
    outgoing,
    raw_client,
    reading,
    receive,
    texts,
    unique,
)
from tests.brokers.redis import RedisBroker

from brokerkit._errors import (
    AccessDenied,
    Closed,
    ConfigError,
    ConnectionLost,
    InvalidMessage,
    MessageTooLarge,
    NotFound,
    Unroutable,
    UnsupportedFeature,
)
from brokerkit._messages._delivery import ACK, RELEASE, RetryLater, Settled
from brokerkit._messages._outgoing import Receipt
from brokerkit._url import Url
from brokerkit.adapters._derived_names import derived_name
from brokerkit.adapters.api import Connection, Subscription
from brokerkit.adapters.redis import _client
from brokerkit.adapters.redis._client import NAME_STYLE
from brokerkit.adapters.redis.streams import RedisStreamsAdapter

ALL: dict[str, Any] = {"group": "g", "provision": "all"}


@pytest.fixture
async def adapter(redis_broker: RedisBroker) -> AsyncIterator[RedisStreamsAdapter]:
    async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter:
        assert isinstance(adapter, RedisStreamsAdapter)
        yield adapter


@pytest.fixture
async def raw(redis_broker: RedisBroker) -> AsyncIterator[Any]:
    async with raw_client(redis_broker.url) as client:
        yield client


async def made(adapter: RedisStreamsAdapter) -> str:
    topic = unique()
    await adapter.ensure([topic], is_queue=False, create=True)
    return topic


async def test_a_message_goes_through_unchanged(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        for body in BODIES:
            message = outgoing(topic, body=body, key="key", headers=WEIRD, content_type="application/json")
            (receipt,) = await adapter.send([message])
            assert isinstance(receipt, Receipt)
            deliveries = await receive(source, 1)
            (delivery,) = deliveries
            assert (delivery.body, delivery.topic, delivery.key, delivery.id) == (body, topic, b"key", "id-0")
            assert texts(deliveries) == WEIRD | {"content-type": "application/json"}
            assert delivery.position == str(receipt.position).encode()
            assert delivery.count == 1
            assert delivery.time is not None
            assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_a_null_body_and_a_binary_key_come_back(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, body=None, key=b"\xff")]))
        (delivery,) = await receive(source, 1)
        assert (delivery.body, delivery.key, delivery.headers) == (None, b"\xff", {})


async def test_a_plain_producers_fields_are_body_and_headers(redis_broker: RedisBroker, raw: Any) -> None:
    topic = unique()
    await raw.xadd(topic, {"payload": "{}", "event": "OnGameDone"})
    await raw.xadd(topic, {"gameId": "5", b"\xff": "x"})
    with_field = Connection(url=Url.parse(redis_broker.url), body_field="payload")
    async with opened(RedisStreamsAdapter(with_field)) as adapter, reading(adapter, topic, group="g") as source:
        first, second = await receive(source, 2)
        assert (first.body, first.headers, first.key, first.id) == (b"{}", {"event": b"OnGameDone"}, None, None)
        assert first.stable_id == f"{topic}/{first.native[1].decode()}"
        # Nothing of an entry without the body field is lost, and its dead letter can be published.
        assert (second.body, second.headers) == (None, {"gameId": b"5", "\\xff": b"x"})
        copy = outgoing(adapter.derived(topic, "g", "dlq"), body=None, headers=second.headers, is_queue=True)
        assert confirmed(await adapter.send([copy]))


async def test_large_batches_keep_their_order(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(1_700)]))
        assert await has_lag(source, raw, 1_700)
        got = await receive(source, 1_700)
        assert numbers(got) == list(range(1_700))
        assert await source.settle([(delivery, ACK) for delivery in got]) == [Settled.DONE] * 1_700
        assert await has_lag(source, raw, 0)
        assert "0 held" in repr(source)


async def test_receive_never_gives_more_than_the_limit_over_many_topics(adapter: RedisStreamsAdapter) -> None:
    topics = [await made(adapter) for _ in range(5)]
    async with reading(adapter, *topics, **ALL) as source:
        assert confirmed(await adapter.send([outgoing(topic, n) for topic in topics for n in range(20)]))
        for limit in (1, 3, 5, 7):
            assert len(await source.receive(limit)) <= limit
        rest = await receive(source, 60)
        assert {delivery.topic for delivery in rest} == set(topics)


async def test_two_groups_get_everything_and_two_members_share(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with (
        reading(adapter, topic, group="one") as left,
        reading(adapter, topic, group="one") as right,
        reading(adapter, topic, group="two") as other,
    ):
        assert confirmed(await adapter.send([outgoing(topic, number) for number in range(10)]))
        shared = [*await left.receive(5), *await right.receive(5)]
        assert sorted(numbers(shared)) == list(range(10))
        assert len(await receive(other, 10)) == 10


async def test_an_unacknowledged_entry_of_a_dead_member_is_taken_over_and_counted(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=0.4) as dead:
        await adapter.send([outgoing(topic, 1), outgoing(topic, 2)])
        done, _ = await receive(dead, 2)
        await dead.settle([(done, ACK)])
        async with reading(adapter, topic, **ALL, lease=0.4) as heir:
            (again,) = await receive(heir, 1)
            assert (again.body, again.count) == (b"2", 2)
            await heir.settle([(again, ACK)])
            assert await nothing_comes(heir)


async def test_extending_keeps_a_delivery_and_tells_when_it_is_lost(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=3) as owner, reading(adapter, topic, **ALL, lease=3) as other:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(owner, 1)
        for _ in range(4):
            assert await owner.extend([delivery]) == [Settled.DONE]
            assert await other.receive(1) == []  # Each read waits for a second.
        (taken,) = await receive(other, 1)
        assert await owner.extend([delivery]) == [Settled.LOST]
        assert await owner.settle([(delivery, RELEASE)]) == [Settled.LOST]
        # Asking did not steal it back.
        assert await other.extend([taken]) == [Settled.DONE]


async def test_released_entries_go_to_another_member_at_its_next_sweep_uncounted(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=600) as leaving:
        await adapter.send([outgoing(topic, number) for number in range(3)])
        got = await receive(leaving, 3)
        assert await leaving.settle([(delivery, RELEASE) for delivery in got]) == [Settled.DONE] * 3
        async with reading(adapter, topic, **ALL, lease=600) as other:
            again = await receive(other, 3)
            assert numbers(again) == [0, 1, 2]
            assert [delivery.count for delivery in again] == [1, 1, 1]


async def test_a_retry_comes_when_it_is_due_with_the_headers_of_its_copy(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (delivery,) = await receive(source, 1)
        copy = outgoing(
            topic, 1, body=bytes(range(256)), headers={"bk-failures": "1", "data": "x"}, id="copy-1", key="k"
        )
        start = asyncio.get_running_loop().time()
        assert await source.settle([(delivery, RetryLater(1.0, copy))]) == [Settled.DONE]
        assert (await raw.xpending(topic, "g"))["pending"] == 0
        assert await has_lag(source, raw, 1)
        (again,) = await receive(source, 1)
        assert 0.9 < asyncio.get_running_loop().time() - start < 9
        assert (again.body, again.topic, again.key, again.id) == (bytes(range(256)), topic, b"k", "copy-1")
        assert texts([again]) == {"bk-failures": "1", "data": "x"}
        # A retry can be retried, released and acknowledged like anything else.
        assert await source.settle([(again, RetryLater(0, copy))]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert await source.settle([(again, RELEASE)]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert await source.settle([(again, ACK)]) == [Settled.DONE]
        assert await raw.xlen(derived_name(topic, "g", "retry", NAME_STYLE)) == 0
        assert await has_lag(source, raw, 0)


async def test_a_waiting_retry_outlives_its_process_and_stays_in_its_group(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="other") as other:
        async with reading(adapter, topic, **ALL) as source:
            await adapter.send([outgoing(topic, 1)])
            (delivery,) = await receive(source, 1)
            await source.settle([(delivery, RetryLater(0.2, outgoing(topic, 1)))])
        async with reading(adapter, topic, **ALL) as heir:
            assert [delivery.body for delivery in await receive(heir, 1)] == [b"1"]
        assert len(await receive(other, 1)) == 1
        assert await nothing_comes(other)


async def test_settling_twice_is_harmless_and_a_late_retry_is_lost(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        assert await source.settle([(delivery, ACK), (delivery, ACK)]) == [Settled.DONE] * 2
        assert await source.settle([(delivery, RetryLater(0, outgoing(topic)))]) == [Settled.LOST]
        assert await nothing_comes(source)


async def test_a_retry_that_cannot_be_written_fails_and_the_entry_stays(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        broken = RetryLater(0, outgoing(topic, headers={"a": "\ud800"}))
        assert await source.settle([(delivery, broken)]) == [Settled.FAILED]
        assert (await raw.xpending(topic, "g"))["pending"] == 1


async def test_stop_returns_a_waiting_receive_at_once(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        waiting = asyncio.create_task(source.receive(1))
        while not waiting.done():  # The read has to be under way before it can be ended.
            await asyncio.sleep(0.01)
            await source.stop()
        assert await waiting == []
        assert await source.receive(1) == []
        assert "stopping" in repr(source)


async def test_deliveries_can_be_settled_after_stop(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        (delivery,) = await receive(source, 1)
        await source.stop()
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
    assert (await raw.xpending(topic, "g"))["pending"] == 0
    assert await raw.xinfo_consumers(topic, "g") == []


async def test_a_member_that_leaves_entries_behind_keeps_its_consumer(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic)])
        await receive(source, 1)
    assert [consumer["pending"] for consumer in await raw.xinfo_consumers(topic, "g")] == [1]


async def test_a_cut_connection_loses_nothing_and_repeats_nothing_held(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (held,) = await receive(source, 1)
        # Entries whose answer never arrived: pending with this consumer, never handed out.
        await adapter.send([outgoing(topic, 2), outgoing(topic, 3)])
        (consumer,) = [each["name"] for each in await raw.xinfo_consumers(topic, "g")]
        await raw.xreadgroup("g", consumer, {topic: ">"})
        waiting = asyncio.create_task(source.receive(10))
        while not waiting.done():
            await asyncio.sleep(0.01)
            await raw.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ConnectionLost):
            await waiting
        assert "not connected" in repr(source)
        await adapter.send([outgoing(topic, 4)])
        got = await receive(source, 3)
        assert [delivery.body for delivery in got] == [b"2", b"3", b"4"]
        assert await source.settle([(held, ACK)] + [(delivery, ACK) for delivery in got]) == [Settled.DONE] * 4


async def test_a_broker_restart_in_the_middle_loses_nothing(
    adapter: RedisStreamsAdapter, redis_broker: RedisBroker
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, number) for number in range(10)])
        first = await receive(source, 5)
        await asyncio.to_thread(redis_broker.restart)
        with pytest.raises(ConnectionLost):
            while True:
                first += await source.receive(1)
        rest = await receive(source, 10 - len(first))
        assert numbers(first + rest) == list(range(10))
        assert await source.settle([(delivery, ACK) for delivery in first + rest]) == [Settled.DONE] * 10


async def test_a_deleted_stream_is_made_again_with_a_warning(
    adapter: RedisStreamsAdapter, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="g", start="latest") as source:
        await adapter.send([outgoing(topic, 1)])
        (gone,) = await receive(source, 1)
        waiting = asyncio.create_task(source.receive(1))
        await asyncio.sleep(0.1)
        await raw.delete(topic)
        await waiting
        await raw.xadd(topic, {"data": "after"})
        (delivery,) = await receive(source, 1)
        assert delivery.body == b"after"
        assert "was deleted" in caplog.text
        assert await source.settle([(gone, ACK)]) == [Settled.DONE]
        assert await source.extend([gone]) == [Settled.LOST]


async def test_a_deleted_stream_ends_a_source_that_may_create_nothing(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, group="g"):
        pass
    async with reading(adapter, topic, group="g", provision="check") as source:
        await raw.delete(topic)
        with pytest.raises(NotFound, match="is gone"):
            await source.receive(1)


async def test_vanished_entries_do_not_stick(
    adapter: RedisStreamsAdapter, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL, lease=0.2) as source:
        await adapter.send([outgoing(topic, 1), outgoing(topic, 2)])
        trimmed, _ = await receive(source, 2)
        await raw.xdel(topic, trimmed.position)
        async with reading(adapter, topic, **ALL, lease=0.2) as heir:
            assert [delivery.body for delivery in await receive(heir, 1)] == [b"2"]
            # Before 7.0 the server does not say which entry is gone: it is found in the history.
            async with asyncio.timeout(10):
                while (await raw.xpending(topic, "g"))["pending"] != 1:
                    assert await heir.receive(1) == []
        assert "1 entries" in caplog.text


async def delete_with_references(raw: Any, topic: str, *positions: bytes) -> None:
    """Have entries gone from the stream and from what is pending, as XTRIM with DELREF does from Redis 8.2 on."""
    try:
        await raw.execute_command("XDELEX", topic, "DELREF", "IDS", len(positions), *positions)
    except ResponseError:
        await raw.xack(topic, "g", *positions)
        await raw.xdel(topic, *positions)


async def delete(raw: Any, topic: str, *positions: bytes) -> None:
    await raw.xdel(topic, *positions)


@pytest.mark.parametrize("gone", [delete, delete_with_references])
async def test_what_is_trimmed_while_it_is_held_stays_ours_and_is_kept(
    adapter: RedisStreamsAdapter, raw: Any, gone: Callable[..., Awaitable[None]]
) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, number, headers={"h": "v"}) for number in range(4)])
        held = await receive(source, 4)
        acked, failed, released, taken = held
        await gone(raw, topic, *(delivery.position for delivery in (acked, failed, released)))
        # From 7.0 on, extending drops a deleted entry from what is pending: only the second time finds nothing.
        for _ in range(2):
            assert await source.extend(held) == [Settled.DONE] * 4
        await raw.xack(topic, "g", taken.position)
        outcomes = [(acked, ACK), (failed, RetryLater(0, outgoing(topic, 1))), (released, RELEASE), (taken, RELEASE)]
        assert await source.settle(outcomes) == [*[Settled.DONE] * 3, Settled.LOST]
        again = await receive(source, 2)
        assert sorted(numbers(again)) == [1, 2]
        assert {delivery.headers.get("h") for delivery in again} == {None, b"v"}
        assert await source.settle([(delivery, ACK) for delivery in again]) == [Settled.DONE] * 2
        assert await nothing_comes(source)


@pytest.mark.parametrize("provision", ["group", "check"])
async def test_a_missing_topic_is_not_found(adapter: RedisStreamsAdapter, provision: Any) -> None:
    topic = unique()
    source = adapter.subscribe(Subscription(topics=(topic,), group="g", provision=provision), ignore_lost)
    with pytest.raises(NotFound, match=topic):
        await source.open()
    await source.close()
    with pytest.raises(NotFound, match=topic):
        await adapter.ensure([topic], is_queue=False, create=False)
    (result,) = await adapter.send([outgoing(topic)])
    assert isinstance(result, NotFound)


async def test_check_finds_a_missing_group_and_off_does_not_look(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    check = adapter.subscribe(Subscription(topics=(topic,), group="g", provision="check"), ignore_lost)
    with pytest.raises(NotFound, match="XGROUP CREATE"):
        await check.open()
    await check.close()
    async with reading(adapter, topic, group="g", provision="off") as source:
        with pytest.raises(NotFound):
            await source.receive(1)
    async with reading(adapter, topic, group="g"):
        pass
    for provision in ("check", "off", "all"):
        async with reading(adapter, topic, group="g", provision=provision) as source:
            assert await source.receive(1) == []


async def test_ensure_makes_an_empty_stream_without_a_group_and_alters_none(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    assert (await raw.xlen(topic), await raw.xinfo_groups(topic)) == (0, [])
    await adapter.send([outgoing(topic)])
    await adapter.ensure([topic], is_queue=False, create=True)
    assert await raw.xlen(topic) == 1


async def test_a_key_that_holds_something_else_is_refused(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = unique()
    await raw.set(topic, "text")
    with pytest.raises(UnsupportedFeature, match="holds a string"):
        await adapter.ensure([topic], is_queue=False, create=True)
    with pytest.raises(UnsupportedFeature, match="WRONGTYPE"):
        await adapter.subscribe(Subscription(topics=(topic,), **ALL), ignore_lost).open()
    (result,) = await adapter.send([outgoing(topic, is_queue=True)])
    assert isinstance(result, Unroutable)


async def test_a_new_group_starts_where_it_was_told(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    await adapter.send([outgoing(topic, 1)])
    async with (
        reading(adapter, topic, group="early") as early,
        reading(adapter, topic, group="late", start="latest") as late,
        reading(adapter, topic, broadcast=True) as private,
    ):
        await adapter.send([outgoing(topic, 2)])
        assert [delivery.body for delivery in await receive(early, 2)] == [b"1", b"2"]
        assert [delivery.body for delivery in await receive(late, 1)] == [b"2"]
        assert [delivery.body for delivery in await receive(private, 1)] == [b"2"]


async def test_a_broadcast_group_goes_away_at_close(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, broadcast=True, group="gateway"):
        assert len(await raw.xinfo_groups(topic)) == 1
    assert await raw.xinfo_groups(topic) == []
    assert [key async for key in raw.scan_iter(f"*{topic}*")] == [topic.encode()]


async def test_dead_letters_can_be_read_without_a_group_of_ones_own(adapter: RedisStreamsAdapter) -> None:
    dlq = adapter.derived(unique(), "g", "dlq")
    assert confirmed(await adapter.send([outgoing(dlq, is_queue=True)]))
    async with reading(adapter, dlq, is_queue=True) as source:
        assert len(await receive(source, 1)) == 1


async def test_a_bad_message_fails_alone(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    batch = [outgoing(topic, 1), outgoing(topic, headers={"a": "\ud800"}), outgoing("\ud800"), outgoing(topic, 2)]
    results = await adapter.send(batch)
    assert [type(result) for result in results] == [Receipt, InvalidMessage, InvalidMessage, Receipt]


async def test_size_at_the_servers_limit_passes_and_one_byte_more_does_not(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topic = await made(adapter)
    (old,) = (await raw.config_get("proto-max-bulk-len")).values()
    await raw.config_set("proto-max-bulk-len", 1_048_576)
    try:
        await adapter.open()
        bodies = [b"x" * 1_048_576, b"x" * 1_048_577]
        passes, fails = await adapter.send([outgoing(topic, body=body) for body in bodies])
    finally:
        await raw.config_set("proto-max-bulk-len", old)
    assert isinstance(passes, Receipt)
    assert isinstance(fails, MessageTooLarge)
    assert "1,048,577 bytes" in str(fails)
    assert "1,048,576 bytes" in str(fails)


async def test_two_hundred_sends_at_once_share_the_connections(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    results = await asyncio.gather(*(adapter.send([outgoing(topic, number)]) for number in range(200)))
    assert all(confirmed(each) for each in results)


async def test_a_cancelled_send_or_receive_leaves_the_adapter_usable(adapter: RedisStreamsAdapter) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        task = asyncio.create_task(source.receive(1))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        send = asyncio.create_task(adapter.send([outgoing(topic, number) for number in range(500)]))
        await asyncio.sleep(0)
        send.cancel()
        await asyncio.wait([send])
        assert confirmed(await adapter.send([outgoing(topic, 7_777)]))
        while (await receive(source, 1))[0].body != b"7777":
            pass


async def test_a_full_server_refuses_the_message_and_tells_why(adapter: RedisStreamsAdapter, raw: Any) -> None:
    topic = await made(adapter)
    async with reading(adapter, topic, **ALL) as source:
        await adapter.send([outgoing(topic, 1)])
        (delivery,) = await receive(source, 1)
        await raw.config_set("maxmemory", 1)
        try:
            (result,) = await adapter.send([outgoing(topic, 2)])
            later = await source.settle([(delivery, RetryLater(0, outgoing(topic, 1)))])
            await source.receive(1)
        finally:
            await raw.config_set("maxmemory", 0)
        assert "maxmemory" in str(result)
        assert later == [Settled.FAILED]
        assert await source.settle([(delivery, ACK)]) == [Settled.DONE]


async def test_opening_and_closing_leaves_no_connection(redis_broker: RedisBroker, raw: Any) -> None:
    before = len(await raw.client_list())
    for _ in range(5):
        async with opened(RedisStreamsAdapter(connection(redis_broker.url))) as adapter:
            topic = await made(adapter)  # type: ignore[arg-type]
            async with reading(adapter, topic, **ALL) as source:
                await adapter.send([outgoing(topic)])
                await receive(source, 1)
            await source.close()
        await adapter.close()
        (result,) = await adapter.send([outgoing(topic)])
        assert isinstance(result, Closed)
    async with asyncio.timeout(20):
        while len(await raw.client_list()) > before:
            await asyncio.sleep(0.01)


async def test_an_unreachable_server_is_a_lost_connection() -> None:
    for url in ("redis://127.0.0.1:1", "redis://user:secret@127.0.0.1:1"):
        adapter = RedisStreamsAdapter(connection(url))
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1") as caught:
            await adapter.open()
        assert "secret" not in str(caught.value)
        (result,) = await adapter.send([outgoing("t")])
        assert isinstance(result, ConnectionLost)
        await adapter.close()


async def test_a_silent_server_is_given_up_after_the_connect_timeout() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapter = RedisStreamsAdapter(Connection(url=Url.parse(f"redis://127.0.0.1:{port}"), connect_timeout=0.2))
    with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
        await adapter.open()
    await adapter.close()
    server.close()
    await server.wait_closed()


async def test_a_wrong_password_and_a_missing_right_are_access_denied(redis_broker: RedisBroker, raw: Any) -> None:
    adapter = RedisStreamsAdapter(connection(redis_broker.wrong_password_url))
    with pytest.raises(AccessDenied) as caught:
        await adapter.open()
    assert str(Url.parse(redis_broker.wrong_password_url).password) not in str(caught.value)
    await adapter.close()
    user, topic = unique("user"), unique()
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+ping")
    host = redis_broker.url.rpartition("@")[2]
    async with opened(RedisStreamsAdapter(connection(f"redis://{user}:pw@{host}"))) as limited:
        (result,) = await limited.send([outgoing(topic)])
        assert isinstance(result, AccessDenied)
        with pytest.raises(AccessDenied):
            await limited.ensure([topic], is_queue=False, create=True)
        with pytest.raises(AccessDenied):
            await limited.subscribe(Subscription(topics=(topic,), **ALL), ignore_lost).open()


async def test_the_rights_in_the_documentation_are_enough(redis_broker: RedisBroker, raw: Any) -> None:
    user, topic = unique("user"), unique()
    await raw.xadd(topic, {"data": "1"})
    rights = ["+@stream", "+@sortedset", "+@scripting", "+@connection", "+type", "+time"]
    keys = [f"~{topic}", f"~{{{topic}}}.*"]
    await raw.execute_command("ACL", "SETUSER", user, "on", ">pw", *keys, *rights)
    host = redis_broker.url.rpartition("@")[2]
    async with opened(RedisStreamsAdapter(connection(f"redis://{user}:pw@{host}"))) as adapter:
        async with reading(adapter, topic, group="g") as source:
            for outcome in (RetryLater(0, outgoing(topic)), RELEASE, ACK):
                (delivery,) = await receive(source, 1)
                assert await source.extend([delivery]) == [Settled.DONE]
                assert await source.settle([(delivery, outcome)]) == [Settled.DONE]
            assert await has_lag(source, raw, 0)
        assert confirmed(await adapter.send([outgoing(adapter.derived(topic, "g", "dlq"), is_queue=True)]))


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis://h", {"no_such_option": 1}, "no option 'no_such_option'"),
        ("redis://h", {"decode_responses": True}, "bodies are bytes"),
        ("redis://h", {"retry_on_timeout": True}, "duplicates"),
        ("redis://h", {"socket_timeout": "soon"}, "must be a number"),
        ("redis://h", {"socket_keepalive": "perhaps"}, "must be a boolean"),
        ("redis://h", {"ssl_ca_certs": "x"}, "rediss://"),
        ("redis://u:secret@h", {"password": "secret"}, "twice"),
        ("redis://u:secret@h/zero", {}, "database number"),
        ("redis://u:secret@h1,h2", {}, "exactly one host"),
        ("redis:///0", {}, "exactly one host"),
    ],
)
def test_a_wrong_url_or_option_is_found_before_connecting(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        RedisStreamsAdapter(connection(url, **options))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body_field", ["", "bk-key"])
def test_a_body_field_that_is_empty_or_internal_is_refused(body_field: str) -> None:
    with pytest.raises(ConfigError, match="body_field"):
        RedisStreamsAdapter(Connection(url=Url.parse("redis://h"), body_field=body_field))


async def test_text_options_reach_the_client_as_numbers_and_database_and_name_are_used(
    redis_broker: RedisBroker, raw: Any
) -> None:
    url = redis_broker.url.rpartition("/")[0] + "/1"
    name = unique("client")
    options = {"client_name": name, "socket_timeout": "7.5", "socket_keepalive": "true"}
    async with opened(RedisStreamsAdapter(connection(url, **options))):
        (mine,) = [client for client in await raw.client_list() if client["name"] == name]
        assert mine["db"] == "1"


def test_a_group_is_needed() -> None:
    adapter = RedisStreamsAdapter(connection("redis://h"))
    with pytest.raises(ConfigError, match="group"):
        adapter.subscribe(Subscription(topics=("t",)), ignore_lost)


def test_no_secret_shows_in_a_repr() -> None:
    adapter = RedisStreamsAdapter(connection("redis://user:secret@h"))
    source = adapter.subscribe(Subscription(topics=("t",), group="g"), ignore_lost)
    assert "secret" not in repr(adapter) + repr(source)
    assert repr(source) == "<RedisStreamsSource t as g: not connected, 0 held>"


async def test_stale_consumers_of_ours_are_forgotten_and_others_kept(
    adapter: RedisStreamsAdapter, raw: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = await made(adapter)
    await raw.xgroup_create(topic, "g", "0")
    await raw.xgroup_createconsumer(topic, "g", "brokerkit-dead")
    await raw.xgroup_createconsumer(topic, "g", "somebody-else")
    monkeypatch.setattr("brokerkit.adapters.redis._stream_source.STALE", -1)
    async with reading(adapter, topic, **ALL):
        names = {consumer["name"] for consumer in await raw.xinfo_consumers(topic, "g")}
        assert names == {b"somebody-else"}


async def test_a_source_of_a_thousand_topics_asks_little_and_hears_each_at_once(
    adapter: RedisStreamsAdapter, redis_broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, turns, converse = unique(), 0, _client._converse
    topics = [f"{stem}-{number}" for number in range(1_000)]

    async def counted(*arguments: Any) -> list[Any]:
        nonlocal turns
        turns += 1
        return await converse(*arguments)

    async with reading(adapter, *topics, provision="all", group="g") as source:
        async with asyncio.timeout(60):
            for _ in range(3):
                assert await source.receive(100) == []
            monkeypatch.setattr(_client, "_converse", counted)
            begun = asyncio.get_running_loop().time()
            for _ in range(5):
                assert await source.receive(100) == []
            seconds = asyncio.get_running_loop().time() - begun
        # Five reads that block for a second at most; beside them two looks a second at all topics, and a sweep.
        assert turns <= 5 + (2 * seconds + 1) * 4 + 2 * 8 * (1 + seconds / 10)
        for number in (0, 500, 999):
            assert confirmed(await adapter.send([outgoing(topics[number], number)]))
            (delivery,) = await receive(source, 1)
            assert (delivery.topic, numbers([delivery])) == (topics[number], [number])
            assert await source.settle([(delivery, ACK)]) == [Settled.DONE]
        async with raw_client(redis_broker.url) as raw:
            assert int((await raw.info("clients"))["connected_clients"]) < 60
            await raw.delete(*[key async for key in raw.scan_iter(f"*{stem}-*", count=10_000)])


async def test_few_slots_take_turns_among_many_topics_and_are_never_exceeded(adapter: RedisStreamsAdapter) -> None:
    topics = [unique() for _ in range(40)]
    async with reading(adapter, *topics, provision="all", group="g", lease=2) as source:
        assert await source.receive(7) == []
        batch = [outgoing(topic, number) for number, topic in enumerate(topics)]
        waiting = asyncio.ensure_future(source.receive(7))
        await asyncio.sleep(0.2)
        assert confirmed(await adapter.send(batch * 3))
        got = list(await waiting)
        seen = sorted(numbers(got))
        async with asyncio.timeout(60):
            while len(seen) < 3 * len(topics):
                assert await source.settle([(one, ACK) for one in got]) == [Settled.DONE] * len(got)
                got = list(await source.receive(7))
                assert len(got) <= 7
                seen += numbers(got)
        assert sorted(seen) == sorted([*range(len(topics))] * 3)


async def test_what_was_taken_before_a_connection_broke_is_handed_out_afterwards(
    adapter: RedisStreamsAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [unique() for _ in range(2)]
    async with reading(adapter, *topics, provision="all", group="g", lease=0.5) as dead:
        assert confirmed(await adapter.send([outgoing(topic, number) for number, topic in enumerate(topics)]))
        await receive(dead, 2)
        call, claimed = adapter._client.call, 0

        async def broken(*command: Any, **options: Any) -> Any:
            nonlocal claimed
            if command[0] == "XAUTOCLAIM" and claimed == 1:  # the first stream's entry, which nobody has got yet
                claimed += 1
                raise RedisConnectionError("cut")
            answer = await call(*command, **options)
            claimed += command[0] == "XAUTOCLAIM" and bool(answer[1])
            return answer

        async with reading(adapter, *topics, provision="all", group="g", lease=0.5) as heir:
            monkeypatch.setattr(adapter._client, "call", broken)
            with pytest.raises(ConnectionLost):
                await receive(heir, 2)
            # Not after a lease, by whoever claims it then: now.
            assert numbers(await heir.receive(2)) == [0]
            assert numbers(await receive(heir, 1)) == [1]


async def test_what_another_member_put_off_and_moved_is_found_when_that_one_is_gone(
    adapter: RedisStreamsAdapter, raw: Any
) -> None:
    topics = [unique() for _ in range(3)]
    async with reading(adapter, *topics, provision="all", group="g", lease=2) as source:
        async with reading(adapter, *topics, provision="all", group="g", lease=2) as other:
            assert confirmed(await adapter.send([outgoing(topics[1], 1)]))
            (delivery,) = await receive(other, 1)
            copy = outgoing(topics[1], 1, headers={"copy": "1"})
            assert await other.settle([(delivery, RetryLater(0.5, copy))]) == [Settled.DONE]
        (again,) = await receive(source, 1)
        assert (again.topic, again.headers) == (topics[1], {"copy": b"1"})
        assert await source.settle([(again, ACK)]) == [Settled.DONE]
        assert await has_lag(source, raw, 0)
