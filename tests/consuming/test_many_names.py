"""Many event names: what is handled stays quick to find, and registration does not look at every handler for each."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from brokerkit import ConfigError, Handlers
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._routes import Routes
from brokerkit._handlers import _handlers
from brokerkit.events import Family, register

NAMES = [f"ManyNames{number}" for number in range(12_000)]


class Empty(BaseModel):
    """An event without a field."""


async def handle(event: Any) -> None: ...


def routes_of(handlers: Handlers) -> Routes:
    return Routes(handlers, SourceSettings(url="memory://", topic=("t",), group="g", format="json"), source="bus")


@pytest.fixture(scope="module", autouse=True)
def family() -> None:
    register(Family("manynames", dict.fromkeys(NAMES, Empty)))


def test_invented_names_take_no_room_from_those_that_are_handled() -> None:
    handlers = Handlers()
    handlers.on(NAMES[0])(handle)
    routes = routes_of(handlers)
    for number in range(11_000):
        assert not routes[f"invented-{number}"].calls
    assert routes.find("invented-9999") is not None
    assert routes.find("invented-10999") is None
    assert routes.find(NAMES[0]) is None
    assert routes[NAMES[0]] is routes.find(NAMES[0])


def test_more_handled_names_than_invented_ones_are_remembered() -> None:
    handlers = Handlers()
    for name in NAMES:
        handlers.on(name)(handle)
    routes = routes_of(handlers)
    for name in NAMES:
        assert [call.event for call in routes[name].calls] == [name]
    assert routes.find(NAMES[-1]) is routes[NAMES[-1]]


def test_a_registration_compares_only_handlers_of_the_same_event(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    same = _handlers.is_same
    monkeypatch.setattr(_handlers, "is_same", lambda one, other: compared.append(one) or same(one, other))
    handlers = Handlers()
    for name in NAMES[:300]:
        handlers.on(name)(handle)
    assert not compared
    with pytest.raises(ConfigError, match="already registered for ManyNames7"):
        handlers.on(NAMES[7])(handle)
    assert len(compared) == 1
    assert len({handler.name for handler in handlers}) == 300
