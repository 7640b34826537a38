"""What each stand-in for AWS does in cases where they differ, beside what AWS documents.

`python -m tests.brokers.aws_cases` starts each of them, tries every case with the client library alone, and writes
docs/aws-stand-ins.json; `scripts/generate_docs.py` makes the tables of docs/aws.md of it. `test_aws_cases.py` tries the
refusals on the stand-ins of a test run.
"""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from tests.brokers import aws, fixtures, versions
from tests.brokers._server import CHECKOUT
from tests.brokers.aws import client_options

RESULTS: Final = CHECKOUT / "docs" / "aws-stand-ins.json"
_MIB: Final = 1_048_576
_GUIDE: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
_API: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"
_SNS: Final = "https://docs.aws.amazon.com/sns/latest/"


@dataclass(slots=True)
class Bench:
    """Clients of one stand-in, and what a case asks of them."""

    sqs: Any
    sns: Any
    names: int = field(default=0)
    prefix: str = field(default_factory=lambda: f"case-{uuid.uuid4().hex[:8]}")

    async def queue(self, *, fifo: bool = False, **attributes: str) -> str:
        """The URL of a new queue."""
        self.names += 1
        name = f"{self.prefix}-{self.names}" + (".fifo" if fifo else "")
        found = {"FifoQueue": "true"} | attributes if fifo else attributes
        url: str = (await self.sqs.create_queue(QueueName=name, Attributes=found))["QueueUrl"]
        return url

    async def send(self, url: str, *bodies: str, **more: Any) -> None:
        for body in bodies:
            if url.endswith(".fifo"):
                more = {"MessageGroupId": "g", **more, "MessageDeduplicationId": uuid.uuid4().hex}
            await self.sqs.send_message(QueueUrl=url, MessageBody=body, **more)

    async def receive(self, url: str, *, hidden: int = 30, wait: int = 0, most: int = 10) -> list[dict[str, Any]]:
        answer = await self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=hidden,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    async def release(self, url: str, *messages: Mapping[str, Any], seconds: int = 0) -> None:
        for message in messages:
            await self.sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
            )

    async def topic(self, **attributes: str) -> tuple[str, str]:
        """The ARN of a new topic, and the URL of a queue that is subscribed to it with raw delivery."""
        self.names += 1
        arn = (await self.sns.create_topic(Name=f"{self.prefix}-{self.names}", Attributes=attributes))["TopicArn"]
        url = await self.queue()
        found = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        raw = {"RawMessageDelivery": "true"}
        endpoint = found["Attributes"]["QueueArn"]
        await self.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=endpoint, Attributes=raw)
        return arn, url


Try = Callable[[Bench], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """One row.

    Attributes:
        name: what is done.
        documented: what AWS says happens.
        source: where it says so.
        run: does it, and says what happened.
    """

    name: str
    documented: str
    source: str
    run: Try


def bodies(messages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(message["Body"] for message in messages) or "nothing"


async def refusal(call: Awaitable[Any]) -> str:
    """The code with which a call, or the first entry of a batch call, is refused; "accepted" if it is not."""
    try:
        answer = await call
    except ClientError as error:
        return str(error.response["Error"]["Code"]).rpartition(".")[2]
    failed = answer.get("Failed", ())
    return f"entry fails: {failed[0]['Code']}" if failed else "accepted"


async def _old_receipt_deletes(bench: Bench) -> str:
    url = await bench.queue()
    await bench.send(url, "0")
    [old] = await bench.receive(url, hidden=1)
    await bench.receive(url, hidden=1, wait=5)
    code = await refusal(bench.sqs.delete_message(QueueUrl=url, ReceiptHandle=old["ReceiptHandle"]))
    gone = not await bench.receive(url, wait=3)
    return f"{code}, {'deleted' if gone else 'not deleted'}"


async def _expired_receipt_deletes_fifo(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0")
    [old] = await bench.receive(url, hidden=1)
    await asyncio.sleep(1.5)
    code = await refusal(bench.sqs.delete_message(QueueUrl=url, ReceiptHandle=old["ReceiptHandle"]))
    gone = not await bench.receive(url)
    return f"{code}, {'deleted' if gone else 'not deleted'}"


async def _expired_receipt_extends(bench: Bench) -> str:
    url = await bench.queue()
    await bench.send(url, "0")
    [old] = await bench.receive(url, hidden=1)
    await asyncio.sleep(1.5)
    entry = {"Id": "0", "ReceiptHandle": old["ReceiptHandle"], "VisibilityTimeout": 30}
    return await refusal(bench.sqs.change_message_visibility_batch(QueueUrl=url, Entries=[entry]))


async def _order_after_release(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1", "2")
    await bench.release(url, *await bench.receive(url))
    return bodies(await bench.receive(url, wait=1))


async def _order_after_release_in_reverse(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1", "2")
    await bench.release(url, *reversed(await bench.receive(url)))
    return bodies(await bench.receive(url, wait=1))


async def _several_of_a_group(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1", "2")
    return bodies(await bench.receive(url))


async def _order_after_timeout(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1", "2")
    await bench.receive(url, hidden=1)
    await asyncio.sleep(1.5)
    return bodies(await bench.receive(url, wait=1))


async def _order_after_release_of_first(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1", "2")
    first, *_ = await bench.receive(url)
    await bench.release(url, first)
    return bodies(await bench.receive(url, wait=1))


async def _group_is_locked(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    await bench.send(url, "0", "1")
    await bench.send(url, "other", MessageGroupId="h")
    await bench.receive(url, most=1)
    return bodies(await bench.receive(url))


async def _deduplication(bench: Bench) -> str:
    url = await bench.queue(fifo=True)
    for body in ("0", "again"):
        await bench.sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=body, MessageDeduplicationId="same")
    return bodies(await bench.receive(url, wait=1))


async def _wake_by_visibility(bench: Bench) -> str:
    url = await bench.queue()
    await bench.send(url, "0")
    [message] = await bench.receive(url)
    poll = asyncio.create_task(bench.receive(url, wait=4))
    await asyncio.sleep(0.5)
    await bench.release(url, message)
    done, _ = await asyncio.wait([poll], timeout=2)
    return "answered" if done else f"waits, then {bodies(await poll)}"


async def _attempts(bench: Bench) -> str:
    url = await bench.queue()
    await bench.send(url, "0")
    await bench.release(url, *await bench.receive(url))
    [again] = await bench.receive(url, wait=1)
    return str(again["Attributes"]["ApproximateReceiveCount"])


async def _redrive(bench: Bench) -> str:
    dead = await bench.queue()
    arn = (await bench.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
    url = await bench.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"}))
    await bench.send(url, "0")
    received = 0
    while received < 4 and (found := await bench.receive(url, wait=1)):
        received += 1
        await bench.release(url, *found)
    [message] = await bench.receive(dead, wait=1) or [None]
    count = "lost" if message is None else message["Attributes"]["ApproximateReceiveCount"]
    return f"moved after {received}, its count is then {count}"


async def _fair(bench: Bench) -> str:
    url = await bench.queue()
    code = await refusal(bench.sqs.send_message(QueueUrl=url, MessageBody="0", MessageGroupId="tenant"))
    if code != "accepted":
        return code
    [message] = await bench.receive(url, wait=1)
    return f"accepted, {'returned' if message['Attributes'].get('MessageGroupId') == 'tenant' else 'not returned'}"


def _entries(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [{"Id": str(number), "MessageBody": text, **more} for number, text in enumerate(texts)]


def _sending(*texts: str, fifo: bool = False, **more: Any) -> Try:
    async def run(bench: Bench) -> str:
        url = await bench.queue(fifo=fifo)
        if len(texts) > 1:
            return await refusal(bench.sqs.send_message_batch(QueueUrl=url, Entries=_entries(*texts, **more)))
        return await refusal(bench.sqs.send_message(QueueUrl=url, MessageBody=texts[0], **more))

    return run


async def _same_entry_ids(bench: Bench) -> str:
    entries = [{"Id": "0", "MessageBody": "0"}] * 2
    return await refusal(bench.sqs.send_message_batch(QueueUrl=await bench.queue(), Entries=entries))


async def _long_visibility(bench: Bench) -> str:
    url = await bench.queue()
    await bench.send(url, "0")
    [message] = await bench.receive(url)
    call = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 43_201}
    return await refusal(bench.sqs.change_message_visibility(**call))


async def _many(bench: Bench) -> str:
    url = await bench.queue()
    return await refusal(bench.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=11))


async def _missing_queue(bench: Bench) -> str:
    return await refusal(bench.sqs.get_queue_url(QueueName=f"{bench.prefix}-none"))


async def _other_attributes(bench: Bench) -> str:
    name = f"{bench.prefix}-twice"
    await bench.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})
    return await refusal(bench.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "40"}))


async def _high_throughput(bench: Bench) -> str:
    attributes = {
        "FifoQueue": "true",
        "DeduplicationScope": "messageGroup",
        "FifoThroughputLimit": "perMessageGroupId",
    }
    name = f"{bench.prefix}-high.fifo"
    if (code := await refusal(bench.sqs.create_queue(QueueName=name, Attributes=attributes))) != "accepted":
        return code
    url = (await bench.sqs.get_queue_url(QueueName=name))["QueueUrl"]
    found = await bench.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    shown = found["Attributes"].get("DeduplicationScope") == "messageGroup"
    for group in ("g", "h"):
        await bench.sqs.send_message(
            QueueUrl=url, MessageBody=group, MessageGroupId=group, MessageDeduplicationId="same"
        )
    return f"{'shown' if shown else 'not shown'}; one id in two groups gives {len(await bench.receive(url, wait=1))}"


async def _move_task(bench: Bench) -> str:
    dead = await bench.queue()
    arn = (await bench.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
    await bench.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"}))
    try:
        async with asyncio.timeout(5):
            return await refusal(bench.sqs.start_message_move_task(SourceArn=arn))
    except TimeoutError:
        return "no answer"


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
    return await refusal(bench.sns.publish(TopicArn=arn, Message="x" * (_MIB // 4 + 1)))


async def _larger_topic(bench: Bench) -> str:
    try:
        arn, _ = await bench.topic(MaximumMessageSize=str(_MIB))
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return await refusal(bench.sns.publish(TopicArn=arn, Message="x" * (_MIB // 4 + 1)))


async def _missing_topic(bench: Bench) -> str:
    arn, _ = await bench.topic()
    return await refusal(bench.sns.publish(TopicArn=f"{arn}-none", Message="0"))


_TOO_MANY = {str(number): {"DataType": "String", "StringValue": "x"} for number in range(11)}

SQS_CASES: Final[Sequence[Case]] = (
    Case(
        "delete with an older receipt", "accepted, not deleted", f"{_API}API_DeleteMessage.html", _old_receipt_deletes
    ),
    Case(
        "delete with an expired receipt, FIFO",
        "refused, not deleted",
        f"{_GUIDE}sqs-visibility-timeout.html",
        _expired_receipt_deletes_fifo,
    ),
    Case(
        "extend with an expired receipt",
        "entry fails: MessageNotInflight",
        f"{_API}API_ChangeMessageVisibility.html",
        _expired_receipt_extends,
    ),
    Case(
        "FIFO: 0, 1 and 2 of a group wait, up to ten are received",
        "0, 1, 2",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _several_of_a_group,
    ),
    Case(
        "FIFO: 0, 1 and 2 of a group are received and released",
        "0, 1, 2",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release,
    ),
    Case(
        "FIFO: the same, released in reverse",
        "0, 1, 2",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release_in_reverse,
    ),
    Case(
        "FIFO: the same after a visibility timeout",
        "0, 1, 2",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_timeout,
    ),
    Case(
        "FIFO: only 0 is released",
        "nothing while others of the group are out",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release_of_first,
    ),
    Case(
        "FIFO: 0 of a group is out; 1 of it and another group wait",
        "other",
        f"{_GUIDE}FIFO-queues-understanding-logic.html",
        _group_is_locked,
    ),
    Case("FIFO: one id sent twice", "0", f"{_GUIDE}FIFO-queues-exactly-once-processing.html", _deduplication),
    Case(
        "FIFO: high throughput",
        "shown; one id in two groups gives 2",
        f"{_GUIDE}high-throughput-fifo.html",
        _high_throughput,
    ),
    Case(
        "a long poll waits, a message is released",
        "answered",
        f"{_GUIDE}sqs-short-and-long-polling.html",
        _wake_by_visibility,
    ),
    Case("receive count after a release", "2", f"{_API}API_ReceiveMessage.html", _attempts),
    Case(
        "redrive policy with maxReceiveCount 2",
        "moved after 2",
        f"{_GUIDE}sqs-dead-letter-queues.html",
        _redrive,
    ),
    Case("fair queue: a group id on a standard queue", "accepted, returned", f"{_GUIDE}sqs-fair-queues.html", _fair),
    Case("StartMessageMoveTask", "accepted", f"{_API}API_StartMessageMoveTask.html", _move_task),
)

SQS_LIMITS: Final[Sequence[Case]] = (
    Case("a message of 1 MiB", "accepted", f"{_GUIDE}quotas-messages.html", _sending("x" * _MIB)),
    Case(
        "a message of 1 MiB and a byte",
        "InvalidParameterValue",
        f"{_API}API_SendMessage.html",
        _sending("x" * (_MIB + 1)),
    ),
    Case(
        "a batch of 1 MiB and a byte",
        "BatchRequestTooLong",
        f"{_API}API_SendMessageBatch.html",
        _sending("x" * (_MIB // 2), "x" * (_MIB // 2 + 1)),
    ),
    Case(
        "a batch of 11",
        "TooManyEntriesInBatchRequest",
        f"{_API}API_SendMessageBatch.html",
        _sending(*map(str, range(11))),
    ),
    Case(
        "a batch with one id twice",
        "BatchEntryIdsNotDistinct",
        f"{_API}API_SendMessageBatch.html",
        _same_entry_ids,
    ),
    Case(
        "eleven attributes",
        "InvalidParameterValue",
        f"{_GUIDE}sqs-message-metadata.html",
        _sending("0", MessageAttributes=_TOO_MANY),
    ),
    Case("a body with U+0001", "InvalidMessageContents", f"{_API}API_SendMessage.html", _sending("\x01")),
    Case("a delay of 901 s", "InvalidParameterValue", f"{_API}API_SendMessage.html", _sending("0", DelaySeconds=901)),
    Case(
        "FIFO: a delay for one message",
        "InvalidParameterValue",
        f"{_API}API_SendMessage.html",
        _sending("0", fifo=True, DelaySeconds=1, MessageGroupId="g", MessageDeduplicationId="0"),
    ),
    Case(
        "FIFO: no group id",
        "MissingParameter",
        f"{_API}API_SendMessage.html",
        _sending("0", fifo=True, MessageDeduplicationId="0"),
    ),
    Case(
        "a group id of 129 characters",
        "InvalidParameterValue",
        f"{_API}API_SendMessage.html",
        _sending("0", MessageGroupId="g" * 129),
    ),
    Case(
        "a visibility of more than 12 hours",
        "InvalidParameterValue",
        f"{_API}API_ChangeMessageVisibility.html",
        _long_visibility,
    ),
    Case("to receive 11", "InvalidParameterValue", f"{_API}API_ReceiveMessage.html", _many),
    Case("a queue that is missing", "QueueDoesNotExist", f"{_API}API_GetQueueUrl.html", _missing_queue),
    Case(
        "to create a queue with other attributes", "QueueNameExists", f"{_API}API_CreateQueue.html", _other_attributes
    ),
)

SNS_CASES: Final[Sequence[Case]] = (
    Case("raw delivery of a binary attribute", "arrives", f"{_SNS}dg/sns-message-attributes.html", _binary_through_sns),
    Case(
        "raw delivery of eleven attributes",
        "accepted, nothing arrives",
        f"{_SNS}dg/sns-message-attributes.html",
        _eleven_through_sns,
    ),
    Case("256 KiB and a byte", "InvalidParameter", f"{_SNS}dg/large-message-payloads.html", _large_through_sns),
    Case(
        "the same with MaximumMessageSize of 1 MiB",
        "accepted",
        f"{_SNS}dg/large-message-payloads.html",
        _larger_topic,
    ),
    Case("a topic that is missing", "NotFound", f"{_SNS}api/API_Publish.html", _missing_topic),
)


STAND_INS: Final = ("elasticmq", "moto", "localstack", "fauxqs")


def cases(name: str) -> Sequence[Case]:
    """The cases for a stand-in: ElasticMQ has no SNS."""
    return (*SQS_CASES, *SQS_LIMITS, *(() if name == "elasticmq" else SNS_CASES))


async def answers(url: str, cases: Sequence[Case]) -> dict[str, str]:
    """What the stand-in at an address does in each case, by name."""
    found: dict[str, str] = {}
    session = get_session()
    options = client_options(url)
    async with session.create_client("sqs", **options) as sqs, session.create_client("sns", **options) as sns:
        bench = Bench(sqs, sns)
        results = await asyncio.gather(*(_answer(case, bench) for case in cases))
        found.update(zip((case.name for case in cases), results, strict=True))
    return found


async def _answer(case: Case, bench: Bench) -> str:
    try:
        return await case.run(bench)
    except ClientError as error:
        return f"{error.operation_name} fails: {error.response['Error']['Code']}"
    except ValueError as error:
        return f"something else: {error}"


def main() -> int:
    """Try every case on every stand-in, and keep the answers."""
    kept: dict[str, dict[str, Any]] = {}
    os.environ.pop(aws.SQS_VARIABLE, None)
    for name in STAND_INS:
        os.environ[versions.VARIABLE] = f"sqs-{name}"
        subprocess.run(["bash", "tests/brokers/install.sh"], cwd=CHECKOUT, check=True)
        with fixtures.running(aws.sqs()) as broker:
            found = asyncio.run(answers(broker.url, cases(name)))
        kept[name] = {"version": versions.exact(f"sqs-{name}"), "answers": found}
    RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
