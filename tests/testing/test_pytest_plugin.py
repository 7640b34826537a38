"""The pytest plugin: its fixture under each runner of coroutines, and what a failed test shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
from brokerkit import Bus, Reject
from brokerkit.events.evenbet import OnPlayerSeatedDown

bus = Bus("kafka://127.0.0.1:1", topic="poker", group="wallet", format="evenbet")


@bus.on("OnPlayerSeatedDown")
async def handle(event: OnPlayerSeatedDown) -> None:
    if event.player_id == 2:
        raise Reject("banned")
"""

TEST = """
import pytest
from service import bus

pytestmark = pytest.mark.{mark}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize("player", [1, 2])
async def test_it(brokerkit_test, player):
    async with brokerkit_test(bus) as test:
        await test.deliver("OnPlayerSeatedDown", {{"playerId": player}})
        await test.settled()
        test.assert_handled("OnPlayerSeatedDown", player_id=player)
"""


@pytest.mark.parametrize(("plugin", "mark"), [("pytest_asyncio", "asyncio"), ("anyio", "anyio")])
def test_the_fixture_works_and_a_failed_test_shows_what_happened(tmp_path: Path, plugin: str, mark: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "test_service.py").write_text(TEST.format(mark=mark))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    module = "anyio.pytest_plugin" if plugin == "anyio" else "pytest_asyncio.plugin"
    words = ["-m", "pytest", "-p", module, "-p", "brokerkit.testing.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "brokerkit: <Bus" in done.stdout
    assert (
        "dead letters (1):\n  DeadLettered(name='OnPlayerSeatedDown', error_type='Reject', error='banned'"
        in done.stdout
    )


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    assert 'brokerkit = "brokerkit.testing.pytest_plugin"' in text.partition("[project.entry-points.pytest11]")[2]


def test_importing_brokerkit_or_its_test_bus_loads_no_pytest() -> None:
    code = "import brokerkit, brokerkit.testing, sys; print('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
