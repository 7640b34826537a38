"""Fields that have one value in every event of a kind: its name, most of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from brokerkit.events._model import WireObject


def constant(description: str) -> Any:
    """Describe a field whose value the class states in `Fixed.constants`: a body must hold it, a constructor need not."""
    return Field(description=description)


class Fixed(WireObject):
    """An object some of whose fields are the same in every instance of its class.

    Calling the class sets these fields, so they are always written. Reading a body takes them from the body alone.
    """

    constants: ClassVar[Mapping[str, str]] = {}
    """The value of each such field by attribute name; a subclass that states its own replaces them all."""

    if not TYPE_CHECKING:

        def __init__(self, /, **data: Any) -> None:
            for field, value in type(self).constants.items():
                if field not in data and type(self).model_fields[field].serialization_alias not in data:
                    data[field] = value
            super().__init__(**data)

        # Without this mark pydantic would call the constructor for each body too, which is slow, and would fill in there.
        __init__.__pydantic_base_init__ = True
