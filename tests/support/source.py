"""The source of parlour as syntax trees, for the tests that hold its laws.

This module owns the list of the parts, read from the disk so that a new one cannot be forgotten. It is pure but for
reading files; it must never import what it reads.

A law is one test over all modules. It gives `hold` one line for each violation, with file and line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path

import pytest

__all__ = ["PARTS", "ROOT", "Graph", "Module", "hold", "import_graph", "modules", "modules_below"]

Graph = dict[str, dict[str, str]]
"""For each module the modules that it imports, each with the file and line of one import."""

ROOT = Path(__file__).resolve().parents[2]
"""The folder that the repository lies in."""

PARTS = sorted(folder.parent.name for folder in ROOT.glob("*/parlour"))
"""Every source root on disk, each of which holds the part of its own name."""


class Module:
    """One Python file: where it lies, what it is called, what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__.py` of its folder."""
        return self.path.name == "__init__.py"

    @property
    def part(self) -> str:
        """The source root it belongs to."""
        return self.path.relative_to(ROOT).parts[0]

    @property
    def name(self) -> str:
        """The name it is imported by."""
        root = ROOT / self.part if self.part in (*PARTS, "tests") else ROOT
        words = self.path.relative_to(root).with_suffix("").parts
        return ".".join(words[:-1] if self.is_package else words)

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, str(self.path))

    def at(self, node: ast.AST) -> str:
        """Return where the node is, as editors take it."""
        return f"{self}:{getattr(node, 'lineno', 1)}"

    def imports(self) -> Iterator[tuple[ast.AST, str]]:
        """Yield every module imported, or that a name is imported from, however deep inside functions."""
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name
            elif isinstance(node, ast.ImportFrom):
                start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*start, *([node.module] if node.module else [])])
                for alias in node.names:
                    # `from parlour import node` imports a part without its name before `import`.
                    yield node, f"{base}.{alias.name}"

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str, list[ast.AST]]]:
        """Every call, the dotted name of what is called, and the classes and functions around."""
        found: list[tuple[ast.Call, str, list[ast.AST]]] = []

        def visit(node: ast.AST, around: list[ast.AST]) -> None:
            if isinstance(node, ast.Call):
                found.append((node, ast.unparse(node.func), around))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                around = [*around, node]
            for child in ast.iter_child_nodes(node):
                visit(child, around)

        visit(self.tree, [])
        return found


@cache
def modules() -> list[Module]:
    """Return the modules of all parts."""
    return [module for part in PARTS for module in modules_below(part)]


@cache
def modules_below(folder: str) -> list[Module]:
    """Return the Python files below a folder of the repository."""
    return [Module(path) for path in sorted((ROOT / folder).rglob("*.py"))]


def import_graph(among: list[Module]) -> Graph:
    """Return which of the modules imports which, also inside functions and behind TYPE_CHECKING.

    A name that a package's `__init__.py` takes from another module counts as an import from that module.
    """
    known = {module.name for module in among}
    homes = {
        f"{module.name}.{name.rpartition('.')[2]}": name
        for module in among
        if module.is_package
        for _, name in module.imports()
        if name.rpartition(".")[0] != module.name
    }

    def home(name: str) -> str:
        while name and name not in known:
            name = homes.get(name, name.rpartition(".")[0])
        return name

    return {
        module.name: {home(name): module.at(node) for node, name in module.imports() if home(name) in known}
        for module in among
    }


def hold(violations: Iterable[str]) -> None:
    """Fail the test with the violations, one on each line, if there are any."""
    lines = list(violations)
    if lines:
        pytest.fail("\n".join([f"violations: {len(lines)}", *lines]), pytrace=False)
