"""Free loopback ports that stay free while a broker restarts."""

import os
import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on, never the same one twice in this process.

    Sessions that run side by side, as those of pytest-xdist, have different ports: nobody takes the port of a broker that
    is about to start, or that is down for a while.

    It lies below the range the kernel hands to outgoing connections. A client that reconnects while its broker is
    down would otherwise be given the broker's own port sooner or later, and take it away or talk to itself.
    """
    try:
        below = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError):
        below = 32_768
    sessions = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    session = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % sessions
    for port in random.sample(range(_LOWEST, max(below, _LOWEST + 1_000)), 200):
        if port % sessions == session and port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free port on 127.0.0.1 between {_LOWEST} and {below}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
