"""Checks when a bus is made or starts: refuses settings that its broker cannot keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from brokerkit._config._retry_policy import RetryPolicy
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._idempotent import IdempotentHandler
from brokerkit._consuming._transactions import OUTBOX
from brokerkit._errors import ConfigError, UnsupportedFeature
from brokerkit._logging import get_logger
from brokerkit._messages._name_rules import split_rule
from brokerkit.adapters.api import Capabilities
from brokerkit.dedupe._memory import MemoryStore

logger = get_logger(__name__)


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

    stated = [split_rule(rule, what="name_from")[0] for rule in source.name_from]
    places = ["field" if place == "body" else place for place in stated]  # steps look into a body as field rules do
    if places and not {*promises.name_places, "schema"}.intersection(places):
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


def refuse_missing_group(name: str, source: SourceSettings, promises: Capabilities, *, certain: bool) -> None:
    """Refuse a source that needs a group and has none.

    Args:
        name: the name of the source.
        source: its settings.
        promises: the capabilities of its broker.
        certain: whether it will be read. A bus that only publishes has a source too, which needs no group; but an empty
            group is a mistake there as well.

    Raises:
        ConfigError: what is missing, and how to set it.
    """
    missing = source.group is None and certain
    empty = source.group is not None and not source.group.strip()
    if promises.needs_group and not (source.queue or source.broadcast) and (missing or empty):
        raise ConfigError(
            f"source {name!r}: {promises.broker} needs a group{', and this one is empty' if empty else ''}: set group, or "
            f"BROKERKIT_GROUP, or broadcast = true for a group of each process"
        )


def refuse_impossible_dedupe(
    name: str, source: SourceSettings, promises: Capabilities, idempotent_handlers: Iterable[IdempotentHandler]
) -> None:
    """Refuse at the start handlers that cannot run once for each message.

    Raises:
        ConfigError: the handler or the source cannot use this store.
        UnsupportedFeature: nothing tells one message from another.
    """
    for idempotent in idempotent_handlers:
        handler = idempotent.handler.name
        if source.broadcast:
            raise ConfigError(
                f"source {name!r}: with broadcast each process runs {handler} for each message, and dedupe would let only "
                "one of them; remove one of the two settings"
            )
        if idempotent.dedupe.store.transactional and not idempotent.handler.is_async:
            raise ConfigError(
                f"handler {handler} is a plain function, and the session of its dedupe store is for coroutines: "
                "write 'async def', or use another store"
            )
        if idempotent.dedupe.store.transactional and idempotent.handler.batch is not None:
            raise ConfigError(
                f"handler {handler} takes batches, and its dedupe store opens a transaction for each message: use a "
                "store on Redis, or make the statements of the handler safe to run twice (INSERT ... ON CONFLICT DO NOTHING)"
            )
        if idempotent.dedupe.key is None and not (promises.stable_id or source.id_from or source.wire.id_from):
            raise UnsupportedFeature(
                broker=promises.broker,
                feature=f"dedupe of {handler} by the message's id (source {name!r}), because not every message has one",
                alternative="say where the producer writes an id (id_from), or what identifies a message "
                "(Dedupe(key=...): 'id' for the id that the producer sets, or a function of the event)",
            )


def refuse_impossible_transactions(
    name: str,
    source: SourceSettings,
    promises: Capabilities,
    *,
    letters_beside: bool,
    targets: Mapping[str, bool],
    idempotent_handlers: Iterable[IdempotentHandler],
) -> None:
    """Refuse ``exactly_once`` at the start where a message and its results cannot be one transaction.

    Args:
        name: the source's.
        source: its settings.
        promises: its broker's.
        letters_beside: its dead letters are stored through the same connection.
        targets: for each target of the bus, whether it is on the same connection.
        idempotent_handlers: those of its handlers.

    Raises:
        ConfigError: a setting or a handler does not go together with transactions.
        UnsupportedFeature: naming broker, feature and alternative.
    """
    if not source.exactly_once:
        return

    def refuse(why: str, alternative: str) -> NoReturn:
        raise UnsupportedFeature(
            broker=promises.broker, feature=f"exactly_once (source {name!r}){why}", alternative=alternative
        )

    if not promises.transactions:
        refuse("", OUTBOX)
    if source.broadcast:
        refuse(" with broadcast, which remembers nothing at the broker", "use a group")
    if not letters_beside:
        refuse(" with dead letters elsewhere", "leave out dead_letter: they go to a topic beside the source's")
    if targets and not any(targets.values()):
        refuse(f": no target is on its connection ({', '.join(targets)})", f"give one its URL and options, or {OUTBOX}")
    for idempotent in idempotent_handlers:
        raise ConfigError(
            f"source {name!r}: exactly_once does not go together with dedupe ({idempotent.handler.name}): a mark is kept "
            "although its transaction may still be aborted, and then nobody handles the message; leave one of the two out"
        )


def refuse_workers(
    name: str,
    source: SourceSettings,
    promises: Capabilities,
    idempotent_handlers: Iterable[IdempotentHandler],
    count: int,
) -> None:
    """Refuse at the start settings that several processes would handle wrongly. Log what differs from a single process.

    Raises:
        ConfigError: a handler's marks would be known to only one process.
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
    for idempotent in idempotent_handlers:
        if isinstance(idempotent.dedupe.store, MemoryStore):
            raise ConfigError(
                f"source {name!r}: dedupe of {idempotent.handler.name} remembers in one process only, and a worker would "
                "not know what another has handled; use a store on Redis or in a database"
            )
    if source.order == "strict" and promises.single_reader:
        logger.warning("source %s is read by one worker at a time, because of order = strict", name)
    elif source.order == "key" and reach == "process":
        logger.warning(
            "source %s: %s keeps the order of a key within each worker, not across them", name, promises.broker
        )
