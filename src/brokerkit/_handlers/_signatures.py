"""Checks at registration that a function can be a handler. The errors say what to write instead."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, cast, get_args, get_origin

from brokerkit import events
from brokerkit._errors import ConfigError
from brokerkit._handlers._annotations import accepts, alternatives, hints_of, shown_type
from brokerkit._messages._message import Message
from brokerkit.events import Found, adopt
from brokerkit.events._registry import OWN

if TYPE_CHECKING:
    from brokerkit._handlers._dependencies import Injection

_WANTED: Final = "takes (event) or (event, message)"


def name_of(function: Callable[..., Any]) -> str:
    """Return module and qualified name of a function; for a partial, those of the function that it calls.

    What `exec` has defined may have no module. Then the name stands alone.
    """
    while isinstance(function, functools.partial):
        function = function.func
    qualified = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None)
    return qualified if module is None else f"{module}.{qualified}"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def check_events(wanted: tuple[object, ...], any_event: str, *, by: str = "on") -> None:
    """Refuse anything but event names and model classes.

    Args:
        wanted: what was given.
        any_event: what stands for every name.
        by: the name of what it was given to.

    Raises:
        ConfigError: something else was given; the message says what to write.
    """
    if not wanted:
        raise ConfigError(f"{by}() needs an event name, a model class or '*'")
    for one in wanted:
        if isinstance(one, (str, type)):
            continue
        if callable(one):
            raise ConfigError(
                f'{by} needs the event before the function: write @….{by}("OnGameDone") above {name_of(one)}'
            )
        if isinstance(one, (list, tuple, set, frozenset)):
            raise ConfigError(
                f"{by} takes several events one by one, not as a {type(cast('object', one)).__name__}: {by}(*names)"
            )
        raise ConfigError(f"{by} takes event names, model classes or '*', not a {type(one).__name__}")
    if any_event in wanted and len(wanted) > 1:
        raise ConfigError("on('*') already means every name: it takes no other name")


def meant(wanted: tuple[str | type[Any], ...]) -> tuple[str | type[Any] | Found, ...]:
    """Return the arguments of `on`; classes without a family become events, and a name before a class is bound to it.

    Raises:
        ConfigError: a class cannot be a model, or a name has several meanings.
    """
    match wanted:
        case (str() as name, type() as model) if not events.find(model) or _extends(model, name):
            found = events.find(name)
            if len(found) > 1:
                choices = ", ".join(f"{one.family.name}:{one.name}" for one in found)
                raise ConfigError(f"{name!r} is an event of several families: write {choices}")
            return (found[0]._replace(model=model) if found and found[0].family.name != OWN else adopt(model, name),)
        case _:
            return tuple(adopt(one) if isinstance(one, type) and not events.find(one) else one for one in wanted)


def _extends(model: type[Any], name: str) -> bool:
    """Whether a class extends the model of this very name."""
    return any(one.model is not model and issubclass(model, one.model) for one in events.find(name))


def takes_message(function: Callable[..., Any], wanted: tuple[str | type[Any] | Found, ...], any_event: str) -> bool:
    """Whether a handler also takes the message.

    Raises:
        ConfigError: the function cannot be a handler of these events; the message says what to write.
    """
    check_kind(function)
    name = name_of(function)
    positional = filled_parameters(function, name)
    hints = hints_of(function)
    first = hints.get(positional[0].name, Any)
    if Message in alternatives(first):
        raise ConfigError(
            f"handler {name}: its first parameter is the event; to get the message, write (event, message)"
        )
    if len(positional) == 2 and not {Message, Any, object} & alternatives(hints.get(positional[1].name, Any)):
        raise ConfigError(f"handler {name}: its second parameter is the Message, not {hints[positional[1].name]!r}")
    for event in wanted:
        for meaning in meanings_of(event, any_event):
            if not accepts(first, meaning.model):
                raise ConfigError(
                    f"handler {name} takes {shown_type(first)}, but {meaning.name!r} arrives as {meaning.model.__name__}"
                )
    return len(positional) == 2


def dependencies(function: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that are dependencies."""
    model = sys.modules.get("fast_depends.dependencies.model")
    if model is None:  # an instance exists only if the module was imported
        return set()
    hints = hints_of(function)
    found: set[str] = set()
    for one in inspect.signature(function).parameters.values():
        annotation = hints.get(one.name, one.annotation)
        marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
        if any(isinstance(mark, model.Dependant) for mark in (*marks, one.default)):
            found.add(one.name)
    return found


def injection(function: Callable[..., Any]) -> Injection | None:
    """Return what fills the dependencies of a handler; None if it has none.

    Raises:
        ConfigError: nothing fills a parameter of one of them.
    """
    if not dependencies(function):
        return None
    from brokerkit._handlers._dependencies import Injection  # needs the extra

    name = name_of(function)
    filled = [one.name for one in filled_parameters(function, name)]
    return Injection(function, name, filled, hints_of(function))


def meanings_of(event: str | type[Any] | Found, any_event: str) -> tuple[Found, ...]:
    """Return what an event of a handler may mean."""
    if isinstance(event, Found):
        return (event,)
    return () if event == any_event else events.find(event)


def takes_null(function: Callable[..., Any]) -> bool:
    """Whether the first parameter, the event, may be None by its annotation."""
    hints = hints_of(function)
    first = next(iter(inspect.signature(function).parameters), "")
    return type(None) in get_args(hints.get(first))


def check_kind(function: object) -> None:
    """Refuse what is no function, and what calling would not handle anything.

    Raises:
        ConfigError: the message says what to write.
    """
    if inspect.iscoroutine(function):
        function.close()  # it will never be awaited
        raise ConfigError(f"on was given what {function.__qualname__}() returned: give it the function, without ()")
    if isinstance(function, type):
        raise ConfigError(
            f"handler {function.__qualname__} is a class, and calling it handles nothing: register a function"
        )
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigError("register a static or class method through its class: bus.on(...)(Service.handle)")
    if not callable(function):
        raise ConfigError(f"a handler is a function, not a {type(function).__name__}: write @….on(...) above one")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"handler {name_of(function)} is a generator: calling it would run nothing; remove 'yield'")


def filled_parameters(function: Callable[..., Any], name: str, *, wanted: str = _WANTED) -> list[inspect.Parameter]:
    """Return the one or two parameters that brokerkit fills.

    Args:
        function: the handler.
        name: of the handler, for errors.
        wanted: what it should take, for errors.

    Raises:
        ConfigError: it takes something else; the message says what to write.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"handler {name} has no readable signature: wrap it in a function that takes (event)"
        ) from error
    # functools.wraps shows the parameters of the function inside, of which the decorator may fill some.
    own = _own_parameters(function)
    fills = own is not None and any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in own)
    if own is not None and not fills:
        parameters = own
    bound: set[str] = set()
    inner: Any = function
    while isinstance(inner, functools.partial):
        bound |= inner.keywords.keys()
        inner = inner.func
    parameters = [one for one in parameters if one.name not in bound | dependencies(function)]
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            stars = "*" if one.kind is one.VAR_POSITIONAL else "**"
            raise ConfigError(
                f"handler {name} {wanted}; {stars}{one.name} hides its parameters: write them out "
                "(a decorator keeps them with functools.wraps)"
            )
    filled = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    if filled and filled[0].name in ("self", "cls") and inspect.isfunction(inner):
        raise ConfigError(
            f"handler {name} is a method without its object: register the bound one, on(...)(service.handle)"
        )
    kept = filled[:1] + [
        one for one in filled[1:2] if (one.default is one.empty and not fills) or _is_message(one, function)
    ]
    spare = [one for one in parameters if one not in kept and not fills]
    if without := [one for one in spare if one.default is not one.empty]:
        raise ConfigError(
            f"handler {name} {wanted}; nothing would fill {without[0].name}: remove it, or bind it with "
            f"functools.partial({name.rpartition('.')[2]}, {without[0].name}=...)"
        )
    if needed := [one for one in spare if one.kind is one.KEYWORD_ONLY]:
        raise ConfigError(f"handler {name} {wanted}; nothing would fill {needed[0].name}=")
    if spare or not kept:
        raise ConfigError(f"handler {name} {wanted}, not {len(filled)} parameters")
    if kept[0].default is not inspect.Parameter.empty:
        raise ConfigError(f"handler {name}: the event is always given: write {kept[0].name} without a default")
    return kept


def _own_parameters(function: Any) -> list[inspect.Parameter] | None:
    """Return the parameters of a decorator's own function, not of the function in it; None if nothing is wrapped."""
    if not hasattr(function, "__wrapped__"):
        return None
    return list(inspect.signature(function, follow_wrapped=False).parameters.values())


def _is_message(parameter: inspect.Parameter, function: Callable[..., Any]) -> bool:
    """Whether a second parameter that has a default is the message."""
    return parameter.name in ("message", "messages") or Message in alternatives(hints_of(function).get(parameter.name))


# ---- the same function once more -------------------------------------------------------------------------------------


def is_same(one: Any, other: Any) -> bool:
    """Whether two handlers are the same function, or the same code that ran again (a notebook cell, a reload)."""
    if one is other:
        return True
    if _is_partial(one) and _is_partial(other):
        return is_same(one.func, other.func) and (one.args, one.keywords) == (other.args, other.keywords)
    if inspect.ismethod(one) and inspect.ismethod(other):
        return one.__self__ is other.__self__ and is_same(one.__func__, other.__func__)
    if not (inspect.isfunction(one) and inspect.isfunction(other)) or name_of(one) != name_of(other):
        return False
    if one.__qualname__.isidentifier():
        # Two functions with one name in one file differ by line. A cell or file that ran again gives the same function.
        code, again = one.__code__, other.__code__
        return code.co_filename != again.co_filename or code.co_firstlineno == again.co_firstlineno
    return one.__code__ == other.__code__ and _closed_over(one) == _closed_over(other)


def _is_partial(function: Any) -> bool:
    return isinstance(function, functools.partial)


def _closed_over(function: types.FunctionType) -> list[int]:
    """Return the ids of the values that an inner function has closed over."""
    cells = function.__closure__ or ()
    return [id(cell) if _is_empty(cell) else id(cell.cell_contents) for cell in cells]


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False
