"""Virtual time: waits are jumped over, threads and sockets are not, and at the end everything is as it was."""

import asyncio
import socket
import threading
import time

import pytest

from brokerkit import Bus, Retry, _clock
from brokerkit.events.evenbet import OnPlayerSeatedDown
from brokerkit.testing import virtual_time


async def test_an_hour_takes_no_time_and_the_wall_clock_follows() -> None:
    begun, wall = time.monotonic(), _clock.wall_time()
    with virtual_time() as clock:
        await asyncio.sleep(3_600)
        # A sum of floats may end a little below.
        assert 3_599.999 <= clock.elapsed < 3_601
        assert 3_599.999 <= _clock.wall_time() - wall < 3_661
    assert time.monotonic() - begun < 60
    assert abs(_clock.wall_time() - time.time()) < 1


async def test_timers_fire_in_their_order_each_at_its_time() -> None:
    fired = list[tuple[str, float]]()
    with virtual_time() as clock:

        async def after(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, round(clock.elapsed, 3)))

        await asyncio.gather(after(30, "b"), after(0.5, "a"), after(86_400, "c"))
    assert fired == [("a", 0.5), ("b", 30.0), ("c", 86_400.0)]


async def test_no_wait_is_jumped_over_while_a_thread_runs() -> None:
    go = threading.Event()
    with virtual_time() as clock:
        running = asyncio.ensure_future(asyncio.to_thread(go.wait, 60))
        asyncio.get_running_loop().call_later(0.05, go.set)
        assert await asyncio.wait_for(running, 50)
        assert clock.elapsed < 50
        await asyncio.sleep(1_000)
        assert clock.elapsed > 1_000


async def test_a_timeout_over_a_thread_still_ends() -> None:
    go = threading.Event()
    with virtual_time():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(go.wait, 60), 0.05)
        go.set()


async def test_no_wait_is_jumped_over_while_a_socket_is_read() -> None:
    ours, theirs = socket.socketpair()
    answer = threading.Timer(0.1, lambda: theirs.sendall(b"x\n"))
    with virtual_time():
        reader, writer = await asyncio.open_connection(sock=ours)
        answer.start()
        assert await asyncio.wait_for(reader.readline(), 50) == b"x\n"
        writer.close()
        await writer.wait_closed()
    theirs.close()
    answer.join()


async def test_at_the_end_the_loop_is_as_it_was_and_timers_left_are_no_further_away() -> None:
    loop = asyncio.get_running_loop()
    attributes = set(vars(loop))
    selector = vars(loop)["_selector"]
    fired = asyncio.Event()
    with pytest.raises(ZeroDivisionError), virtual_time():
        loop.call_later(1_000.05, fired.set)
        await asyncio.sleep(1_000)
        raise ZeroDivisionError
    assert set(vars(loop)) == attributes
    assert vars(loop)["_selector"] is selector
    assert loop.time() == pytest.approx(time.monotonic(), abs=5)
    await asyncio.wait_for(fired.wait(), 30)


async def test_it_does_not_nest() -> None:
    with virtual_time(), pytest.raises(RuntimeError, match="do not nest"), virtual_time():
        raise AssertionError("never reached")


@pytest.mark.parametrize("hold", [10_000.0, 0.0], ids=["held", "durable"])
@pytest.mark.parametrize("plain", [False, True], ids=["coroutine", "thread"])
async def test_a_retry_in_an_hour_comes_after_an_hour(hold: float, plain: bool) -> None:
    times = list[float]()
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    bus = Bus(f"memory://virtual-{hold}-{plain}", topic="t", group="g", format="evenbet", hold=hold)
    with virtual_time():

        def attempt() -> None:
            times.append(loop.time())
            if len(times) == 1:
                raise Retry(after=3_600)
            loop.call_soon_threadsafe(done.set)

        if plain:

            @bus.on("OnPlayerSeatedDown")
            def handle(event: OnPlayerSeatedDown) -> None:
                attempt()
        else:

            @bus.on("OnPlayerSeatedDown")
            async def handle_async(event: OnPlayerSeatedDown) -> None:
                attempt()

        async with bus, bus.serving():
            await bus.publish(OnPlayerSeatedDown(player_id=1))
            await done.wait()
    assert 3_599.999 < times[1] - times[0] < 3_660  # a float of some thousands of seconds
