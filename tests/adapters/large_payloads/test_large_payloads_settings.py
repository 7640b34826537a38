"""The setting `large_payloads`."""

import pytest

from brokerkit import Bus, ConfigError
from brokerkit.adapters.aws._s3 import LargePayloads


@pytest.mark.parametrize(
    "setting",
    [
        "s3:///prefix",
        "http://bucket",
        "s3://user@bucket",
        "s3://bucket:9/",
        "s3://bucket?above=x",
        "s3://bucket?largest=0",
        "s3://bucket?delete=yes",
        "s3://bucket?colour=red",
    ],
)
def test_a_wrong_setting_is_a_config_error(setting: str) -> None:
    with pytest.raises(ConfigError, match="large_payloads"):
        Bus("sqs://us-east-1/", topic="t", large_payloads=setting)


def test_the_setting_belongs_to_sqs_and_sns_and_deletion_to_sqs() -> None:
    with pytest.raises(ConfigError, match="large_payloads is for SQS and SNS"):
        Bus("redis://localhost", topic="t", group="g", large_payloads="s3://bucket")
    with pytest.raises(ConfigError, match="every group"):
        Bus("sns://us-east-1/", topic="t", group="g", large_payloads="s3://bucket?delete=true")


def test_every_part_of_the_setting_is_read_and_its_secret_not_shown() -> None:
    text = "s3://bucket/a/b?above=1&largest=2&delete=true&old=true&endpoint=http://u:secret@h"
    assert LargePayloads.parse(text) == LargePayloads(
        bucket="bucket", prefix="a/b", above=1, largest=2, delete=True, old=True, endpoint="http://u:secret@h"
    )
    bus = Bus("sqs://us-east-1/", topic="t", large_payloads=text)
    assert "secret" not in repr(bus) + repr(bus.__dict__)
