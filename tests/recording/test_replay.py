"""A replay keeps order and pace, chooses, and says where it stopped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.every_broker import Recorder, until

from brokerkit import Bus, Message, MessageTooLarge
from brokerkit.recording import Recording, Replay
from brokerkit.recording._file import RecordingFile
from brokerkit.recording._lines import head_line, message_line
from brokerkit.testing import virtual_time

Write = Callable[..., Recording]
_names = itertools.count()


def bus(**settings: Any) -> Bus:
    return Bus(f"memory://replay-{next(_names)}", topic="t", group="g", format="evenbet", **settings)


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    def write(times: list[float], *, names: tuple[str, ...] = ("OnUserLoggedIn",), body: bytes = b"{}") -> Recording:
        file = RecordingFile(tmp_path_factory.mktemp("replay") / "r.jsonl")
        messages = [
            Message(name, body, id=str(number), time=time, headers={"event": name}, key="k")
            for number, (time, name) in enumerate(zip(times, itertools.cycle(names), strict=False), start=1)
        ]
        file.write([head_line(format="evenbet", name_from=()), *map(message_line, messages)])
        file.close()
        return Recording(file.path)

    return write


async def replayed(recording: Recording, **how: Any) -> tuple[list[str | None], float]:
    """The ids in the order of their arrival, and how many seconds it took."""
    recorder = Recorder().record()
    async with recorder.serving(bus()) as opened:
        with virtual_time() as clock:
            replay = Replay(opened, recording, **how)
            assert await replay.run()
            took = clock.elapsed
        await recorder.wait_for(replay.published)
    return [message.id for _, _, message in recorder.got], took


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 90), (2.0, 45), (0.5, 180), (None, 0)])
async def test_the_pace_is_the_original_one_times_the_speed(write: Write, speed: float | None, seconds: float) -> None:
    ids, took = await replayed(write([1000.0, 1000.5, 1060.0, 1090.0]), speed=speed)
    assert ids == ["1", "2", "3", "4"]
    assert seconds <= took < seconds + 20  # the file is read in real time


async def test_times_that_go_back_change_no_order(write: Write) -> None:
    ids, took = await replayed(write([1000.0, 1060.0, 1000.0, 1061.0]))
    assert ids == ["1", "2", "3", "4"]
    assert 61 <= took < 81


async def test_names_times_and_a_beginning_choose(write: Write) -> None:
    names = ("OnUserLoggedIn", "OnUserLoggedOut")
    recording = write([float(time) for time in range(10)], names=names)
    assert (await replayed(recording, events=["OnUserLoggedOut"]))[0] == ["2", "4", "6", "8", "10"]
    assert (await replayed(recording, since=3.0, until=6.0))[0] == ["4", "5", "6"]
    assert (await replayed(recording, skip=4, events=["OnUserLoggedIn"]))[0] == ["5", "7", "9"]


async def test_a_replay_that_was_stopped_goes_on_where_it_says(write: Write) -> None:
    recording = write([0.0, 0.0, 0.0, 3600.0, 3600.0], names=("OnUserLoggedIn", "OnUserLoggedOut"))
    async with bus() as opened:
        replay = Replay(opened, recording, events=["OnUserLoggedIn"])
        running = asyncio.create_task(replay.run())
        await until(lambda: replay.published == 2)
        replay.stop()
        assert not await running
    assert (replay.published, replay.position) == (2, 3)
    assert (await replayed(recording, skip=replay.position))[0] == ["4", "5"]


async def test_a_message_that_is_refused_ends_it_before_that_message(write: Write) -> None:
    recording = write([0.0, 0.0], body=b"x" * 2_000_000)
    async with bus() as opened:
        replay = Replay(opened, recording)
        with pytest.raises(MessageTooLarge):
            await replay.run()
    assert (replay.published, replay.position) == (0, 0)


@settings(max_examples=20)
@given(count=st.integers(0, 1_200), stop_after=st.integers(0, 1_200))
def test_two_parts_are_the_whole(write: Write, count: int, stop_after: int) -> None:
    recording = write([0.0] * count)

    async def both() -> list[str | None]:
        recorder = Recorder().record()
        async with recorder.serving(bus()) as opened:
            first = Replay(opened, recording, speed=None)
            publish, published = opened.publish_many, 0

            async def count_then_stop(batch: list[Message]) -> Any:
                nonlocal published
                published += len(batch)
                if published >= stop_after:
                    first.stop()
                return await publish(batch)

            opened.publish_many = count_then_stop  # type: ignore[assignment,method-assign]
            await first.run()
            await Replay(opened, recording, speed=None, skip=first.position).run()
            await recorder.wait_for(count)
        return [message.id for _, _, message in recorder.got]

    assert asyncio.run(both()) == [str(number) for number in range(1, count + 1)]
