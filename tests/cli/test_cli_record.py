"""``brokerkit record`` and ``brokerkit replay``: from a broker into a file and back, whatever ends them."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from tests.brokers.redis import RedisBroker
from tests.cli.program import Cli, Start

from brokerkit.recording import Recording


@pytest.fixture
def topic() -> str:
    return f"recorded-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def url(redis_broker: RedisBroker) -> str:
    return f"{redis_broker.url}?provision=all"


def simulate(cli: Cli, url: str, topic: str, count: int) -> None:
    result = cli("simulate", "evenbet", "--to", url, "--topic", topic, "--rate", "100000", "--count", str(count))
    assert result.code == 0, result.err


def record(cli: Cli, url: str, topic: str, out: Path, count: int) -> str:
    arguments = ("--topic", topic, "--group", "recording", "--format", "evenbet", "--count", str(count))
    result = cli("record", url, *arguments, "--out", str(out))
    assert (result.code, result.err) == (0, "")
    return result.out


def lines(path: Path) -> list[tuple[object, ...]]:
    return [(one.id, one.name, one.key, one.headers, one.body) for _, one in Recording(path)]


def test_a_simulation_that_is_recorded_replayed_and_recorded_is_the_same(
    cli: Cli, url: str, topic: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"
    simulate(cli, url, topic, 1_200)
    assert "recorded 1,200 messages in " in record(cli, url, topic, first, 1_200)
    result = cli("replay", str(first), "--to", url, "--topic", f"{topic}-2", "--speed", "max")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("published 1,200 messages in ")
    record(cli, url, f"{topic}-2", second, 1_200)
    assert lines(second) == lines(first)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_recording_that_has_all_it_acknowledged(
    start: Start, cli: Cli, url: str, topic: str, tmp_path: Path, number: signal.Signals
) -> None:
    process = recording(start, url, topic, tmp_path / "1.jsonl.gz")
    simulate(cli, url, topic, 300)
    wait_for(tmp_path / "1.jsonl.gz", 300)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "recorded 300 messages in " in out


def test_a_kill_leaves_a_file_that_can_be_read_and_the_next_one_goes_on_behind_it(
    start: Start, cli: Cli, redis_broker: RedisBroker, url: str, topic: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl.gz"
    feeding = start(["simulate", "evenbet", "--to", url, "--topic", topic, "--rate", "1500"])
    process = recording(start, url, topic, first)
    wait_for(first, 500)
    process.kill()
    process.wait()
    feeding.terminate()
    feeding.communicate(timeout=30)
    with redis.Redis.from_url(redis_broker.url) as client:
        total = client.xlen(topic)
        [group] = client.xinfo_groups(topic)
        acknowledged = total - group["lag"] - group["pending"]
    found = [message.id for _, message in Recording(first)]
    assert len(found) >= acknowledged
    assert cli("replay", str(first), "--to", "memory://", "--topic", "t", "--speed", "max").err.startswith("warning: ")
    # What was on its way comes again when its lease ends; the rest waits.
    rest = recording(start, f"{url}&lease=4", topic, second)
    wait_for(second, total - acknowledged)
    rest.terminate()
    rest.communicate(timeout=30)
    found += [message.id for _, message in Recording(second)]
    assert len(set(found)) == total


def recording(start: Start, url: str, topic: str, out: Path) -> subprocess.Popen[str]:
    process = start(["record", url, "--topic", topic, "--group", "g", "--format", "evenbet", "--out", str(out)])
    assert process.stdout is not None
    assert process.stdout.readline().startswith("recording ")
    return process


def wait_for(path: Path, count: int) -> None:
    """Wait until a file that is being written holds so many messages."""
    while sum(1 for _ in Recording(path)) < count:
        time.sleep(0.05)


def test_an_interrupted_replay_says_how_to_go_on(start: Start, cli: Cli, url: str, topic: str, tmp_path: Path) -> None:
    simulate(cli, url, topic, 40)
    time.sleep(0.2)  # so that the recording has a pause in it
    simulate(cli, url, topic, 1)
    path = tmp_path / "r.jsonl"
    record(cli, url, topic, path, 41)
    process = start(["replay", str(path), "--to", url, "--topic", f"{topic}-2", "--speed", "0.0001"])
    with redis.Redis.from_url(url.partition("?")[0]) as client:
        while not client.xlen(f"{topic}-2"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")
        there = client.xlen(f"{topic}-2")
    assert f"stopped after message {there}; go on with --skip {there}\n" in out
    result = cli("replay", str(path), "--to", url, "--topic", f"{topic}-2", "--speed", "max", "--skip", str(there))
    assert result.out.startswith(f"published {41 - there} messages in ")


def test_a_replay_chooses_by_name_and_time(cli: Cli, url: str, topic: str, tmp_path: Path) -> None:
    simulate(cli, url, topic, 100)
    path = tmp_path / "r.jsonl"
    record(cli, url, topic, path, 100)
    to = ("--to", "memory://", "--topic", "t", "--speed", "max")
    logins = sum(message.name == "OnUserLoggedIn" for _, message in Recording(path))
    assert cli("replay", str(path), *to, "--event", "OnUserLoggedIn").out.startswith(f"published {logins} ")
    soon = datetime.fromtimestamp(time.time() + 60, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert cli("replay", str(path), *to, "--from", soon).out.startswith("published 0 ")
    assert cli("replay", str(path), *to, "--until", soon).out.startswith("published 100 ")


def test_names_are_looked_for_as_they_were_when_it_was_recorded(cli: Cli, topic: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(
        b'{"brokerkit-recording":1,"format":"json","name_from":["header:kind"]}\n'
        b'{"id":"1","name":"x","key":null,"time":1,"topic":"t","headers":{"kind":"x"},"body":"{}"}\n'
    )
    assert cli("replay", str(path), "--to", "memory://", "--topic", topic).code == 0
    refused = cli("replay", str(path), "--to", "memory://?name_from=nonsense", "--topic", topic)
    assert "name_from: 'nonsense' is not a rule" in refused.err


def test_wrong_use_is_one_line(cli: Cli, tmp_path: Path) -> None:
    assert cli("record", "memory://", "--topic", "t").code == 2
    assert cli("replay", str(tmp_path / "none"), "--to", "memory://", "--topic", "t").err.count("\n") == 1
    queue = cli("record", "redis+list://localhost", "--topic", "t", "--out", str(tmp_path / "r"))
    assert queue.code == 1
    assert "--take" in queue.err
    assert not (tmp_path / "r").exists()
