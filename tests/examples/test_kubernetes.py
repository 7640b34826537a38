"""The manifests in examples/kubernetes are valid, fit each other, and their service runs without writing anything."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from tests.brokers._ports import free_port
from tests.brokers.redis import RedisBroker
from tests.cli.program import PROGRAM
from tests.every_broker import until_async

from brokerkit import Bus
from brokerkit.cli import run as _run
from brokerkit.events.evenbet import OnUserLoggedIn

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "examples" / "kubernetes"
BROKERS = ("kafka", "rabbitmq", "redis-streams", "sqs")
SCHEMAS: Any = json.loads((HERE / "kubernetes-schemas.json").read_text("utf-8"))
WITHIN = 240.0
"""Seconds for each step of a service on a machine that has other work."""
MANIFESTS = sorted(file for file in FOLDER.glob("*/*.yaml") if file.name != "kustomization.yaml")


def documents(file: Path) -> list[Any]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def errors(manifest: Any) -> list[str]:
    """What the schema of its kind has against a manifest."""
    kind = SCHEMAS["kinds"][f"{manifest['apiVersion']} {manifest['kind']}"]
    checker = jsonschema.Draft202012Validator({**kind, "$defs": SCHEMAS["$defs"]})
    return [f"{each.json_path}: {each.message}" for each in checker.iter_errors(manifest)]


[DEPLOYMENT] = documents(FOLDER / "base" / "deployment.yaml")
POD: Any = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")


def settings_of(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What brokerkit makes of a configuration. The file with the password is elsewhere."""
    password = tmp_path / "password"
    password.write_text("secret")
    if "password_file" in (FOLDER / broker / "brokerkit.toml").read_text("utf-8"):
        monkeypatch.setenv("BROKERKIT_PASSWORD_FILE", str(password))
    return Bus.from_config(FOLDER / broker / "brokerkit.toml").runtime.settings


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_manifest_is_what_its_kind_demands(file: Path) -> None:
    assert [error for manifest in documents(file) for error in errors(manifest)] == []


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_schemas_find_a_misspelt_field(file: Path) -> None:
    for manifest in documents(file):
        where = manifest["metadata"] if manifest["kind"] == "ServiceAccount" else manifest["spec"]
        where["misspelt"] = 1
        assert len(errors(manifest)) == 1


@pytest.mark.parametrize("name", ["base", *BROKERS])
def test_a_kustomization_names_every_file_beside_it(name: str) -> None:
    [kustomization] = documents(FOLDER / name / "kustomization.yaml")
    generated = [file for each in kustomization.get("configMapGenerator", []) for file in each["files"]]
    named = {*kustomization["resources"], *generated, "kustomization.yaml"} - {"../base"}
    assert named == {file.name for file in (FOLDER / name).iterdir()}
    assert ("../base" in kustomization["resources"]) == (name != "base")


def test_the_container_may_do_nothing_that_it_need_not() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in CONTAINER["volumeMounts"])
    assert re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE) == [str(POD["securityContext"]["runAsUser"])]


def test_the_image_needs_no_shell_and_has_one_exact_python() -> None:
    [tag] = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.match(r"3\.\d+\.\d+-slim-\w+", tag)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:${PYTHON}"}
    started = re.findall(r"^(?:RUN|ENTRYPOINT|CMD) (.+)$", DOCKERFILE, re.MULTILINE)
    words = [json.loads(each) for each in started]
    assert words[-2] == ["/venv/bin/brokerkit", "run"]
    assert words[-1] == CONTAINER["args"]


def test_the_image_has_the_clients_of_every_configuration() -> None:
    [line] = [line for line in (FOLDER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = Requirement(line)
    assert asked.name == project["name"]
    assert asked.extras <= project["optional-dependencies"].keys()
    for broker in BROKERS:
        url = tomllib.loads((FOLDER / broker / "brokerkit.toml").read_text("utf-8"))["bus"]["url"]
        adapter = project["entry-points"]["brokerkit.adapters"][urlsplit(url).scheme]
        assert re.findall(r"\[([\w-]+)\]", adapter)[0] in asked.extras


@pytest.mark.parametrize("broker", BROKERS)
def test_a_pod_has_time_to_stop(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needed = settings_of(broker, monkeypatch, tmp_path).stop_timeout + _run._STOP_GRACE
    assert POD["terminationGracePeriodSeconds"] >= needed + 10


def test_the_composed_service_runs_under_the_same_rules(tmp_path: Path) -> None:
    [composed] = documents(FOLDER / "compose.yaml")
    wallet = composed["services"]["wallet"]
    assert wallet["read_only"]
    assert wallet["cap_drop"] == ["ALL"]
    [config] = wallet["configs"]
    assert config["target"] == CONTAINER["args"][2]
    (tmp_path / "brokerkit.toml").write_text(composed["configs"][config["source"]]["content"])
    needed = Bus.from_config(tmp_path / "brokerkit.toml").runtime.settings.stop_timeout + _run._STOP_GRACE
    assert float(wallet["stop_grace_period"].removesuffix("s")) >= needed + 10
    assert (FOLDER / wallet["build"]["context"] / wallet["build"]["dockerfile"]).samefile(FOLDER / "Dockerfile")
    path, port = CONTAINER["readinessProbe"]["httpGet"]["path"], CONTAINER["ports"][0]["containerPort"]
    assert f"http://127.0.0.1:{port}{path}" in wallet["healthcheck"]["test"][-1]


async def test_the_probes_ask_for_what_is_there() -> None:
    transport = httpx.ASGITransport(Bus("memory://", topic="t").http())
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:9000") as kubelet:
        probes = {name: CONTAINER[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}
        answers = {name: (await kubelet.get(path)).status_code for name, path in probes.items()}
    assert answers == {"livenessProbe": 200, "readinessProbe": 503}  # the bus is not open
    [port] = CONTAINER["ports"]
    assert CONTAINER["args"][-1] == f"0.0.0.0:{port['containerPort']}"
    assert DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])


@pytest.mark.parametrize("broker", BROKERS)
def test_keda_looks_at_what_the_service_reads(broker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scaled, authentication = documents(FOLDER / broker / "scaledobject.yaml")
    source = settings_of(broker, monkeypatch, tmp_path).sources["bus"]
    [topic] = source.topic
    at = urlsplit(source.url.get_secret_value())
    [trigger] = scaled["spec"]["triggers"]
    asked = trigger["metadata"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    match trigger["type"]:
        case "kafka":
            found = (asked["bootstrapServers"], asked["topic"], asked["consumerGroup"], asked["offsetResetPolicy"])
            assert found == (at.netloc.rpartition("@")[2], topic, source.group, source.start)
        case "rabbitmq":
            assert asked["queueName"] == f"{topic}.{source.group}"
        case "redis-streams":
            found = (asked["address"], asked["databaseIndex"], asked["stream"], asked["consumerGroup"])
            assert found == (at.netloc.rpartition("@")[2], at.path.removeprefix("/"), topic, source.group)
        case "aws-sqs-queue":
            queue = urlsplit(asked["queueURL"])
            assert (queue.path.rpartition("/")[2], asked["awsRegion"]) == (topic, at.hostname)
            assert queue.hostname == f"sqs.{at.hostname}.amazonaws.com"
        case other:
            pytest.fail(f"nobody checks {other}")


def secrets_named(manifest: Any) -> Iterator[str]:
    """The names of the secrets that a manifest refers to."""
    if isinstance(manifest, dict):
        for key, value in manifest.items():
            if key == "secretTargetRef":
                yield from (each["name"] for each in value)
            elif key == "secretName":
                yield value
            else:
                yield from secrets_named(value)
    elif isinstance(manifest, list):
        for each in manifest:
            yield from secrets_named(each)


def test_passwords_come_from_the_secret_and_are_in_no_file() -> None:
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"]}
    assert CONTAINER["args"][2] == f"{mounts['config']}/brokerkit.toml"
    for broker in BROKERS:
        bus = tomllib.loads((FOLDER / broker / "brokerkit.toml").read_text("utf-8"))["bus"]
        assert urlsplit(bus["url"]).password is None
        assert bus.get("password_file", f"{mounts['broker']}/password") == f"{mounts['broker']}/password"
    assert {name for file in MANIFESTS for each in documents(file) for name in secrets_named(each)} == {"wallet-broker"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("more", [[], ["--workers=2"]], ids=["one-process", "two-workers"])
async def test_the_service_runs_where_it_can_write_nothing(
    more: list[str], redis_broker: RedisBroker, tmp_path: Path
) -> None:
    at = urlsplit(redis_broker.url)
    assert at.password is not None
    (tmp_path / "password").write_text(at.password)
    topic, port = f"kubernetes-{uuid.uuid4().hex[:12]}", free_port()
    replaced = {
        "/etc/brokerkit/brokerkit.toml": str(FOLDER / "redis-streams" / "brokerkit.toml"),
        "0.0.0.0:9000": f"127.0.0.1:{port}",
    }
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE / "read_only"), str(ROOT / "examples" / "wallet")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BROKERKIT_URL": f"redis://{at.username}@{at.hostname}:{at.port}{at.path}",
        "BROKERKIT_PASSWORD_FILE": str(tmp_path / "password"),
        "BROKERKIT_TOPIC": topic,
        "BROKERKIT_PROVISION": "all",
        "HOME": "/nonexistent",
    }
    words = [replaced.get(word, word) for word in CONTAINER["args"]]
    service = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        "run",
        *words,
        *more,
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await until_answered(port, CONTAINER["readinessProbe"]["httpGet"]["path"])
        publisher = Bus(redis_broker.url, topic=topic, format="evenbet", name_from="header:event", provision="all")
        async with publisher:
            await publisher.publish(OnUserLoggedIn(player_id=5, nick="ann"))
        assert service.stdout is not None
        async with asyncio.timeout(WITHIN):
            while not (line := await service.stdout.readline()).startswith(b"login: ann"):
                assert line
    finally:
        if service.returncode is None:
            service.send_signal(signal.SIGTERM)
        _, said = await service.communicate()
    assert service.returncode == 0, said.decode()
    assert "it would write" not in said.decode()


async def until_answered(port: int, path: str) -> None:
    async def is_answered() -> bool:
        try:
            async with httpx.AsyncClient() as kubelet:
                return (await kubelet.get(f"http://127.0.0.1:{port}{path}")).status_code == 200
        except httpx.TransportError:
            return False

    await until_async(is_answered, seconds=WITHIN)
