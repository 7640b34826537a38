"""What each store promises: one claim at a time, done for as long as it is kept, and nothing left behind."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, text

from brokerkit import ConfigError, ConnectionLost, MissingExtra, NotFound
from brokerkit._consuming._idempotent import key_text
from brokerkit.dedupe import DONE, Claim, Dedupe, MemoryStore, RedisStore, SqlStore, Store, Taken, _sql
from brokerkit.dedupe._dedupe import as_dedupe
from brokerkit.testing import virtual_time
from tests.brokers.postgresql import PostgresqlServer
from tests.brokers.redis import RedisBroker
from tests.stores import STORES, MakeStore, make_store

KEY = '["wallet", "app.settle", "7\\u0000 \\ud83c"]'
LEASED = ("memory", "redis")


@pytest.fixture(params=STORES)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    return await make_store(request.param, request, tmp_path)


@pytest.fixture
async def stores(make: MakeStore) -> AsyncIterator[tuple[Store, Store]]:
    """Two that share what they know, as two processes do."""
    one, other = make(), make()
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()


async def claimed(store: Store, key: str = KEY, *, lease: float = 30.0, keep: float = 60.0) -> Claim:
    claim = await store.claim(key, lease=lease, keep=keep)
    assert claim is not DONE and not isinstance(claim, Taken)
    return claim  # type: ignore[return-value]


async def test_what_is_done_is_done_for_everybody(stores: tuple[Store, Store]) -> None:
    one, other = stores
    claim = await claimed(one)
    assert await claim.done()
    await claim.release()  # as one does who is cancelled just after the mark was made
    assert await one.claim(KEY, lease=30, keep=60) is DONE
    assert await other.claim(KEY, lease=30, keep=60) is DONE
    assert await (await claimed(other, KEY + "!")).done()


async def test_what_is_given_back_can_be_claimed_at_once(stores: tuple[Store, Store]) -> None:
    one, other = stores
    await (await claimed(one)).release()
    assert await (await claimed(other)).done()


@pytest.mark.parametrize("make", [name for name in STORES if name != "sqlite"], indirect=True)
async def test_of_all_that_ask_at_once_one_gets_it(stores: tuple[Store, Store]) -> None:
    answers = await asyncio.gather(*(store.claim(KEY, lease=30, keep=60) for store in stores * 10))
    winners = [one for one in answers if not isinstance(one, Taken)]
    assert len(winners) == 1 and winners[0] is not DONE
    assert all(0 < one.wait <= 30 for one in answers if isinstance(one, Taken))
    assert await winners[0].done()  # type: ignore[union-attr]
    assert await stores[1].claim(KEY, lease=30, keep=60) is DONE


@pytest.mark.parametrize("make", ["sqlite"], indirect=True)
async def test_on_sqlite_one_waits_for_the_other(stores: tuple[Store, Store]) -> None:
    first = await claimed(stores[0])
    asking = [asyncio.ensure_future(store.claim(KEY, lease=30, keep=60)) for store in stores * 3]
    await asyncio.sleep(0.2)
    assert not any(one.done() for one in asking)
    assert await first.done()
    assert await asyncio.gather(*asking) == [DONE] * 6


async def test_what_is_done_is_forgotten_after_a_while(stores: tuple[Store, Store]) -> None:
    one, other = stores
    assert await (await claimed(one, keep=4.0)).done()
    assert await other.claim(KEY, lease=30, keep=60) is DONE
    await asyncio.sleep(4.05)
    assert await (await claimed(other, keep=60)).done()
    assert await one.claim(KEY, lease=30, keep=60) is DONE


@pytest.mark.parametrize("make", LEASED, indirect=True)
async def test_a_claim_ends_with_its_lease_and_its_owner_cannot_end_that_of_another(
    stores: tuple[Store, Store],
) -> None:
    one, other = stores
    late = await claimed(one, lease=4.0)
    answer = await other.claim(KEY, lease=30, keep=60)
    assert isinstance(answer, Taken) and answer.wait <= 4.0
    await asyncio.sleep(4.05)
    second = await claimed(other)
    assert not await late.extend()
    assert not await late.done()
    await late.release()
    assert isinstance(await one.claim(KEY, lease=30, keep=60), Taken)
    assert await second.done()
    assert not await late.done()
    assert await one.claim(KEY, lease=30, keep=60) is DONE


@pytest.mark.parametrize("make", LEASED, indirect=True)
async def test_a_claim_that_ended_and_that_nobody_took_is_done_all_the_same(stores: tuple[Store, Store]) -> None:
    late = await claimed(stores[0], lease=0.1)
    await asyncio.sleep(0.15)
    assert await late.done()
    assert await stores[1].claim(KEY, lease=30, keep=60) is DONE


@pytest.mark.parametrize("make", LEASED, indirect=True)
async def test_a_claim_that_is_extended_does_not_end(stores: tuple[Store, Store]) -> None:
    claim = await claimed(stores[0], lease=4.0)
    for _ in range(5):
        await asyncio.sleep(1.0)
        assert await claim.extend()
    assert isinstance(await stores[1].claim(KEY, lease=30, keep=60), Taken)
    assert await claim.done()


async def test_a_store_can_be_opened_again(make: MakeStore) -> None:
    store = make()
    for expected in (False, True):
        await store.open()
        answer = await store.claim(KEY, lease=30, keep=60)
        assert (answer is DONE) is expected
        if not expected:
            await answer.done()  # type: ignore[union-attr]
        await store.close()


async def test_a_memory_forgets_what_has_expired() -> None:
    store = MemoryStore()
    for number in range(25_000):
        await (await claimed(store, str(number), keep=0.0001)).done()
    assert "of 25000" not in repr(store)


async def test_a_memory_forgets_few_expired_keys_with_the_next_claim() -> None:
    with virtual_time():
        store = MemoryStore()
        kept = await claimed(store, "kept", lease=0.01)
        for number in range(50):
            await (await claimed(store, str(number), keep=0.02)).done()
        await (await claimed(store, "given back", lease=0.01)).release()
        assert await kept.extend()
        await kept.done()
        await asyncio.sleep(0.05)
        await claimed(store, "next")
        assert repr(store) == "<MemoryStore of 2 keys>"
        assert await store.claim("kept", lease=1, keep=1) is DONE


# ---- transactions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["sqlite", "postgresql"], indirect=True)
async def test_the_session_ends_with_the_claim(stores: tuple[SqlStore, SqlStore]) -> None:
    store = stores[0]
    ledger = f"{store.table.name}_ledger"
    async with store.engine.begin() as connection:
        await connection.execute(text(f"CREATE TABLE {ledger} (n INTEGER)"))

    async def written() -> list[int]:
        async with store.engine.connect() as connection:
            return list(await connection.scalars(text(f"SELECT n FROM {ledger} ORDER BY n")))

    async def write(key: str, number: int) -> Any:
        claim = await claimed(store, key)
        assert claim.session is not None
        await claim.session.execute(text(f"INSERT INTO {ledger} VALUES ({number})"))
        return claim

    assert await (await write("a", 1)).done()
    await (await write("b", 2)).release()
    early = await write("c", 3)
    await early.session.commit()  # a handler's own commit commits nothing yet
    await early.release()
    undone = await write("d", 4)
    await undone.session.rollback()
    assert await undone.done()
    assert await written() == [1]
    assert [await store.claim(key, lease=1, keep=1) is DONE for key in "ad"] == [True, True]
    for key in "bc":
        await (await claimed(store, key)).release()


@pytest.mark.parametrize("make", ["sqlite", "postgresql"], indirect=True)
async def test_expired_rows_are_gone_soon_however_many_there_are(
    make: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sql, "_SWEEP_SECONDS", 0.05)
    store = make()
    assert isinstance(store, SqlStore)

    async def keys() -> list[str]:
        async with store.engine.connect() as connection:
            return list(await connection.scalars(store.table.select()))

    # Kept for no time: 3,500 are more than one transaction deletes.
    rows = [{"key": str(number), "done_at": 1.0, "expires": 2.0} for number in range(3_500)]
    async with store.engine.begin() as connection:
        await connection.execute(store.table.insert(), rows)
    await store.open()
    await (await claimed(store, "kept")).done()
    async with asyncio.timeout(20):
        while await keys() != ["kept"]:
            await asyncio.sleep(0.02)
        # And again, without a message in between.
        async with store.engine.begin() as connection:
            await connection.execute(store.table.insert(), rows[:1_200])
        while await keys() != ["kept"]:
            await asyncio.sleep(0.02)
    await store.close()


@pytest.mark.parametrize("make", ["sqlite", "postgresql"], indirect=True)
async def test_sweeping_leaves_what_has_not_expired_and_what_is_being_claimed(
    stores: tuple[SqlStore, SqlStore],
) -> None:
    store = stores[0]

    async def keys() -> list[str]:
        async with store.engine.connect() as connection:
            return sorted(await connection.scalars(store.table.select()))

    for number in range(5):
        await (await claimed(store, str(number), keep=0.5)).done()
    await (await claimed(store, "kept")).done()
    await asyncio.sleep(0.6)
    if store.engine.dialect.name == "postgresql":
        again = await claimed(stores[1], "0")
        await store.sweep()
        assert await keys() == ["0", "kept"]
        assert await again.done()
        assert await store.claim("0", lease=1, keep=1) is DONE
    else:
        await store.sweep()
        assert await keys() == ["kept"]
    assert await store.claim("kept", lease=1, keep=1) is DONE


async def test_a_table_that_is_missing_is_told_at_open(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(NotFound, match="table brokerkit_done is missing: create it with SqlStore.create_tables"):
        await store.open()
    await store.create_tables()
    await store.create_tables()
    await store.open()
    await store.close()


async def test_an_engine_that_two_share_is_disposed_of_by_the_last(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path / 'shared.db'}")
    other = SqlStore(store.engine)
    await store.create_tables()
    await store.open()
    await other.open()
    claim = await claimed(other)
    await store.close()
    assert await claim.done()
    assert store.engine.pool.checkedin() > 0  # type: ignore[attr-defined]
    await other.close()
    assert store.engine.pool.checkedin() == 0  # type: ignore[attr-defined]


def test_tables_can_be_the_users_own() -> None:
    metadata = MetaData()
    SqlStore("sqlite+aiosqlite://", table="inbox", schema="money", metadata=metadata)
    assert list(metadata.tables) == ["money.inbox"]


async def test_a_server_that_is_away_is_a_lost_connection(
    redis_broker: RedisBroker, postgresql_server: PostgresqlServer
) -> None:
    stores: list[Store] = [
        RedisStore("redis://user:very-secret@127.0.0.1:1/0"),
        SqlStore("postgresql+asyncpg://user:very-secret@127.0.0.1:1/db"),
        RedisStore(redis_broker.wrong_password_url),
        SqlStore(postgresql_server.wrong_password_url.replace("postgresql://", "postgresql+asyncpg://")),
    ]
    for store in stores:
        with pytest.raises(ConnectionLost) as caught:
            await store.open()
        assert "secret" not in f"{caught.value} {store!r}" and "not-the-password" not in f"{caught.value} {store!r}"


async def test_a_claim_outlives_a_restart_of_redis(redis_broker: RedisBroker) -> None:
    store = RedisStore(redis_broker.url, prefix="restart:")
    await store.open()
    assert await (await claimed(store)).done()
    running = await claimed(store, "running")
    await asyncio.to_thread(redis_broker.restart)
    answers = list[object]()

    async def ask() -> None:
        while not answers:
            try:
                answers.append(await store.claim(KEY, lease=30, keep=60))
            except ConnectionLost:
                await asyncio.sleep(0.05)

    await asyncio.wait_for(ask(), 20)
    assert answers == [DONE]
    assert await running.done()
    await store.close()


# ---- settings ------------------------------------------------------------------------------------------------


def test_settings_make_stores() -> None:
    made = [as_dedupe(value) for value in ("memory://", "redis://h", "rediss://h/1", "sqlite+aiosqlite:///f")]
    assert [type(one.store).__name__ for one in made if isinstance(one, Dedupe)] == [
        "MemoryStore",
        "RedisStore",
        "RedisStore",
        "SqlStore",
    ]
    store = MemoryStore()
    assert as_dedupe(store) == Dedupe(store)
    table = as_dedupe({"url": "memory://", "keep": 5, "lease": 7, "key": "id"})
    assert isinstance(table, Dedupe) and (table.keep, table.lease, table.key) == (5, 7, "id")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (5, "a store or the URL of one, not a int"),
        ("ftp://u:very-secret@h", "is not a dedupe store; one looks like"),
        ("mysql+aiomysql://u:very-secret@h", "is not a dedupe store"),
        ("postgresql://u:very-secret@h/db", "not the URL of an async engine|needs psycopg"),
        ("redis://u:very-secret@h:port/0", "is not a port"),
        ("redis+list://u:very-secret@h/0", "is not the URL of a Redis"),
        ("redis+sentinel://u:very-secret@h1,h2", "the name under which Sentinel knows the primary is missing"),
        ({"keep": 1}, "url is missing"),
        ({"url": "memory://", "kept": 1}, "'kept' is not known; allowed are"),
        ({"url": "memory://", "keep": 0}, "dedupe.keep must be more than 0"),
        ({"url": "memory://", "key": "body"}, "must be a function of the event or 'id'"),
    ],
)
def test_settings_that_are_none(value: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        as_dedupe(value)
    assert "very-secret" not in str(caught.value)


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=2, max_size=2, unique=True))
def test_two_keys_are_never_one(pair: list[tuple[str, str, str]]) -> None:
    first, second = (key_text(*each) for each in pair)
    assert first != second
    assert first.isascii() and len(first) <= 500 and first.isprintable()
    assert key_text(*pickle.loads(pickle.dumps(pair[0]))) == first


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "brokerkit.dedupe._sql", raising=False)
    with pytest.raises(MissingExtra, match=r"SqlStore needs sqlalchemy.*pip install 'brokerkit-sdk\[sql\]'"):
        as_dedupe("sqlite+aiosqlite:///x")
