"""The recipe for structlog, run as it is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

BEFORE = """
import asyncio

from brokerkit import Bus, Message
from brokerkit.events.evenbet import OnPlayerSeatedDown

bus = Bus("memory://", topic="games", group="wallet", format="evenbet", retry={"attempts": 2, "first": 0.01, "cap": 0.02})
"""

AFTER = """
@bus.on("OnPlayerSeatedDown")
async def credit(event: OnPlayerSeatedDown, message: Message) -> None:
    secret = "a-value-of-a-variable"
    log = structlog.get_logger("wallet")
    if event.player_id == 2:
        raise LookupError("no\\nluck")
    log.info("credited", amount=5)


async def main() -> None:
    done = asyncio.Event()
    bus.add_hook(lambda notice: done.set() if notice.kind == "dead_letter" else None)
    async with bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown(player_id=1), id="first")
        await bus.publish(OnPlayerSeatedDown(player_id=2), id="second")
        await done.wait()
    structlog.get_logger("wallet").info("over")


asyncio.run(main())
"""


def test_with_structlog_all_lines_are_json_with_the_same_fields(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    [recipe] = [block for block in blocks if "import structlog" in block]
    program = tmp_path / "wallet.py"
    program.write_text(BEFORE + recipe + AFTER)
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=100, check=True)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]

    [credited] = [line for line in lines if line["event"] == "credited"]
    assert (credited["logger"], credited["level"], credited["amount"]) == ("wallet", "info", 5)
    assert (credited["brokerkit_event"], credited["brokerkit_id"]) == ("OnPlayerSeatedDown", "first")
    [failed, letter] = [line for line in lines if line["level"] in ("warning", "error")]
    assert (failed["brokerkit_attempt"], letter["brokerkit_attempt"]) == (1, 2)
    assert letter["logger"].startswith("brokerkit.")
    for line in (failed, letter):
        assert (line["brokerkit_source"], line["brokerkit_topic"], line["brokerkit_id"]) == ("bus", "games", "second")
        assert line["brokerkit_handler"] == credited["brokerkit_handler"]
        # As brokerkit writes it: each further line is indented, so that none can pass for a line of the log.
        assert line["exception"].endswith("\n  luck")
        assert "exc_info" not in line
    assert "a-value-of-a-variable" not in ran.stderr
    [over] = [line for line in lines if line["event"] == "over"]
    assert [field for field in over if field.startswith("brokerkit_")] == []
    assert all("timestamp" in line for line in lines)
