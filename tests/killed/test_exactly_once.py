"""Processes with `exactly_once` that die or stand still in a transaction: its readers see each result once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from brokerkit import Bus, Message
from brokerkit._url import Url
from brokerkit.adapters.api import Connection
from brokerkit.adapters.kafka import KafkaAdapter
from brokerkit.adapters.kafka._lag import LagQuery
from brokerkit.events.evenbet import OnPlayerSeatedDown
from tests.brokers.kafka import KafkaBroker
from tests.every_broker import until, until_async
from tests.killed.exactly_once import STEPS

ROOT = Path(__file__).parents[2]
KEYS = 6
FULL = os.environ.get("BROKERKIT_ENDURANCE") == "full"
PAUSE = 0.1
"""Seconds between two looks at a process that is about to die."""


@dataclass(kw_only=True)
class Wallet:
    """Wallets on one topic, who deals, and who reads what they have paid."""

    config: Path
    broker: KafkaBroker
    prefix: str
    dealer: Bus
    query: LagQuery
    dealt: int = 0
    paid: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    async def start(self, **environment: str) -> Process:
        """Start a wallet."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.killed.exactly_once", str(self.config)),
            cwd=ROOT,
            env={**os.environ, **environment},
        )

    async def deal(self) -> None:
        """Publish a numbered deal of each key."""
        for number in range(self.dealt, self.dealt + KEYS):
            key = f"key-{number % KEYS}"
            await self.dealer.publish(OnPlayerSeatedDown(player_id=number), key=key, id=f"deal-{number}")
        self.dealt += KEYS

    @property
    def results(self) -> Counter[int]:
        """How often each result was seen."""
        return Counter(number for numbers in self.paid.values() for number in numbers)

    async def all_paid(self, living: Process) -> None:
        """Wait until all deals are paid."""

        def are_there() -> bool:
            assert living.returncode is None, "a wallet ended by itself"
            return len(self.results) >= self.dealt

        await until(are_there, seconds=90)

    async def nothing_waits(self) -> bool:
        """Whether the group has committed everything."""
        extents = await self.query.extents([f"{self.prefix}-deals"])
        return all(extent.committed == extent.end for extent in extents.values() if extent.end)

    async def are_two(self) -> bool:
        """Whether the group has two members, and each knows its partitions."""
        admin = AdminClient({"bootstrap.servers": self.broker.address})
        [answer] = admin.describe_consumer_groups([self.prefix]).values()
        group = await asyncio.wrap_future(answer)
        return len(group.members) == 2 and group.state == ConsumerGroupState.STABLE

    async def check(self) -> None:
        """Each result was seen once, and in the order of its key but for the deals that failed once."""
        await until_async(self.nothing_waits)
        assert self.results == Counter(range(self.dealt))
        for numbers in self.paid.values():
            steady = [number for number in numbers if number % 7]
            assert steady == sorted(steady)


@pytest.fixture
async def wallet(request: pytest.FixtureRequest, kafka_broker: KafkaBroker, tmp_path: Path) -> AsyncIterator[Wallet]:
    options: Mapping[str, object] = request.param
    prefix = f"eo-{uuid.uuid4().hex[:10]}"
    config = tmp_path / "brokerkit.toml"
    common = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300, "transaction.timeout.ms": 3_000}
    shown = "".join(f'"{name}" = {value!r}\n' for name, value in {**common, **options}.items())
    config.write_text(
        f'[bus]\nurl = "{kafka_broker.url}"\nformat = "evenbet"\nprovision = "all"\n'
        f'[sources.deals]\ntopic = "{prefix}-deals"\ngroup = "{prefix}"\nexactly_once = true\nmax_in_flight = 20\n'
        f"retry = {{attempts = 5, first = 0.01, cap = 0.02}}\n[sources.deals.options]\n{shown}"
        f'[targets.paid]\ntopic = "{prefix}-paid"\n[targets.paid.options]\n{shown}'
    )
    async with AsyncExitStack() as stack:
        dealer = await stack.enter_async_context(
            Bus(kafka_broker.url, topic=f"{prefix}-deals", format="evenbet", provision="all")
        )
        await dealer.adapter().ensure([f"{prefix}-paid"], is_queue=False, create=True)
        query = LagQuery(KafkaAdapter(Connection(url=Url.parse(kafka_broker.url)))._settings, group=prefix)
        stack.callback(query.close)
        wallet = Wallet(config=config, broker=kafka_broker, prefix=prefix, dealer=dealer, query=query)
        reader = Bus(kafka_broker.url, topic=f"{prefix}-paid", group=f"{prefix}-reader", format="evenbet")

        @reader.on("OnUserLoggedIn")
        async def read(event: object, message: Message) -> None:
            key = message.key.decode() if isinstance(message.key, bytes) else str(message.key)
            wallet.paid[key].append(int(str(message.id).split("-")[1]))

        await stack.enter_async_context(reader)
        await stack.enter_async_context(reader.serving())
        yield wallet


async def end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def is_stopped(process: Process) -> bool:
    """Whether a process has stopped itself."""
    assert process.returncode is None
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    return found.stdout.startswith("T")


STATIC = {"group.instance.id": "'one'"}
# A member without a fixed name that dies is what a zombie is to the others until it goes on.
MEMBERS = {"static member": STATIC, **({"any member": {}} if FULL else {})}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("wallet", MEMBERS.values(), indirect=True, ids=MEMBERS)
async def test_wallets_that_are_killed_at_each_step_of_a_transaction_have_paid_each_deal_once(wallet: Wallet) -> None:
    """One after another is killed in its second transaction, each a step later; the last one lives."""
    for step in STEPS:
        dying = await wallet.start(KILL_AT=step)
        ending = asyncio.ensure_future(dying.wait())
        try:
            while not ending.done():
                await wallet.deal()
                await asyncio.wait([ending], timeout=PAUSE)
            assert dying.returncode == -signal.SIGKILL
        finally:
            await end(dying)
    living = await wallet.start()
    try:
        await wallet.all_paid(living)
        await wallet.check()
    finally:
        await end(living)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("wallet", [{}], indirect=True, ids=[""])
@pytest.mark.parametrize("step", STEPS if FULL else ["before commit"])
async def test_a_wallet_that_stands_still_in_a_transaction_pays_nothing_twice(wallet: Wallet, step: str) -> None:
    """Its partitions go to another one, and its transaction is aborted. It notices when it goes on, and works again."""
    zombie = await wallet.start(KILL_AT=step, STOP="1")
    living: Process | None = None
    try:
        while not await asyncio.to_thread(is_stopped, zombie):
            await wallet.deal()
            await asyncio.sleep(PAUSE)
        living = await wallet.start()
        await wallet.all_paid(living)
        zombie.send_signal(signal.SIGCONT)
        await until_async(wallet.are_two)
        for _ in range(5):
            await wallet.deal()
            await wallet.all_paid(living)
        assert zombie.returncode is None
        # The zombie alone has to do everything in the end.
        await end(living)
        await wallet.deal()
        await wallet.all_paid(zombie)
        await wallet.check()
    finally:
        for process in filter(None, (zombie, living)):
            await end(process)
