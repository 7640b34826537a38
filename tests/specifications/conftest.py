"""Specifications written for a test, and modules made of them."""

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from brokerkit._specifications import Specification, module_text, read

Written = Callable[[str, str], Path]
Imported = Callable[[Path | Specification | str], ModuleType]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a file of a test's own folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def imported(tmp_path: Path) -> Iterator[Imported]:
    """Make a module of a specification, and import it."""
    numbers = itertools.count()
    names: list[str] = []

    def load(source: Path | Specification | str) -> ModuleType:
        specification = source if isinstance(source, Specification) else read(source)
        name = f"made_for_a_test_{next(numbers)}"
        path = tmp_path / f"{name}.py"
        path.write_text(module_text(specification), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in names:
        del sys.modules[name]
