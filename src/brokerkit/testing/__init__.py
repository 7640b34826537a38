"""What tests of programs that use brokerkit need; nothing here is loaded by `import brokerkit`."""

from brokerkit.testing._proxy import Proxy
from brokerkit.testing._records import DeadLettered, Handled, Published
from brokerkit.testing._test_bus import TestBus
from brokerkit.testing._virtual_time import VirtualTime, virtual_time

__all__ = ["DeadLettered", "Handled", "Proxy", "Published", "TestBus", "VirtualTime", "virtual_time"]
