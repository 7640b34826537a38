"""The packages lie in layers: imports go down, never in a circle, and never to what is private to another package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
ROOT = "brokerkit"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("testing",),
    ("gateway", "logs", "metrics", "simulate", "thrillconnect", "tracing"),
    ("_vendors.gateway", "_vendors.simulate", "outbox", "recording"),
    ("dependencies", "types"),
    ("",),
    ("_bus",),
    ("_http", "_serving"),
    ("_metrics",),
    ("_runtime",),
    ("_preflight", "_specifications", "_tools"),
    ("_consuming",),
    ("_publishing",),
    ("_dead_letters", "_status"),
    ("_handlers", "_vendors._sections"),
    ("_vendors._on",),
    ("_handlers._registrar",),
    ("_config",),
    ("dedupe",),
    ("_vendors.thrillconnect_source",),
    ("adapters",),
    ("formats",),
    ("_messages",),
    ("events.accelbyte", "events.evenbet", "events.session", "events.thrillconnect", "events.thrillpots"),
    ("_vendors",),
    ("events",),
    ("_backoff", "_deadline", "_guard", "_password", "_paths", "_signals", "_tls", "_url"),
    ("_logging",),
    ("_clock", "_errors", "_version"),
)
"""From the top down; each row imports only from rows below it. The table in CONTRIBUTING.md has the same order. "" is
`brokerkit` itself, with the public names that it gathers."""


@dataclass(frozen=True)
class Import:
    """One imported name.

    Attributes:
        by: the module that imports.
        of: the module that is imported.
        name: what is taken from it, or "" for the module.
        later: a function imports it when it is called.
    """

    by: str
    of: str
    name: str
    line: int
    later: bool


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / ROOT).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def _imports(module: str, tree: ast.AST, *, later: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(module, node, later=True)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == ROOT:
                    yield Import(module, alias.name, "", node.lineno, later)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            if str(node.module).partition(".")[0] == ROOT:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    of, name = (inner, "") if inner in MODULES else (str(node.module), alias.name)
                    yield Import(module, of, name, node.lineno, later)
        else:
            yield from _imports(module, node, later=later)


TREES = {module: ast.parse(path.read_text("utf-8")) for module, path in MODULES.items()}
IMPORTS = [each for module, tree in TREES.items() for each in _imports(module, tree)]
ROWS = {package: row for row, packages in enumerate(LAYERS) for package in packages}


def package_of(module: str) -> str:
    """The longest entry of `LAYERS` that the module is, or lies in."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if (package := ".".join(parts[:length])) in ROWS:
            return package
    assert not parts, f"{module} is in no layer: give it a place in LAYERS, and in the table of CONTRIBUTING.md"
    return ""


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    up = list[str]()
    for each in IMPORTS:
        if each.by != module:
            continue
        by, of = package_of(each.by), package_of(each.of)
        if by == of or ROWS[by] < ROWS[of]:
            continue
        up.append(f"line {each.line}: {by or ROOT} imports {each.of}, and lies below it or beside it")
    assert up == []


def test_no_layer_is_left_over() -> None:
    assert sorted(set(ROWS) - {package_of(module) for module in MODULES}) == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """Within a package too, and for type checkers too. What a function imports when it is called is no part of a circle."""
    graph = {module: set[str]() for module in MODULES}
    for each in IMPORTS:
        if not each.later:
            graph[each.by].add(each.of)
    finished, path = set[str](), list[str]()

    def visit(module: str) -> None:
        if module in finished:
            return
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        path.append(module)
        for other in sorted(graph[module]):
            visit(other)
        finished.add(path.pop())

    for module in MODULES:
        visit(module)


def test_no_package_takes_a_private_name_of_another() -> None:
    taken = [
        f"{each.by}:{each.line} takes {each.name} of {each.of}"
        for each in IMPORTS
        if each.name.startswith("_") and not each.name.startswith("__") and package_of(each.by) != package_of(each.of)
    ]
    for module, tree in TREES.items():
        bound = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if f"{node.module}.{alias.name}" in MODULES
        }
        taken += [
            f"{module}:{node.lineno} takes {node.attr} of {bound[node.value.id]}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound
            if re.match("_(?!_)", node.attr) and f"{bound[node.value.id]}.{node.attr}" not in MODULES
            if package_of(module) != package_of(bound[node.value.id])
        ]
    assert taken == []


ADAPTERS = (
    "adapters.aws",
    "adapters.kafka",
    "adapters.memory",
    "adapters.rabbitmq",
    "adapters.redis",
    "adapters.sqlite",
)
"""The adapters of brokerkit: packages and modules that need nothing that an adapter of another package could not have."""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_uses_only_the_public_seam(adapter: str) -> None:
    own = f"{ROOT}.{adapter}"
    taken = [
        f"{each.by}:{each.line} imports {each.of}"
        for each in IMPORTS
        if f"{each.by}.".startswith(f"{own}.") and not f"{each.of}.".startswith((f"{own}.", f"{ROOT}.adapters.api."))
    ]
    assert taken == []


def test_no_adapter_is_left_out() -> None:
    found = {".".join(module.split(".")[1:3]) for module in MODULES if module.startswith(f"{ROOT}.adapters.")}
    assert sorted(each for each in found if not each.startswith(("adapters._", "adapters.api"))) == sorted(ADAPTERS)


def test_no_file_switches_the_check_of_private_names_off() -> None:
    switch = re.compile(r"^\s*#\s*pyright:\s*(?!ignore).*reportPrivateUsage", re.MULTILINE)
    assert [module for module, path in MODULES.items() if switch.search(path.read_text("utf-8"))] == []


def test_the_table_in_contributing_has_the_same_rows() -> None:
    text = (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8")
    table = text.partition("| path | contents |\n")[2].partition("\n\n")[0]
    rows = [
        tuple(re.sub(r"/?(__init__)?(\.py)?$", "", path).replace("/", ".") for path in re.findall(r"`([^`]+)`", cell))
        for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    ]
    assert rows == list(LAYERS)


def test_the_way_of_a_message_in_contributing_names_what_is_there() -> None:
    text = (SOURCE.parent / "CONTRIBUTING.md").read_text("utf-8").partition("## The way of a message\n")[2]
    files = {path.relative_to(SOURCE / ROOT).as_posix(): path.read_text("utf-8") for path in MODULES.values()}
    cells = re.findall(r"^\| (?!step|headers|---).* \| (.*) \|$", text.partition("## Glossary\n")[0], re.MULTILINE)
    missing: list[str] = []
    for cell in cells:
        [first, *names] = re.findall(r"`([^`]+)`", cell)
        source = files[first]
        for each in names:
            if each.endswith(".py"):
                source = files[each]
                continue
            owner, _, name = each.rpartition(".")
            if owner and f"class {owner}" not in source:
                [source] = [found for found in files.values() if re.search(rf"^class {owner}\b", found, re.MULTILINE)]
            if not re.search(rf"^ *(async )?(def|class) {name}\b", source, re.MULTILINE):
                missing.append(each)
    assert len(cells) > 10
    assert missing == []
