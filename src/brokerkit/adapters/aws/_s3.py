"""Bodies that are too large for SQS and SNS, as objects in S3: the setting, and reading, writing and removing them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from brokerkit.adapters.api import BrokerkitError, ConfigError, Connection, InvalidMessage, NotFound, Url
from brokerkit.adapters.aws._client import LIBRARY_ERRORS, AwsClient, translated
from brokerkit.adapters.aws._pointers import Pointer

_AT_ONCE: Final = 16
"""Objects that are read or written at the same time."""

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of an object that is read at most, if the setting does not say otherwise. A process holds it in memory."""

_FLAG: Final = "bk-body"
"""Metadata of an object: how the body was encoded, as in the attribute of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargePayloads:
    """The setting ``large_payloads``: ``s3://BUCKET/PREFIX?above=262144&delete=true``.

    Attributes:
        prefix: what the keys of objects begin with. Pointers to others are not followed.
        above: bytes of a message, attributes included, above which its body goes to S3; None for the limit of the queue or
            topic.
        largest: bytes of an object that is read at most.
        delete: remove the object after the message was acknowledged.
        old: write pointers in the form that version 1 of the Java client reads.
        endpoint: URL of an emulator or private endpoint of S3, or None for that of SQS or SNS, if there is one.
    """

    bucket: str
    prefix: str = ""
    above: int | None = None
    largest: int = _LARGEST
    delete: bool = False
    old: bool = False
    endpoint: str | None = None

    @classmethod
    def parse(cls, text: str) -> LargePayloads:
        """Read the setting.

        Raises:
            ConfigError: it is not valid.
        """
        url = Url.parse(text)
        if url.scheme != "s3" or len(url.hosts) != 1 or ":" in url.hosts[0] or url.user is not None:
            raise ConfigError(f"large_payloads = {str(url)!r}: it looks like s3://BUCKET/PREFIX")
        found: dict[str, Any] = {}
        for name, value in url.query:
            if name in ("above", "largest"):
                if not value.isdecimal() or not int(value):
                    raise ConfigError(f"large_payloads: {name} must be a number of bytes, got {value!r}")
                found[name] = int(value)
            elif name in ("delete", "old"):
                if value not in ("true", "false"):
                    raise ConfigError(f"large_payloads: {name} must be true or false, got {value!r}")
                found[name] = value == "true"
            elif name == "endpoint":
                found[name] = value
            else:
                raise ConfigError(
                    f"large_payloads: {name!r} is not known; allowed are above, largest, delete, old and endpoint"
                )
        return cls(bucket=url.hosts[0], prefix=url.path, **found)


class PayloadStore:
    """The objects of one bucket."""

    def __init__(self, setting: LargePayloads, connection: Connection) -> None:
        self.setting = setting
        endpoint = setting.endpoint or connection.endpoint
        options = dict(connection.options)
        if endpoint is not None:
            # An emulator or a private endpoint has no host name for each bucket.
            options.setdefault("s3", {"addressing_style": "path"})
        self._client = AwsClient(
            "s3",
            replace(connection, endpoint=endpoint, options=options),
            probe=("head_bucket", {"Bucket": setting.bucket}),
        )
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Connect, and see that there is such a bucket, as far as the caller may ask for it.

        Raises:
            NotFound: there is no such bucket.
            ConnectionLost, AccessDenied, ConfigError: as `AwsClient.open` does.
        """
        try:
            await self._client.open()
        except NotFound as error:
            raise NotFound(
                f"S3 bucket {self.setting.bucket} of large_payloads does not exist; create it, or correct the setting"
            ) from error

    def new(self, size: int, flag: str | None) -> Pointer:
        """The pointer to an object that is going to be written."""
        prefix = self.setting.prefix
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        return Pointer(self.setting.bucket, f"{prefix}{uuid.uuid4()}", size, flag, self.setting.old)

    def owns(self, pointer: Pointer) -> bool:
        """Whether a pointer leads to where the setting allows. Others are a stranger's choice of what this process reads."""
        return pointer.bucket == self.setting.bucket and pointer.key.startswith(self.setting.prefix)

    async def put(self, pointer: Pointer, body: bytes) -> None:
        """Write an object.

        Raises:
            AccessDenied: the caller may not write it.
            ConnectionLost: S3 did not answer, or asks to try again later.
            InvalidMessage: S3 refuses it for another reason.
        """
        metadata = {} if pointer.flag is None else {_FLAG: pointer.flag}
        async with self._turns:
            try:
                await self._client.call(
                    "put_object", Bucket=pointer.bucket, Key=pointer.key, Body=body, Metadata=metadata
                )
            except NotFound as error:
                raise InvalidMessage(f"the body cannot be stored as {pointer.address}: {error}") from error

    async def get(self, pointer: Pointer) -> tuple[Pointer, bytes]:
        """Read an object; the pointer then also says how its body is encoded.

        Raises:
            NotFound: there is no such object.
            AccessDenied: the caller may not read it, or it does not exist and the caller may not list the bucket.
            ConnectionLost: S3 did not answer, or asks to try again later.
            BrokerkitError: it is too large, or cannot be read for another reason.
        """
        async with self._turns:
            answer = await self._client.call("get_object", Bucket=pointer.bucket, Key=pointer.key)
            try:
                async with answer["Body"] as stream:
                    if (size := int(answer["ContentLength"])) > self.setting.largest:
                        raise BrokerkitError(
                            f"{pointer.address} has {size:,} bytes, and large_payloads reads at most "
                            f"{self.setting.largest:,}; set largest"
                        )
                    body: bytes = await stream.read()
            except LIBRARY_ERRORS as error:
                raise translated(error, self._client.where) from error
        metadata: Mapping[str, str] = answer.get("Metadata") or {}
        return replace(pointer, flag=metadata.get(_FLAG, pointer.flag)), body

    async def exists(self, pointer: Pointer) -> bool:
        """Whether an object is there.

        Raises:
            AccessDenied, ConnectionLost: as `get` does.
        """
        async with self._turns:
            try:
                await self._client.call("head_object", Bucket=pointer.bucket, Key=pointer.key)
            except NotFound:
                return False
            return True

    async def remove(self, pointer: Pointer) -> None:
        """Remove an object; it need not be there.

        Raises:
            AccessDenied, ConnectionLost: as `get` does.
        """
        async with self._turns:
            await self._client.call("delete_object", Bucket=pointer.bucket, Key=pointer.key)

    async def close(self) -> None:
        """Free the connections."""
        await self._client.close()

    def __repr__(self) -> str:
        return f"s3://{self.setting.bucket}/{self.setting.prefix}"


def payload_store(connection: Connection) -> PayloadStore | None:
    """The store that the settings of a connection name.

    Raises:
        ConfigError: the setting is not valid.
    """
    setting = connection.large_payloads
    return None if setting is None else PayloadStore(LargePayloads.parse(setting), connection)
