"""Objects and pointers that cannot be read or written, on ElasticMQ and moto."""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from tests.adapters.large_payloads.bench import LARGE, OLD, Bench, body, letters, paid
from tests.every_broker import until, until_async

from brokerkit import Bus
from brokerkit._errors import AccessDenied, BrokerkitError, NotFound
from brokerkit.adapters.aws._pointers import Pointer
from brokerkit.adapters.aws._s3 import PayloadStore
from brokerkit.testing import Proxy


async def is_ready(bus: Bus) -> bool:
    return (await bus.health()).ready


async def waits_for_s3(bus: Bus) -> bool:
    health = await bus.health()
    return not health.ready and "S3" in repr(health)


async def test_a_missing_object_is_a_dead_letter_that_keeps_the_pointer_until_it_is_back(bench: Bench) -> None:
    bus = bench.handling(bench.bus())
    async with bus, bus.serving():
        await bench.put("money/there")
        for key in ("money/there", "money/gone"):
            await bench.send_pointer(key, attribute="SQSLargePayloadSize", kind=OLD)
        await until(lambda: bool(bench.handled))
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while not (found := [letter async for letter in dead]):
                await asyncio.sleep(0.05)
        assert "money/gone" in found[0].error and b"money/gone" in (found[0].message.body or b"")
        assert (await dead.replay()) == 1  # in vain: a dead letter again
        async with asyncio.timeout(20):
            while not [letter async for letter in dead]:
                await asyncio.sleep(0.05)
        await bench.put("money/gone", cents=2)
        assert await dead.replay() == 1
        await until(lambda: len(bench.handled) == 2)
    assert bench.handled == [(1, LARGE), (2, LARGE)]


async def test_an_outage_of_s3_makes_the_source_wait_and_loses_neither_message_nor_order(bench: Bench) -> None:
    bench.topic += ".fifo"
    where = urlsplit(bench.s3_endpoint)
    async with Proxy(str(where.hostname), int(where.port or 0)) as proxy:
        setting = bench.setting(endpoint=f"http://{proxy.address}")
        bus = bench.handling(bench.bus(large_payloads=setting, options={"retries.max_attempts": 0}))
        async with bus:
            sent = [paid(number, "x" * LARGE if number % 3 == 1 else "small", key="one") for number in range(9)]
            for message in sent:
                await bus.publish(message)
            proxy.refuse()
            proxy.cut()
            async with bus.serving():
                await until_async(lambda: waits_for_s3(bus))
                assert bench.handled == [(0, 5)]
                await proxy.accept()
                await until(lambda: len(bench.handled) == 9, seconds=60)
                await until_async(lambda: is_ready(bus))
    assert [cents for cents, _ in bench.handled] == list(range(9))


async def test_a_publish_without_s3_is_refused_and_nothing_is_sent(bench: Bench) -> None:
    bus = bench.bus(large_payloads=bench.setting(endpoint="http://127.0.0.1:1"), connect_timeout=5.0)
    with pytest.raises(BrokerkitError, match="S3"):
        async with bus:
            pass
    where = urlsplit(bench.s3_endpoint)
    async with Proxy(str(where.hostname), int(where.port or 0)) as proxy:
        setting = bench.setting(endpoint=f"http://{proxy.address}")
        settings: dict[str, Any] = {"options": {"retries.max_attempts": 0}, "publish_timeout": 4.0}
        async with bench.bus(large_payloads=setting, **settings) as bus:
            proxy.refuse()
            proxy.cut()
            with pytest.raises(BrokerkitError, match="S3"):
                await bus.publish(paid(1))
            await bus.publish(paid(2, "small"))
            assert json.loads((await bench.receive())["Body"])["cents"] == 2
            await proxy.accept()


@pytest.mark.parametrize("setting", [None, "its bucket"])
@pytest.mark.parametrize("suffix", ["", ".fifo"])
async def test_a_forged_pointer_is_a_dead_letter_and_ends_no_source(
    bench: Bench, suffix: str, setting: str | None
) -> None:
    bench.topic += suffix
    bus = bench.handling(bench.bus(large_payloads=setting and bench.setting()))
    more = {"MessageGroupId": "one", "MessageDeduplicationId": "forged"} if suffix else {}
    async with bus:
        await bench.send_pointer("forged", bucket="nobodys", **more)
        async with bus.serving():
            forged = (await letters(bus, 1))[0]
            await bus.publish(paid(1, "small", key="one"))
            await until(lambda: bool(bench.handled))
            assert await is_ready(bus)
    assert bench.handled == [(1, 5)]
    assert ("reads only objects below" if setting else "set large_payloads = 's3://nobodys'") in forged.error
    assert b"nobodys" in (forged.message.body or b"")


async def test_pointers_that_were_read_without_the_setting_are_handled_when_they_are_replayed_with_it(
    bench: Bench,
) -> None:
    bus = bench.handling(bench.bus(large_payloads=None))
    async with bus:
        await bench.put("money/theirs")
        await bench.send_pointer("money/theirs")
        async with bus.serving():
            await letters(bus, 1)
    bus = bench.handling(bench.bus())
    async with bus, bus.serving():
        assert await bus.dead_letters().replay() == 1
        await until(lambda: bool(bench.handled))


async def test_a_first_body_that_may_not_be_read_waits_until_the_right_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = PayloadStore.get

    async def refuse(store: PayloadStore, pointer: Pointer) -> tuple[Pointer, bytes]:
        raise AccessDenied("S3 refused GetObject")

    monkeypatch.setattr(PayloadStore, "get", refuse)
    bus = bench.handling(bench.bus())
    async with bus:
        await bench.put("money/theirs")
        await bench.send_pointer("money/theirs")
        async with bus.serving():
            await until_async(lambda: waits_for_s3(bus))
            monkeypatch.setattr(PayloadStore, "get", get)
            await until(lambda: bool(bench.handled), seconds=60)
            await until_async(lambda: is_ready(bus))
            assert [letter async for letter in bus.dead_letters()] == []


async def test_a_pointer_to_elsewhere_is_not_followed(bench: Bench) -> None:
    other = f"{bench.bucket}-private"
    await bench.s3.create_bucket(Bucket=other)
    await bench.s3.put_object(Bucket=other, Key="money/secret", Body=body(9, "secret"))
    await bench.put("payroll/secret", cents=9)
    bus = bench.handling(bench.bus(large_payloads=bench.setting(delete="true")))
    async with bus, bus.serving():
        await bus.publish(paid(1))
        await until(lambda: bool(bench.handled))
        await bench.send_pointer("money/secret", bucket=other)
        await bench.send_pointer("payroll/secret")
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while len(found := [letter async for letter in dead]) < 2:
                await asyncio.sleep(0.05)
    assert bench.handled == [(1, LARGE)]
    assert all("reads only objects below" in letter.error for letter in found)
    assert await bench.keys() == ["payroll/secret"]


async def test_an_object_above_the_largest_is_a_dead_letter(bench: Bench) -> None:
    bus = bench.handling(bench.bus(large_payloads=bench.setting(largest="1000000")))
    async with bus, bus.serving():
        await bench.put("money/huge", "x" * 2_000_000)
        await bench.send_pointer("money/huge")
        dead = bus.dead_letters()
        async with asyncio.timeout(20):
            while not (found := [letter async for letter in dead]):
                await asyncio.sleep(0.05)
    assert "reads at most 1,000,000" in found[0].error and bench.handled == []


async def test_a_missing_bucket_is_refused_at_the_start(bench: Bench) -> None:
    setting = f"s3://none-{bench.bucket}?endpoint={quote(bench.s3_endpoint, '')}"
    with pytest.raises(NotFound, match=f"none-{bench.bucket}"):
        async with bench.bus(large_payloads=setting):
            pass
