"""What tests of programs that use brokerkit need; nothing here is loaded by `import brokerkit`."""

from brokerkit.testing._proxy import Proxy
from brokerkit.testing._records import DeadLetter, Handled, Published
from brokerkit.testing._test_bus import TestBus
from brokerkit.testing._virtual_time import virtual_time

__all__ = ["DeadLetter", "Handled", "Proxy", "Published", "TestBus", "virtual_time"]
