"""N: what a handler publishes and the settlement of its message are one."""

from __future__ import annotations

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._messages._message import Message
from brokerkit.testing.conformance._cases import section
from brokerkit.testing.conformance._harness import Harness
from brokerkit.testing.conformance._tools import Recorder, accepted, numbered

case = section("Transactions")


@case(73)
async def one_transaction(h: Harness) -> None:
    """With exactly_once, readers get the results of attempts that succeeded, once and in order, and no others."""
    h.promised(h.capabilities.transactions, "transactions")
    count, first_attempt, second_attempt = 10, 100, 200

    async def act(number: int, message: Message) -> None:
        if number > first_attempt:
            return  # A result: the topic of the case is source and target.
        await bus.publish(numbered(number + message.attempt * first_attempt, key=message.key))
        if message.attempt == 1:
            raise RuntimeError("this attempt fails")

    recorder, reader = Recorder(act), Recorder()
    bus = h.bus(exactly_once=True, retry=RetryPolicy(attempts=2, first=0.01))
    results = [second_attempt + number for number in range(1, count + 1)]
    async with reader.serving(h.bus(group="reader")), recorder.serving(bus):
        accepted(await bus.publish_many([numbered(number, key="k") for number in range(1, count + 1)]))
        await reader.wait_for(results)
        await recorder.wait_for(results)
    assert [number for number in reader.numbers if number > first_attempt] == results
