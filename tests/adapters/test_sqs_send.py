"""The AWS client's errors and the sender of batches, where no emulator shows what AWS does."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from brokerkit._errors import (
    AccessDenied,
    BrokerkitError,
    ConnectionLost,
    InvalidMessage,
    NotFound,
    PublishError,
)
from brokerkit._messages._outgoing import Outgoing, Receipt
from brokerkit.adapters.aws import _send
from brokerkit.adapters.aws._client import BadCredentials, Refused, translated
from brokerkit.adapters.aws._send import Sender, Target


def outgoing(topic: str, body: bytes | None = b"{}", key: str | None = None) -> Outgoing:
    return Outgoing(topic=topic, body=body, name="OnGameDone", id=uuid.uuid4().hex, key=key)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InvalidClientTokenId", BadCredentials),
        ("SignatureDoesNotMatch", BadCredentials),
        ("UnrecognizedClientException", BadCredentials),
        ("ExpiredToken", BadCredentials),
        ("AccessDenied", AccessDenied),
        ("AccessDeniedException", AccessDenied),
        ("AuthorizationError", AccessDenied),
        ("AWS.SimpleQueueService.NonExistentQueue", NotFound),
        ("QueueDoesNotExist", NotFound),
        ("RequestThrottled", ConnectionLost),
        ("AWS.SimpleQueueService.QueueDeletedRecently", ConnectionLost),
        ("InvalidParameterValue", Refused),
    ],
)
def test_error_codes_of_aws_become_errors_of_ours(code: str, kind: type[BrokerkitError]) -> None:
    said = {"Error": {"Code": code, "Message": "No.\n\nx-amz-security-token:TOKEN"}}
    error = translated(ClientError(said, "SendMessage"), "SQS at sqs://eu-west-1/")
    assert type(error) is kind
    assert "sqs://eu-west-1/" in str(error) and "SendMessage" in str(error)
    assert "TOKEN" not in str(error)


def test_a_server_error_may_pass() -> None:
    answer: Any = {"Error": {"Code": "Strange"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    assert isinstance(translated(ClientError(answer, "SendMessage"), "SQS"), ConnectionLost)


Post = Callable[[list[dict[str, Any]]], Awaitable[dict[str, Any]]]


def sender(post: Post, *, fifo: bool = False) -> Sender:
    async def find(topic: str, is_queue: bool) -> Target:
        return Target(what="a queue", fifo=fifo, limit=1000, batch_limit=1000, body_field="MessageBody", post=post)

    return Sender(find, None)


async def test_an_entry_that_fails_for_a_while_is_sent_again_before_what_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_send, "_FIRST_PAUSE", 0.0)
    calls: list[list[str]] = []

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        calls.append([entry["MessageBody"] for entry in entries])
        failed = [entry for entry in entries if entry["MessageBody"] == "3" and len(calls) < 5]
        return {
            "Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries if entry not in failed],
            "Failed": [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in failed],
        }

    batch = [outgoing("t", str(n).encode(), key="k") for n in range(6)]
    results = await sender(post, fifo=True).send(batch)
    assert all(isinstance(result, Receipt) for result in results)
    assert calls == [["0"], ["1"], ["2"], ["3"], ["3"], ["4"], ["5"]]


async def test_one_call_holds_one_message_of_a_fifo_group_so_that_none_passes_another_that_fails() -> None:
    calls: list[list[str]] = []

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        calls.append([entry["MessageBody"] for entry in entries])
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]}

    batch = [outgoing("t", f"{key}{n}".encode(), key=key) for key in "abc" for n in range(3)]
    results = await sender(post, fifo=True).send(batch)
    assert all(isinstance(result, Receipt) for result in results)
    assert calls == [["a0", "b0", "c0"], ["a1", "b1", "c1"], ["a2", "b2", "c2"]]


async def test_a_fifo_group_stops_at_a_message_that_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_send, "_FIRST_PAUSE", 0.0)

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        bad = [entry for entry in entries if entry["MessageBody"] == "3"]
        return {
            "Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries if entry not in bad],
            "Failed": [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in bad],
        }

    batch = [outgoing("t", str(n).encode(), key="a" if n < 11 else "b") for n in range(12)]
    results = await sender(post, fifo=True).send(batch)
    assert [n for n, result in enumerate(results) if isinstance(result, PublishError)] == [3, *range(4, 11)]
    assert isinstance(results[11], Receipt)


async def test_what_follows_a_lost_connection_in_its_fifo_group_is_lost_too_and_can_be_sent_again() -> None:
    calls = 0

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        raise ConnectionLost("away")

    batch = [outgoing("t", str(n).encode(), key="a") for n in range(11)]
    results = await sender(post, fifo=True).send(batch)
    assert {type(result) for result in results} == {ConnectionLost}
    assert calls == 1


@pytest.mark.parametrize(("count", "size", "expected"), [(1, 2, 1), (8, 900, 8), (200, 2, 8)])
async def test_up_to_eight_calls_go_side_by_side(count: int, size: int, expected: int) -> None:
    under_way = most = 0

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]}

    results = await sender(post).send([outgoing("t", b"x" * size) for _ in range(count)])
    assert len(results) == count and all(isinstance(result, Receipt) for result in results)
    assert most == expected


async def test_the_senders_fault_is_not_sent_again() -> None:
    calls = 0

    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        return {
            "Failed": [
                {"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "no"},
                {"Id": "1", "SenderFault": True, "Code": "AccessDenied"},
            ]
        }

    results = await sender(post).send([outgoing("t"), outgoing("t"), outgoing("t")])
    assert [type(result) for result in results] == [InvalidMessage, AccessDenied, PublishError]
    assert calls == 1


async def test_a_batch_refused_as_a_whole_fails_only_for_the_entry_at_fault() -> None:
    async def post(entries: list[dict[str, Any]]) -> dict[str, Any]:
        if any(entry["MessageBody"] == "bad" for entry in entries):
            raise Refused("too long", code="InvalidParameterValue")
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]}

    results = await sender(post).send([outgoing("t"), outgoing("t", b"bad"), outgoing("t")])
    assert [type(result) for result in results] == [Receipt, InvalidMessage, Receipt]
