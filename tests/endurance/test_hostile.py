"""Hostile messages on every broker: the consumer lives, nothing is lost or changed, nothing loops, memory stays flat."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from brokerkit import adapters
from brokerkit._config._settings import ConnectionSettings
from brokerkit._messages._delivery import ACK, Delivery
from brokerkit.adapters.api import Source, Subscription
from tests.cli.program import PROGRAM
from tests.endurance import FULL, figures
from tests.endurance.hostile import ATTEMPTS, FORGED, Hostile, fingerprint, good, messages
from tests.endurance.plain import sender
from tests.endurance.process import Process
from tests.every_broker import Broker, until

COUNT = 10_000 if FULL else 600
FORMATS = ("evenbet", "cloudevents", "json")
WAVES = 4
MARGIN = 32 * 2**20
"""Bytes by which a worker's memory may differ between two waves: what the allocator keeps of the largest messages."""


async def test_hostile_messages_end_handled_or_as_dead_letters_with_their_bytes(broker: Broker, tmp_path: Path) -> None:
    count = COUNT if FULL or "endpoint" not in broker.settings else COUNT // 3  # ElasticMQ and moto are slow
    # The embedded broker and Pub/Sub store no letters for a process that comes later: a file does.
    to_file = broker.name in ("memory", "redis-pubsub")
    large = 200_000 if broker.name in ("sqs", "sqs-fifo", "sns") else 900_000
    buses: list[dict[str, Any]] = [
        {
            "topic": broker.topic(form),
            "group": "wallet",
            "provision": "all",
            "format": form,
            "name_from": ["header:event", "field:event"],
            "unknown": "reject",
            "lease": 30.0,
            "retry": {"attempts": ATTEMPTS, "first": 0.05, "cap": 0.1},
            "overflow": str(tmp_path / f"overflow-{form}"),
            **({"dead_letter": f"file://{tmp_path}/letters-{form}"} if to_file or form == FORMATS[-1] else {}),
            **broker.settings,
        }
        for form in FORMATS
    ]
    expected: Counter[str] = Counter()
    tombstones = 0
    kinds: dict[str, str] = {}
    refused = 0
    published = dict.fromkeys(FORMATS, 0)
    resident: list[int] = []
    async with Process(buses, folder=tmp_path, more=True) as worker:

        async def publish(form: str, batch: Sequence[Hostile]) -> int:
            nonlocal tombstones
            if broker.name == "memory":
                sent = await worker.publish(broker.topic(form), batch)
            else:
                sent = await sender(broker)(broker.topic(form), batch)
            if broker.name in ("memory", "sqlite", "kafka", "kafka-share"):  # elsewhere there are no null values
                null = [one for one, message in zip(sent, batch, strict=True) if one and message.body is None]
                tombstones += len(null)
                expected.subtract(null)
            expected.update(one for one in sent if one is not None)
            kinds.update({one: message.kind for one, message in zip(sent, batch, strict=True) if one is not None})
            published[form] += len(batch) - sent.count(None)
            return sent.count(None)

        async def settled() -> dict[str, Any]:
            last, since = 0, asyncio.get_running_loop().time()
            while True:
                status = await worker.status()
                ended = [_ended(bus) for bus in status["buses"]]
                if ended == list(published.values()):
                    return status
                now = asyncio.get_running_loop().time()
                if sum(ended) != last:
                    last, since = sum(ended), now
                assert now - since < 100, f"{ended} of {published}: {status}\n{worker.errors.read_text()[-3000:]}"
                await asyncio.sleep(0.1)

        for form in FORMATS:
            assert await publish(form, [good(0)]) == 0
        await settled()
        for wave in range(WAVES):
            for index, form in enumerate(FORMATS):
                batch = list(messages(wave * 10 + index, count // WAVES // len(FORMATS) + 1, large=large))
                for start in range(0, len(batch), 200):
                    refused += await publish(form, batch[start : start + 200])
                    if to_file:
                        await settled()  # Pub/Sub drops what a reader does not take in time
            status = await settled()
            resident.append(status["resident"])
        for form in FORMATS:
            assert await publish(form, [good(1)]) == 0
        status = await settled()
        before = [bus["received"] for bus in status["buses"]]
        await asyncio.sleep(1)
        assert [bus["received"] for bus in (await worker.status())["buses"]] == before, (
            "something comes again and again"
        )

    notes = [line.split(maxsplit=1) for line in worker.log.read_text().splitlines()]
    handled, tried, audited, collected, believed = (
        [of for what, of in notes if what == kind]
        for kind in ("handled", "refused", "audited", "collected", "believed")
    )
    # On a Redis list or channel, two messages may be the same bytes.
    failed = Counter({one: count // ATTEMPTS for one, count in Counter(tried).items()})
    assert not believed, f"headers of a stranger were believed: {Counter(believed)}"
    assert failed.total() * ATTEMPTS == len(tried), "a first failure was the last one"
    assert Counter(handled) + failed == Counter(audited), "a handler was skipped, or ran twice"
    assert Counter(collected) == Counter(handled), "the handler of batches was skipped, or ran twice"
    letters = await _letters(broker, [status["buses"][index]["dead_lettered"] for index in range(3)], tmp_path)
    ended = Counter([*handled, *letters])
    missing = Counter(kinds[one] for one in (expected - ended).elements())
    assert not missing, f"lost or changed: {missing}; changed or twice: {(ended - expected).total()}"
    assert not ended - expected, f"came out twice: {(ended - expected).total()}"
    assert sum(bus["skipped"] for bus in status["buses"]) == 0
    assert sum(bus["tombstones"] for bus in status["buses"]) == tombstones
    lines = worker.errors.read_text(encoding="utf-8").splitlines()
    shown = [line for form in FORMATS for line in _shown(tmp_path / f"letters-{form}", broker.topic(form))]
    for line in lines:
        assert line.startswith(("ERROR:brokerkit.", "WARNING:brokerkit.", "  ", "Traceback ")), line
    records = _records(worker.errors.with_name("errors.json"))
    assert records == sum(line.startswith(("ERROR:", "WARNING:")) for line in lines)
    for line in (*lines, *shown):
        assert line.isprintable(), line
        assert not line.startswith(FORGED.decode()), line
    files = {f"{kind}-{form}" for kind in ("letters", "overflow") for form in FORMATS}
    assert {path.name for path in tmp_path.iterdir()} <= files | {"handled", "errors", "errors.json", "batch"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir() if path.name in files)
    growth = resident[-1] - resident[WAVES // 2 - 1]
    figures(
        f"hostile {broker.name}: sent {expected.total()}, refused by broker or client {refused}, handled {len(handled)}, "
        f"dead letters {len(letters)}, resident MiB {[size >> 20 for size in resident]}, forged lines 0 of {len(lines)} of "
        f"the log, {records} of JSON and {len(shown)} of dlq show, skipped handlers 0 of {len(audited)}, misplaced files 0"
    )
    # The embedded broker is in the process, and keeps what came for groups that come later.
    assert growth < MARGIN or broker.name == "memory"
    assert refused < count // 3


def _records(path: Path) -> int:
    """How many records a log of JSON has. Each is one line, and has nothing that we did not write."""
    lines = path.read_bytes().splitlines()
    for line in lines:
        record = json.loads(line)
        assert line.isascii()
        assert line.decode().isprintable(), line
        assert record["logger"].startswith("brokerkit."), line
        assert record["level"] in ("warning", "error"), line
        ours = {"time", "level", "logger", "message", "exception", "trace_id"}
        assert not [name for name in record if name not in ours and not name.startswith("brokerkit_")], line
    return len(lines)


def _ended(bus: dict[str, int]) -> int:
    """How many messages are settled for good."""
    return bus["handled"] + bus["dead_lettered"] + bus["skipped"] + bus["tombstones"]


async def _letters(broker: Broker, counts: Sequence[int], folder: Path) -> list[str]:
    """The fingerprints of all dead letters, those that were too large for the broker included."""
    found: list[str] = []
    for form, count in zip(FORMATS, counts, strict=True):
        lines = [line for path in folder.glob(f"*-{form}") for line in path.read_bytes().splitlines()]
        for line in lines:
            letter: dict[str, Any] = json.loads(line.decode(errors="surrogatepass"))
            headers = {name: _raw(value) for name, value in letter["headers"].items()}
            found.append(fingerprint(_raw(letter["body"]), _raw(letter["key"]), headers.items()))
        for one in await _stored(broker, broker.topic(form), count - len(lines)) if count > len(lines) else ():
            found.append(fingerprint(one.body, one.key, dict(one.headers).items()))
    return found


def _shown(path: Path, topic: str) -> list[str]:
    """The lines in which the command line shows the dead letters of a file, if there is one."""
    if not path.exists():
        return []
    place = ("memory://", "--topic", topic, "--group", "wallet", "--dead-letter", f"file://{path}")
    command = [PROGRAM, "dlq", "show", *place, "--limit", "100000"]
    result = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONUTF8": "1"})
    return result.stdout.decode().splitlines()


def _raw(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else value.encode(errors="surrogatepass")


async def _stored(broker: Broker, topic: str, count: int) -> list[Delivery]:
    """Take so many letters out of the dead-letter queue of a topic, and see that there are no more."""
    adapter = adapters.make(ConnectionSettings.model_validate(dict(broker.settings)).connection())
    await adapter.open()
    place = adapter.derived(topic, "wallet", "dlq")
    reading = Subscription(topics=(place,), group="reader", is_queue=True, provision="group")
    source = adapter.subscribe(reading, _ignore)
    await source.open()
    letters: list[Delivery] = []
    stopped = asyncio.ensure_future(_stop_when(source, lambda: len(letters), count))
    while not stopped.done():
        batch = await source.receive(500)
        letters += batch
        if batch:
            await source.settle([(letter, ACK) for letter in batch])
        else:
            await asyncio.sleep(0.01)  # a source that stops answers at once, and would leave no time to end its stop
    await stopped
    await source.close()
    await adapter.close()
    return letters


async def _stop_when(source: Source, got: Callable[[], int], count: int) -> None:
    """Stop a source when all is there, or nothing has come for a while."""
    with suppress(TimeoutError):
        while (before := got()) < count:
            await until(lambda before=before: got() > before, seconds=20)  # type: ignore[misc]
    await asyncio.sleep(0.2)  # what is there twice comes now
    await source.stop()


async def _ignore(_: object, *, gone: bool = True) -> None:
    """Nothing is lost while letters are read."""
