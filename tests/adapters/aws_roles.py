"""What each role calls on AWS, and so which IAM actions it needs: the table of docs/aws.md.

`test_aws_roles.py` runs each role as a user with exactly these rights, and sees that it calls exactly them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Role:
    """A row of the table.

    Attributes:
        name: what the role does.
        needs: IAM actions without which it does not work.
        uses: IAM actions that it calls, and works without.
    """

    name: str
    needs: frozenset[str]
    uses: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.needs | self.uses


def sqs(*names: str) -> frozenset[str]:
    return frozenset(f"sqs:{name}" for name in names)


def sns(*names: str) -> frozenset[str]:
    return frozenset(f"sns:{name}" for name in names)


_PROBES = {"sqs": sqs("ListQueues"), "sns": sns("ListTopics")}
_READ = sqs("GetQueueUrl", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
_LETTERS = sqs("SendMessage")

SQS_ROLES: Final[Sequence[Role]] = (
    Role("publish", sqs("GetQueueUrl", "SendMessage"), sqs("GetQueueAttributes", "ListQueues")),
    Role("consume", _READ | _LETTERS, sqs("GetQueueAttributes", "ListQueues")),
    Role(
        "consume, and end crash loops",
        sqs("GetQueueUrl", "ListQueueTags", "TagQueue", "UntagQueue"),
        sqs("ListQueues"),
    ),
    Role("create queues", _READ | _LETTERS | sqs("CreateQueue"), sqs("GetQueueAttributes", "ListQueues")),
    Role("lag", sqs("GetQueueUrl", "GetQueueAttributes"), sqs("ListQueues")),
    Role(
        "look at dead letters, browse",
        sqs("GetQueueUrl", "ReceiveMessage", "ChangeMessageVisibility"),
        sqs("GetQueueAttributes", "ListQueues"),
    ),
    Role("replay dead letters", _READ | _LETTERS, sqs("GetQueueAttributes", "ListQueues")),
    Role("purge dead letters", _READ, sqs("GetQueueAttributes", "ListQueues")),
)

SNS_ROLES: Final[Sequence[Role]] = (
    Role("publish", sns("ListTopics", "Publish"), sns("GetTopicAttributes") | sqs("ListQueues")),
    Role(
        'consume, where everything exists (provision = "check")',
        _READ | _LETTERS | sqs("GetQueueAttributes") | sns("ListTopics", "ListSubscriptionsByTopic"),
        sns("GetTopicAttributes") | sqs("ListQueues"),
    ),
    Role(
        "consume, and create what is the group's",
        _READ
        | _LETTERS
        | sqs("GetQueueAttributes", "CreateQueue")
        | sns("ListTopics", "ListSubscriptionsByTopic", "Subscribe"),
        sns("GetTopicAttributes") | sqs("ListQueues"),
    ),
    Role(
        "broadcast",
        sqs("GetQueueUrl", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "CreateQueue", "DeleteQueue")
        | sns("ListTopics", "Subscribe", "Unsubscribe"),
        sns("GetTopicAttributes") | sqs("ListQueues"),
    ),
)

S3_ROLES: Final[Sequence[Role]] = (
    Role("consume from S3", frozenset({"s3:GetObject"}), frozenset({"s3:ListBucket"})),
    Role("publish to S3", frozenset({"s3:PutObject"}), frozenset({"s3:ListBucket"})),
    Role("consume from S3 with delete", frozenset({"s3:GetObject", "s3:DeleteObject"}), frozenset({"s3:ListBucket"})),
)
"""Beside those of SQS and SNS."""
