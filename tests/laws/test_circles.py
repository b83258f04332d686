"""Imports go one way: from a module to what it stands on, and never back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from support.source import ROOT, hold, import_graph, modules, modules_below

FLOORS: dict[str, set[str]] = {
    "log": set(),
    "settings": {"log"},
    "cluster": {"log", "settings"},
    "people": {"log", "settings"},
    "rooms": {"log", "settings", "cluster"},
    "clients": {"log", "settings", "cluster", "people", "rooms"},
}
"""The floors of the node, and which others each may import."""

ABOVE = {"", "cli", "metrics", "node", "rooms_command"}
"""Modules of the node that stand above its floors and may import all of them. The package itself is the first."""


def circles(graph: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """Return the sets of modules of which each one reaches each other one and itself."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = set(graph[waiting.pop()]) - found
            found |= new
            waiting += new
        return found

    reach = {name: reached(name) for name in graph}
    found = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return [set(circle) for circle in sorted(found, key=sorted)]


def test_imports_make_no_circle() -> None:
    """No module imports itself through others, also not inside functions or for type checkers alone."""
    graph = import_graph([*modules(), *modules_below("bench"), *modules_below("tests")])
    found = circles(graph)
    hold(
        f"{at} imports {other}, which leads back to {name}"
        for circle in found
        for name in sorted(circle)
        for other, at in graph[name].items()
        if other in circle
    )


def floor(name: str) -> str:
    """Return the first word of a module's name within the node: its floor, or its own name."""
    return name.removeprefix("parlour.node").lstrip(".").partition(".")[0]


def test_floors_of_the_node() -> None:
    """In the node each floor imports lower floors alone, and each module stands on a floor or above all."""
    graph = import_graph([module for module in modules() if module.part == "node"])
    homeless = [f"{name} stands on no floor of the node" for name in graph if floor(name) not in ABOVE | FLOORS.keys()]
    upward = [
        f"{at} imports {other}, but {here} may not import {floor(other) or 'the package itself'}"
        for name, imported in graph.items()
        for other, at in imported.items()
        if (here := floor(name)) in FLOORS and floor(other) not in FLOORS[here] | {here}
    ]
    hold(homeless + upward)


def test_bench_load_makes_no_circle() -> None:
    """In the load generator no C file uses a file that uses it."""
    texts: dict[str, str] = {}
    for path in sorted((ROOT / "bench" / "load").glob("*.[ch]")):
        # Comments and strings name what they do not use.
        text = re.sub(r'/\*.*?\*/|"(\\.|[^"\n])*"', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        texts[path.stem] = texts.get(path.stem, "") + text
    # What begins at a line's start and is not static is for other files: functions with a body, and values.
    made = re.compile(r"^(?!static|extern|typedef|enum|struct)[a-z][\w ]*[ *](\w+)(?:\([^;{]*\) \{| = )", re.MULTILINE)
    homes = {name: stem for stem, text in texts.items() for name in made.findall(text)}
    assert {"die", "deliver", "percentile", "parlour"} <= set(homes)
    graph = {
        stem: {homes[word] for word in re.findall(r"(?<![.>])\b\w+", text) if homes.get(word, stem) != stem}
        for stem, text in texts.items()
    }
    hold(f"bench/load: {sorted(circle)} use each other" for circle in circles(graph))
