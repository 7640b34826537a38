"""What other programs wrote is read as the table in docs/interop.md says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest
from pydantic import BaseModel

from brokerkit import Handlers
from brokerkit._config._settings import SourceSettings
from brokerkit._consuming._routes import Routes
from brokerkit._messages._name_rules import compile_rules
from brokerkit._tools._inspection import inspect
from tests.formats.interop import Sample, samples

each_sample = pytest.mark.parametrize("sample", samples(), ids=str)


class Cash(BaseModel):
    """Requires its fields, so that an event that was read from the wrong place is refused."""

    playerId: int  # noqa: N815 (the wire's name)
    amount: Decimal


class Uploaded(BaseModel):
    """The part of an S3 notification that says what was stored."""

    class Stored(BaseModel):
        bucket: dict[str, Any]
        object: dict[str, Any]

    s3: Stored


MODELS: Final[dict[str, type[BaseModel]]] = {"OnGetCash": Cash, "ObjectCreated:Put": Uploaded}


@each_sample
def test_the_sample_is_read_with_its_settings(sample: Sample) -> None:
    handlers = Handlers()
    model = MODELS[sample.name]

    @handlers.on(sample.name, model)
    async def handle(event: BaseModel) -> None: ...

    settings = SourceSettings(url="memory://", topic="topic", **sample.settings)  # type: ignore[arg-type]
    wire = settings.wire
    rules = settings.name_from or wire.name_from
    name_of = compile_rules(rules, what="name_from", fields_if=None if settings.name_from else wire.fields_if)
    delivery = sample.delivery()
    route = Routes(handlers, settings, source="s")[name_of(delivery)]
    assert route.name == sample.name
    assert route.calls[0].read(delivery) == model.model_validate(sample.payload)


@each_sample
def test_inspect_proposes_the_format_of_the_sample(sample: Sample) -> None:
    if not sample.inspected:
        pytest.skip("this program leaves no trace of itself")
    found = inspect([sample.delivery()] * 2, frozenset({"header", "key", "topic", "routing_key", "type", "field"}))
    assert found.problem == ""
    assert {**found.known, **found.unknown} == {sample.name: 2}
    if sample.settings["format"] != "json":
        assert found.format == sample.settings["format"]
