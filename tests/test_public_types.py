"""Whoever writes an annotation can import every name that a public signature is written with."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import contextlib
import importlib
import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.test_site import PUBLIC

MODULES = (
    *dict.fromkeys((*PUBLIC, "brokerkit.adapters.api")),
    *(f"brokerkit.events.{family}" for family in ("accelbyte", "evenbet", "session", "thrillconnect", "thrillpots")),
)
FOREIGN = {"AsyncSession", "Starlette", *dir(builtins), *dir(typing), *dir(collections.abc), *dir(contextlib)}
"""Names of other packages, some of which are imported for type checkers alone."""
NOT_FOR_USERS = (
    "brokerkit.testing.TestBus.opened",  # called by the embedded brokers of a test
    "brokerkit.testing.TestBus.sent",
    "brokerkit.dedupe.MemoryStore.find",  # called by its claims
    "brokerkit.dedupe.MemoryStore.set",
    "brokerkit.DeadLetters.__init__",  # `Bus.dead_letters` makes it
    "brokerkit.types.Handler.__init__",  # `on` makes it
    "brokerkit.adapters.api.Delivery.need_retry_state",  # for the core
    "brokerkit.types.Runtime.",  # a name for annotations; its methods are for brokerkit's own tools
)
SPECIAL = {"__init__", "__call__", "__iter__", "__aiter__", "__enter__", "__aenter__"}


def public_names() -> set[str]:
    return {name for module in MODULES for name in importlib.import_module(module).__all__}


def functions(value: Any) -> Iterator[tuple[str, Any]]:
    """The public functions of a name: itself, or the methods and properties of a class that are its own."""
    if inspect.isfunction(value):
        yield "", value
    for key, member in vars(value).items() if inspect.isclass(value) else ():
        if key.startswith("_") and key not in SPECIAL:
            continue
        found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(found):
            yield f".{key}", inspect.unwrap(found)


def written(annotations: dict[str, Any]) -> set[str]:
    """The names in annotations as they are written."""
    found = set[str]()
    for annotation in annotations.values():
        text = annotation if isinstance(annotation, str) else ""
        for node in ast.walk(ast.parse(text, mode="eval")) if text else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                continue
            if isinstance(node, ast.Name):
                found.add(node.id)
    return found


def is_foreign(name: str, function: Any) -> bool:
    value = vars(inspect.getmodule(function) or function).get(name)
    if isinstance(value, typing.TypeVar | typing.ParamSpec) or inspect.ismodule(value):
        return True
    return name in FOREIGN or (
        value is not None and not getattr(value, "__module__", "brokerkit").startswith("brokerkit")
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_name_in_a_public_signature_can_be_imported_from_a_public_module(module: str) -> None:
    public, hidden = public_names(), set[str]()
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        for key, function in functions(value):
            place = f"{module}.{name}{key}"
            if not place.startswith(NOT_FOR_USERS):
                wanted = written(function.__annotations__)
                hidden |= {f"{place}: {each}" for each in wanted - public if not is_foreign(each, function)}
    assert sorted(hidden) == []
