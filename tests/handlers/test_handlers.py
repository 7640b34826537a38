"""Handlers: what is wrong with one is said when it is registered or included."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, TypeVar

import pytest

from brokerkit import Bus, ConfigError, Handlers, Message, RetryPolicy
from brokerkit._handlers._handlers import Handler
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
async def with_limit(event: OnGameDone, *, limit: int = 3) -> None: ...
async def message_by_default(event: OnGameDone, message: Message | None = None) -> None: ...
async def with_dependency(service: Service, event: OnGameDone) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_async", "takes_message"),
    [
        (both, True, True),
        (event_only, True, False),
        (plain, False, False),
        (functools.partial(with_limit, limit=4), True, False),
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
def _default(event: OnGameDone, limit: int = 3) -> None: ...
def _keyword_default(event: OnGameDone, *, limit: int = 3) -> None: ...
def _third_default(event: OnGameDone, message: Message, limit: int = 3) -> None: ...
def _event_default(event: OnGameDone | None = None) -> None: ...
def _stars(*args: Any) -> None: ...
def _more_stars(event: OnGameDone, *args: Any) -> None: ...
def _double_stars(event: OnGameDone, **kwargs: Any) -> None: ...
def _batch(event: list[OnGameDone]) -> None: ...
def _either_other(event: OnUserLoggedIn | str) -> None: ...
def _message_first(message: Message) -> None: ...
def _literal(event: Literal["x"]) -> None: ...
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
        (_default, r"nothing would fill limit.*functools.partial\(_default, limit=\.\.\.\)"),
        (_keyword_default, "nothing would fill limit"),
        (_third_default, "nothing would fill limit"),
        (_event_default, "write event without a default"),
        (_stars, r"\*args hides its parameters.*functools.wraps"),
        (_more_stars, r"\*args"),
        (_double_stars, r"\*\*kwargs"),
        (_batch, r"takes list\[OnGameDone\], but 'OnGameDone' arrives as OnGameDone"),
        (_either_other, "but 'OnGameDone' arrives as OnGameDone"),
        (_message_first, r"first parameter is the event; to get the message, write \(event, message\)"),
        (_literal, "but 'OnGameDone' arrives as OnGameDone"),
        (Service, "Service is a class"),
        (Service.handle, r"method without its object.*service.handle"),
        (5, "a handler is a function, not a int"),
        (None, "not a NoneType"),
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
        (("*", "OnGameDone"), {}, "already means every name"),
        ((both,), {}, r'write @….on\("OnGameDone"\) above .*both'),
        ((lambda event: None,), {}, "needs the event before the function"),
        ((["OnGameDone", "OnUserLoggedIn"],), {}, r"one by one.*on\(\*names\)"),
        ((7,), {}, "not a int"),
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
    ],
)
def test_a_name_that_means_nothing_or_two_things_fails_when_it_is_included(event: Any, message: str) -> None:
    handlers = Handlers()
    handlers._on(event)(lambda event: None)
    bus = Bus("memory://", topic="t")
    with pytest.raises(ConfigError, match=message):
        bus.include(handlers)
    assert len(bus.handlers) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": 3}, r"retry must be a RetryPolicy, not a int: write retry=RetryPolicy\(attempts=3\)"),
        ({"retry": "3"}, r"retry must be a RetryPolicy, not a str"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not a str"),
        ({"timeout": True}, "timeout must be a number of seconds, not a bool"),
        ({"timeout": 0}, "more than 0 seconds"),
        ({"source": 1}, "source must be the name of a source, not a int"),
    ],
)
def test_an_option_of_another_type_is_refused_with_what_to_write(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Handlers()._on("OnGameDone", **options)


def test_names_qualified_names_and_models_mean_the_same() -> None:
    meanings = [
        next(register(event_only, event).meanings()) for event in ("OnGameDone", "evenbet:OnGameDone", OnGameDone)
    ]
    assert {(meaning.name, meaning.family.name, meaning.model) for meaning in meanings} == {
        ("OnGameDone", "evenbet", OnGameDone)
    }
    assert list(register(plain, "*").meanings()) == []


def test_what_a_coroutine_function_returned_is_no_handler() -> None:
    with pytest.raises(ConfigError, match=r"both\(\) returned: give it the function, without \(\)"):
        register(both(OnGameDone(), Message("x", b"")))


def test_annotations_that_accept_the_event_are_accepted() -> None:
    model = TypeVar("model", bound=OnGameDone)

    def typed(event: model) -> model:
        return event

    def annotated(event: Annotated[OnGameDone, "a hand"]) -> None: ...
    def either(event: OnUserLoggedIn | OnGameDone | None) -> None: ...
    def anything(event: object, message: object) -> None: ...

    for function in (typed, annotated, either, anything):
        register(function)
    register(lambda event: None, "*")


def made(number: int) -> Any:
    """Functions of one name that do different things."""

    async def handle(event: OnGameDone) -> int:
        return number

    return handle


def test_each_handler_has_a_name_of_its_own() -> None:
    bus = Bus("memory://", topic="t")
    for number in (1000, 2000):
        bus.on("OnGameDone")(made(number))
    bus.on("OnUserLoggedIn")(plain)
    bus.on("OnGameDone")(plain)
    name = f"{__name__}.made.<locals>.handle"
    assert [handler.name for handler in bus.handlers] == [
        name,
        f"{name}#2",
        f"{__name__}.plain",
        f"{__name__}.plain#2",
    ]


def cell(source: str, file: str) -> Any:
    """What code defines that runs as a notebook's cell does."""
    scope: dict[str, Any] = {"__name__": "__main__", "OnGameDone": OnGameDone}
    exec(compile(source, file, "exec"), scope)
    return scope["settle"]


CELL = "async def settle(event: OnGameDone) -> None: ..."


@pytest.mark.parametrize("second", [(CELL, "<cell 1>"), (f"# edited\n{CELL}", "<cell 2>")])
def test_a_cell_that_runs_again_does_not_register_its_handler_twice(second: tuple[str, str]) -> None:
    bus = Bus("memory://", topic="t")
    bus.on("OnGameDone")(cell(CELL, "<cell 1>"))
    again = Handlers()
    again.on("OnGameDone")(cell(*second))
    with pytest.raises(ConfigError, match="__main__.settle is already registered for OnGameDone.*make a new bus"):
        bus.include(again)
    assert len(bus.handlers) == 1


def test_a_handler_of_code_without_a_module_has_its_own_name_alone() -> None:
    scope: dict[str, Any] = {}
    exec("async def settle(event, nobody_fills_this, *, nor_this): ...", scope)
    with pytest.raises(ConfigError, match=r"handler settle\b"):
        Handlers().on("OnGameDone")(scope["settle"])


def test_the_same_function_is_not_registered_twice_for_one_event() -> None:
    service, handlers, bus = Service(), Handlers(), Bus("memory://", topic="t")
    for function in (event_only, service.handle, functools.partial(with_dependency, service), made(1000)):
        handlers.on("OnGameDone")(function)
        with pytest.raises(ConfigError, match="would handle each message twice"):
            handlers.on("OnGameDone")(function)
    handlers.on("OnGameDone", source="a")(plain)
    handlers.on("OnGameDone", source="b")(plain)
    handlers.on("OnGameDone")(Service().handle)
    bus.include(handlers)
    with pytest.raises(ConfigError, match="would handle each message twice"):
        bus.include(handlers)
    assert len(bus.handlers) == 7


def test_two_functions_of_one_name_in_one_file_are_two() -> None:
    handlers = Handlers()
    first, second = cell(CELL, "/a.py"), cell(f"\n\n{CELL}", "/a.py")
    handlers.on("OnGameDone")(first)
    handlers.on("OnGameDone")(second)
    assert [handler.name for handler in handlers] == ["__main__.settle", "__main__.settle#2"]


def test_a_set_that_was_included_takes_no_more() -> None:
    handlers, bus = Handlers(), Bus("memory://", topic="t")
    handlers.on("OnGameDone")(event_only)
    bus.include(handlers)
    with pytest.raises(ConfigError, match="register everything before include"):
        handlers.on("OnUserLoggedIn")(plain)
    with pytest.raises(ConfigError, match="include takes Handlers, not a function"):
        bus.include(event_only)  # type: ignore[arg-type]


async def test_nothing_is_registered_while_the_bus_consumes() -> None:
    bus, late = Bus("memory://late", topic="t", provision="all"), Handlers()
    bus.on("OnGameDone")(event_only)
    late.on("OnUserLoggedIn")(plain)
    async with bus, bus.serving():
        with pytest.raises(ConfigError, match="already consuming: register before serve"):
            bus.on("OnUserLoggedIn")
        with pytest.raises(ConfigError, match="already consuming"):
            bus.include(late)
    bus.on("OnUserLoggedIn")(plain)
    assert len(bus.handlers) == 2


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

    with pytest.raises(ConfigError, match="other gets no events from source 'elsewhere'"):
        async with bus, bus.serving():
            pass
