"""Give naive times of an event a zone, for sources that state one."""

from __future__ import annotations

import dataclasses
from datetime import datetime, tzinfo
from typing import Any, cast

from pydantic import BaseModel


def in_zone(value: Any, zone: tzinfo) -> Any:
    """Give every naive time in an event the zone, nested ones included; the event itself is changed and returned."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=zone) if value.tzinfo is None else value
    if isinstance(value, list):
        value[:] = [in_zone(item, zone) for item in value]  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, (BaseModel, dict)):
        held = cast("dict[str, Any]", value) if isinstance(value, dict) else vars(value)
        for name, part in held.items():
            held[name] = in_zone(part, zone)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            object.__setattr__(value, field.name, in_zone(getattr(value, field.name), zone))  # frozen ones too
    return cast("Any", value)
