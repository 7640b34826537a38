"""Where the program of a broker is, in the version that the tests use."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.brokers import versions
from tests.brokers._server import BrokerUnavailable
from tests.brokers.versions import Root, System


def find_server(broker: str, program: str, *, package: str, variable: str, places: Sequence[Path] = ()) -> list[str]:
    """Return the start of a command that runs a program of a broker in the version that is chosen.

    Args:
        broker: as `versions.DEFAULTS` calls it.
        program: its name, looked for as by `find_program`.
        package: see `find_program`.
        variable: see `find_program`.
        places: see `find_program`.

    Raises:
        BrokerUnavailable: it is not installed.
    """
    version = versions.chosen(broker)
    found = versions.origin(version)
    if isinstance(found, System):
        return [find_program(program, package=package, variable=variable, places=places)]
    folder = installed(version)
    if isinstance(found, Root):
        paths = [*places, Path("/usr/sbin") / program, Path("/usr/bin") / program]
        inside = next(path for path in paths if os.path.lexists(folder / path.relative_to("/")))
        return versions.command(version, str(inside))
    return versions.command(version, program)


def installed(version: str) -> Path:
    """Return the folder of a version.

    Raises:
        BrokerUnavailable: it is not installed.
    """
    if not versions.is_installed(version):
        raise BrokerUnavailable(
            f"{version} is not installed: run tests/brokers/install.sh with {versions.VARIABLE}={version}"
        )
    return versions.folder(version)


def find_program(name: str, *, package: str, variable: str, places: Sequence[Path] = ()) -> str:
    """Return the path of a program of the machine, looked for in `places` first, then on the search path.

    Raises:
        BrokerUnavailable: it is not installed; `package` is what has it on Debian, `variable` the way around it.
    """
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    # Debian puts servers into folders that are not on the search path of ordinary users.
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if found is None:
        raise BrokerUnavailable(
            f"{name} is not installed: run tests/brokers/install.sh, or install it yourself "
            f"(Debian and Ubuntu: {package}), or name a running broker in {variable}"
        )
    return found


def java(version: str, *, variable: str, options: Sequence[str] = ()) -> list[str]:
    """Return the start of a command that runs a class from the jars of a version.

    Raises:
        BrokerUnavailable: there is no Java, or the jars have not been downloaded.
    """
    start = java_program(variable=variable)
    return [*start, *options, "-cp", f"{installed(version)}/*"]


def java_program(*, variable: str) -> list[str]:
    """Return the start of a command that runs something of Java.

    Raises:
        BrokerUnavailable: there is no Java.
    """
    home = os.environ.get("JAVA_HOME")
    program = find_program(
        "java",
        package="default-jre-headless, version 17 or later",
        variable=variable,
        places=[Path(home) / "bin" / "java"] if home else [],
    )
    # Servers that live for minutes: a quick start is worth more than the best machine code.
    return [program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
