"""Annotations of handlers: what a parameter can take, and how it is shown."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin

from typing_extensions import TypeAliasType

from brokerkit.events._shapes import fits


def accepts(annotation: Any, model: type[Any]) -> bool:
    """Whether a parameter with this annotation can take the events of a model. Unknown annotations can."""
    if annotation in (Any, object, inspect.Parameter.empty):
        return True
    if isinstance(annotation, TypeVar):
        bounds = annotation.__constraints__ or (annotation.__bound__,)
        return any(bound is None or accepts(bound, model) for bound in bounds)
    if isinstance(annotation, TypeAliasType):
        return accepts(annotation.__value__, model)
    origin = get_origin(annotation)
    if origin is Annotated:
        return accepts(get_args(annotation)[0], model)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(one, model) for one in get_args(annotation))
    if annotation is None or annotation is type(None) or origin is typing.Literal:
        return False
    if isinstance(origin, type):
        return fits(model, origin)
    return not isinstance(annotation, type) or fits(model, annotation)


def shown_type(annotation: Any) -> str:
    """Return an annotation as text, without the modules of its classes."""
    plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if plain else re.sub(r"(?:\w+\.)+(\w+)", r"\1", str(annotation))


def alternatives(annotation: Any) -> set[Any]:
    """Return an annotation, and what it is made of."""
    found = {annotation} if _is_hashable(annotation) else set[Any]()
    return found | {one for one in get_args(annotation) if _is_hashable(one)}


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations that can be evaluated. Names that are imported only for type checkers cannot."""
    if isinstance(function, functools.partial):
        return hints_of(function.func)
    looked_at: Any = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(looked_at, include_extras=True)
    except (NameError, TypeError, AttributeError):
        annotations = cast("dict[str, Any]", getattr(looked_at, "__annotations__", {}))
        around = _local_names()
        found = {name: _evaluated(one, looked_at, around) for name, one in annotations.items()}
        return {name: one for name, one in found.items() if one is not None}


def _evaluated(annotation: Any, function: Any, around: dict[str, Any]) -> Any:
    """Evaluate one annotation by itself, so that a missing name in another one does not matter; None if it fails."""
    holder = types.SimpleNamespace(__annotations__={"one": annotation})
    known: dict[str, Any] = getattr(function, "__globals__", {})
    others = {name: value for name, value in around.items() if name not in known}
    try:
        return typing.get_type_hints(holder, known, others, include_extras=True)["one"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def _local_names() -> dict[str, Any]:
    """Return the local names of running functions: a handler that is defined in one may be annotated with them."""
    frame, found = inspect.currentframe(), list[dict[str, Any]]()
    while frame is not None:
        found.append(frame.f_locals)
        frame = frame.f_back
    return {name: value for each in reversed(found) for name, value in each.items()}
