"""What stand-ins for SQS do, and what AWS documents."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from tests.brokers.aws_case import API, GUIDE, MIB, Bench, Case, Try, bodies, refusal


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


_TOO_MANY = {str(number): {"DataType": "String", "StringValue": "x"} for number in range(11)}
SQS_CASES: Final[Sequence[Case]] = (
    Case("delete with an older receipt", "accepted, not deleted", f"{API}API_DeleteMessage.html", _old_receipt_deletes),
    Case(
        "delete with an expired receipt, FIFO",
        "refused, not deleted",
        f"{GUIDE}sqs-visibility-timeout.html",
        _expired_receipt_deletes_fifo,
    ),
    Case(
        "extend with an expired receipt",
        "entry fails: MessageNotInflight",
        f"{API}API_ChangeMessageVisibility.html",
        _expired_receipt_extends,
    ),
    Case(
        "FIFO: 0, 1 and 2 of a group wait, up to ten are received",
        "0, 1, 2",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _several_of_a_group,
    ),
    Case(
        "FIFO: 0, 1 and 2 of a group are received and released",
        "0, 1, 2",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release,
    ),
    Case(
        "FIFO: the same, released in reverse",
        "0, 1, 2",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release_in_reverse,
    ),
    Case(
        "FIFO: the same after a visibility timeout",
        "0, 1, 2",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_timeout,
    ),
    Case(
        "FIFO: only 0 is released",
        "nothing while others of the group are out",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _order_after_release_of_first,
    ),
    Case(
        "FIFO: 0 of a group is out; 1 of it and another group wait",
        "other",
        f"{GUIDE}FIFO-queues-understanding-logic.html",
        _group_is_locked,
    ),
    Case("FIFO: one id sent twice", "0", f"{GUIDE}FIFO-queues-exactly-once-processing.html", _deduplication),
    Case(
        "FIFO: high throughput",
        "shown; one id in two groups gives 2",
        f"{GUIDE}high-throughput-fifo.html",
        _high_throughput,
    ),
    Case(
        "a long poll waits, a message is released",
        "answered",
        f"{GUIDE}sqs-short-and-long-polling.html",
        _wake_by_visibility,
    ),
    Case("receive count after a release", "2", f"{API}API_ReceiveMessage.html", _attempts),
    Case(
        "redrive policy with maxReceiveCount 2",
        "moved after 2",
        f"{GUIDE}sqs-dead-letter-queues.html",
        _redrive,
    ),
    Case("fair queue: a group id on a standard queue", "accepted, returned", f"{GUIDE}sqs-fair-queues.html", _fair),
    Case("StartMessageMoveTask", "accepted", f"{API}API_StartMessageMoveTask.html", _move_task),
)


SQS_LIMITS: Final[Sequence[Case]] = (
    Case("a message of 1 MiB", "accepted", f"{GUIDE}quotas-messages.html", _sending("x" * MIB)),
    Case(
        "a message of 1 MiB and a byte",
        "InvalidParameterValue",
        f"{API}API_SendMessage.html",
        _sending("x" * (MIB + 1)),
    ),
    Case(
        "a batch of 1 MiB and a byte",
        "BatchRequestTooLong",
        f"{API}API_SendMessageBatch.html",
        _sending("x" * (MIB // 2), "x" * (MIB // 2 + 1)),
    ),
    Case(
        "a batch of 11",
        "TooManyEntriesInBatchRequest",
        f"{API}API_SendMessageBatch.html",
        _sending(*map(str, range(11))),
    ),
    Case(
        "a batch with one id twice",
        "BatchEntryIdsNotDistinct",
        f"{API}API_SendMessageBatch.html",
        _same_entry_ids,
    ),
    Case(
        "eleven attributes",
        "InvalidParameterValue",
        f"{GUIDE}sqs-message-metadata.html",
        _sending("0", MessageAttributes=_TOO_MANY),
    ),
    Case("a body with U+0001", "InvalidMessageContents", f"{API}API_SendMessage.html", _sending("\x01")),
    Case("a delay of 901 s", "InvalidParameterValue", f"{API}API_SendMessage.html", _sending("0", DelaySeconds=901)),
    Case(
        "FIFO: a delay for one message",
        "InvalidParameterValue",
        f"{API}API_SendMessage.html",
        _sending("0", fifo=True, DelaySeconds=1, MessageGroupId="g", MessageDeduplicationId="0"),
    ),
    Case(
        "FIFO: no group id",
        "MissingParameter",
        f"{API}API_SendMessage.html",
        _sending("0", fifo=True, MessageDeduplicationId="0"),
    ),
    Case(
        "a group id of 129 characters",
        "InvalidParameterValue",
        f"{API}API_SendMessage.html",
        _sending("0", MessageGroupId="g" * 129),
    ),
    Case(
        "a visibility of more than 12 hours",
        "InvalidParameterValue",
        f"{API}API_ChangeMessageVisibility.html",
        _long_visibility,
    ),
    Case("to receive 11", "InvalidParameterValue", f"{API}API_ReceiveMessage.html", _many),
    Case("a queue that is missing", "QueueDoesNotExist", f"{API}API_GetQueueUrl.html", _missing_queue),
    Case("to create a queue with other attributes", "QueueNameExists", f"{API}API_CreateQueue.html", _other_attributes),
)
