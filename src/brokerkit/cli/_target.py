"""The user's bus that a command line names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from brokerkit import Bus, Handlers
from brokerkit.cli._output import UsageError


def find_bus(target: str, config: Path | None) -> Bus:
    """Return the bus that MODULE:BUS names. With a configuration, make a bus from that file with the handlers of MODULE:BUS.

    Raises:
        UsageError: there is no such bus; the message lists the buses of the module.
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
        raise UsageError(f"{target} is a set of handlers: give their bus with --config FILE")
    what = f"is not a Bus but a {type(found).__name__}" if found is not None else "does not exist"
    wanted = (Bus,) if config is None else (Bus, Handlers)
    there = ", ".join(f"{module_name}:{name}" for name, value in vars(module).items() if isinstance(value, wanted))
    raise UsageError(f"{target} {what}; this module has {there or 'nothing'}")


def bus_or_url(target: str | None, config: Path | None, given: dict[str, Any]) -> Bus:
    """Return the bus of a command that takes MODULE:BUS, the URL of a broker, or a configuration.

    Args:
        target: the first two, or None.
        config: a configuration file.
        given: settings of the command line, which go with a URL.

    Raises:
        UsageError: there is no such bus, or it has settings of its own.
    """
    if target is not None and "://" not in target:
        if given:
            raise UsageError(f"--{next(iter(given))} goes with a URL; {target} has its own settings")
        return find_bus(target, config)
    if config is not None:
        if target:
            given["url"] = target
        return Bus.from_config(config, **given)
    return Bus(target, **given)


def import_here(name: str) -> ModuleType:
    """Import a module of the current folder or of an installed package.

    Raises:
        UsageError: there is no module of this name.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Not this module is missing, but one that it imports.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(f"no module {name!r} in the current folder or in the installed packages") from error
