"""What tests of programs that use brokerkit need; nothing here is loaded by `import brokerkit`."""

from brokerkit.testing._virtual_time import virtual_time

__all__ = ["virtual_time"]
