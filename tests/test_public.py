"""What the package shows, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

import brokerkit
from brokerkit import adapters

LIBRARIES = {
    "confluent_kafka": ("kafka://localhost", "kafka"),
    "aio_pika": ("amqp://localhost", "rabbitmq"),
    "aiobotocore": ("sqs://us-east-1/", "sqs"),
    "redis": ("redis://localhost", "redis"),
    "websockets": ("thrillconnect+wss://localhost", "thrillconnect"),
}


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["brokerkit", "brokerkit.events", "brokerkit.formats"])
def test_all_is_sorted_and_holds_every_public_name(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    shown = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", name).startswith(name)
        and (isinstance(value, type) or callable(value))
    }
    assert shown <= set(module.__all__)
    assert all(hasattr(module, key) for key in module.__all__)


def test_the_version_is_one() -> None:
    assert brokerkit.__version__.count(".") == 2


def test_importing_the_package_loads_no_client_library_and_no_command_line() -> None:
    strangers = {*LIBRARIES, "botocore", "cyclopts", "rich", "brokerkit.cli", "brokerkit.testing"}
    loaded = set(run("from brokerkit import *; import sys; print(*sys.modules)").split())
    assert loaded & strangers == set()
    adapters_loaded = {name for name in loaded if name.startswith("brokerkit.adapters.") and "._" not in name}
    assert adapters_loaded == {"brokerkit.adapters.api"}
    assert {
        name
        for name in loaded
        if name.startswith(("brokerkit.events.", "brokerkit._vendors."))
        and "._" not in name.removeprefix("brokerkit._")
    } == set()


def test_names_are_loaded_when_they_are_used() -> None:
    code = """
import sys, brokerkit
early = {name for name in sys.modules if name.startswith("brokerkit.")}
assert set(brokerkit.__all__) <= set(dir(brokerkit))
assert brokerkit.events.find("OnGameDone") and brokerkit.Bus is brokerkit.Bus
try:
    brokerkit.Buss
except AttributeError as error:
    print(*sorted(early), error, sep="; ")
"""
    assert run(code) == "brokerkit._errors; brokerkit._version; module 'brokerkit' has no attribute 'Buss'\n"


def test_a_bus_loads_only_the_library_of_its_broker() -> None:
    code = "import brokerkit, sys; brokerkit.Bus('redis://localhost', topic='t', group='g'); print(*sys.modules)"
    assert set(run(code).split()) & {*LIBRARIES} == {"redis"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_client_library_is_one_line_with_the_command_that_installs_it(library: str) -> None:
    url, extra = LIBRARIES[library]
    code = f"""
import sys
sys.modules[{library!r}] = None
from brokerkit import Bus, MissingExtra
try:
    Bus({url!r}, topic="t", group="g")
except MissingExtra as error:
    print(error)
"""
    said = run(code).strip()
    assert "\n" not in said
    assert f"needs {library}, which is not installed: pip install 'brokerkit-sdk[{extra}]'" in said


def test_a_scheme_that_nobody_serves_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        brokerkit.ConfigError, match=r"no adapter for 'gopher' .there are amqp, amqps, kafka, kafka.share"
    ):
        brokerkit.Bus("gopher://user:secret@host", topic="t")
    assert adapters.schemes() == sorted(adapters.schemes())


def test_a_scheme_that_is_nearly_one_is_suggested() -> None:
    with pytest.raises(brokerkit.ConfigError, match="did you mean redis://"):
        brokerkit.Bus("reddis://host", topic="t", group="g")


def test_a_name_rule_that_the_broker_cannot_supply_is_refused() -> None:
    with pytest.raises(brokerkit.UnsupportedFeature, match="routing_key.*use one of field, header, topic"):
        brokerkit.Bus("redis://host", topic="t", group="g", name_from="routing_key")
    brokerkit.Bus("redis://host", topic="t", group="g", name_from=["routing_key", "field:event"])


def test_receipts_can_be_kept_in_a_set() -> None:
    receipts = [brokerkit.Receipt("t", id) for id in ("1", "1", "2")]
    assert len(set(receipts)) == 2
