"""One service, any broker: runs handlers.py with the configuration that it is given.

Run it: python examples/wallet/service.py examples/wallet/kafka.toml
Ctrl-C or SIGTERM ends it: running handlers finish, everything else goes back to the broker.
"""

import sys
from pathlib import Path

from handlers import handlers

from brokerkit import Bus


def make_bus(config: str | Path) -> Bus:
    """The bus that a file describes, with the handlers; nothing is connected to yet."""
    bus = Bus.from_config(config)
    bus.include(handlers)
    return bus


if __name__ == "__main__":
    make_bus(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("memory.toml")).run()
