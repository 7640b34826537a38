"""What AsyncAPI knows of each protocol: servers without their secrets, and bindings of channels, operations and messages.

The bindings are those that AsyncAPI 3.0.0 takes: Kafka 0.5.0, AMQP 0.3.0, SQS 0.2.0, SNS 0.1.0,
WebSockets 0.1.0
(https://github.com/asyncapi/spec-json-schemas/tree/master/definitions/3.0.0). Redis has a binding whose objects must be
empty (https://github.com/asyncapi/bindings/tree/master/redis).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from brokerkit._config._settings import ConnectionSettings, SourceSettings
from brokerkit._url import Url
from brokerkit.adapters.api import Adapter

Json = dict[str, Any]

_KAFKA: Final = {"bindingVersion": "0.5.0"}
_AMQP: Final = {"bindingVersion": "0.3.0"}
_SQS: Final = {"bindingVersion": "0.2.0"}
_SNS: Final = {"bindingVersion": "0.1.0"}
_WS: Final = {"bindingVersion": "0.1.0"}

_DEFAULT_HOSTS: Final[Mapping[str, str]] = {
    "kafka": "localhost:9092",
    "amqp": "localhost:5672",
    "redis": "localhost:6379",
}
_FIFO: Final = ".fifo"


def binding_of(url: Url) -> str:
    """The name of a URL's bindings: its scheme without what says how the connection or the data is made."""
    name = _transport(url)
    return {"amqps": "amqp", "rediss": "redis", "wss": "ws"}.get(name, name)


def servers(settings: ConnectionSettings) -> Iterator[Json]:
    """Yield the servers of a connection, one for each host, without user, password and options."""
    connection = settings.connection()
    url = connection.url
    binding = binding_of(url)
    server: Json = {"protocol": _protocol(url, connection.options)}
    if binding in ("sqs", "sns"):
        region = f".{url.hosts[0]}" if url.hosts else ""
        endpoint = urlsplit(connection.endpoint).netloc.rpartition("@")[2] if connection.endpoint else ""
        yield {"host": endpoint or f"{binding}{region}.amazonaws.com", **server}
        return
    if url.path and binding in ("amqp", "redis", "ws"):
        server["pathname"] = f"/{url.path}"
    if binding == "ws":
        server["security"] = [{"type": "httpApiKey", "name": "token", "in": "query"}]
    if url.user is not None:
        server["security"] = [{"type": "userPassword"}]
    for host in url.hosts or (_DEFAULT_HOSTS.get(binding, "localhost"),):
        yield {"host": host, **server}


def _protocol(url: Url, options: Mapping[str, object]) -> str:
    scheme = _transport(url)
    secure = str(options.get("security.protocol", "")).lower().endswith("ssl")
    return "kafka-secure" if scheme == "kafka" and secure else scheme


def _transport(url: Url) -> str:
    """The scheme without what only brokerkit adds to it: ``redis`` of ``redis+list``, ``wss`` of ``thrillconnect+wss``."""
    first, _, second = url.scheme.partition("+")
    return second if first == "thrillconnect" else first


def channel_bindings(binding: str, address: str, *, is_queue: bool, vhost: str) -> Json:
    """The bindings of one topic, or with ``is_queue`` of one queue that exists for itself."""
    match binding:
        case "kafka":
            return {"kafka": {"topic": address, **_KAFKA}}
        case "amqp" if is_queue:
            return {"amqp": {"is": "queue", "queue": {"name": address, "vhost": vhost or "/"}, **_AMQP}}
        case "amqp":
            exchange = {"name": address, "type": "topic", "durable": True, "vhost": vhost or "/"}
            return {"amqp": {"is": "routingKey", "exchange": exchange, **_AMQP}}
        case "sqs":
            return {"sqs": {"queue": _queue(address), **_SQS}}
        case "sns":
            order = "FIFO" if address.endswith(_FIFO) else "standard"
            return {"sns": {"name": _last(address), "ordering": {"type": order}, **_SNS}}
        case "redis":
            return {"redis": {}}
        case "ws":
            return {"ws": {"method": "GET", **_WS}}
        case _:
            return {}


def receive_bindings(binding: str, address: str, source: SourceSettings, adapter: Adapter) -> Json:
    """The bindings of reading one topic with a source's group."""
    match binding:
        case "kafka" if source.group is not None:
            return {"kafka": {"groupId": {"type": "string", "enum": [source.group]}, **_KAFKA}}
        case "amqp":
            return {"amqp": {"ack": True, **_AMQP}}
        case "sqs":
            return {"sqs": {"queues": [_queue(address)], **_SQS}}
        case "sns" if source.group is not None and source.topic:
            queue = {"name": _last(adapter.derived(address, source.group, "queue"))}
            consumer = {"protocol": "sqs", "endpoint": queue, "rawMessageDelivery": True}
            return {"sns": {"topic": {"name": _last(address)}, "consumers": [consumer], **_SNS}}
        case "redis":
            return {"redis": {}}
        case _:
            return {}


def send_bindings(binding: str, address: str, routing_keys: list[str]) -> Json:
    """The bindings of publishing to one topic; SNS has none that do not name consumers."""
    match binding:
        case "amqp":
            keys = {"cc": routing_keys} if routing_keys else {}
            return {"amqp": {**keys, "deliveryMode": 2, "mandatory": True, **_AMQP}}
        case "sqs":
            return {"sqs": {"queues": [_queue(address)], **_SQS}}
        case "redis":
            return {"redis": {}}
        case _:
            return {}


def message_bindings(binding: str, names: list[str], rules: tuple[str, ...]) -> Json:
    """The bindings of one event: Kafka's key, and the AMQP type where that holds the event name."""
    match binding:
        case "kafka":
            key: Json = {"type": "string"}
            if "key" in rules:
                key["enum"] = names
            return {"kafka": {"key": key, **_KAFKA}}
        case "amqp" if "type" in rules:
            return {"amqp": {"messageType": names[0], **_AMQP}}
        case "redis":
            return {"redis": {}}
        case _:
            return {}


def _queue(address: str) -> Json:
    return {"name": _last(address), "fifoQueue": address.endswith(_FIFO)}


def _last(address: str) -> str:
    """The name in a name, an ARN or the URL of a queue."""
    return address.rpartition("/")[2].rpartition(":")[2]
