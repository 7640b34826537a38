"""Servers of Redis that take no writes for a while, or that refuse a command for good."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from tests.adapters.redis.failover.pair import ADAPTERS, Pair, Wallet, soon
from tests.adapters.redis_seam import raw_client
from tests.brokers._ports import free_port

from brokerkit import ConnectionLost
from brokerkit.adapters.redis._errors import code_of, is_transient, translate

REFUSALS = {
    "OOM": ({"maxmemory": "1"}, {"maxmemory": "0"}),
    "NOREPLICAS": ({"min-replicas-to-write": "5"}, {"min-replicas-to-write": "0"}),
}


@pytest.mark.parametrize("scheme", ADAPTERS)
@pytest.mark.parametrize("code", REFUSALS)
async def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(pair: Pair, scheme: str, code: str) -> None:
    on, off = REFUSALS[code]
    wallet = Wallet(pair.address, scheme)
    async with raw_client(pair.url(0)) as raw, wallet.bus, wallet.bus.serving():
        await wallet.publish(1, 100)
        await soon(lambda: wallet.handled[:1] == [1])
        await raw.config_set(*next(iter(on.items())))
        publishing = asyncio.create_task(wallet.publish(2))
        await wallet.is_ready(False)
        await asyncio.sleep(1.5)  # the retry of 100 is due meanwhile
        target = (await wallet.bus.health()).targets["bus"]
        assert code in target.error or "maxmemory" in target.error
        await raw.config_set(*next(iter(off.items())))
        await asyncio.wait_for(publishing, 30)
        await wallet.has_handled(1, 100, 2)
        await wallet.is_ready()


@pytest.mark.parametrize("scheme", ADAPTERS)
async def test_a_replica_without_its_primary_is_no_end(pair: Pair, scheme: str) -> None:
    wallet = Wallet(pair.address, scheme)
    async with raw_client(pair.url(0)) as first, wallet.bus, wallet.bus.serving():
        await wallet.publish(1)
        await wallet.has_handled(1)
        await first.config_set("replica-serve-stale-data", "no")
        await pair.fail_over(move=False)
        async with raw_client(pair.url(1)) as second:
            # Nothing listens there: the link goes down, and the answer is MASTERDOWN.
            await first.replicaof("127.0.0.1", free_port())
            await wallet.is_ready(False)
            pair.move()
            await wallet.publish(2)
            await wallet.has_handled(1, 2)
            assert await second.ping()
        await wallet.is_ready()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReadOnlyError("You can't write against a read only replica."), "READONLY"),
        (MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."), "MASTERDOWN"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), "UNBLOCKED"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (ResponseError("BUSY Redis is busy running a script."), "BUSY"),
        (
            ResponseError(
                "ERR Error running script (call to f_0123): @user_script:2: @user_script: 2: "
                "-READONLY You can't write against a read only replica. "
            ),
            "READONLY",
        ),
        (
            # As redis-py gives it: without the ERR.
            ResponseError(
                "Error running script (call to f_0123): @user_script:2: @user_script: 2: "
                "-OOM command not allowed when used memory > 'maxmemory'. "
            ),
            "OOM",
        ),
        (TryAgainError("Multiple keys request during rehashing of slot"), "TRYAGAIN"),
        (ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
        (
            ResponseError(
                "ERR Script attempted to access a non local key in a cluster node script: 0123, on @user_script:10."
            ),
            "TRYAGAIN",
        ),
        (
            ResponseError(
                "ERR Error running script (call to f_0123): @user_script:2: @user_script: 2: "
                "-OOM command not allowed when used memory > 'maxmemory'. "
            ),
            "OOM",
        ),
    ],
)
def test_a_refusal_that_another_server_might_not_give_may_be_tried_again(error: Exception, code: str) -> None:
    assert code_of(error) == code
    assert is_transient(error)
    assert isinstance(translate(error, "redis://there", "reading"), ConnectionLost)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("BUSYGROUP Consumer Group name already exists"),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("ERR unknown command 'LMOVE'"),
        MovedError(
            "3999 127.0.0.1:6381"
        ),  # the client of a cluster follows it; there is nothing to follow on one server
        NoPermissionError("this user has no permissions"),
        AuthenticationError("invalid username-password pair"),
    ],
)
def test_a_refusal_of_the_command_itself_is_final(error: Exception) -> None:
    assert not is_transient(error)
    assert not isinstance(translate(error, "redis://there", "reading"), ConnectionLost)
