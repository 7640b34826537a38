"""Handlers: what is wrong with one is said when it is registered or included."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from brokerkit import Bus, ConfigError, Handlers, Message, RetryPolicy
from brokerkit._handlers import Handler
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown, OnUserLoggedIn


def register(function: Any, *events: Any, **settings: Any) -> Handler:
    """The handler that a function becomes."""
    handlers = Handlers()
    assert handlers._on(*(events or ("OnGameDone",)), **settings)(function) is function
    [handler] = handlers
    return handler


class Service:
    """Methods and a callable object."""

    async def handle(self, event: OnGameDone, message: Message) -> None: ...

    @staticmethod
    def plain(event: OnGameDone) -> None: ...

    async def __call__(self, event: OnGameDone) -> None: ...


async def both(event: OnGameDone, message: Message) -> None: ...
async def event_only(event: OnGameDone) -> None: ...
def plain(event: Any, /) -> None: ...
async def with_defaults(event: OnGameDone, limit: int = 3, *, flag: bool = False) -> None: ...
async def message_by_default(event: OnGameDone, message: Message | None = None) -> None: ...
async def with_dependency(service: Service, event: OnGameDone) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_async", "takes_message"),
    [
        (both, True, True),
        (event_only, True, False),
        (plain, False, False),
        (with_defaults, True, False),
        (message_by_default, True, True),
        (lambda event, message: None, False, True),
        (Service().handle, True, True),
        (Service.plain, False, False),
        (Service(), True, False),
        (functools.partial(with_dependency, Service()), True, False),
    ],
)
def test_functions_methods_callables_and_partials_are_handlers(
    function: Any, is_async: bool, takes_message: bool
) -> None:
    handler = register(function)
    assert (handler.is_async, handler.takes_message) == (is_async, takes_message)


def test_a_partial_is_named_after_its_function() -> None:
    """The name stands in dead letters, and says which handlers are done with a message."""
    assert register(functools.partial(with_dependency, Service())).name == f"{__name__}.with_dependency"


def _no_parameter() -> None: ...
def _three(event: Any, message: Any, more: Any) -> None: ...
def _no_message(event: OnGameDone, message: str) -> None: ...
def _other_model(event: OnUserLoggedIn) -> None: ...
def _keyword_needed(event: OnGameDone, *, database: Any) -> None: ...
async def _generator(event: OnGameDone) -> Any:
    yield event


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_no_parameter, r"_no_parameter takes \(event\) or \(event, message\), not 0"),
        (_three, "not 3 parameters"),
        (_no_message, "second parameter is the Message, not <class 'str'>"),
        (_other_model, "_other_model takes OnUserLoggedIn, but 'OnGameDone' arrives as OnGameDone"),
        (functools.partial(with_dependency), "second parameter is the Message"),
        (_keyword_needed, "database"),
        (_generator, "generator"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_when_it_is_registered(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register(function)


def test_a_model_is_checked_for_each_name_and_its_bases_fit() -> None:
    async def of_base(event: OnGameDone.__bases__[0]) -> None: ...  # type: ignore[name-defined]

    async def of_one(event: OnGameDone) -> None: ...

    register(of_base, "OnGameDone", "OnUserLoggedIn")
    with pytest.raises(ConfigError, match="'OnUserLoggedIn' arrives as OnUserLoggedIn"):
        register(of_one, "OnGameDone", "OnUserLoggedIn")
    with pytest.raises(ConfigError, match="takes OnGameDone"):
        register(of_one, OnUserLoggedIn)


@pytest.mark.parametrize(
    ("events", "settings", "message"),
    [
        ((), {}, "needs an event name"),
        (("*", "OnGameDone"), {}, "every name already"),
        (("OnGameDone",), {"timeout": 0}, "more than 0"),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(events: Any, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Handlers()._on(*events, **settings)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("OnGameDoen", "no registered family knows the event name 'OnGameDoen'; did you mean 'OnGameDone'"),
        ("evenbet:OnGameDoen", "did you mean 'OnGameDone'"),
        ("OptInEvent", "thrillconnect:OptInEvent, thrillpots:OptInEvent"),
        (Message, "Message is no registered event"),
    ],
)
def test_a_name_that_means_nothing_or_two_things_fails_when_it_is_included(event: Any, message: str) -> None:
    handlers = Handlers()
    handlers._on(event)(lambda event: None)
    bus = Bus("memory://", topic="t")
    with pytest.raises(ConfigError, match=message):
        bus.include(handlers)
    assert len(bus.handlers) == 0


def test_names_qualified_names_and_models_mean_the_same() -> None:
    meanings = [
        next(register(event_only, event).meanings()) for event in ("OnGameDone", "evenbet:OnGameDone", OnGameDone)
    ]
    assert {(meaning.name, meaning.family.name, meaning.model) for meaning in meanings} == {
        ("OnGameDone", "evenbet", OnGameDone)
    }
    assert list(register(plain, "*").meanings()) == []


def test_each_handler_has_a_name_of_its_own() -> None:
    handlers, bus = Handlers(), Bus("memory://", topic="t")
    handlers.on("OnGameDone")(event_only)
    handlers.on("OnGameDone")(event_only)
    bus.on("OnGameDone")(event_only)
    bus.include(handlers)
    name = f"{__name__}.event_only"
    assert [handler.name for handler in handlers] == [name, f"{name}#2"]
    names = [handler.name for handler in bus.handlers]
    assert len(set(names)) == 3


def test_settings_of_a_handler_are_kept() -> None:
    policy = RetryPolicy(attempts=2)
    handler = register(event_only, retry=policy, timeout=3.0, source="poker")
    assert (handler.retry, handler.timeout, handler.source) == (policy, 3.0, "poker")


async def test_a_handler_hears_only_the_source_that_it_names() -> None:
    from tests import every_broker
    from tests.every_broker import until

    memory, ran = every_broker.memory(), list[str]()
    bus = memory.bus()

    @bus.on("OnPlayerSeatedDown", source="bus")
    async def mine(event: OnPlayerSeatedDown) -> None:
        ran.append("mine")

    async with bus, bus.serving():
        await bus.publish(OnPlayerSeatedDown())
        await until(lambda: bus.stats["bus"].handled == 1)
    assert ran == ["mine"]

    @bus.on("OnPlayerSeatedDown", source="elsewhere")
    async def other(event: OnPlayerSeatedDown) -> None:
        ran.append("other")

    with pytest.raises(ConfigError, match="other gets nothing from source 'elsewhere'"):
        async with bus, bus.serving():
            pass
