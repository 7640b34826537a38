"""What the Prometheus text of a bus says at the end is what happened, on every broker."""

from __future__ import annotations

import asyncio
from collections import Counter

from brokerkit import Handlers, Message, RetryPolicy
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.metrics import PrometheusCollector
from tests.every_broker import Broker, until
from tests.metrics.text import samples, total

FAST = RetryPolicy(attempts=3, first=0.05, cap=0.2)
MESSAGES = 60


async def test_the_text_says_at_the_end_what_happened(broker: Broker) -> None:
    """Every sixth message fails once, every tenth always; consuming ends and begins anew in the middle."""
    happened, outcomes, handlers = Counter[str](), dict[int, str](), Handlers()

    @handlers.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown, message: Message) -> None:
        number = event.player_id or 0
        happened["attempts"] += 1
        if number % 10 == 0 or (number % 6 == 0 and message.attempt == 1):
            happened["failures"] += 1
            raise LookupError("no luck")
        happened["handled"] += 1
        outcomes[number] = "handled"

    bus = broker.bus(retry=FAST)
    bus.include(handlers)
    collector = PrometheusCollector(bus)
    letters = list[str | None]()
    bus.add_hook(lambda notice: letters.append(notice.message_id) if notice.kind == "dead_letter" else None)

    def done(first: int, last: int) -> bool:
        expected = [number for number in range(first, last) if number % 10]
        return all(number in outcomes for number in expected) and len(set(letters)) >= (last - 1) // 10

    async with bus:
        for first in (1, MESSAGES // 2 + 1):
            last = first + MESSAGES // 2
            async with asyncio.timeout(90), bus.serving():
                numbers = range(first, last)
                results = await bus.publish_many([OnPlayerSeatedDown(player_id=number) for number in numbers])
                assert not [result for result in results if isinstance(result, Exception)]
                await until(lambda first=first, last=last: done(first, last), seconds=60)
                await until(lambda: bus.runtime.consumers["bus"].state.in_flight == 0, seconds=30)
        found = samples(collector.text())

    assert total(found, "messaging_client_sent_messages_total", error_type="") == MESSAGES
    assert total(found, "brokerkit_handled_messages_total") == happened["handled"]
    assert total(found, "brokerkit_failed_attempts_total", error_type="LookupError") == happened["failures"]
    assert total(found, "brokerkit_dead_lettered_messages_total") == len(letters)
    assert total(found, "brokerkit_retried_attempts_total") == happened["failures"] - len(letters)
    assert total(found, "messaging_process_duration_seconds_count") == happened["attempts"]
    assert total(found, "messaging_client_consumed_messages_total") >= MESSAGES
    settled = ("handled_messages", "dead_lettered_messages", "lost_messages", "released_messages", "duplicate_messages")
    assert sum(total(found, f"brokerkit_{name}_total") for name in settled) >= MESSAGES
    assert total(found, "brokerkit_in_flight_messages") == total(found, "brokerkit_held_messages") == 0


async def test_the_lag_is_that_of_each_partition_where_the_broker_tells(broker: Broker) -> None:
    bus = broker.bus()
    collector = PrometheusCollector(bus)

    @bus.on("OnPlayerSeatedDown")
    async def handle(event: OnPlayerSeatedDown) -> None: ...

    async with asyncio.timeout(60), bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1))
        await until(lambda: bus.stats["bus"].handled == 1)
        await bus.runtime.figures.ask(lambda: bus.health(lag=True))
        health = bus.runtime.figures.health
        assert health is not None
        found = samples(collector.text())
    lags = found.get("brokerkit_lag", [])
    if health.sources["bus"].lag is None:
        assert lags == []
    elif broker.name == "kafka":
        assert {labels["messaging_destination_name"] for labels, _ in lags} == {broker.topic()}
        assert {labels["messaging_destination_partition_id"] for labels, _ in lags} == {
            str(partition) for _, partition in health.sources["bus"].partitions
        }
    else:
        assert len(lags) == 1
