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
    "mypy, files": TOOLS["mypy"]["files"],
    "mypy, path": TOOLS["mypy"]["mypy_path"].split(":"),
    "pyright, files": TOOLS["pyright"]["include"],
    "pyright, path": TOOLS["pyright"]["extraPaths"],
    "pytest": TOOLS["pytest"]["ini_options"]["pythonpath"],
    "ruff": TOOLS["ruff"]["src"],
}


def test_every_root_is_named() -> None:
    """Each tool knows each root on disk once, and none that is not there."""
    wrong = []
    for tool, roots in LISTS.items():
        wrong += [f"pyproject.toml: {tool}: {name} is missing" for name in sorted(set(PARTS) - set(roots))]
        wrong += [f"pyproject.toml: {tool}: {name} is no folder" for name in roots if not (ROOT / name).is_dir()]
        wrong += [f"pyproject.toml: {tool}: {name} is twice" for name in sorted(set(roots)) if roots.count(name) > 1]
    hold(wrong)


def test_the_wheel_has_the_parts_alone() -> None:
    """Tests, benchmarks and examples do not land at a user's."""
    assert sorted(LISTS["hatch, wheel"]) == PARTS


def test_warnings_are_errors_and_types_are_strict() -> None:
    """The two settings that everything else leans on are on."""
    assert TOOLS["pytest"]["ini_options"]["filterwarnings"] == ["error"]
    assert TOOLS["mypy"]["strict"] is True
