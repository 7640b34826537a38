"""The fast way to write an event whose values fit their fields.

pydantic tells with a warning that a value does not fit its field. ``warnings="error"`` makes an error of it, but pydantic
takes longer to read this word than to write a small event. So warnings are switched on here, and Python raises an error when
it wants to remember one for this module, because what should remember it is no dictionary. Filters do not change that.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal

from pydantic_core import SchemaSerializer

__warningregistry__: Final = ()  # empty, because unittest puts a dictionary into the place of what is not


def _warning_raises() -> bool:
    """Whether this Python does what is said above."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            warnings.warn("a test of this module", stacklevel=1)
        except TypeError:
            return True
    return False


_WARNINGS: Final[Literal["error"] | bool] = _warning_raises() or "error"


def to_json(serializer: SchemaSerializer, event: Any) -> bytes:
    """Write an event without the fields that are not set.

    Raises:
        TypeError: there was a warning. So the caller writes the event again, with ``warnings="error"``.
        ValueError: a value has no JSON form, or something was raised while it was written.
    """
    return serializer.to_json(event, by_alias=True, exclude_unset=True, warnings=_WARNINGS)
