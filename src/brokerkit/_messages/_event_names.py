"""Names on the wire and event names: by a table, and by a pattern where the producer's names follow a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping

from brokerkit._errors import ConfigError


class EventNames:
    """From names on the wire to event names, and back.

    Args:
        table: wire name → event name.
        pattern: a regular expression; its first group is the event name. None if names are as they are.
    """

    def __init__(self, table: Mapping[str, str], pattern: str | None = None) -> None:
        self._table = table
        self._pattern = None if pattern is None else compile_pattern(pattern)
        self._written = {event: wire for wire, event in table.items()}

    def __repr__(self) -> str:
        return f"<EventNames: {len(self._table)} in the table, {self._pattern and self._pattern.pattern!r}>"

    def of(self, wire_name: str) -> str:
        """Return the event name of a name on the wire."""
        if (event := self._table.get(wire_name)) is not None:
            return event
        # Spring writes text headers as JSON where it is told to encode strings.
        if len(wire_name) > 2 and wire_name[0] == wire_name[-1] == '"':
            return self.of(wire_name[1:-1])
        if self._pattern is not None and (found := self._pattern.search(wire_name)):
            name = found.group(1) or wire_name
            return self._table.get(name, name)
        return wire_name

    def on_wire(self, name: str) -> str:
        """Return the name on the wire of an event name."""
        return self._written.get(name, name)

    def all_on_wire(self, name: str) -> list[str]:
        """Return all names on the wire that the table has for an event name; the name itself if it has none."""
        return [wire for wire, event in self._table.items() if event == name] or [name]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the setting ``name_pattern``.

    Raises:
        ConfigError: it is not a regular expression, or has no group for the event name.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"name_pattern: {pattern!r} is not a regular expression: {error}") from None
    if compiled.groups != 1:
        raise ConfigError(f"name_pattern: {pattern!r} needs one group, the event name, and has {compiled.groups}")
    return compiled
