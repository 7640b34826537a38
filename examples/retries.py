"""What happens to a message whose handler fails: retried by policy, rejected at once, or kept as a dead letter.

Run it: python examples/retries.py [URL], such as redis://localhost:6379/0; without one nothing leaves the process.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from brokerkit import Bus, Handlers, Message, Reject, Retry, RetryPolicy
from brokerkit.events.evenbet import OnGetBalance, OnGetCash, OnReturnCash

handlers = Handlers()
given_up = asyncio.Event()


@handlers.on("OnGetBalance")
async def patient(event: OnGetBalance, message: Message) -> None:
    """Ask for another attempt, and say when. Any other error is retried too, after the policy's wait."""
    print(f"balance: attempt {message.attempt}")
    if message.attempt == 1:
        raise Retry("the account is locked", after=0.05)


@handlers.on("OnReturnCash")
async def strict(event: OnReturnCash) -> None:
    """Refuse for good: the remaining attempts are skipped."""
    raise Reject("there is no such session")


@handlers.on("OnGetCash", retry=RetryPolicy(attempts=3, first=0.05, cap=1))
async def broken(event: OnGetCash, message: Message) -> None:
    """Fail each time: after three attempts it is a dead letter."""
    print(f"cash: attempt {message.attempt}")
    if message.attempt == 3:
        given_up.set()
    raise ConnectionError("the ledger is away")


async def main(url: str) -> None:
    """Publish one message for each handler, then show the dead letters."""
    with tempfile.TemporaryDirectory() as folder:
        letters = Path(folder, "dead-letters.jsonl")
        # Without dead_letter they go to a queue beside the topic: evenbet-cash.wallet.dlq.
        bus = Bus(
            url, topic="evenbet-cash", group="wallet", format="evenbet", provision="all", dead_letter=letters.as_uri()
        )
        bus.include(handlers)
        async with bus, bus.serving():
            await bus.publish_many([("OnGetBalance", {}), ("OnReturnCash", {}), ("OnGetCash", {})])
            await given_up.wait()
        text = await asyncio.to_thread(letters.read_text)
        for line in text.splitlines():
            headers = json.loads(line)["headers"]
            print(f"dead letter: {headers['bk-event']} of {headers['bk-handler']}: {headers['bk-error']}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "memory://"))
