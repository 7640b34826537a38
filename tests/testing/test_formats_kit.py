"""The checks for formats and codecs: every one that ships passes them, and broken ones do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.formats.interop import Sample, samples

from brokerkit import ConfigError, DecodeError
from brokerkit import formats as all_formats
from brokerkit._messages import _codecs
from brokerkit.formats import Codec, Format, register, register_codec
from brokerkit.testing.formats import check_codec, check_format, message

ACME = Format(name="acme", name_from=("field:meta.kind",), id_from=("field:id",), payload_from=("field:content",))


def test_a_format_that_keeps_its_word_passes() -> None:
    check_format(ACME, message(b'{"meta": {"kind": "Paid"}, "content": {"a": 5}}'), name="Paid", payload={"a": 5})


@pytest.mark.parametrize("sample", samples(), ids=str)
def test_every_format_that_ships_passes_with_the_samples_of_its_program(sample: Sample) -> None:
    wire = all_formats.get(sample.settings["format"])
    if sample.settings["format"] == "json":
        wire = Format(name="json", name_from=("header:event", "routing_key", sample.settings.get("name_from", "topic")))
    if "compression" in sample.message["headers"] and wire.payload is None:
        wire = Format(
            name="json", name_from=("header:event", "routing_key"), payload_from=("body|json",), read_only=True
        )
    check_format(wire, sample.delivery(), name=sample.name, payload=sample.payload)


def decode_badly(value: Any) -> Any:
    return json.loads(value)


@pytest.mark.parametrize(
    ("codec", "sample", "said"),
    [
        (Codec(name="bad", decode=decode_badly), (b"{}", {}), "instead of DecodeError"),
        (Codec(name="bad", decode=lambda value: 1), (b"{}", {}), "is read as 1"),
        (Codec(name="bad", decode=lambda value: {"a": 1}, encode=lambda value: b""), (b"", {"a": 2}), "is read as"),
    ],
)
def test_a_codec_that_breaks_its_word_is_told(codec: Codec, sample: tuple[Any, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_codec(codec, sample)


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("json", ('{"a": 1.50}', {"a": 1.5})),
        ("json", ({"a": 1}, {"a": 1})),
        ("msgpack", (b"\x81\xa1a\x01", {"a": 1})),
        ("percent", ("com.acme%2Fx%20y:z%20%C3%BC", "com.acme/x y:z ü")),
        ("percent", (b"x%20%C3%BC", "x ü")),
        ("only", ([{"a": 1}], {"a": 1})),
        ("decompress", (b"plain", b"plain")),
        ("faststream", ({"a": 1}, {"a": 1})),
    ],
)
def test_every_codec_that_ships_passes(name: str, sample: tuple[Any, Any]) -> None:
    all_formats.names()
    check_codec(_codecs.get_codec(name), sample)


def test_a_format_is_found_by_module_and_attribute_or_by_its_registration() -> None:
    assert all_formats.get(f"{__name__}:ACME") is ACME
    with pytest.raises(ConfigError, match="is not known; allowed are"):
        all_formats.get("acme-2")
    mine = register(Format(name="acme-2", name_from=("key",)))
    try:
        assert all_formats.get("acme-2") is mine
        with pytest.raises(ConfigError, match="another format 'acme-2'"):
            register(Format(name="acme-2", name_from=("type",)))
        with pytest.raises(ConfigError, match="another format 'celery'"):
            register(Format(name="celery", name_from=("type",)))
    finally:
        del all_formats._FORMATS["acme-2"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no.such:FORMAT", "cannot be loaded"),
        (f"{__name__}:NOTHING", "cannot be loaded"),
        (f"{__name__}:decode_badly", "not a brokerkit.formats.Format"),
    ],
)
def test_what_is_no_format_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        all_formats.get(name)


def test_a_codec_of_the_programs_own_is_a_step() -> None:
    def decode(value: Any) -> Any:
        if not isinstance(value, bytes) or value.count(b";") != 1:
            raise DecodeError("not a pair", value=value)
        name, _, cents = value.decode(errors="replace").partition(";")
        return {"name": name, "event": {"cents": cents}}

    codec = register_codec(Codec(name="pair", decode=decode))
    try:
        check_codec(codec, (b"Paid;5", {"name": "Paid", "event": {"cents": "5"}}))
        wire = Format(
            name="pairs", name_from=("body|pair|field:name",), payload_from=("body|pair|field:event",), read_only=True
        )
        check_format(wire, message(b"Paid;5"), name="Paid", payload={"cents": "5"})
        with pytest.raises(ConfigError, match="another codec 'pair'"):
            register_codec(Codec(name="pair", decode=decode_badly))
    finally:
        del _codecs._CODECS["pair"]
