"""The brokers that are measured on, as the tests start them on loopback ports, and the processes that measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from tests.brokers import aws, kafka, rabbitmq, redis
from tests.brokers.fixtures import running


@contextmanager
def started(kind: str) -> Generator[dict[str, str], None, None]:
    """Start a broker; gives the environment in which measurements find it."""
    if kind == "memory":
        yield dict(os.environ)
    elif kind == "kafka":
        with running(kafka.broker()) as broker:
            yield _environment(broker.address, url=f"kafka://{broker.address}")
    elif kind == "kafka-share":
        with running(kafka.share_broker()) as broker:
            yield _environment(broker.address, url=f"kafka+share://{broker.address}")
    elif kind == "rabbitmq":
        with running(rabbitmq.broker()) as broker:
            yield _environment(broker.url, url=broker.url)
    elif kind == "sqs":
        with running(aws.sqs()) as broker:
            yield {
                **_environment(broker.url, url=f"sqs://{aws.REGION}/", endpoint=broker.url),
                "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": aws.SECRET_KEY,
                "AWS_DEFAULT_REGION": aws.REGION,
            }
    else:
        with running(redis.broker()) as broker:
            if kind == "redis-list":
                settings = {"url": broker.url.replace("redis://", "redis+list://"), "envelope": "brokerkit"}
            else:
                settings = {"url": broker.url}
            yield _environment(broker.url, **settings)


def _environment(address: str, **settings: str) -> dict[str, str]:
    return {**os.environ, "BENCHMARK_ADDRESS": address, "BENCHMARK_SETTINGS": json.dumps(settings)}


def measured(module: str, *words: object, at: dict[str, str]) -> dict[str, float] | None:
    """The figures that one process of a module of benchmarks prints; None where it failed, which is told here.

    Args:
        module: its name.
        words: its arguments.
        at: the environment that `started` gives.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, words)]
    try:
        ended = subprocess.run(command, env=at, capture_output=True, text=True, timeout=120, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{' '.join(command[2:])} failed: {error}\n{error.stderr!s:.3000}", file=sys.stderr, flush=True)
        return None
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures
