"""Formats of programs that are not brokerkit, and what each is recognised by.

Each row says where its program puts name, id, key and payload, by its documents and by messages that it wrote. The samples
in tests/formats are such messages.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from brokerkit._messages._codecs import register_codec
from brokerkit._messages._delivery import Delivery
from brokerkit._messages._name_rules import parsed
from brokerkit._messages._outgoing import Outgoing
from brokerkit.formats._connect import CONNECT
from brokerkit.formats._faststream import FASTSTREAM, MAGIC
from brokerkit.formats._format import Format
from brokerkit.formats._kombu import KOMBU, TYPE, VALUE
from brokerkit.formats._php import PHP_TEXT
from brokerkit.formats._recognition import Recognises, all_of, any_of, begins, has_fields, has_header, value

CLASS_NAME: Final = r"""^"?(?:[^,;\[]*[.:/\\+$])?([A-Za-z_][\w-]*)"""
r"""The bare name in the full name of a class: ``a.b.Paid``, ``A\B\Paid``, ``urn:message:A:Paid``, ``A.Paid, Assembly``."""


class Peer(NamedTuple):
    """A program, and how its messages are read.

    Attributes:
        what: its message, in a sentence.
        recognises: whether a message is one of its.
    """

    what: str
    format: Format
    recognises: Recognises


def _is_celery(delivery: Delivery) -> bool:
    match parsed(delivery):
        case [list(), dict(), {"callbacks": _, "errbacks": _}]:
            return True
        case {"body": str(), "headers": {"task": str()}, "properties": dict()}:
            return True
        case _:
            return False


_TYPE: Final = f'"{TYPE}"'.encode()
_VALUE: Final = f'"{VALUE}"'.encode()


def _is_kombu(delivery: Delivery) -> bool:
    # Its envelope; or on RabbitMQ, where there is none, the values that JSON has no type for.
    body = delivery.body or b""
    return has_fields("body", "content-type", "properties")(delivery) or (_TYPE in body and _VALUE in body)


def _is_kombu_on_sqs(delivery: Delivery) -> bool:
    # The base64 of '{"body": "': kombu encodes the whole envelope once more for SQS.
    return (delivery.body or b"").startswith(b"eyJib2R5IjogI")


def _is_symfony_on_redis(delivery: Delivery) -> bool:
    body = delivery.body or b""
    return body.startswith(b"s:") and b':"{"body":' in body[:20]


def _is_yii(delivery: Delivery) -> bool:
    return "\\" in str(value(delivery, "class") or "")


def _is_aws_records(delivery: Delivery) -> bool:
    return isinstance(value(delivery, "Records", 0, "eventSource"), str)


def _is_json_in_json(delivery: Delivery) -> bool:
    body = parsed(delivery)
    return isinstance(body, str) and body[:1] == "{"


def _is_text_in(key: str, *others: str) -> Recognises:
    return all_of(has_fields(key, *others), lambda delivery: isinstance(value(delivery, key), str))


for _codec in (CONNECT, FASTSTREAM, KOMBU, PHP_TEXT):
    register_codec(_codec)

_KOMBU_BODY: Final = "field:body|base64|decompress|json"
_SYMFONY_REDIS: Final = "body|php-text|json"
_SQS: Final = "body|base64|json|field:body|base64|decompress|json"


def _wrap_masstransit(outgoing: Outgoing, now: float) -> None:
    """Its consumers choose by ``messageType``. A ``messageId`` would have to be a GUID, and may be left out."""
    urn = outgoing.name if outgoing.name.startswith("urn:message:") else f"urn:message:{outgoing.name}"
    outgoing.body = f'{{"messageType":[{json.dumps(urn)}],"message":'.encode() + (outgoing.body or b"null") + b"}"
    outgoing.content_type = "application/vnd.masstransit+json"


PEERS: Final = (
    Peer(
        "an envelope of FastStream on Redis",
        Format(
            name="faststream",
            read_only=True,
            name_from=("body|faststream|field:headers.event", "header:event", "topic"),
            id_from=("body|faststream|field:headers.message_id", "body|faststream|field:headers.correlation_id"),
            payload_from=("body|faststream|field:data", "body"),
        ),
        begins(MAGIC),
    ),
    Peer(
        "a Celery task",
        Format(
            name="celery",
            read_only=True,
            name_from=("header:task", "field:headers.task", "body|base64|json|field:headers.task", "field:task"),
            id_from=("header:id", "field:headers.id", "body|base64|json|field:headers.id", "field:id"),
            payload_from=(
                "field:1|nonempty|kombu",
                "field:0[0]|kombu",
                f"{_KOMBU_BODY}|field:1|nonempty|kombu",
                f"{_KOMBU_BODY}|field:0[0]|kombu",
                f"{_SQS}|field:1|nonempty|kombu",
                f"{_SQS}|field:0[0]|kombu",
                "field:kwargs|nonempty|kombu",
                "field:args[0]|kombu",
            ),
        ),
        any_of(_is_celery, _is_kombu_on_sqs),
    ),
    Peer(
        "a kombu message",
        Format(
            name="kombu",
            read_only=True,
            name_from=(
                "header:event",
                "field:headers.event",
                "field:properties.delivery_info.routing_key",
                "body|base64|json|field:headers.event",
                "body|base64|json|field:properties.delivery_info.routing_key",
                "routing_key",
            ),
            payload_from=(f"{_KOMBU_BODY}|kombu", f"{_SQS}|kombu", "body|json|kombu"),
        ),
        _is_kombu,
    ),
    Peer(
        "a Taskiq task",
        Format(
            name="taskiq",
            read_only=True,
            name_from=("field:task_name",),
            id_from=("field:task_id",),
            payload_from=("field:kwargs|nonempty", "field:args[0]"),
            name_pattern=r"([^:]+)$",
        ),
        has_fields("task_id", "task_name", "kwargs"),
    ),
    Peer(
        "a Dramatiq task",
        Format(
            name="dramatiq",
            read_only=True,
            name_from=("field:actor_name",),
            id_from=("field:message_id",),
            payload_from=("field:kwargs|nonempty", "field:args[0]"),
        ),
        has_fields("actor_name", "message_id", "kwargs"),
    ),
    Peer(
        "a message of Spring",
        Format(
            name="spring",
            # Without a class, as in Spring Cloud Stream, a header that the program itself has set; it is in quotes.
            name_from=("header:__TypeId__", "type", "header:event"),
            name_pattern=CLASS_NAME,
        ),
        any_of(has_header("__TypeId__"), has_header("spring_json_header_types")),
    ),
    Peer(
        "a MassTransit message",
        Format(
            name="masstransit",
            name_from=("field:messageType[0]", "header:MT-MessageType"),
            id_from=("field:messageId", "header:MessageId"),
            payload_from=("field:message", "body"),
            name_pattern=CLASS_NAME,
            wrap=_wrap_masstransit,
            writes_name=True,
        ),
        any_of(
            all_of(
                has_fields("messageType", "message"),
                lambda delivery: isinstance(value(delivery, "messageType"), list),
            ),
            has_header("MT-MessageType"),
        ),
    ),
    Peer(
        "an NServiceBus message",
        Format(
            name="nservicebus",
            name_from=("header:NServiceBus.EnclosedMessageTypes",),
            id_from=("header:NServiceBus.MessageId",),
            name_pattern=CLASS_NAME,
        ),
        has_header("NServiceBus.EnclosedMessageTypes"),
    ),
    Peer(
        "a Rebus message",
        Format(
            name="rebus",
            name_from=("header:rbs2-msg-type",),
            id_from=("header:rbs2-msg-id",),
            name_pattern=CLASS_NAME,
        ),
        has_header("rbs2-msg-type"),
    ),
    Peer(
        "a CAP message",
        Format(name="cap", name_from=("header:cap-msg-name",), id_from=("header:cap-msg-id",)),
        has_header("cap-msg-name"),
    ),
    Peer(
        "a Wolverine message",
        Format(
            name="wolverine",
            name_from=("header:message-type", "type"),
            id_from=("header:id",),
            name_pattern=CLASS_NAME,
        ),
        has_header("message-type"),
    ),
    Peer(
        "a message of php-enqueue, its body as text in JSON",
        Format(
            name="enqueue",
            read_only=True,
            name_from=(
                "header:enqueue.topic",
                'field:properties["enqueue.topic"]',
                'header:Headers|json|field:1["enqueue.topic"]',
                'header:Headers|json|field:properties["enqueue.topic"]',
            ),
            id_from=("field:headers.message_id", 'header:Headers|json|field:0["message_id"]'),
            payload_from=("field:body", "body"),
        ),
        any_of(_is_text_in("body", "properties", "headers"), has_header("enqueue.topic")),
    ),
    Peer(
        "a message of Symfony Messenger",
        Format(
            name="symfony",
            read_only=True,
            name_from=("header:type", "field:headers.type", f"{_SYMFONY_REDIS}|field:headers.type"),
            payload_from=("field:body", f"{_SYMFONY_REDIS}|field:body", "body"),
            name_pattern=CLASS_NAME,
        ),
        any_of(
            all_of(
                _is_text_in("body", "headers"), lambda delivery: isinstance(value(delivery, "headers", "type"), str)
            ),
            has_header("X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\BusNameStamp"),
            _is_symfony_on_redis,
        ),
    ),
    Peer(
        "a job of Yii in JSON",
        Format(name="yii", name_from=("field:class",), name_pattern=CLASS_NAME),
        _is_yii,
    ),
    Peer(
        "a message of Watermill",
        Format(
            name="watermill",
            name_from=("header:name", "header:event", "header:metadata|msgpack|field:name", "topic"),
            id_from=("header:_watermill_message_uuid",),
            key_from=("header:partition_key",),
        ),
        has_header("_watermill_message_uuid"),
    ),
    Peer(
        "a NestJS message",
        Format(name="nestjs", name_from=("field:pattern",), payload_from=("field:data",)),
        has_fields("pattern", "data"),
    ),
    Peer(
        "a Moleculer event",
        Format(
            name="moleculer",
            read_only=True,
            name_from=("field:event",),
            id_from=("field:id",),
            payload_from=("field:data",),
        ),
        has_fields("ver", "sender", "event", "data"),
    ),
    Peer(
        "an SNS notification",
        Format(
            name="sns",
            read_only=True,
            name_from=(
                "field:MessageAttributes.event.Value",
                "field:MessageAttributes.ce_type.Value",
                "field:Message|json|field:event",
                "field:Message|json|field:name",
                "field:Message|json|field:type",
                "field:Subject",
            ),
            id_from=('field:MessageAttributes["bk-id"].Value', "field:MessageId"),
            payload_from=("field:Message",),
        ),
        has_fields("Type", "MessageId", "TopicArn", "Message"),
    ),
    Peer(
        "an EventBridge event",
        Format(
            name="eventbridge", name_from=("field:detail-type",), id_from=("field:id",), payload_from=("field:detail",)
        ),
        has_fields("detail-type", "detail", "source"),
    ),
    Peer(
        "a notification of an AWS service",
        Format(
            name="s3",
            read_only=True,
            # S3 begins with a test event, "s3:TestEvent", which has no records.
            name_from=("field:Records[0].eventName", "field:Event"),
            payload_from=("field:Records|only",),
        ),
        _is_aws_records,
    ),
    Peer(
        "a record of Debezium's outbox",
        Format(
            name="debezium",
            read_only=True,
            name_from=("header:eventType", "header:type", "topic"),
            id_from=("header:id",),
            payload_from=("field:payload|json", "body|json|json"),
        ),
        all_of(
            any_of(has_header("eventType"), has_fields("schema", "payload")),
            has_header("id"),
        ),
    ),
    Peer(
        "a Kafka Connect record with its schema",
        Format(
            name="connect",
            read_only=True,
            name_from=("header:event", "topic"),
            payload_from=("body|json|connect|json",),
        ),
        has_fields("schema", "payload"),
    ),
    Peer(
        "JSON in a JSON string",
        Format(
            name="json-in-json",
            read_only=True,
            name_from=("header:event", "routing_key", "topic"),
            payload_from=("body|json|json",),
        ),
        _is_json_in_json,
    ),
)
