"""Pointers to bodies in S3, as AWS's extended clients write and read them. Pure.

The body of such a message is a JSON list of a class name and the place of an object in S3. An attribute of type Number says
that it is one, and how many bytes the object has. Both have an old and a new form. Readers of version 2 (Java) and of Python
take both; Java's version 1 knows only the old one.

https://github.com/awslabs/amazon-sqs-java-extended-client-lib and
https://github.com/awslabs/amazon-sqs-python-extended-client-lib
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from brokerkit.adapters.api import strict_json

SIZE: Final = "ExtendedPayloadSize"
OLD_SIZE: Final = "SQSLargePayloadSize"
SIZES: Final = (SIZE, OLD_SIZE)
"""The attributes that say that a body is a pointer."""

_CLASS: Final = "software.amazon.payloadoffloading.PayloadS3Pointer"
_OLD_CLASS: Final = "com.amazon.sqs.javamessaging.MessageS3Pointer"


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a body is in S3.

    Attributes:
        size: bytes of the object, as its writer says.
        flag: how the body was encoded before it became an object: the value of ``bk-body``, or None.
        old: write the old form.
    """

    bucket: str
    key: str
    size: int
    flag: str | None = None
    old: bool = False

    @property
    def text(self) -> str:
        """The body of the message that has this pointer."""
        kind = _OLD_CLASS if self.old else _CLASS
        return json.dumps([kind, {"s3BucketName": self.bucket, "s3Key": self.key}])

    @property
    def attribute(self) -> str:
        """The name of the attribute that says that the body is a pointer."""
        return OLD_SIZE if self.old else SIZE

    @property
    def address(self) -> str:
        """For messages."""
        return f"s3://{self.bucket}/{self.key}"


def parse_pointer(body: str, size: str, flag: str | None) -> Pointer | None:
    """Read the body of a message that has one of the attributes. None if it is not a pointer."""
    try:
        loaded: object = strict_json(body)
    except ValueError:
        return None
    match loaded:
        case [str(kind), {"s3BucketName": str(bucket), "s3Key": str(key)}]:
            digits = size if size.isdecimal() and len(size) < 16 else "0"
            return Pointer(bucket, key, int(digits), flag, kind == _OLD_CLASS)
        case _:
            return None
