"""The environment chooses the version of each broker; what it does not name has a default that is installed."""

import re
from pathlib import Path

import pytest

from tests.brokers import matrix, versions
from tests.brokers._programs import find_server
from tests.brokers._server import CHECKOUT, BrokerUnavailable
from tests.brokers.versions import VARIABLE, VERSIONS, UnknownVersion, chosen, command, exact, folder


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "valkey-9.1 kafka-4.3.0")

    assert [chosen(broker) for broker in ("redis", "kafka", "sns")] == ["valkey-9.1", "kafka-4.3.0", "sns-moto"]
    assert chosen("sqs") == "sqs-elasticmq"


def test_a_version_that_nobody_knows_is_an_error_with_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "redis-5")

    with pytest.raises(UnknownVersion, match=r"'redis-5'; the tests know .*redis-8.2.* and kafka-X.Y.Z"):
        chosen("redis")


def test_a_default_that_the_machine_cannot_have_gives_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(versions, "BROKERS", tmp_path)

    assert chosen("redis") == "redis-system"


def test_a_version_that_is_asked_for_is_not_replaced_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "rabbitmq-4.3")
    monkeypatch.setattr(versions, "BROKERS", tmp_path)

    with pytest.raises(BrokerUnavailable, match=r"rabbitmq-4.3 is not installed: .*BROKERKIT_TEST_VERSIONS=rabbitmq"):
        find_server("rabbitmq", "rabbitmq-server", package="rabbitmq-server", variable="BROKERKIT_TEST_AMQP")


@pytest.mark.parametrize("name", VERSIONS)
def test_each_version_has_a_folder(name: str) -> None:
    assert folder(name).is_relative_to(versions.BROKERS)


def test_an_installed_program_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    name = chosen("redis")

    assert exact(name).startswith(name.removeprefix("redis-").removesuffix("system"))


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [("5:8.0.2-3", "8.0.2"), ("3.10.8-1.1+deb12u1", "3.10.8"), ("8.1.1+dfsg1-3+deb13u3", "8.1.1")],
)
def test_the_version_of_a_package_is_that_of_its_broker(
    monkeypatch: pytest.MonkeyPatch, debian: str, upstream: str
) -> None:
    monkeypatch.setattr(versions, "package_version", lambda package, root: debian)

    assert exact("redis-8.0") == upstream


def test_the_program_of_another_debian_runs_inside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "BROKERS", tmp_path)

    words = command("redis-8.0", "/usr/bin/redis-server")

    assert words[0] == "unshare"
    assert words[-3] == str(tmp_path / "trixie")
    assert words[-1] == "/usr/bin/redis-server"


def test_a_package_that_needs_another_debian_runs_inside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "BROKERS", tmp_path)
    program = folder("redis-8.6") / "bin" / "redis-server"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)

    words = command("redis-8.6", "")

    assert words[0] == "unshare"
    assert words[-1] == f"/{program.relative_to(tmp_path / 'trixie')}"


def test_docker_compose_has_versions_that_are_tested() -> None:
    images = re.findall(r"image: (?:\S+/)?([a-z]+):([\d.]+)", (CHECKOUT / "docker-compose.yml").read_text())

    found = {f"{name}-{version}" for name, version in images}
    assert {"kafka-4.4.0", "rabbitmq-4.3", "redis-8.2"} <= found
    assert {name for name in found if name.startswith(("kafka", "rabbitmq", "redis"))} <= set(matrix.names())


def test_each_failure_that_is_kept_is_explained() -> None:
    unexplained = [
        f"{version} {test}"
        for version, found in matrix.read().items()
        for suite in matrix.SUITES
        for test in found["suites"][suite]["failed"]
        if matrix.explanation(version, test) is None
    ]
    assert unexplained == []
