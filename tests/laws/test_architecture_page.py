"""The architecture page lists every lock and every thread that the source makes, and none that it does not."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from support.source import ROOT, hold, modules

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

HANDED_ON = {"name", "self.name", "self._name"}
"""How a name is called that somebody else chose."""


def rows(title: str) -> list[list[str]]:
    """Return the cells of a table of the page, by row, but for its head."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def innermost(around: list[ast.AST], kind: type[ast.AST]) -> str:
    """Return the name of the last class or function around, or nothing."""
    return next((node.name for node in reversed(around) if isinstance(node, kind)), "")  # type: ignore[attr-defined]


# --- locks ----------------------------------------------------------------------------------------------------


def test_every_lock_is_on_the_page() -> None:
    """By its rank, its part and the class that makes it."""
    made = {
        (int(ast.unparse(call.args[0])), module.part, innermost(around, ast.ClassDef))
        for module in modules()
        for call, name, around in module.calls()
        if name == "make_lock"
    }
    assert len(made) > 20
    assert {(int(rank), part, lock.split("`")[1]) for rank, part, lock, *_ in rows("Locks")} == made


# --- threads --------------------------------------------------------------------------------------------------


def words(argument: ast.expr) -> list[str | ast.expr]:
    """Return the words that a name is put together of, and the values between them."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    values = [part.value if isinstance(part, ast.Constant | ast.FormattedValue) else part for part in parts]
    return [value for value in values if isinstance(value, str | ast.expr)]


def calls_with_names() -> Iterator[tuple[str, list[str | ast.expr], list[ast.AST]]]:
    """Yield who is called, what the first argument is put together of, and the classes and functions around."""
    for module in modules():
        for call, name, around in module.calls():
            called = name.rpartition(".")[2]
            classes = [node for node in around if isinstance(node, ast.ClassDef)]
            if called == "__init__" and classes:  # of the class that this one is derived from
                called = ast.unparse(classes[-1].bases[0]) if classes[-1].bases else ""
            parts = words(call.args[0]) if call.args else []
            if parts and not str(parts[0]).startswith("--"):  # an option of a process that is started
                yield called, parts, around


def threads() -> set[str]:
    """Return the names that threads are given, with `*` for what is known only when they run."""
    names: set[str] = set()
    # What becomes of a name that is given to a function or class: `{}` stands for it.
    ways: dict[str, set[str]] = defaultdict(set, spawn={"{}"})
    while True:
        before = (len(names), sum(map(len, ways.values())))
        for called, parts, around in calls_with_names():
            for way in list(ways.get(called, ())):
                handed_on = [part for part in parts if isinstance(part, ast.expr) and ast.unparse(part) in HANDED_ON]
                if any(isinstance(part, str) and re.search("[a-z]", part) for part in parts):
                    names.add(way.format("".join(part if isinstance(part, str) else "*" for part in parts)))
                elif handed_on:
                    whole = "".join(
                        part if isinstance(part, str) else "{}" if part is handed_on[0] else "*" for part in parts
                    )
                    function = innermost(around, ast.FunctionDef)
                    own = function == "__init__" or ast.unparse(handed_on[0]) != "name"
                    ways[innermost(around, ast.ClassDef) if own else function].add(way.format(whole))
        if before == (len(names), sum(map(len, ways.values()))):
            return names


def test_every_thread_is_on_the_page() -> None:
    """By its name: what is in capitals there is known only when it runs."""
    told = {name for cells in rows("Threads") for name in re.findall("`([^`]+)`", cells[0])}
    assert len(told) > 20
    assert {re.sub("[A-Z]+", "*", name) for name in told} == threads()


def test_every_thread_has_a_name_that_can_be_told() -> None:
    """Its name is words, or one that was handed on: what is looked for above is found."""
    hold(
        f"{module.at(call)} gives a thread a name that cannot be read from the source"
        for module in modules()
        for call, name, _ in module.calls()
        if name == "spawn"
        and not any(
            re.search("[a-z]", part) if isinstance(part, str) else ast.unparse(part) in HANDED_ON
            for part in words(call.args[0])
        )
    )
