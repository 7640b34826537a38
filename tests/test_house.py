"""The code keeps its own rules: lint, layout, types, sizes and locks."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "words",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pyright", "--pythonpath", sys.executable],
    ],
    ids=["lint", "layout", "mypy", "pyright"],
)
@pytest.mark.timeout(360)  # they read the whole tree, beside the brokers of two other workers
def test_the_checkers_find_nothing(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]


_GUARDED = {"guarded", "start", "watch"}
_CANNOT_FAIL = {"set", "discard", "cancel", "_complete", "set_result", "stop"}
"""Bound methods of sets, events, futures and loops, and one that does nothing else."""
_LOOKED_AT = {
    "_dead_letters/_walk.py:_to_the_end": "awaited",
    "_deadline.py:bounded": "awaited",
    "_publishing/_encoding.py:then": "whoever publishes awaits it",
    "_guard.py:start": "the guard",
    "_guard.py:watch": "the guard",
    "_signals.py:_until_signalled": "awaited",
    "_publishing/_sender.py:add": "keeps its own error",
    "_publishing/_sync.py:__init__": "the loop itself",
    "adapters/aws/_cursor.py:_ask": "awaited",
    "adapters/aws/_source.py:receive": "awaited, or handed to a task that does",
    "adapters/rabbitmq/_publisher.py:_send": "awaited; the callback only looks into a dictionary",
    "adapters/rabbitmq/_link.py:while_open": "awaited",
    "adapters/rabbitmq/_source.py:receive": "awaited",
    "adapters/rabbitmq/_stream.py:receive": "awaited",
    "adapters/redis/_browse.py:_cancellable": "awaited",
    "_vendors/thrillconnect_source/_source.py:_reopen": "awaited",
    "recording/_record.py:run": "awaited, and keeps its own error",
}
"""Where a task is waited for, and its error looked at, by whoever made it; and why it is not started by the guard."""


def _callbacks(tree: ast.Module) -> Iterator[tuple[str, ast.Call, ast.expr | None]]:
    """Function, call and callback of each call that hands a function to a loop, a future, a thread or a client library."""

    watching = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(each, ast.Call) and getattr(each.func, "id", "") == "watch" for each in ast.walk(function))
    }

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call, ast.expr | None]]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            if isinstance(child, ast.Call):
                called = child.func.attr if isinstance(child.func, ast.Attribute) else getattr(child.func, "id", "")
                place = {"call_later": 1, "call_at": 1}.get(called, 0)
                if called in ("add_done_callback", "call_soon", "call_soon_threadsafe", "call_later", "call_at"):
                    yield inside, child, child.args[place]
                elif called in ("create_task", "ensure_future", "Task") and inside not in watching:
                    yield inside, child, None
                elif called == "Thread":
                    [target] = [each.value for each in child.keywords if each.arg == "target"]
                    yield inside, child, target
            yield from walk(child, inside)

    yield from walk(tree, "")


def _is_safe(callback: ast.expr) -> bool:
    if isinstance(callback, ast.Call):
        return getattr(callback.func, "id", "") in _GUARDED
    return isinstance(callback, ast.Attribute) and callback.attr in _CANNOT_FAIL


def test_what_a_callback_a_thread_or_a_task_raises_has_somebody_to_reach() -> None:
    package = ROOT / "src" / "brokerkit"
    loose: list[str] = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        if place.startswith(("cli/", "testing/")):
            continue  # These end with the program, or the test, that they are.
        for function, call, callback in _callbacks(ast.parse(path.read_text(encoding="utf-8"))):
            if f"{place}:{function}" not in _LOOKED_AT and (callback is None or not _is_safe(callback)):
                loose.append(f"{place}:{call.lineno} {ast.unparse(call)}: start it through brokerkit._guard")
    assert not loose, "\n".join(loose)


_LINES, _ADAPTER_LINES, _FUNCTION_LINES, _COMPLEXITY = 400, 600, 60, 15
_PACKAGE = ROOT / "src" / "brokerkit"


def _sources() -> Iterator[tuple[str, str]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "; do not edit." not in text[:1000]:  # generated
            yield path.relative_to(_PACKAGE).as_posix(), text


def _tests() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def _is_one_piece(lines: list[str], function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a comment in the function, or right above it, says why it cannot be several."""
    first = min([function.lineno, *(each.lineno for each in function.decorator_list)]) - 1
    return any(line.strip().startswith("# one piece: ") for line in lines[max(first - 1, 0) : function.end_lineno])


def test_a_file_is_read_in_one_sitting() -> None:
    long = [
        f"{place}: {count} lines, and {most} at most"
        for place, text in (*_sources(), *_tests())
        for most in [_ADAPTER_LINES if place.startswith(("adapters/", "_vendors/thrillconnect_source/")) else _LINES]
        if (count := text.count("\n")) > most
    ]
    assert long == []


def test_a_function_fits_on_a_screen_or_says_why_it_is_one_piece() -> None:
    long = [
        f"{place}:{node.lineno} {node.name} has {count} lines, and {_FUNCTION_LINES} at most"
        for place, text in _sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := (node.end_lineno or 0) - node.lineno + 1) > _FUNCTION_LINES
        and not _is_one_piece(text.splitlines(), node)
    ]
    assert long == []


def test_a_function_has_few_branches_or_says_why_it_is_one_piece() -> None:
    limit = f"lint.mccabe.max-complexity={_COMPLEXITY}"
    words = ["ruff", "check", "--isolated", "--select", "C901", "--config", limit, "--output-format", "json", "src"]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    tangled: list[str] = []
    for found in json.loads(done.stdout):
        path, row = Path(found["filename"]), found["location"]["row"]
        text = path.read_text(encoding="utf-8")
        place = path.relative_to(_PACKAGE).as_posix()
        [function] = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno == row
        ]
        if not _is_one_piece(text.splitlines(), function):
            tangled.append(f"{place}:{row} {found['message']}")
    assert tangled == []


_PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
_EXTRAS: dict[str, list[str]] = _PROJECT["project"]["optional-dependencies"]
_ASKED = map(
    Requirement, [*_PROJECT["project"]["dependencies"], *(text for extra in _EXTRAS.values() for text in extra)]
)
_DEPENDENCIES = [each for each in _ASKED if each.name != _PROJECT["project"]["name"]]


def _pins(lock: str) -> dict[str, Version]:
    """The versions that a lock has for Python 3.11 on this platform."""
    python = {"python_version": "3.11", "python_full_version": "3.11.9"}
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    found = map(Requirement, re.findall(r"^([\w.-]+==.*?) \\\n", text, re.MULTILINE))
    return {
        canonicalize_name(each.name): Version(next(iter(each.specifier)).version)
        for each in found
        if each.marker is None or each.marker.evaluate(python)
    }


def test_every_dependency_has_a_lowest_and_a_highest_version() -> None:
    for each in _DEPENDENCIES:
        assert {part.operator for part in each.specifier} == {">=", "<"}, each


@pytest.mark.parametrize("group", ["dev", "release"])
def test_a_lock_has_what_the_project_asks_for(group: str) -> None:
    locked = _pins(group)
    wanted = [Requirement(text) for text in _PROJECT["dependency-groups"][group]]
    for each in [*wanted, *(_DEPENDENCIES if group == "dev" else [])]:
        if each.marker is None or each.marker.evaluate():
            assert canonicalize_name(each.name) in locked, f"{each} is not in requirements/{group}.txt: make lock"
            found = locked[canonicalize_name(each.name)]
            assert each.specifier.contains(found, prereleases=True), f"the lock has {each.name} {found}: make lock"


def test_the_lock_of_the_lowest_versions_has_those_of_the_project() -> None:
    # The tests need a newer opentelemetry-api.
    locked = _pins("lowest")
    for each in _DEPENDENCIES:
        if each.name == "opentelemetry-api" or (each.marker and not each.marker.evaluate()):
            continue
        [bound] = [part.version for part in each.specifier if part.operator == ">="]
        assert locked[canonicalize_name(each.name)] <= Version(bound), each
