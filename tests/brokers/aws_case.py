"""What a case is that a stand-in for AWS is asked, and the clients that it is asked with."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

MIB: Final = 1_048_576
GUIDE: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
API: Final = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"
SNS: Final = "https://docs.aws.amazon.com/sns/latest/"


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
