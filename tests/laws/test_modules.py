"""What every module has: an account of itself, a list of what it gives to others, and an end in sight."""

from __future__ import annotations

import ast
import importlib

import pytest

from support.source import PARTS, ROOT, Module, modules, modules_below

LONGEST = 400
"""Lines that a module may have: what is longer is about two things."""

every_module = pytest.mark.parametrize("module", modules(), ids=str)
libraries = pytest.mark.parametrize(
    "module", [module for module in modules() if module.path.name != "__main__.py"], ids=str
)


def listed(module: Module) -> list[str] | None:
    """Return the module's `__all__` as it is written, or None."""
    for statement in module.tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names: list[str] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
            return names
    return None


def defined(module: Module) -> set[str]:
    """Return the public names that the module itself defines at its top.

    Type variables are no one else's, and a constant in capitals is the module's own setting until another imports it.
    """
    names: set[str] = set()
    for statement in module.tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            value = statement.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec"):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                names |= {leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return {name for name in names if not name.startswith("_") and not name.isupper()}


@pytest.mark.parametrize("part", PARTS)
def test_no_part_hides_the_others(part: str) -> None:
    """`parlour` is a namespace over all roots: one `__init__.py` in it would hide every other part."""
    assert not (ROOT / part / "parlour" / "__init__.py").exists()
    assert [folder.name for folder in (ROOT / part / "parlour").iterdir() if folder.name != "__pycache__"] == [part]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_typed(part: str) -> None:
    """Each part tells type checkers of its users that it has types."""
    assert (ROOT / part / "parlour" / part / "py.typed").is_file()
    assert (ROOT / part / "parlour" / part / "__init__.py").is_file()


@libraries
def test_all_is_all(module: Module) -> None:
    """`__all__` names every public thing that the module defines, and nothing that is not there."""
    names = listed(module)
    assert names is not None
    assert sorted(set(names)) == sorted(names)
    assert defined(module) - set(names) == set()
    loaded = importlib.import_module(module.name)
    assert [name for name in names if not hasattr(loaded, name)] == []


@every_module
def test_only_what_is_given_is_taken(module: Module) -> None:
    """What a module imports from another by name, constants too, is in the other's `__all__`."""
    others = {other.name: other for other in modules()}
    wrong = []
    for node, name in module.imports():
        home, _, word = name.rpartition(".")
        if home in others and name not in others and word not in (listed(others[home]) or []):
            wrong.append(f"{module.at(node)} takes {word} from {home}")
    assert wrong == []


@every_module
def test_every_module_tells_what_it_is(module: Module) -> None:
    """A module opens with its docstring and then takes annotations for what they are."""
    assert ast.get_docstring(module.tree)
    if module.path.name not in ("__init__.py", "__main__.py"):
        assert "from __future__ import annotations" in module.lines


@pytest.mark.parametrize("module", [*modules(), *modules_below("bench"), *modules_below("examples")], ids=str)
def test_no_module_is_too_long(module: Module) -> None:
    """A module is one noun of at most 400 lines."""
    assert len(module.lines) <= LONGEST
