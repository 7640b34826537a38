"""Write what is made from the built-in families: the typed signature of ``handlers.on``, and the index of event names.

These are src/brokerkit/_vendors/_on.py and src/brokerkit/events/_names.py. Run it after a change to a family's names or
models; ``--check`` only says whether the files are in step.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from brokerkit.events import Family
from brokerkit.events._registry import BUILT_IN
from brokerkit.events._typed_on import Spelled, exported, name_lines, overloads

PACKAGE = Path(__file__).parent.parent / "src" / "brokerkit"

HEAD = '''"""The signature of ``on``: which event model a handler gets for which name.

Made by scripts/generate_on.py from the built-in families; do not edit. The last overloads take any text, so that a
misspelt name is an error of one line. A name that several families share is here only in its qualified form.
"""

# The last overloads take what the others do not, and return something else.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from brokerkit._config._rate import Rate
    from brokerkit._config._retry_policy import RetryPolicy
    from brokerkit._handlers._registrar import Registrar, UnknownEventName
    from brokerkit.dedupe import Dedupe
    from brokerkit.events import {modules}

M = TypeVar("M")

Name: TypeAlias = Literal[
{names}
]
"""Every known event name, plain where one family alone has it, and qualified with its family."""


class On(Protocol):
    """Registers handlers by event name or model class."""

'''

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
    loaded = [_load(place) for _, place in sorted(families.items())]
    shared = Counter(name for _, family in loaded for name in family.models)
    events = [
        Spelled(
            (*([name] if shared[name] == 1 else []), f"{family.name}:{name}"),
            f"{_short(module)}.{exported(module, family, name)}",
        )
        for module, family in loaded
        for name in sorted(family.models)
    ]
    modules = ", ".join(sorted({_short(module) for module, _ in loaded}))
    return HEAD.format(modules=modules, names="\n".join(name_lines(events))) + "".join(overloads(events))


def _short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


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


def rendered(families: Mapping[str, str]) -> dict[Path, str]:
    """Return what each generated file has to hold, as the project's formatter has it."""
    made = {PACKAGE / "_vendors/_on.py": render_on(families), PACKAGE / "events" / "_names.py": render_names(families)}
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
