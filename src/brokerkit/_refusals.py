"""What is refused when a bus is made or starts, because its broker could not keep it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NoReturn

from brokerkit._consuming._once import Once
from brokerkit._errors import ConfigError, UnsupportedFeature
from brokerkit._retry import RetryPolicy
from brokerkit._rules import split_rule
from brokerkit._settings import SourceSettings
from brokerkit._transport import Capabilities
from brokerkit.dedupe._memory import MemoryStore

logger = logging.getLogger("brokerkit")


def refuse_unpromised(
    name: str, source: SourceSettings, promises: Capabilities, policies: Iterable[RetryPolicy]
) -> None:
    """Refuse at the start what the broker cannot do.

    Raises:
        UnsupportedFeature: naming broker, feature and alternative.
    """

    def refuse(feature: str, alternative: str) -> NoReturn:
        raise UnsupportedFeature(
            broker=promises.broker, feature=f"{feature} (source {name!r})", alternative=alternative
        )

    places = [split_rule(rule, what="name_from")[0] for rule in source.name_from]
    if places and not promises.name_places.intersection(places):
        refuse(f"name_from = {', '.join(source.name_from)}", f"use one of {', '.join(sorted(promises.name_places))}")
    if source.broadcast and not promises.broadcast:
        refuse("broadcast", "give each process a group of its own")
    for policy in policies:
        longest = policy.longest_total
        if source.order == "strict" and promises.max_hold is not None and longest > promises.max_hold:
            refuse(
                f'order = "strict" with retries that wait {longest:g} s in all',
                f'keep the waits below {promises.max_hold:g} s, or use order = "key"',
            )
        longest = max(each.longest_wait(max(each.attempts - 1, 1)) for each in policy.policies)
        if promises.durable_retry and longest > max(promises.durable_retry, source.hold):
            refuse(f"retries after {longest:g} s", f"set retry.cap to at most {promises.durable_retry:g} s")


def refuse_impossible_onces(name: str, source: SourceSettings, promises: Capabilities, onces: Iterable[Once]) -> None:
    """Refuse at the start what cannot run once for each message.

    Raises:
        ConfigError: the handler or the source does not go together with its store.
        UnsupportedFeature: nothing tells one message from another.
    """
    for once in onces:
        handler = once.handler.name
        if source.broadcast:
            raise ConfigError(
                f"source {name!r}: with broadcast each process runs {handler} for each message, and dedupe would let only "
                "one of them; leave one of the two out"
            )
        if once.dedupe.store.transactional and not once.handler.is_async:
            raise ConfigError(
                f"handler {handler} is a plain function, and the session of its dedupe store is for coroutines: "
                "make it 'async def', or use another store"
            )
        if once.dedupe.key is None and not (promises.stable_id or source.id_from or source.wire.id_from):
            raise UnsupportedFeature(
                broker=promises.broker,
                feature=f"dedupe of {handler} by the message's id (source {name!r}), because it gives messages none",
                alternative="say where the producer writes one (id_from), or what to tell messages by "
                "(Dedupe(key=...): 'id' for the id that the producer sets, or a function of the event)",
            )


def refuse_workers(
    name: str, source: SourceSettings, promises: Capabilities, onces: Iterable[Once], count: int
) -> None:
    """Refuse at the start what several processes would do wrongly; log what they do otherwise than one.

    Raises:
        ConfigError: a handler's marks would be known to one process alone.
        UnsupportedFeature: naming broker, feature and alternative.
    """

    def refuse(why: str, alternative: str) -> NoReturn:
        raise UnsupportedFeature(
            broker=promises.broker, feature=f"{count} workers (source {name!r}): {why}", alternative=alternative
        )

    if promises.one_process:
        refuse(promises.one_process, "run it without workers")
    if promises.groups == "none" or source.broadcast:
        refuse(f"each event would be handled {count} times, because each process gets it", "run it without workers")
    reach = source.reach(promises)
    if source.order == "strict" and reach != "group":
        refuse('order = "strict" does not reach across processes', 'run it without workers, or use order = "key"')
    for once in onces:
        if isinstance(once.dedupe.store, MemoryStore):
            raise ConfigError(
                f"source {name!r}: dedupe of {once.handler.name} remembers in one process alone, and a worker would not "
                "know what another has handled; use a store on Redis or in a database"
            )
    if source.order == "strict" and promises.single_reader:
        logger.warning("source %s is read by one worker at a time, because of order = strict", name)
    elif source.order == "key" and reach == "process":
        logger.warning(
            "source %s: %s keeps the order of a key within each worker, not across them", name, promises.broker
        )
