"""What is compared with what: for each line of the tables, how many messages each contender moves in one turn.

The counts give each contender about a second, so they follow its rate; all of them find the same queue, which holds the
largest of the counts. On Redis lists each fills its own, with its own count.
"""

from __future__ import annotations

from typing import Final, Literal

What = Literal["consume", "consume_batch", "publish", "publish_each", "latency"]
Size = Literal["small", "large"]

PLAN: Final[dict[str, dict[tuple[What, Size], dict[str, int]]]] = {
    "kafka": {
        ("consume", "small"): {"brokerkit": 120_000, "raw": 120_000, "faststream": 5_000, "asyncfast": 30_000},
        ("consume", "large"): {"brokerkit": 25_000, "raw": 25_000, "faststream": 4_000, "asyncfast": 12_000},
        ("consume_batch", "small"): {"brokerkit": 120_000, "raw": 120_000},
        ("publish", "small"): {"brokerkit": 80_000, "raw": 120_000, "receipts": 80_000},
        ("publish", "large"): {"brokerkit": 20_000, "raw": 20_000, "receipts": 20_000},
        ("publish_each", "small"): {"brokerkit": 20_000, "faststream": 8_000},
        ("latency", "small"): {"brokerkit": 200, "raw": 200},
    },
    # It is published to as any topic.
    "kafka-share": {
        ("consume", "small"): {"brokerkit": 60_000, "raw": 60_000},
        ("consume", "large"): {"brokerkit": 15_000, "raw": 15_000},
    },
    "redis": {
        ("consume", "small"): {"brokerkit": 60_000, "raw": 60_000, "faststream": 3_000},
        ("consume", "large"): {"brokerkit": 20_000, "raw": 20_000, "faststream": 3_000},
        ("consume_batch", "small"): {"brokerkit": 60_000, "raw": 60_000},
        ("publish", "small"): {"brokerkit": 40_000, "raw": 50_000},
        ("publish", "large"): {"brokerkit": 15_000, "raw": 15_000},
        ("publish_each", "small"): {"brokerkit": 20_000, "faststream": 6_000},
        ("latency", "small"): {"brokerkit": 200, "raw": 200},
    },
    "redis-list": {
        ("consume", "small"): {"brokerkit": 20_000, "kombu": 3_000},
        ("consume", "large"): {"brokerkit": 10_000, "kombu": 3_000},
        ("publish_each", "small"): {"brokerkit": 20_000, "kombu": 3_000},
    },
    "rabbitmq": {
        ("consume", "small"): {
            "brokerkit": 12_000, "raw": 8_000, "aiormq": 12_000, "faststream": 6_000, "kombu": 8_000,
        },
        ("consume", "large"): {
            "brokerkit": 8_000, "raw": 6_000, "aiormq": 8_000, "faststream": 4_000, "kombu": 6_000,
        },
        ("consume_batch", "small"): {"brokerkit": 12_000, "aiormq": 12_000},
        ("publish", "small"): {"brokerkit": 10_000, "raw": 8_000},
        ("publish", "large"): {"brokerkit": 6_000, "raw": 6_000},
        ("publish_each", "small"): {"brokerkit": 8_000, "faststream": 6_000, "kombu": 4_000},
        ("latency", "small"): {"brokerkit": 200, "raw": 200},
    },
    "sqs": {
        ("consume", "small"): {"brokerkit": 4_000, "raw": 4_000, "asyncfast": 400},
        ("consume", "large"): {"brokerkit": 2_500, "raw": 2_500, "asyncfast": 400},
        ("publish", "small"): {"brokerkit": 4_000, "raw": 4_000},
        ("publish", "large"): {"brokerkit": 2_500, "raw": 2_500},
        ("publish_each", "small"): {"brokerkit": 3_000, "asyncfast": 2_000},
        ("latency", "small"): {"brokerkit": 150, "raw": 150},
    },
}  # fmt: skip


def lines_of(broker: str, *, uvloop: bool) -> dict[tuple[What, Size], dict[str, int]]:
    """What is compared at one broker: brokerkit with the others and once more with itself, which shows the noise; or on
    uvloop with itself on asyncio's loop.
    """
    if not uvloop:
        return {
            (what, size): {"brokerkit": counts["brokerkit"], AGAIN: counts["brokerkit"], **counts}
            for (what, size), counts in PLAN[broker].items()
        }
    return {
        (what, size): dict.fromkeys(("brokerkit+uvloop", "brokerkit"), counts["brokerkit"])
        for (what, size), counts in PLAN[broker].items()
        if size == "small"
    }


AGAIN: Final = "brokerkit+again"
"""brokerkit as a contender of itself."""

MODULES: Final = {
    "brokerkit": "with_brokerkit",
    "receipts": "raw_kafka_receipts",
    "faststream": "with_faststream",
    "asyncfast": "with_asyncfast",
    "kombu": "with_kombu",
    "aiormq": "raw_aiormq",
}
"""The module of a contender. The raw client of a broker is in ``raw_`` and its name."""

NAMES: Final = {
    AGAIN: "brokerkit again",
    ("kafka", "raw"): "confluent-kafka",
    ("kafka", "receipts"): "confluent-kafka with ids and receipts",
    ("kafka-share", "raw"): "confluent-kafka",
    ("redis", "raw"): "redis-py",
    ("rabbitmq", "raw"): "aio-pika",
    ("sqs", "raw"): "aiobotocore",
    "faststream": "FastStream",
    "asyncfast": "AsyncFast",
}
"""The name of a contender in the tables, if it differs."""
