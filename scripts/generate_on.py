"""Write src/brokerkit/_on.py: the typed signature of ``handlers.on`` for every event of the built-in families.

Run it after a change to a family's names or models; ``--check`` only says whether the file is in step.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from brokerkit.events import Family
from brokerkit.events._registry import BUILT_IN

TARGET = Path(__file__).parent.parent / "src" / "brokerkit" / "_on.py"

HEAD = '''"""The signature of ``on``: which event model a handler gets for which name.

Made by scripts/generate_on.py from the built-in families; do not edit. There is no overload for any ``str``: with one, a
misspelt name would pass. A name that several families share is here only in its qualified form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from pydantic import BaseModel

    from brokerkit._message import Message
    from brokerkit._retry import RetryPolicy
    from brokerkit.events import {modules}

E = TypeVar("E")
M = TypeVar("M", bound="BaseModel")
R = TypeVar("R")

Name: TypeAlias = Literal[
{names}
]
"""Every known event name, plain where one family alone has it, and qualified with its family."""


class Registrar(Protocol[E]):
    """What ``on(...)`` returns: takes a handler, plain or async, registers it and returns it.

    The handler gets the event, and the message too if it has a second parameter.
    """

    @overload
    def __call__(self, handler: Callable[[E], R], /) -> Callable[[E], R]: ...
    @overload
    def __call__(self, handler: Callable[[E, Message], R], /) -> Callable[[E, Message], R]: ...


class On(Protocol):
    """Registers handlers by event name or model class."""

'''

OVERLOAD = """    @overload
    def __call__(
        self, {parameters}, retry: RetryPolicy | None = None, timeout: float | None = None, source: str | None = None
    ) -> Registrar[{event}]: ...
"""


def render(families: Mapping[str, str]) -> str:
    """Return the module's text for families given as name and place ("package.module:ATTRIBUTE")."""
    modules: list[str] = []
    events: list[tuple[str, str, str]] = []
    for family_name, place in sorted(families.items()):
        module_name, _, attribute = place.partition(":")
        module = import_module(module_name)
        family: Family = getattr(module, attribute)
        short = module_name.rpartition(".")[2]
        modules.append(short)
        for name, model in sorted(family.models.items()):
            if getattr(module, model.__name__, None) is not model:
                raise SystemExit(f"{module_name} does not export {model.__name__}, the model of {name}")
            events.append((family_name, name, f"{short}.{model.__name__}"))
    parts = [HEAD.format(modules=", ".join(sorted(set(modules))), names="\n".join(_names(events)))]
    parts += _overloads(events)
    return "".join(parts)


def _forms(events: Iterable[tuple[str, str, str]]) -> Iterator[tuple[list[str], str]]:
    """Yield the spellings of each event's name, and its model."""
    events = list(events)
    shared = Counter(name for _, name, _ in events)
    for family, name, model in events:
        yield ([name] if shared[name] == 1 else []) + [f"{family}:{name}"], model


def _names(events: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    for spellings, _ in _forms(events):
        yield from (f'    "{spelling}",' for spelling in spellings)


def _overloads(events: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    for spellings, model in _forms(events):
        literal = ", ".join(f'"{spelling}"' for spelling in spellings)
        yield OVERLOAD.format(parameters=f"name: Literal[{literal}], /, *", event=model)
    yield OVERLOAD.format(parameters='name: Literal["*"], /, *', event="Any")
    yield OVERLOAD.format(parameters="model: type[M], /, *", event="M")
    several = "first: Name | type[BaseModel], second: Name | type[BaseModel], /, *more: Name | type[BaseModel]"
    yield OVERLOAD.format(parameters=several, event="Any")


def formatted(text: str) -> str:
    """Return the text as the project's formatter has it."""
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Write the file, or with --check return 1 if it is out of step."""
    text = formatted(render(BUILT_IN))
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET.name} is out of step: run scripts/generate_on.py", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
