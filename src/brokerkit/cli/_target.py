"""The bus of the user's own that a command line names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from brokerkit import Bus, Handlers
from brokerkit.cli._output import UsageError


def find_bus(target: str, config: Path | None) -> Bus:
    """The bus that MODULE:BUS names; with a configuration, one of that file with the handlers of MODULE:BUS.

    Raises:
        UsageError: there is no such thing; the message says what there is.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{target!r} is not MODULE:BUS, such as wallet.events:bus")
    module = import_here(module_name)
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if config is not None and isinstance(found, (Bus, Handlers)):
        bus = Bus.from_config(config)
        bus.include(found.handlers if isinstance(found, Bus) else found)
        return bus
    if isinstance(found, Bus):
        return found
    if isinstance(found, Handlers):
        raise UsageError(f"{target} is a set of handlers: say with --config FILE on which bus they run")
    what = f"is no Bus but a {type(found).__name__}" if found is not None else "does not exist"
    wanted = (Bus,) if config is None else (Bus, Handlers)
    there = ", ".join(f"{module_name}:{name}" for name, value in vars(module).items() if isinstance(value, wanted))
    raise UsageError(f"{target} {what}; what can be run here: {there or 'nothing'}")


def import_here(name: str) -> ModuleType:
    """A module of the current folder or of an installed package.

    Raises:
        UsageError: there is none of this name.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Not the module but something that it imports: that is its own affair.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(f"there is no module {name!r} here nor among the installed packages") from error
