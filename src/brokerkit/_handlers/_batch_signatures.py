"""Checks at registration that a function can be a handler of batches. The errors say what to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from brokerkit._errors import ConfigError
from brokerkit._handlers._annotations import accepts, hints_of, shown_type
from brokerkit._handlers._signatures import check_kind, filled_parameters, meanings_of, name_of
from brokerkit._messages._message import Message
from brokerkit.events import Found

_WANTED: Final = "takes (events) or (events, messages)"


class BatchForm(NamedTuple):
    """What a handler of batches takes.

    Attributes:
        reads: whether it takes events; otherwise only messages.
        takes_messages: whether it takes the messages beside the events.
        takes_null: whether an event may be None.
    """

    reads: bool
    takes_messages: bool
    takes_null: bool


def batch_form(function: Callable[..., Any], wanted: tuple[str | type[Any] | Found, ...]) -> BatchForm:
    """Return what a handler of batches takes.

    Raises:
        ConfigError: the function cannot be a handler of batches of these events; the message says what to write.
    """
    check_kind(function)
    name = name_of(function)
    positional = filled_parameters(function, name, wanted=_WANTED)
    hints = hints_of(function)
    of_first = _item(hints.get(positional[0].name, Any), function, "first")
    if of_first is Message:
        if len(positional) == 2:
            raise ConfigError(
                f"handler {name}: with list[Message] first it takes nothing else; write (events, messages)"
            )
        return BatchForm(reads=False, takes_messages=False, takes_null=False)
    if len(positional) == 2 and _item(hints.get(positional[1].name, Any), function, "second") not in (
        Message,
        Any,
        object,
    ):
        raise ConfigError(f"handler {name}: its second parameter is list[Message], not {hints[positional[1].name]!r}")
    for event in wanted:
        for meaning in meanings_of(event, ""):
            if not accepts(of_first, meaning.model):
                raise ConfigError(
                    f"handler {name} takes list[{shown_type(of_first)}], but {meaning.name!r} arrives as "
                    f"{meaning.model.__name__}"
                )
    return BatchForm(reads=True, takes_messages=len(positional) == 2, takes_null=type(None) in get_args(of_first))


def _item(annotation: Any, function: Callable[..., Any], which: str) -> Any:
    """Return what the list holds that a parameter is annotated as."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation in (Any, object, list, inspect.Parameter.empty):
        return Any
    if get_origin(annotation) in (list, Sequence, Iterable, Collection):
        return (*get_args(annotation), Any)[0]
    raise ConfigError(
        f"handler {name_of(function)} takes batches: its {which} parameter is a list, such as list[OnGameDone], not "
        f"{shown_type(annotation)}"
    )
