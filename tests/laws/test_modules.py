"""What every module has: an account of itself, a list of what it gives to others, and an end in sight."""

from __future__ import annotations

import ast
import importlib

from support.source import PARTS, ROOT, Module, hold, modules, modules_below

LONGEST = 400
"""Lines that a module may have: what is longer is about two things."""


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


def test_no_part_hides_the_others() -> None:
    """`parlour` is a namespace over all roots: one `__init__.py` in it would hide every other part."""
    hold(
        f"{entry.relative_to(ROOT)} is not the part itself"
        for part in PARTS
        for entry in (ROOT / part / "parlour").iterdir()
        if entry.name not in (part, "__pycache__")
    )


def test_every_part_is_typed() -> None:
    """Each part is a package and tells type checkers of its users that it has types."""
    hold(
        f"{part}/parlour/{part}/{name} is missing"
        for part in PARTS
        for name in ("__init__.py", "py.typed")
        if not (ROOT / part / "parlour" / part / name).is_file()
    )


def test_all_is_all() -> None:
    """`__all__` names every public thing that the module defines, and nothing that is not there."""
    wrong = []
    for module in modules():
        if module.path.name == "__main__.py":
            continue
        names = listed(module)
        if names is None:
            wrong.append(f"{module}:1 has no __all__")
            continue
        loaded = importlib.import_module(module.name)
        wrong += [f"{module}:1 names {name} twice in __all__" for name in sorted(set(names)) if names.count(name) > 1]
        wrong += [f"{module}:1 lacks {name} in __all__" for name in sorted(defined(module) - set(names))]
        wrong += [f"{module}:1 names {name} in __all__, but has none" for name in names if not hasattr(loaded, name)]
    hold(wrong)


def test_only_what_is_given_is_taken() -> None:
    """What a module imports from another by name, constants too, is in the other's `__all__`."""
    given = {module.name: listed(module) or [] for module in modules()}
    wrong = []
    for module in modules():
        for node, name in module.imports():
            home, _, word = name.rpartition(".")
            if home in given and name not in given and word not in given[home]:
                wrong.append(f"{module.at(node)} takes {word} from {home}, which does not list it in __all__")
    hold(wrong)


def test_every_module_tells_what_it_is() -> None:
    """A module opens with its docstring and then takes annotations for what they are."""
    wrong = []
    for module in modules():
        if not ast.get_docstring(module.tree):
            wrong.append(f"{module}:1 has no docstring")
        short = module.path.name in ("__init__.py", "__main__.py")
        if not short and "from __future__ import annotations" not in module.lines:
            wrong.append(f"{module}:1 lacks `from __future__ import annotations`")
    hold(wrong)


def test_no_module_is_too_long() -> None:
    """A module is one noun of at most 400 lines."""
    hold(
        f"{module}:{len(module.lines)} has more than {LONGEST} lines"
        for module in [*modules(), *modules_below("bench"), *modules_below("examples")]
        if len(module.lines) > LONGEST
    )
