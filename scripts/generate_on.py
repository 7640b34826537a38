"""Write what is made from the built-in families: the typed signature of ``handlers.on``, and the index of event names.

These are src/brokerkit/_on.py and src/brokerkit/events/_names.py. Run it after a change to a family's names or models;
``--check`` only says whether the files are in step.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from brokerkit.events import Family
from brokerkit.events._registry import BUILT_IN

PACKAGE = Path(__file__).parent.parent / "src" / "brokerkit"

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


NAMES_HEAD = '''"""Which built-in families know an event name, so that looking one up imports no other family.

Made by scripts/generate_on.py from the built-in families; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
'''


def render_on(families: Mapping[str, str]) -> str:
    """Return the text of _on.py for families given as name and place ("package.module:ATTRIBUTE")."""
    modules: list[str] = []
    events: list[tuple[str, str, str]] = []
    for family_name, place in sorted(families.items()):
        module, family = _load(place)
        short = module.__name__.rpartition(".")[2]
        modules.append(short)
        for name, model in sorted(family.models.items()):
            if getattr(module, model.__name__, None) is not model:
                raise SystemExit(f"{module.__name__} does not export {model.__name__}, the model of {name}")
            events.append((family_name, name, f"{short}.{model.__name__}"))
    parts = [HEAD.format(modules=", ".join(sorted(set(modules))), names="\n".join(_names(events)))]
    parts += _overloads(events)
    return "".join(parts)


def render_names(families: Mapping[str, str]) -> str:
    """Return the text of events/_names.py for families given as name and place."""
    known: dict[str, list[str]] = {}
    for family_name, place in sorted(families.items()):
        for name in _load(place)[1].models:
            known.setdefault(name, []).append(family_name)
    lines = (
        f"    {json.dumps(name)}: ({''.join(f'{json.dumps(one)},' for one in known[name])}),\n"
        for name in sorted(known)
    )
    return NAMES_HEAD + "".join(lines) + "}\n"


def _load(place: str) -> tuple[ModuleType, Family]:
    module_name, _, attribute = place.partition(":")
    module = import_module(module_name)
    return module, getattr(module, attribute)


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


def rendered(families: Mapping[str, str]) -> dict[Path, str]:
    """Return what each generated file has to hold, as the project's formatter has it."""
    made = {PACKAGE / "_on.py": render_on(families), PACKAGE / "events" / "_names.py": render_names(families)}
    return {path: _formatted(path, text) for path, text in made.items()}


def _formatted(path: Path, text: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Write the files, or with --check return 1 if one is out of step."""
    stale = {path: text for path, text in rendered(BUILT_IN).items() if not _holds(path, text)}
    for path, text in stale.items():
        if "--check" in sys.argv[1:]:
            print(f"{path.name} is out of step: run scripts/generate_on.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv[1:] else 0


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())
