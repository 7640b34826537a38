"""One answer of the answers of several workers."""

from __future__ import annotations

from typing import Any

import pytest

from brokerkit._http._merging import merged_state


def worker(state: str, handled: int, *, lag: int | None = None, rate: float | None = None) -> dict[str, Any]:
    source = {
        "state": state,
        "error": f"{state} for a reason",
        "in_flight": 1,
        "held": 0,
        "limited": 0,
        "suspects": 0,
        "lag": lag,
        "partitions": [],
        "waiting": lag,
        "rate": rate,
        "counts": {"handled": handled},
    }
    handler = {
        "source": "bus",
        "handler": "credit",
        "limited": 2,
        "rate_limit": 5.0,
        "attempts": handled,
        "failures": {"LookupError": 1},
        "last_error": f"of {state}",
        "last_error_at": float(handled),
        "seconds": 0.5,
        "durations": {"0.005": handled, "inf": 1},
    }
    row = {"worker": 1, "pid": handled, "ready": state == "consuming", "reasons": []}
    return {"workers": [row], "sources": {"bus": source}, "targets": {}, "handlers": [handler]}


@pytest.mark.parametrize("worse", ["paused", "starting", "reconnecting", "blocked", "failed", "stopping", "stopped"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_source_has_the_state_of_the_worker_that_is_worst_off(worse: str, place: int) -> None:
    states = ["consuming", "consuming"]
    states[place] = worse
    found = merged_state({number: worker(state, 1) for number, state in enumerate(states, 1)}, {})
    assert (found["sources"]["bus"]["state"], found["sources"]["bus"]["error"]) == (worse, f"{worse} for a reason")
    assert found["ready"] is False


def test_counts_are_added_up_and_the_lag_of_the_group_is_not() -> None:
    found = merged_state(
        {1: worker("consuming", 3, lag=7, rate=1.5), 2: worker("consuming", 4, lag=9)}, {3: "no answer"}
    )
    source, [handler] = found["sources"]["bus"], found["handlers"]
    assert (source["counts"], source["in_flight"], source["rate"]) == ({"handled": 7}, 2, 1.5)
    assert (source["lag"], source["waiting"]) == (9, 9)
    assert (handler["attempts"], handler["failures"], handler["seconds"]) == (7, {"LookupError": 2}, 1.0)
    assert (handler["last_error_at"], found["reasons"]) == (4.0, ["worker 3: no answer"])
    assert [(each["worker"], each["pid"]) for each in found["workers"]] == [(1, 3), (2, 4), (3, None)]
