"""What stand-ins for SNS do, and what AWS documents."""

from collections.abc import Sequence
from typing import Final

from botocore.exceptions import ClientError

from tests.brokers.aws_case import MIB, SNS, Bench, Case, refusal


async def _binary_through_sns(bench: Bench) -> str:
    arn, url = await bench.topic()
    attributes = {"b": {"DataType": "Binary", "BinaryValue": b"\xff"}}
    await bench.sns.publish(TopicArn=arn, Message="0", MessageAttributes=attributes)
    found = await bench.receive(url, wait=3)
    if not found:
        return "nothing arrives"
    return "arrives" if found[0].get("MessageAttributes", {}).get("b", {}).get("BinaryValue") == b"\xff" else "is lost"


async def _eleven_through_sns(bench: Bench) -> str:
    arn, url = await bench.topic()
    attributes = {str(number): {"DataType": "String", "StringValue": "x"} for number in range(11)}
    code = await refusal(bench.sns.publish(TopicArn=arn, Message="0", MessageAttributes=attributes))
    return f"{code}, {'arrives' if await bench.receive(url, wait=2) else 'nothing arrives'}"


async def _large_through_sns(bench: Bench) -> str:
    arn, _ = await bench.topic()
    return await refusal(bench.sns.publish(TopicArn=arn, Message="x" * (MIB // 4 + 1)))


async def _larger_topic(bench: Bench) -> str:
    try:
        arn, _ = await bench.topic(MaximumMessageSize=str(MIB))
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return await refusal(bench.sns.publish(TopicArn=arn, Message="x" * (MIB // 4 + 1)))


async def _missing_topic(bench: Bench) -> str:
    arn, _ = await bench.topic()
    return await refusal(bench.sns.publish(TopicArn=f"{arn}-none", Message="0"))


SNS_CASES: Final[Sequence[Case]] = (
    Case("raw delivery of a binary attribute", "arrives", f"{SNS}dg/sns-message-attributes.html", _binary_through_sns),
    Case(
        "raw delivery of eleven attributes",
        "accepted, nothing arrives",
        f"{SNS}dg/sns-message-attributes.html",
        _eleven_through_sns,
    ),
    Case("256 KiB and a byte", "InvalidParameter", f"{SNS}dg/large-message-payloads.html", _large_through_sns),
    Case(
        "the same with MaximumMessageSize of 1 MiB",
        "accepted",
        f"{SNS}dg/large-message-payloads.html",
        _larger_topic,
    ),
    Case("a topic that is missing", "NotFound", f"{SNS}api/API_Publish.html", _missing_topic),
)
