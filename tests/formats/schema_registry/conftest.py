"""A real registry, Confluent's client of it, and ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from tests.brokers import registry as registries
from tests.formats.schema_registry.top_up import TOP_UP


@pytest.fixture
def url(schema_registry: registries.SchemaRegistry) -> str:
    return schema_registry.url


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's own client, which other programs use."""
    with SchemaRegistryClient({"url": url}) as client:
        yield client


@pytest.fixture
def schema_file(tmp_path: Path) -> str:
    path = tmp_path / "top_up.avsc"
    path.write_text(json.dumps(TOP_UP))
    return str(path)
