"""Reads Prometheus text."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, list[tuple[Mapping[str, str], float]]]


def samples(text: str) -> Samples:
    """The samples by name, each with its labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels; a label that is "" must be absent."""
    return sum(
        value
        for had, value in found.get(name, [])
        if all(had.get(label, "") == wanted for label, wanted in labels.items())
    )
