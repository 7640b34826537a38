"""A bus as an AsyncAPI 3.0.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Connections are servers, and topics are channels. A source receives the events that its handlers want. A target sends the
events of its format's family. A channel has one message for each event name, with the schema of its body as it is on the
wire: with the format's envelope, the family's wrapper, and the name, wherever the rules put it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from brokerkit import events
from brokerkit._config._loading import BusSettings
from brokerkit._config._settings import ConnectionSettings, SourceSettings, TargetSettings, event_names
from brokerkit._consuming._routes import Routes
from brokerkit._handlers._handlers import Handlers
from brokerkit._messages._name_rules import split_rule
from brokerkit._specifications._asyncapi_bindings import (
    Json,
    binding_of,
    channel_bindings,
    message_bindings,
    receive_bindings,
    send_bindings,
    servers,
)
from brokerkit.adapters.api import Adapter
from brokerkit.events import Found
from brokerkit.events._examples import example
from brokerkit.events._shapes import meaning
from brokerkit.formats.cloudevents import CLOUDEVENTS, CLOUDEVENTS_STRUCTURED, STRUCTURED_TYPE

_ANY_EVENT: Final = "AnyEvent"
_NO_KEY: Final = re.compile(r"[^A-Za-z0-9._-]+")
_ATTRIBUTES: Final[Mapping[str, Json]] = {
    "specversion": {"type": "string", "const": "1.0"},
    "type": {"type": "string"},
    "source": {"type": "string", "format": "uri-reference"},
    "id": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
}
"""Those of CloudEvents that brokerkit writes; all but the time are required."""
_REQUIRED: Final = ["specversion", "type", "source", "id"]


class Described(Protocol):
    """What is described: the runtime of a bus."""

    @property
    def settings(self) -> BusSettings:
        """The bus's."""
        ...

    def adapter_for(self, settings: ConnectionSettings, /) -> Adapter:
        """Return the adapter of a connection."""
        ...

    def source_adapter(self, name: str, /) -> Adapter:
        """Return the adapter of a source."""
        ...


def document(runtime: Described, handlers: Handlers, *, title: str, version: str) -> Json:
    """Return the document of a bus. It connects to nothing.

    Args:
        runtime: the bus's.
        handlers: those that are included in it.
        title: of the application.
        version: of the application's interface.

    Raises:
        ConfigError: a handler cannot be routed.
    """
    settings = runtime.settings
    targets = {name: runtime.adapter_for(target) for name, target in settings.targets.items()}
    sources = {name: runtime.source_adapter(name) for name in settings.sources}
    routes = {name: Routes(handlers, source, source=name) for name, source in settings.sources.items()}
    received = {name: _wanted(routes[name], source) for name, source in settings.sources.items()}
    # A bus with one topic has a target on the same broker, even if nothing can be published there.
    writable = {
        name: target
        for name, target in settings.targets.items()
        if targets[name].capabilities(target.topic or "").publishes
    }
    sent = {name: _of_family(target) for name, target in writable.items()}
    schemas = _Schemas([found for group in (*received.values(), *sent.values()) for found in group])
    writer = _Writer(schemas)
    for name, source in settings.sources.items():
        writer.source(name, source, sources[name], received[name], others=routes[name].takes_any)
    for name, target in writable.items():
        writer.target(name, target, targets[name], sent[name])
    made: Json = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "servers": writer.servers,
        "channels": writer.channels,
        "operations": writer.operations,
        "components": {"schemas": schemas.definitions},
    }
    # Shared values are written out in full each time: JSON text has no sharing.
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Writer:
    """Gathers the parts of one document."""

    schemas: _Schemas
    servers: dict[str, Json] = field(default_factory=dict[str, Json])
    channels: dict[str, Json] = field(default_factory=dict[str, Json])
    operations: dict[str, Json] = field(default_factory=dict[str, Json])

    def source(
        self, name: str, settings: SourceSettings, adapter: Adapter, wanted: list[Found], *, others: bool
    ) -> None:
        """Add what a source receives; nothing if no handler wants any of it."""
        if not wanted and not others:
            return
        others = others and settings.wire.family is None
        rules = settings.name_from or settings.wire.name_from
        binding = binding_of(settings.connection().url)
        addresses = settings.topic or settings.queue
        for address in addresses:
            channel = self._channel(settings, address, is_queue=bool(settings.queue))
            self._operation(
                f"receive.{name}" if len(addresses) == 1 else f"receive.{name}.{channel}",
                settings,
                channel,
                {"action": "receive", "summary": f"Source {name}: what its handlers want."},
                self._messages(channel, settings, wanted, rules, id_from=settings.id_from, others=others),
                receive_bindings(binding, address, settings, adapter),
                {"name-from": list(rules), "key-from": list(settings.key_from), "group": settings.group},
            )

    def target(self, name: str, settings: TargetSettings, adapter: Adapter, sent: list[Found]) -> None:
        """Add what a target can send: the events of its format's family, or any event."""
        rule = _written_rule(settings, adapter.capabilities(settings.topic or "").written_places)
        binding = binding_of(settings.connection().url)
        # Without a topic, each event goes to the topic of its name.
        topics = (
            {settings.topic: sent} if settings.topic is not None else {_wire(settings, one)[0]: [one] for one in sent}
        )
        for address, there in topics.items():
            channel = self._channel(settings, address, is_queue=False)
            keys = [_wire(settings, one)[0] for one in there] if rule == "routing_key" else []
            self._operation(
                f"send.{name}" if settings.topic is not None else f"send.{name}.{channel}",
                settings,
                channel,
                {"action": "send", "summary": f"Target {name}: what is published to it."},
                self._messages(channel, settings, there, (rule,), others=settings.wire.family is None),
                send_bindings(binding, address, keys),
                {"name-from": [rule]},
            )

    def _channel(self, settings: ConnectionSettings, address: str, *, is_queue: bool) -> str:
        """The key of a channel. A topic that is both read and written is one channel."""
        url = settings.connection().url
        known = [self._server(server) for server in servers(settings)]
        channel: Json = {
            "address": address,
            "servers": [{"$ref": f"#/servers/{server}"} for server in known],
            "messages": {},
            "bindings": channel_bindings(binding_of(url), address, is_queue=is_queue, vhost=url.path),
        }
        for key, other in self.channels.items():
            if {**other, "messages": {}} == channel:
                return key
        key = _unused(_key(address), self.channels)
        self.channels[key] = channel
        return key

    def _server(self, server: Json) -> str:
        for key, other in self.servers.items():
            if other == server:
                return key
        key = _unused(_key(server["protocol"]), self.servers)
        self.servers[key] = server
        return key

    def _operation(
        self, key: str, settings: ConnectionSettings, channel: str, head: Json, messages: Iterable[str],
        bindings: Json, more: Json,
    ) -> None:  # fmt: skip
        extensions = {f"x-brokerkit-{name}": value for name, value in more.items() if value}
        self.operations[_unused(_key(key), self.operations)] = {
            **head,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
            "bindings": bindings,
            "x-brokerkit-format": settings.format,
            **extensions,
        }

    def _messages(
        self,
        channel: str,
        settings: ConnectionSettings,
        wanted: Iterable[Found],
        rules: tuple[str, ...],
        *,
        id_from: tuple[str, ...] = (),
        others: bool,
    ) -> list[str]:
        """Add messages to a channel; return their keys."""
        there: dict[str, Json] = self.channels[channel]["messages"]
        binding = binding_of(settings.connection().url)
        keys: list[str] = []
        for found in wanted:
            names = _wire(settings, found)
            message = {
                **_head(found),
                **_shape(settings, names, rules, _payload(found, self.schemas[found])),
                **_correlation(settings, id_from),
                "bindings": message_bindings(binding, names, rules),
                **_examples(settings, found, names[0], rules),
            }
            keys.append(_add(there, _key(found.name), message))
        if others:
            message = {"name": _ANY_EVENT, "summary": "Any other event.", "payload": {"type": "object"}}
            keys.append(_add(there, _ANY_EVENT, message))
        return keys


class _Schemas:
    """The schemas of events, mostly references to definitions. Models with the same name get different definitions."""

    def __init__(self, wanted: Iterable[Found]) -> None:
        models = {found.model: found.family.adapter(found.model) for found in wanted}
        schemas, rest = TypeAdapter.json_schemas(
            [(id(model), "serialization", adapter) for model, adapter in models.items()],
            by_alias=True,
            ref_template="#/components/schemas/{model}",
            schema_generator=_Draft7,
        )
        self._schemas = {model: schemas[id(model), "serialization"] for model in models}
        self.definitions: Json = rest.get("$defs", {})

    def __getitem__(self, found: Found) -> Json:
        return self._schemas[found.model]


class _Draft7(GenerateJsonSchema):
    """JSON Schema as AsyncAPI has it: that of draft 7, whose discriminator is text."""

    def tuple_schema(self, schema: core_schema.TupleSchema) -> Json:
        made = super().tuple_schema(schema)
        if "prefixItems" in made:
            made |= {"additionalItems": made.get("items", False), "items": made.pop("prefixItems")}
        return made

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> Json:
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made


def _wanted(routes: Routes, settings: SourceSettings) -> list[Found]:
    """The events that the handlers of a source want; all of its family if one of them takes every name."""
    named = list(routes.meanings)
    return named + [found for found in _of_family(settings) if routes.takes_any and found not in named]


def _of_family(settings: ConnectionSettings) -> list[Found]:
    """All events that a format's own family has."""
    if settings.wire.family is None:
        return []
    family = events.get_family(settings.wire.family)
    return [Found(family, name, model) for name, model in family.models.items()]


def _wire(settings: ConnectionSettings, found: Found) -> list[str]:
    """The names that an event has on the wire."""
    return event_names(settings).all_on_wire(found.name)


def _written_rule(settings: TargetSettings, places: frozenset[str]) -> str:
    """The rule by which a target writes the event name."""
    if settings.wire is CLOUDEVENTS_STRUCTURED:
        return "field:type"
    rules = settings.wire.name_from if settings.wire.writes_name else settings.name_from or settings.wire.name_from
    return next((rule for rule in rules if split_rule(rule, what="name_from")[0] in places), rules[0])


def _head(found: Found) -> Json:
    said = meaning(found.model)
    summary, _, rest = said.partition("\n\n")
    wrapper = found.family.wrapper
    both = f"Read flat and under `{wrapper}`; written as the schema has it." if wrapper else ""
    described = "\n\n".join(part for part in (rest, both) if part).replace("``", "`")
    return {
        "name": found.name,
        "title": found.name,
        **({"summary": " ".join(summary.split()).replace("``", "`")} if summary else {}),
        **({"description": described} if described else {}),
        "tags": [{"name": found.family.name}],
    }


def _payload(found: Found, schema: Json) -> Json:
    """The schema of an event's body as its family writes it."""
    if found.name not in found.family.wrapped:
        return schema
    wrapper = str(found.family.wrapper)
    return {"type": "object", "required": [wrapper], "properties": {wrapper: schema}}


def _shape(settings: ConnectionSettings, names: list[str], rules: tuple[str, ...], payload: Json) -> Json:
    """Headers and payload of a message, with the event name where the rules look for it."""
    name: Json = {"type": "string", "const": names[0]} if len(names) == 1 else {"type": "string", "enum": names}
    places = [split_rule(rule, what="name_from") for rule in rules]
    alone = len(rules) == 1
    headers = {argument: name for place, argument in places if place == "header"}
    required = list(headers) if alone else []
    if settings.wire is CLOUDEVENTS_STRUCTURED:
        attributes = {**_ATTRIBUTES, "type": name, "datacontenttype": {"type": "string", "const": "application/json"}}
        envelope = {"type": "object", "required": _REQUIRED, "properties": {**attributes, "data": payload}}
        return {"contentType": STRUCTURED_TYPE, "payload": envelope}
    if settings.wire is CLOUDEVENTS and "ce_type" in headers:
        headers = {f"ce_{key}": schema for key, schema in _ATTRIBUTES.items()} | headers
        required = [f"ce_{key}" for key in _REQUIRED] if alone else required
    for place, argument in places:
        if place == "field" and "." not in argument and settings.wire is not CLOUDEVENTS:
            more = {"required": [argument]} if alone else {}
            payload = {"allOf": [payload, {"type": "object", "properties": {argument: name}, **more}]}
    made: Json = {"contentType": "application/json", "payload": payload}
    if headers:
        made["headers"] = {"type": "object", "properties": headers, **({"required": required} if required else {})}
    return made


def _correlation(settings: ConnectionSettings, rules: tuple[str, ...]) -> Json:
    """Return where the id of a message is."""
    for rule in rules or settings.wire.id_from:
        place, argument = split_rule(rule, what="id_from")
        if place in ("header", "field"):
            part, path = ("header", argument) if place == "header" else ("payload", argument.replace(".", "/"))
            return {"correlationId": {"description": "The message's id.", "location": f"$message.{part}#/{path}"}}
    return {}


def _examples(settings: ConnectionSettings, found: Found, name: str, rules: tuple[str, ...]) -> Json:
    body = example(found.family, found.name)
    if body is None:
        return {}
    payload: Any = json.loads(body)
    headers: dict[str, str] = {}
    if settings.wire in (CLOUDEVENTS, CLOUDEVENTS_STRUCTURED):
        attributes = {
            "specversion": "1.0",
            "type": name,
            "source": "/example",
            "id": "1",
            "time": "2026-01-31T12:00:00Z",
        }
        if settings.wire is CLOUDEVENTS:
            headers = {f"ce_{key}": value for key, value in attributes.items()}
        else:
            payload = {**attributes, "datacontenttype": "application/json", "data": payload}
    else:
        place, argument = split_rule(rules[0], what="name_from")
        headers = {argument: name} if place == "header" else {}
        for place, argument in (split_rule(rule, what="name_from") for rule in rules):
            if place == "field" and "." not in argument and (argument in payload or len(rules) == 1):
                payload[argument] = name
    return {"examples": [{"name": "example", **({"headers": headers} if headers else {}), "payload": payload}]}


def _add(there: dict[str, Json], key: str, message: Json) -> str:
    """Put a message under a key. Only an equal message can have the same key."""
    if there.get(key) == message:
        return key
    key = _unused(key, there)
    there[key] = message
    return key


def _key(text: str) -> str:
    return _NO_KEY.sub("_", text).strip("_") or "_"


def _unused(key: str, taken: Mapping[str, object]) -> str:
    number, made = 1, key
    while made in taken:
        number += 1
        made = f"{key}_{number}"
    return made
