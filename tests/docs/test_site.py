"""The documentation builds as a site, and its API reference has every public name."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "api"
PUBLIC = (
    "brokerkit",
    "brokerkit.adapters.api",
    "brokerkit.dedupe",
    "brokerkit.dependencies",
    "brokerkit.events",
    "brokerkit.formats",
    "brokerkit.gateway",
    "brokerkit.logs",
    "brokerkit.metrics",
    "brokerkit.tracing",
    "brokerkit.outbox",
    "brokerkit.recording",
    "brokerkit.testing",
    "brokerkit.testing.conformance",
    "brokerkit.testing.formats",
    "brokerkit.thrillconnect",
    "brokerkit.types",
)
SHOWN = {
    name for page in API.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
}


def names(module: str) -> list[str]:
    found: list[str] = importlib.import_module(module).__all__
    return [f"{module}.{name}" for name in found if name != "__version__"]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    assert sorted(set(names(module)) - SHOWN) == []


def test_the_reference_shows_public_names_alone() -> None:
    assert sorted(SHOWN - {name for module in PUBLIC for name in names(module)}) == []


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_class_function_and_method_has_a_docstring(module: str) -> None:
    bare = list[str]()
    for name in names(module):
        value = getattr(importlib.import_module(module), name.rpartition(".")[2])
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        bare += [name] if not inspect.getdoc(value) else []
        if inspect.isclass(value):
            bare += [
                f"{name}.{key}"
                for key, member in vars(value).items()
                if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
                if not inspect.getdoc(member)
            ]
    assert bare == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """MkDocs is strict here: a link or a name that leads nowhere ends the build."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "api" / "bus" / "index.html").read_text("utf-8")
    assert "publish_many" in page
    assert "Raises:" in page
    assert re.findall(r"(?:src|href)=\"https?://(?!127\.)[^\"]*\.(?:js|css|woff2?)\"", page) == []
