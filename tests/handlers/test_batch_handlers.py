"""Handlers of batches: what is wrong with one is said when it is registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from brokerkit import ConfigError, FailedItems, Handlers, Message
from brokerkit._handlers._handlers import Handler
from brokerkit.events.evenbet import OnGameDone, OnPlayerSeatedDown


def register(function: Any, *events: Any, **options: Any) -> Handler:
    """The handler that a function becomes."""
    handlers = Handlers()
    given: dict[str, Any] = {"size": 10, "within": 0.5, **options}
    register_as: Any = handlers.on_batch
    assert register_as(*(events or ("OnGameDone",)), **given)(function) is function
    [handler] = handlers
    return handler


async def events_only(events: list[OnGameDone]) -> None: ...
async def both(events: list[OnGameDone], messages: list[Message]) -> None: ...
async def messages_only(messages: list[Message]) -> None: ...
def plain(events: Any) -> None: ...
async def any_sequence(events: Sequence[OnGameDone]) -> FailedItems | None: ...
async def with_null(events: list[OnGameDone | None]) -> None: ...


@pytest.mark.parametrize(
    ("function", "reads", "takes_messages"),
    [
        (events_only, True, False),
        (both, True, True),
        (messages_only, False, False),
        (plain, True, False),
        (any_sequence, True, False),
    ],
)
def test_lists_of_events_and_of_messages_are_taken(function: Any, reads: bool, takes_messages: bool) -> None:
    handler = register(function)
    assert handler.batch is not None
    assert (handler.batch.size, handler.batch.within, handler.batch.reads) == (10, 0.5, reads)
    assert handler.takes_message is takes_messages


def test_events_that_may_be_none_ask_for_messages_without_a_value() -> None:
    assert register(with_null).takes_null
    assert not register(events_only).takes_null


async def single(event: OnGameDone) -> None: ...
async def other(events: list[OnPlayerSeatedDown]) -> None: ...
async def single_message(events: list[OnGameDone], message: Message) -> None: ...
async def too_many(messages: list[Message], more: list[Message]) -> None: ...
async def three(events: list[OnGameDone], messages: list[Message], more: int) -> None: ...
async def generator(events: list[OnGameDone]) -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (single, r"takes batches: its first parameter is a list, such as list\[OnGameDone\], not OnGameDone"),
        (other, r"takes list\[OnPlayerSeatedDown\], but 'OnGameDone' arrives as OnGameDone"),
        (single_message, "its second parameter is a list"),
        (too_many, r"with list\[Message\] first it takes nothing else"),
        (three, r"takes \(events\) or \(events, messages\), not 3 parameters"),
        (generator, "is a generator"),
        (42, "a handler is a function, not a int"),
    ],
)
def test_a_signature_that_takes_no_batches_is_refused(function: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        register(function)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "size must be at least 1 message, got 0"),
        ({"size": 2.5}, "size must be a number of messages, not a float"),
        ({"size": True}, "size must be a number of messages, not a bool"),
        ({"within": 0}, "within must be a finite number of seconds above 0, got 0"),
        ({"within": float("inf")}, "within must be a finite number of seconds above 0, got inf"),
        ({"within": "1s"}, "within must be a number of seconds, not a str"),
        ({"retry": 3}, r"write retry=RetryPolicy\(attempts=3\)"),
        ({"dedupe": "redis://"}, r"dedupe must be Dedupe\(store, ...\) or False"),
    ],
)
def test_an_option_that_cannot_be_one_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        register(events_only, **options)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (("*",), "on_batch takes one event"),
        (("OnGameDone", "OnPlayerSeatedDown"), "on_batch takes one event"),
        ((events_only,), r"on_batch needs the event before the function: write @….on_batch\("),
        ((3,), "on_batch takes event names, model classes"),
    ],
)
def test_what_is_not_one_event_is_refused(events: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        register(events_only, *events)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([1], "takes errors by position"),
        ({-1: ValueError()}, "a position in the list is a number from 0, not -1"),
        ({"0": ValueError()}, "a position in the list is a number from 0, not '0'"),
        ({True: ValueError()}, "a position in the list is a number from 0, not True"),
        ({0: "no"}, "position 0 needs an exception, not a str"),
    ],
)
def test_failed_items_that_name_nothing_are_refused(errors: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        FailedItems(errors)


def test_failed_items_are_true_if_there_are_any() -> None:
    assert FailedItems({0: ValueError()})
    assert not FailedItems()
