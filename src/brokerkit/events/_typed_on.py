"""The typed ``on``: one overload for each event name, so that type checkers know a handler's event from its name.

`render_on` writes the module of one family, for packages with a family; scripts/generate_on.py writes the signature of
`Handlers.on` for the built-in ones, of the same overloads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Final, NamedTuple

from brokerkit._errors import ConfigError
from brokerkit.events._family import Family

OVERLOAD: Final = """\
    @overload
    def __call__(
        self,
{parameters}
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        source: str | None = None,
        dedupe: Dedupe | Literal[False] | None = None,
        where: str | Callable[[Mapping[str, str | bytes]], bool] | None = None,
        equals: str | None = None,
        rate: Rate | None = None,
    ) -> {result}: ...
"""

ON: Final = '''\
Name: TypeAlias = Literal[
{names}
]
"""Every event name of the family, plain and qualified."""


class On(Protocol):
    """Registers handlers by event name or model class."""

{overloads}

def on(handlers: Handlers | Bus) -> On:
    """Give ``handlers.on``, typed for the events of this family."""
    return cast("On", handlers.on)
'''
"""The end of a generated module with a typed ``on``."""

_HEAD: Final = '''"""The typed ``on`` of family {family}: which model a handler gets for which event name.

Made by ``brokerkit catalog on-types {module}``; do not edit. A misspelt name is an error to the type checker, too.
"""

# The last overloads take what the others do not, and return something else.
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, cast, overload

if TYPE_CHECKING:
    import {module} as models
    from brokerkit import Bus, Handlers, Rate, Registrar, RetryPolicy, UnknownEventName
    from brokerkit.dedupe import Dedupe

M = TypeVar("M")

'''


class Spelled(NamedTuple):
    """One event as ``on`` knows it: the names that mean it, and the expression that names its model."""

    names: tuple[str, ...]
    model: str


def render_on(module: ModuleType, family: Family) -> str:
    """Return the source of a module with a typed ``on`` for one family.

    The family's package keeps it beside its models (``_on.py``) and exports its function: ``on(handlers)`` is
    ``handlers.on``, but every name of the family leads to its model.

    Args:
        module: the module that has the models as attributes; the generated module imports it only for type checkers.
        family: the family.

    Raises:
        ConfigError: a model is not in the module under its class name.
    """
    events = [
        Spelled((name, f"{family.name}:{name}"), f"models.{exported(module, family, name)}")
        for name in sorted(family.models)
    ]
    return _HEAD.format(family=family.name, module=module.__name__) + on_text(events)


def on_text(events: Sequence[Spelled]) -> str:
    """Return the source of ``on`` for these events, and of the types that it needs."""
    return ON.format(names="\n".join(name_lines(events)), overloads="".join(overloads(events)))


def exported(module: ModuleType, family: Family, name: str) -> str:
    """Return the class name of an event's model.

    Raises:
        ConfigError: the module does not have the model under this name.
    """
    model = family.models[name]
    if getattr(module, model.__name__, None) is not model:
        raise ConfigError(f"{module.__name__} does not have {model.__name__}, the model of {family.name}:{name}")
    return str(model.__name__)


def name_lines(events: Iterable[Spelled]) -> Iterator[str]:
    """Yield all names as the lines of a ``Literal``."""
    for event in events:
        yield from (f"    {json.dumps(name, ensure_ascii=False)}," for name in event.names)


def overloads(events: Iterable[Spelled]) -> Iterator[str]:
    """Yield the overloads of ``on``: one for each event, for every name, for a model class, for several of them."""
    for event in events:
        literal = ", ".join(json.dumps(name, ensure_ascii=False) for name in event.names)
        yield _overload(f"name: Literal[{literal}]", "/", "*", event=event.model)
    yield _overload('name: Literal["*"]', "/", "*", event="Any")
    yield _overload("model: type[M]", "/", "*", event="M")
    yield _overload("name: str", "model: type[M]", "/", "*", event="M")
    either = "Name | type[Any]"
    yield _overload(f"first: {either}", f"second: {either}", "/", f"*more: {either}", event="Any")
    # Without one that takes any text, a checker that refuses a misspelt name prints all the others: 75 kB of them. What
    # this one returns cannot be called, and must not be dropped either, so a misspelt name is an error of one line.
    text = "str | type[Any]"
    yield _overload("name: str", "/", f"*more: {text}", result="Coroutine[UnknownEventName, Any, Any]")
    yield _overload(
        "model: type[Any]", "name: str", "/", f"*more: {text}", result="Coroutine[UnknownEventName, Any, Any]"
    )


def _overload(*parameters: str, event: str = "", result: str = "") -> str:
    lines = "\n".join(f"        {one}," for one in parameters)
    return OVERLOAD.format(parameters=lines, result=result or f"Registrar[{event}]")
