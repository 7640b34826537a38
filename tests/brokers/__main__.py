"""Keeps every broker up between test runs: `python -m tests.brokers`.

Prints the lines that tell other shells where the brokers are, and ends them at Ctrl-C or SIGTERM.
"""

import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

from tests.brokers import aws, kafka, postgresql, rabbitmq, redis
from tests.brokers._server import BrokerUnavailable
from tests.brokers.fixtures import Broker, running

BROKERS: tuple[Callable[[], Broker], ...] = (
    redis.broker,
    postgresql.server,
    aws.sns,
    aws.sqs,
    rabbitmq.broker,
    kafka.broker,
    kafka.share_broker,
)


def main() -> int:
    """Start the brokers, wait for a signal, stop them; return the exit status."""
    asked_to_end = Event()

    def end(signum: int, frame: object) -> None:
        asked_to_end.set()

    with ExitStack() as brokers:
        try:
            for broker in BROKERS:
                for name, value in brokers.enter_context(running(broker())).exports().items():
                    print(f"export {name}={value}", flush=True)
        except BrokerUnavailable as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, end)
        print(
            "# The brokers are up. Paste the lines above into the shell that runs the tests; Ctrl-C ends them.",
            flush=True,
        )
        asked_to_end.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
