"""Real brokers, and the simulated ones, do what a model made of their capabilities says, whatever befalls them.

`BROKERKIT_MODELS=100` tries so many other examples on each real broker, and makes one that fails smaller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from brokerkit.adapters import kafka as kafka_adapter
from brokerkit.adapters import memory, rabbitmq, sqlite
from brokerkit.adapters.api import Capabilities
from brokerkit.adapters.aws import sqs
from brokerkit.adapters.redis import list as redis_list
from brokerkit.adapters.redis import streams
from tests import every_broker
from tests.brokers import fixtures, kafka
from tests.brokers._ports import free_port
from tests.conftest import MADE_BY
from tests.models.machine import machine
from tests.models.members import World
from tests.models.real import RealWorld
from tests.models.simulated import SimulatedWorld
from tests.simulation.link import SimulatedDelivery
from tests.simulation.queue_broker import QueueBroker, QueueSource

FULL: Final = int(os.environ.get("BROKERKIT_MODELS", "0"))
EXAMPLES: Final = {
    "memory": 4,
    "sqlite": 5,
    "redis-streams": 5,
    "redis-list": 4,
    "rabbitmq": 3,
    "sqs": 2,
    "sns": 1,
    "kafka": 2,
}
"""How many examples a real broker gets in the usual run. The last ones take seconds for each."""
SIMULATED: Final = 25
STEPS: Final = 12

_ALL: Final = {"settled: done", "given back: to another", "two of a key at one member", "a retry is overtaken"}
CHOICES: Final = {
    "queue": _ALL
    | {
        "a key at two members",
        "a lease ends",
        "giving back counts",
        "giving back does not count",
        "given back: others come first",
        "given back: to the same one",
        "settled: lost",
        "taken away",
    },
    "log": _ALL | {"asked back", "given back: others come first", "taken away", "what is settled comes again"},
}
"""What real brokers do where their capabilities leave them a choice. Simulated ones must do all of it."""
SELDOM: Final = {"queue": set[str](), "log": {"given back: others come first"}}
"""What simulated ones do in one of some hundred examples."""
PROMISES: Final = {
    "memory": memory.CAPABILITIES,
    "sqlite": sqlite.CAPABILITIES,
    "redis-streams": streams.CAPABILITIES,
    "redis-list": redis_list.CAPABILITIES,
    "rabbitmq": rabbitmq._CAPABILITIES,
    "sqs": sqs.STANDARD,
    "kafka": kafka_adapter.CAPABILITIES,
}


def _settings(examples: int, *, shrink: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not FULL,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def proxied_kafka() -> Iterator[tuple[every_broker.Broker, list[tuple[int, int]]]]:
    """A Kafka whose members can each have a proxy, and the ports of its listeners and of their proxies."""
    ports = [(free_port(), free_port()) for _ in range(2)]
    with fixtures.running(kafka.broker(proxied=ports)) as broker:
        found = every_broker.kafka(broker)
        quick = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}  # how soon a dead member is noticed
        yield replace(found, settings={**found.settings, "options": {**found.settings["options"], **quick}}), ports


def _hold(make: Callable[[int], World], examples: int, *, shrink: bool) -> set[str]:
    """Hold a broker to the model. Return what it was seen to do."""
    seen: set[str] = set()
    run_state_machine_as_test(machine(make, seen), settings=_settings(examples, shrink=shrink))
    return seen


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_real_broker_does_what_its_capabilities_say(name: str, request: pytest.FixtureRequest) -> None:
    def make(_: int) -> RealWorld:
        if name != "kafka":
            return RealWorld(MADE_BY[name](request))
        broker, listeners = request.getfixturevalue("proxied_kafka")
        return RealWorld(broker, listeners)

    seen = _hold(make, FULL or EXAMPLES[name], shrink=bool(FULL))
    assert seen <= CHOICES["log" if name == "kafka" else "queue"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", CHOICES)
def test_a_simulated_broker_does_too_and_makes_every_choice_of_the_real_ones(kind: str) -> None:
    seen: set[str] = set()
    for name, promises in PROMISES.items():
        if promises.commits_offsets == (kind == "log"):
            make = partial(_simulated, name, promises)
            seen |= _hold(make, SIMULATED * (5 if kind == "log" else 1), shrink=True)
    assert seen >= CHOICES[kind] - SELDOM[kind]


def _simulated(name: str, promises: Capabilities, chance: int) -> SimulatedWorld:
    return SimulatedWorld(promises, f"{name} {chance}")


def test_the_model_notices_a_broker_that_breaks_its_promises() -> None:
    liars = {
        "comes again although it is settled": {"_remove": lambda *_: None},
        "comes to": {"take": _twice},
    }
    for wrong, changes in liars.items():
        with pytest.MonkeyPatch.context() as patch:
            for name, change in changes.items():
                patch.setattr(QueueSource if name == "_remove" else QueueBroker, name, change)
            with pytest.raises(AssertionError, match=wrong):
                _hold(partial(_simulated, "liar", rabbitmq._CAPABILITIES), 40, shrink=False)


def _twice(broker: QueueBroker, source: QueueSource, limit: int) -> list[SimulatedDelivery]:
    """Give messages out that others have."""
    return [broker._give(entry, source) for entry in broker.entries[:limit]]
