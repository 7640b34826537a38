"""Makes sure that readers of a target find the same name, id and payload that were published, or refuses the event.

A message that gets a receipt and is then read under another name, or under none, is lost without notice. Everything that
depends
only on the event name is decided once. Only what a single event or call can get wrong is checked each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import BaseModel

from brokerkit import formats
from brokerkit._errors import InvalidMessage
from brokerkit._messages._event_names import EventNames
from brokerkit._messages._headers import as_text
from brokerkit._messages._name_rules import WriteName, field_path, split_rule
from brokerkit._messages._outgoing import Outgoing
from brokerkit._paths import parse_path
from brokerkit.events import Found
from brokerkit.events._presence import Fit, Presence, spellings
from brokerkit.events._shapes import fields
from brokerkit.formats import Format


@dataclass(frozen=True, slots=True)
class Plan:
    """How events with one name are written.

    Attributes:
        wire_name: the name on the wire.
        name_field: the field of the model in which readers find the name, or None. It is filled in if it is empty.
        claimed: a field of the model with another meaning into which a rule would write the name, or None.
        id_field: the field of the model in which readers find the message's id, or None.
        presence: recognises an event that sets no field of its model; None if the model refuses such an event by itself.
        looks: whether each event must be checked.
    """

    wire_name: str
    name_field: str | None
    claimed: str | None
    id_field: str | None
    presence: Presence | None
    looks: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "looks", bool(self.name_field or self.claimed or self.id_field))


class ReadBack:
    """Plans how events are written to one target.

    Args:
        wire: the target's format.
        stated: the target's own rules for the name; empty to use those of the format.
        names: the target's names.
        places: where its broker can hold the name.
        topic: the topic to publish to; "" if a rule gives it.
    """

    def __init__(
        self, wire: Format, stated: tuple[str, ...], names: EventNames, places: frozenset[str], topic: str
    ) -> None:
        self._wire = wire
        self._names = names
        self._topic = topic
        self._rules = stated or wire.name_from
        split = [split_rule(rule, what="name_from") for rule in self._rules]
        written = next((index for index, (place, _) in enumerate(split) if place in places - {"topic"}), len(split))
        # If a format writes the name itself, its first rule finds it.
        self._writes_name = not wire.writes_name or self._rules[written : written + 1] != wire.name_from[:1]
        before = [place for place, _ in split[:written]]
        self._by_topic = "topic" in before
        self._keyless = self._writes_name and "key" in before
        place, argument = split[written] if written < len(split) else ("", "")
        in_body = place == "field" and self._writes_name and not self._by_topic
        # In an envelope, as that of structured CloudEvents, the name is not in the payload.
        enveloped = wire.payload_from or (wire.payload and wire.name_from[0].startswith("field:"))
        within = in_body and not enveloped
        self._field = parse_path(argument)[0] if within else ""

    def __repr__(self) -> str:
        return f"<ReadBack of {self._wire.name} by {', '.join(self._rules)}>"

    def plan(self, found: Found) -> Plan:
        """Decide once what is the same for all events with a name.

        Raises:
            InvalidMessage: no reader of this target would find the event.
        """
        family, name, model = found
        where = f"{family.name}:{name} cannot be published in format {self._wire.name!r}"
        if self._wire.read_only:
            raise InvalidMessage(f"{where}, which is only read: choose another format for the target")
        if self._wire.family not in (None, family.name):
            raise InvalidMessage(f"{where}, whose readers know only the family {self._wire.family!r}")
        wire_name = self._names.on_wire(name)
        if (read := self._names.of(wire_name)) != name:
            raise InvalidMessage(f"{where}: by names and name_pattern, readers take {wire_name!r} for {read!r}")
        if self._by_topic and self._writes_name and self._topic not in ("", wire_name):
            raise InvalidMessage(
                f"{where}: by name_from, readers take the topic {self._topic!r} for the event name; "
                "remove the target's topic, or put another rule first"
            )
        declared = {
            spelled: field for field, info in fields(model).items() for spelled in spellings(model, field, info)
        }
        own = _fields_of(self._wire, self._wire.name_from)
        if family.format in formats.names():  # a family from another package may name any format
            its = formats.get(family.format)
            own += _fields_of(its, its.name_from)
        name_field = next((declared[one] for one in own if one in declared), None)
        claimed = declared.get(self._field) if self._field not in own else None
        if self._field and self._field not in declared and _forbids(model):
            raise InvalidMessage(
                f"{where}: its name goes into field {self._field!r} (name_from), and {model.__name__} refuses that field"
            )
        ids = _fields_of(self._wire, self._wire.id_from)
        id_field = next((declared[one] for one in ids if one in declared), None)
        beside = () if self._wire.payload else _fields_of(self._wire, (*self._rules, *self._wire.id_from))
        presence = Presence(model, beside, family.shared())
        return Plan(wire_name, name_field, claimed, id_field, presence if presence.judges else None)

    def refuse_foreign(self, content: Mapping[str, Any], plan: Plan) -> None:
        """Refuse an event in whose content readers would find no field.

        Raises:
            InvalidMessage: it has fields, and its model declares none of them, or another object has them.
        """
        if plan.presence is not None and plan.presence.judge(content) is Fit.FOREIGN:
            raise InvalidMessage(
                f"{plan.wire_name}: readers would find none of its fields: {plan.presence.describe(content)}; "
                "publish an object of the model, or a Message, to send it anyway"
            )

    def checked(self, event: Any, plan: Plan, id: str | None) -> tuple[Any, str | None]:
        """Return the event to write, and its id.

        Raises:
            InvalidMessage: the event holds another name or id than the given one.
        """
        if plan.name_field is not None:
            held = _get(event, plan.name_field)
            if held is None:
                event = _with(event, plan.name_field, plan.wire_name)
            elif held != plan.wire_name and self._reads(held) != self._reads(plan.wire_name):
                raise InvalidMessage(
                    f"{plan.wire_name}: readers take the event name from {plan.name_field}, which holds {held!r:.100}"
                )
        if plan.claimed is not None and _get(event, plan.claimed) != plan.wire_name:
            raise InvalidMessage(
                f"{plan.wire_name}: its name goes into field {self._field!r} (name_from), which holds something else"
            )
        if plan.id_field is not None:
            held_id = str(_get(event, plan.id_field))
            if id is not None and id != held_id:
                raise InvalidMessage(
                    f"{plan.wire_name}: readers take the id from {plan.id_field}, which holds {held_id!r:.100}; id= "
                    f"says {id!r:.100}"
                )
            id = held_id
        return event, id

    def _reads(self, name: object) -> object:
        return self._names.of(name) if isinstance(name, str) else name

    def writer(self, write_name: WriteName) -> WriteName | None:
        """Return the function that writes the name by the rules; None if the format writes it.

        It raises InvalidMessage if readers would take the key for the name, but the key holds another value.
        """
        if not self._writes_name:
            return None
        if not self._keyless:
            return write_name

        def write(outgoing: Outgoing) -> None:
            if outgoing.key is not None and as_text(outgoing.key) != outgoing.name:
                raise InvalidMessage(
                    f"{outgoing.name}: readers take the key for the event name (name_from), so no other key can be given"
                )
            write_name(outgoing)

        return write


def _fields_of(wire: Format, rules: tuple[str, ...]) -> list[str]:
    """Return the top-level fields of the payload in which a format's rules look."""
    if wire.payload is not None:
        return []
    return [path[0] for rule in rules if len(path := field_path(rule)) == 1]


def _forbids(model: type[Any]) -> bool:
    config: Mapping[str, Any] = (
        getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
    )
    return config.get("extra") == "forbid"


def _get(event: Any, name: str) -> Any:
    return event.get(name) if isinstance(event, dict) else getattr(event, name, None)  # pyright: ignore


def _with(event: Any, name: str, value: str) -> Any:
    """Return a copy of an event with one field set."""
    if isinstance(event, dict):
        return {**cast("dict[str, Any]", event), name: value}
    if isinstance(event, BaseModel):
        return event.model_copy(update={name: value})
    return replace(event, **{name: value})
