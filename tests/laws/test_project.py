"""pyproject.toml names every source root to every tool: one that is left out is not built, or not checked."""

from __future__ import annotations

import tomllib
from typing import Any

from support.source import PARTS, ROOT, hold

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS: dict[str, Any] = PROJECT["tool"]

LISTS: dict[str, list[str]] = {
    "hatch, editable": TOOLS["hatch"]["build"]["dev-mode-dirs"],
    "hatch, wheel": [path.removesuffix("/parlour") for path in TOOLS["hatch"]["build"]["targets"]["wheel"]["packages"]],
    "mypy, path": TOOLS["mypy"]["mypy_path"].split(":"),
    "pyright, path": TOOLS["pyright"]["extraPaths"],
    "pytest": TOOLS["pytest"]["ini_options"]["pythonpath"],
}


def test_every_root_is_named() -> None:
    """Each tool knows each root on disk once, and none that is not there."""
    wrong = []
    for tool, roots in LISTS.items():
        wrong += [f"pyproject.toml: {tool}: {name} is missing" for name in sorted(set(PARTS) - set(roots))]
        wrong += [f"pyproject.toml: {tool}: {name} is no folder" for name in roots if not (ROOT / name).is_dir()]
        wrong += [f"pyproject.toml: {tool}: {name} is twice" for name in sorted(set(roots)) if roots.count(name) > 1]
    hold(wrong)


def test_every_file_is_checked() -> None:
    """What mypy is told by globs covers all roots, and nothing tells pyright to leave a file out."""
    checked = {path for pattern in TOOLS["mypy"]["files"] for path in ROOT.glob(pattern)}
    hold(f"pyproject.toml: mypy, files: {part} is missing" for part in PARTS if ROOT / part / "parlour" not in checked)
    assert {ROOT / "tests", ROOT / "bench", ROOT / "examples"} <= checked
    assert TOOLS["pyright"].keys() & {"include", "exclude", "ignore"} == set()


def test_the_wheel_has_the_parts_alone() -> None:
    """Tests, benchmarks and examples do not land at a user's."""
    assert sorted(LISTS["hatch, wheel"]) == PARTS


def test_warnings_are_errors_and_types_are_strict() -> None:
    """The two settings that everything else leans on are on."""
    assert TOOLS["pytest"]["ini_options"]["filterwarnings"] == ["error"]
    assert TOOLS["mypy"]["strict"] is True
