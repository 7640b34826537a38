"""The tables of docs/aws.md say what the stand-ins of this run do."""

import json

import pytest

from tests.brokers import aws_cases, aws_sns_cases, aws_sqs_cases, versions
from tests.brokers.aws import AwsBroker


def kept(stand_in: str) -> dict[str, str]:
    answers: dict[str, str] = json.loads(aws_cases.RESULTS.read_text())[stand_in.partition("-")[2]]["answers"]
    return answers


# aiohttp warns of every request above 1 MiB, and has no other way to take one.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_what_the_page_says_of_the_refusals_of_sqs_is_so(sqs_broker: AwsBroker) -> None:
    found = await aws_cases.answers(sqs_broker.url, aws_sqs_cases.SQS_LIMITS)
    before = kept(versions.chosen("sqs"))
    assert found == {name: before[name] for name in found}


async def test_what_the_page_says_of_sns_is_so(sns_broker: AwsBroker) -> None:
    found = await aws_cases.answers(sns_broker.url, aws_sns_cases.SNS_CASES)
    before = kept(versions.chosen("sns"))
    assert found == {name: before[name] for name in found}
