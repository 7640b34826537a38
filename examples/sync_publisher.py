"""Publish from plain synchronous code: a script, a Django view, a thread.

Run it: python examples/sync_publisher.py [URL], such as redis://localhost:6379/0; without one nothing leaves the process.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from brokerkit import Bus
from brokerkit.events.evenbet import OnUserLoggedIn


def main(url: str) -> None:
    """Publish from four threads through one publisher; it connects at the first publish."""
    bus = Bus(url, topic="evenbet-events", format="evenbet", provision="all")
    with bus.sync() as publisher, ThreadPoolExecutor(4) as threads:
        logins = [OnUserLoggedIn(player_id=number, nick=f"player{number}") for number in range(1, 9)]
        for receipt in threads.map(publisher.publish, logins):
            print(f"the broker has {receipt.id}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://")
