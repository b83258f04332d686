"""The tables of threads and locks in docs/architecture.md, generated from the source.

`make docs` writes them, and a law compares them. This module owns the reading of threads' names and locks' comments; it
is pure except that it reads files. It must never import a part.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple, TypeGuard

from support.source import PARTS, ROOT, Module, modules

__all__ = ["GUARDS", "PAGE", "comment_above", "is_handed_on", "locks", "name_words", "rewritten", "threads"]

PAGE = ROOT / "docs" / "architecture.md"

GUARDS = re.compile(r"Guards (.*)\. Rank (\d+)\.")
"""The comment above a lock: the fields that it guards, and its rank."""

HANDED_ON = {"name", "self.name", "self._name"}
"""The expressions for a name that the caller chose."""


class Lock(NamedTuple):
    """One call of make_lock."""

    rank: int
    part: str
    name: str
    guards: str


class Thread(NamedTuple):
    """One name of a thread, with parts that are known only at run time in capitals."""

    part: str
    name: str
    does: str


def innermost(around: list[ast.AST], kind: type[ast.AST]) -> str:
    """Return the name of the innermost class or function in `around`, or ""."""
    return next((node.name for node in reversed(around) if isinstance(node, kind)), "")  # type: ignore[attr-defined]


# --- locks ----------------------------------------------------------------------------------------------------


def comment_above(module: Module, line: int) -> str:
    """Return the comment lines right above a line, joined to one."""
    block: list[str] = []
    while line > 1 and (text := module.lines[line - 2].strip()).startswith("#"):
        block.insert(0, text.removeprefix("#").strip())
        line -= 1
    return " ".join(block)


@cache
def locks() -> list[Lock]:
    """Return all locks by rank; a lock without its comment has rank 0."""
    found = []
    for module in modules():
        for call, name, around in module.calls:
            if name.rpartition(".")[2] == "make_lock":
                field = re.match(r"\s*(?:self\.)?(\w+)", module.lines[call.lineno - 1])
                said = GUARDS.search(comment_above(module, call.lineno))
                words = [innermost(around, ast.ClassDef), field[1] if field else ""]
                found.append(
                    Lock(
                        int(said[2]) if said else 0,
                        module.part,
                        ".".join(filter(None, words)),
                        re.sub(r"(?<![\w`])_\w+", r"`\g<0>`", said[1]) if said else "",
                    )
                )
    return sorted(found)


# --- threads --------------------------------------------------------------------------------------------------


def name_words(argument: ast.expr) -> list[str | ast.expr]:
    """Return the words of a name, and the values between them."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    values = [part.value if isinstance(part, ast.Constant | ast.FormattedValue) else part for part in parts]
    return [value for value in values if isinstance(value, str | ast.expr)]


def is_handed_on(word: str | ast.expr) -> TypeGuard[ast.expr]:
    """Return whether the caller chose this part of a name."""
    return isinstance(word, ast.expr) and ast.unparse(word) in HANDED_ON


def shown(part: str | ast.expr) -> str:
    """Return a part of a name as the table shows it: a value is shown by its last word, in capitals."""
    if isinstance(part, str):
        return part
    words = [word for word in re.findall("[a-z]+", ast.unparse(part)) if word not in ("self", "chat", "name")]
    return words[-1].upper() if words else "NAME"


def described(module: Module, name: str, around: list[ast.AST]) -> str:
    """Return the first docstring line of the function of this name, else of the class or module in `around`."""
    inside = [node for node in around if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    for home in reversed([module.tree, *inside]):
        for node in ast.walk(home):
            if isinstance(node, ast.FunctionDef) and node.name == name and (text := ast.get_docstring(node)):
                return text.splitlines()[0]
        if not isinstance(home, ast.FunctionDef) and (text := ast.get_docstring(home)):
            return text.splitlines()[0]
    return ""


def innermost_base(around: list[ast.AST]) -> str:
    """Return the name of the base class of the innermost class, or ""."""
    classes = [node for node in around if isinstance(node, ast.ClassDef) and node.bases]
    return ast.unparse(classes[-1].bases[0]) if classes else ""


class Way(NamedTuple):
    """A function or class whose first argument becomes a thread's name, or a part of it."""

    part: str
    form: str
    does: str


@cache
def threads() -> list[Thread]:
    """Return the names of threads, with the docstrings of what they run."""
    found: set[Thread] = set()
    ways: dict[str, set[Way]] = defaultdict(set, spawn={Way("runtime", "{}", "")})
    calls = [
        (module, call, name, name_words(call.args[0]), around)
        for module in modules()
        for call, name, around in module.calls
        if call.args and not ast.unparse(call.args[0]).startswith("'--")  # an option for a process
    ]
    known = {part: {part} for part in PARTS}
    for module in modules():
        known[module.part] |= {name.split(".")[1] for _, name in module.imports() if name.startswith("parlour.")}
    before = -1
    while before != (before := len(found) + sum(map(len, ways.values()))):
        for module, call, name, words, around in calls:
            called = name.rpartition(".")[2]
            if called == "__init__" and (base := innermost_base(around)):
                called = base
            for way in [way for way in ways.get(called, ()) if way.part in known[module.part]]:
                if called == "spawn":
                    target = ast.unparse(call.args[1]).removeprefix("self.")
                    does = f"Runs `{target}`." if "." in target else described(module, target, around)
                else:
                    does = described(module, "", around) if name.endswith("__init__") else way.does
                handed_on = [word for word in words if is_handed_on(word)]
                if any(isinstance(word, str) and re.search("[a-z]", word) for word in words):
                    found.add(Thread(module.part, way.form.format("".join(map(shown, words))), does))
                elif handed_on:
                    form = "".join("{}" if word is handed_on[0] else shown(word) for word in words)
                    function = innermost(around, ast.FunctionDef)
                    own = function == "__init__" or ast.unparse(handed_on[0]) != "name"
                    home = innermost(around, ast.ClassDef) if own else function
                    ways[home].add(Way(module.part, way.form.format(form), does))
    return sorted(found)


# --- the page -------------------------------------------------------------------------------------------------


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table between the marks by which `rewritten` finds it."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(list(head)))
    return "\n".join([f"<!-- {title}, written by `make docs` -->", *lines, f"<!-- end of {title} -->"])


def rewritten(text: str) -> str:
    """Return the page with the tables from the source; raises ValueError if the page lacks a table's marks."""
    tables = {
        "threads": table(
            "threads", ("thread", "in", "what it is for"), ((f"`{name}`", part, does) for part, name, does in threads())
        ),
        "locks": table(
            "locks",
            ("rank", "in", "lock", "guards"),
            ((lock.rank, lock.part, f"`{lock.name}`", lock.guards) for lock in locks()),
        ),
    }
    for title, lines in tables.items():
        marks = re.compile(f"<!-- {title}, .*?<!-- end of {title} -->", re.DOTALL)
        found = marks.findall(text)
        if len(found) != 1:
            raise ValueError(f"the page does not have one table between the marks of `{title}`")
        text = text.replace(found[0], lines)
    return text


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before)
    if after != before:
        PAGE.write_text(after, encoding="utf-8")
        print(f"wrote the tables of {PAGE.relative_to(ROOT)}", file=sys.stderr)
