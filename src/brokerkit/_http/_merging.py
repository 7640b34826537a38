"""Makes one answer of the answers of several workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from brokerkit._http._answers import MOST_HELD, Held, State, Taken

_WORST_FIRST: Final = ("failed", "blocked", "reconnecting", "paused", "starting", "stopping", "closed", "stopped")
_ADDED: Final = ("rate", "in_flight", "held", "limited", "suspects", "confirmed")
"""What is each worker's own. Lags are the group's, and so the same for all."""
_SUMMED: Final = ("counts", "refused")


def merged_state(found: Mapping[int, State], missing: Mapping[int, str]) -> State:
    """Return the state of all workers as one.

    Args:
        found: by number of the worker.
        missing: why others have not answered.
    """
    workers: list[dict[str, Any]] = [
        {**each, "worker": number} for number, state in found.items() for each in state["workers"]
    ]
    workers += [
        {"worker": number, "pid": None, "ready": False, "reasons": [reason]} for number, reason in missing.items()
    ]
    workers.sort(key=lambda worker: worker["worker"])
    return {
        "ready": all(worker["ready"] for worker in workers),
        "reasons": [f"worker {worker['worker']}: {reason}" for worker in workers for reason in worker["reasons"]],
        "workers": workers,
        "sources": _by_name(state["sources"] for state in found.values()),
        "targets": _by_name(state["targets"] for state in found.values()),
        "handlers": _handlers(row for state in found.values() for row in state["handlers"]),
    }


def merged_held(found: Mapping[int, Sequence[Held]]) -> Sequence[Held]:
    """Return what waits in all workers, the first due first."""
    several = [replace(one, worker=number) for number, held in found.items() for one in held]
    return sorted(several, key=lambda one: one.due)[:MOST_HELD]


def merged_messages(found: Mapping[int, Taken]) -> Taken:
    """Return the messages of all workers in the order in which they have arrived."""
    messages = [(number, raw) for number, taken in found.items() for _, raw in taken.messages]
    messages.sort(key=lambda one: one[1].arrived)
    return Taken(
        messages, sum(taken.matched for taken in found.values()), full=any(taken.full for taken in found.values())
    )


def merged_metrics(texts: Mapping[int, str]) -> str:
    """Return the metrics of all workers, with the label ``worker``.

    They are not added up: a counter would fall when a worker is replaced.
    """
    parser, core, client = map(
        import_module, ("prometheus_client.parser", "prometheus_client.metrics_core", "prometheus_client")
    )
    families = dict[str, Any]()
    for number, text in texts.items():
        for family in parser.text_string_to_metric_families(text):
            made = families.setdefault(family.name, core.Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                made.add_sample(sample.name, {**sample.labels, "worker": str(number)}, sample.value)
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families.values()))
    merged: bytes = client.generate_latest(registry)
    return merged.decode()


class _Collector:
    def __init__(self, families: Iterable[Any]) -> None:
        self._families = families

    def __repr__(self) -> str:
        return "<Collector of several workers>"

    def collect(self) -> Iterable[Any]:
        """Return the metrics."""
        return self._families


def _by_name(found: Iterable[Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    parts = dict[str, list[dict[str, Any]]]()
    for each in found:
        for name, part in each.items():
            parts.setdefault(name, []).append(part)
    return {name: _one(several) for name, several in parts.items()}


def _one(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a source or target: what the worst worker says, with the sums of all."""
    worst = min(parts, key=_badness)
    sums: dict[str, Any] = {key: _sum(part[key] for part in parts) for key in _ADDED if key in worst}
    counts: dict[str, Any] = {key: _counts(part[key] for part in parts) for key in _SUMMED if key in worst}
    lag: dict[str, Any] = {}
    if "lag" in worst:
        # They were asked at different times; the last answer is not known, and the highest is on the safe side.
        asked = max(parts, key=lambda part: -1 if part["lag"] is None else part["lag"])
        lag = {key: asked[key] for key in ("lag", "partitions", "waiting")}
    return {**worst, **sums, **counts, **lag}


def _badness(part: Mapping[str, Any]) -> int:
    return _WORST_FIRST.index(part["state"]) if part["state"] in _WORST_FIRST else len(_WORST_FIRST)


def _handlers(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found = dict[tuple[str, str], list[dict[str, Any]]]()
    for row in rows:
        found.setdefault((row["source"], row["handler"]), []).append(row)
    return [
        {
            **max(several, key=lambda row: row["last_error_at"] or 0.0),
            "attempts": sum(row["attempts"] for row in several),
            "limited": sum(row["limited"] for row in several),
            "failures": _counts(row["failures"] for row in several),
            "seconds": round(sum(row["seconds"] for row in several), 6),
            "durations": _counts(row["durations"] for row in several),
        }
        for several in found.values()
    ]


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None


def _counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict[str, int]()
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total
