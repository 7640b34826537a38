"""Give naive times of an event a zone, for sources that state one."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from pydantic import BaseModel


def in_zone(event: BaseModel, zone: tzinfo) -> BaseModel:
    """Set the zone of every naive time in an event, nested ones included; the event itself is changed."""
    for name, value in vars(event).items():
        if isinstance(value, datetime):
            if value.tzinfo is None:
                vars(event)[name] = value.replace(tzinfo=zone)
        else:
            _walk(value, zone)
    return event


def _walk(value: Any, zone: tzinfo) -> None:
    if isinstance(value, BaseModel):
        in_zone(value, zone)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            _walk(item, zone)
