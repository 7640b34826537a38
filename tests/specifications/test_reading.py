"""What is read as a specification, under which event names, and how a bad one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.specifications.conftest import Written

from brokerkit import ConfigError
from brokerkit._specifications import read

ORDER = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}

VERSION_2 = """
asyncapi: 2.6.0
info: {title: Shop, version: 1.0.0}
channels:
  shop/orders:
    subscribe:
      message:
        oneOf:
          - $ref: '#/components/messages/placed'
          - messageId: orderCancelled
            payload: {type: object, properties: {reason: {type: string, nullable: true}}}
  shop/stock:
    publish:
      message:
        traits:
          - name: stock.changed
        payload: {$ref: '#/components/schemas/Stock'}
components:
  messages:
    placed: {name: order.placed, payload: {$ref: '#/components/schemas/Order'}}
    unused: {payload: true}
  schemas:
    Order:
      type: object
      properties: {lines: {type: array, items: {$ref: '#/components/schemas/Line'}}}
    Line: {type: object, properties: {sku: {type: string}, order: {$ref: '#/components/schemas/Order'}}}
    Stock: {type: object, properties: {on: {type: boolean}, since: {type: string, default: 2026-01-01}}}
"""

VERSION_3 = """
asyncapi: 3.0.0
info: {title: Shop, version: 1.0.0}
channels:
  orders:
    address: shop.orders
    messages:
      placed: {$ref: '#/components/messages/placed'}
      orderCancelled:
        x-event-name: Order/Cancelled
        payload:
          schemaFormat: application/schema+json;version=draft-07
          schema: {type: object, properties: {reason: {type: string}}}
  again: {$ref: '#/components/channels/stock'}
operations:
  sendPlaced: {action: send, channel: {$ref: '#/channels/orders'}}
components:
  channels:
    stock: {messages: {stockChanged: {payload: {$ref: 'shared/schemas.json#/$defs/Stock'}}}}
  messages:
    placed: {name: order.placed, payload: {$ref: 'shared/schemas.json'}}
"""


def test_messages_of_asyncapi_2_are_found_in_components_channels_and_one_of(written: Written) -> None:
    specification = read(written("shop.yaml", VERSION_2))
    assert specification.name == "shop"
    assert set(specification.events) == {"order.placed", "orderCancelled", "stock.changed", "unused"}
    assert specification.events["order.placed"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
    assert specification.shared["Line"]["properties"]["order"] == {"$ref": "#/$defs/Order"}
    assert specification.events["unused"] == {}


def test_yaml_is_read_as_json_has_it(written: Written) -> None:
    stock = read(written("shop.yaml", VERSION_2)).events["stock.changed"]
    assert list(stock["properties"]) == ["on", "since"]  # YAML 1.1 would read on as true, and the date as a date
    assert stock["properties"]["since"]["default"] == "2026-01-01"


def test_messages_of_asyncapi_3_are_found_through_references_and_other_files(written: Written) -> None:
    shared = {**ORDER, "$defs": {"Stock": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Stock"}}}}}
    written("shared/schemas.json", json.dumps(shared))
    specification = read(written("shop.yaml", VERSION_3))
    assert set(specification.events) == {"order.placed", "Order/Cancelled", "stockChanged"}
    assert specification.events["order.placed"] == ORDER
    assert specification.shared["Stock"] == {"type": "object", "properties": {"next": {"$ref": "#/$defs/Stock"}}}


def test_a_json_schema_is_called_by_its_title_or_its_file(written: Written) -> None:
    assert list(read(written("a.json", json.dumps({"title": "OrderPlaced", **ORDER}))).events) == ["OrderPlaced"]
    assert list(read(written("bet-place.schema.json", json.dumps(ORDER))).events) == ["bet-place"]
    assert list(read(written("b.json", json.dumps({"title": "An order", **ORDER}))).events) == ["b"]
    assert list(read(written("c.json", json.dumps({"x-event-name": "an order", **ORDER}))).events) == ["an order"]


def test_equal_definitions_of_several_files_become_one_and_others_are_told_apart(written: Written) -> None:
    def file(name: str, **line: Any) -> Path:
        schema = {"type": "object", "properties": {"line": {"$ref": "#/$defs/Line"}}, "$defs": {"Line": line}}
        return written(f"events/{name}.json", json.dumps(schema))

    file("One", type="object", properties={"next": {"$ref": "#/$defs/Line"}})
    file("Two", type="object", properties={"next": {"$ref": "#/$defs/Line"}})
    folder = file("Three", type="string").parent
    written("events/common.json", json.dumps({"$defs": {"Unused": {}}}))
    specification = read(folder)
    assert list(specification.events) == ["One", "Three", "Two"]
    assert set(specification.shared) == {"Line", "Line2"}
    lines = [schema["properties"]["line"]["$ref"] for schema in specification.events.values()]
    assert lines == ["#/$defs/Line", "#/$defs/Line2", "#/$defs/Line"]


def test_a_reference_to_the_id_of_a_file_in_the_folder_is_local(written: Written) -> None:
    written("events/A.json", json.dumps({"$id": "https://example.com/a.json", **ORDER}))
    one = {"type": "object", "properties": {"order": {"$ref": "https://example.com/a.json"}}}
    folder = written("events/B.json", json.dumps(one)).parent
    assert read(folder).events["B"]["properties"]["order"] == {"$ref": "#/$defs/A"}


MESSAGE = "asyncapi: 3.0.0\nchannels: {c: {messages: {M: "


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "asyncapi: 3.0.0\nchannels: [", r"a\.yaml:2:12: not YAML"),
        ("a.json", '{"asyncapi": "3.0.0",}', r"a\.json:1:22: not JSON"),
        ("a.json", "[" * 100_000, r"a\.json: nested too deep"),
        ("a.json", "[]", r"a\.json: not an object, as an AsyncAPI"),
        ("a.json", '{"openapi": "3.1.0"}', r"a\.json: neither an AsyncAPI document nor a JSON Schema"),
        ("a.yaml", "asyncapi: 1.2.0", r"a\.yaml#/asyncapi: AsyncAPI 1\.2\.0 is not read"),
        ("a.yaml", "asyncapi: 3.0.0", r"a\.yaml: there are no events in it"),
        ("a.yaml", "asyncapi: 3.0.0\nchannels: [1]", r"a\.yaml#/channels: an object is expected here, not list"),
        ("a.yaml", MESSAGE + "7}}}", r"a\.yaml#/channels/c/messages/M: an object is expected here, not int"),
        ("a.yaml", MESSAGE + "{$ref: '#/none'}}}}", r"a\.yaml#/none: there is nothing at this path"),
        ("a.yaml", MESSAGE + "{$ref: '#/channels/c/messages/M'}}}}", r"messages/M: this \$ref comes back to itself"),
        ("a.yaml", MESSAGE + "{payload: text}}}}", r"messages/M/payload: a schema must be an object, got 'text'"),
        ("a.yaml", MESSAGE + "{payload: {properties: {x: 1}}}}}}", r"payload/properties/x: a schema must be an object"),
        (
            "a.yaml",
            MESSAGE + "{payload: {type: strng}}}}}",
            r"payload/type: there is no type 'strng'; there are string, ",
        ),
        ("a.yaml", MESSAGE + "{payload: {type: [{}]}}}}}", r"payload/type: there is no type {}"),
        ("a.yaml", MESSAGE + "{payload: {required: true}}}}}", r"payload/required: a list is expected here, got True"),
        ("a.yaml", MESSAGE + "{payload: {required: [[a]]}}}}}", r"payload/required: a list of names is expected here"),
        ("a.yaml", MESSAGE + "{payload: {minLength: a}}}}}", r"minLength: a whole number is expected here, got 'a'"),
        ("a.yaml", MESSAGE + "{payload: {properties: []}}}}}", r"payload/properties: an object is expected here"),
        ("a.yaml", MESSAGE + "{payload: {$ref: '#Anchor'}}}}}", r"M/payload: \$ref '#Anchor' names an anchor"),
        ("a.yaml", MESSAGE + "{payload: {$ref: 'b.json'}}}}}", r"M/payload: .*no file 'b\.json' beside a\.yaml"),
        (
            "a.yaml",
            MESSAGE + "{payload: {items: {$ref: 3}}}}}}",
            r"M/payload/items/\$ref: text is expected here, got 3",
        ),
        (
            "a.yaml",
            MESSAGE + "{payload: {$ref: 'https://example.com/a.json'}}}}}",
            r"a\.yaml#/channels/c/messages/M/payload: .*not a local file; nothing is fetched",
        ),
        ("a.yaml", MESSAGE + "{payload: {$ref: '//host/a.json'}}}}}", r"nothing is fetched"),
        ("a.yaml", MESSAGE + "{payload: {$ref: 'file:///etc/a.json'}}}}}", r"nothing is fetched"),
        ("a.yaml", MESSAGE + "{schemaFormat: application/vnd.apache.avro, payload: {}}}}}", r"avro' is not read"),
        (
            "a.yaml",
            MESSAGE + "{name: X}, N: {name: X, payload: {type: object}}}}}",
            r"messages/N/payload: a second event is called 'X', and differs from a\.yaml#/channels/c/messages/M/payload",
        ),
        ("a.yaml", MESSAGE + '{name: "a\\nb"}}}}', r"messages/M: this message has no usable name"),
    ],
)
def test_a_bad_document_is_refused_with_file_and_place(written: Written, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(written(name, text))


def test_what_is_no_specification_is_refused(written: Written, tmp_path: Path) -> None:
    for place, message in [
        (tmp_path / "none.yaml", r"none\.yaml: cannot be read: No such file"),
        ("no/such", r"no/such: there is no such file, folder, module or family"),
        ("no_such_module", "there is no such file, folder, module or family"),
        ("brokerkit.events", "brokerkit.events: FAMILY is not a brokerkit family"),
        (written("broken.py", "1 / 0"), r"broken\.py: cannot be imported: division by zero"),
        (written("folder/empty.json", "").parent, r"empty\.json:1:1: not JSON"),
        (written("folder2/read.me", "").parent, "folder2: there are no events in it"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read(place)


def test_a_family_is_read_by_name_module_and_file(written: Written) -> None:
    text = (
        "from pydantic import BaseModel\nfrom brokerkit.events import Family\n"
        "class A(BaseModel):\n    x: int\nMINE = Family('mine', {'a': A})\nFAMILY = MINE\n"
    )
    assert list(read(written("mine.py", text)).events) == ["a"]
    by_name, by_module = read("evenbet"), read("brokerkit.events.evenbet:FAMILY")
    assert by_name.events == by_module.events
    assert by_name.name == "evenbet"
    assert by_name.events["OnUserLoggedIn"]["properties"]["playerId"]["default"] is None
