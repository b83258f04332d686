"""The law of threads, locks and sockets: made in one place each, ranked, and owned by someone named."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from support.source import Module, modules, modules_below

every_module = pytest.mark.parametrize("module", modules(), ids=str)

GUARDS = re.compile(r"# Guards .* Rank (\d+)\.")

LOCKS = {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "allocate_lock"}
THREADS = {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}


def comment_above(module: Module, line: int) -> str:
    """Return the block of comment lines that ends right above a line, joined to one."""
    block: list[str] = []
    while line > 1 and (text := module.lines[line - 2].strip()).startswith("#"):
        block.insert(0, text)
        line -= 1
    return "# " + " ".join(text.removeprefix("#").strip() for text in block)


def rank_of(module: Module, call: ast.Call) -> int:
    """Return the rank that a lock is made with: a number, or a constant of the module."""
    rank = call.args[0]
    if isinstance(rank, ast.Constant):
        return int(rank.value)  # type: ignore[arg-type]
    assert isinstance(rank, ast.Name), f"{module.at(call)}: a rank is a number or a constant"
    value: int = getattr(importlib.import_module(module.name), rank.id)
    return value


@every_module
def test_every_lock_tells_what_it_guards(module: Module) -> None:
    """The comment above each lock names the fields it guards, and the rank that it is made with."""
    for call, name, _ in module.calls():
        if name.rpartition(".")[2] == "make_lock":
            said = GUARDS.search(comment_above(module, call.lineno))
            assert said, f"{module.at(call)}: no comment `# Guards FIELDS. Rank N.` above"
            assert int(said[1]) == rank_of(module, call), module.at(call)


@every_module
def test_every_lock_has_a_rank(module: Module) -> None:
    """No lock is made but by make_lock, and no condition but over such a lock."""
    if module.name == "parlour.runtime.locks":
        return
    wrong = [
        module.at(call)
        for call, name, _ in module.calls()
        if (last := name.rpartition(".")[2]) in LOCKS or (last == "Condition" and not call.args)
    ]
    assert wrong == []


@every_module
def test_every_thread_has_a_name(module: Module) -> None:
    """No thread is started but by spawn, which names it."""
    if module.name == "parlour.runtime.threads":
        return
    assert [module.at(call) for call, name, _ in module.calls() if name.rpartition(".")[2] in THREADS] == []


@every_module
def test_every_zeromq_socket_has_an_owner(module: Module) -> None:
    """Who makes a ZeroMQ socket says, in the docstring of the class or function, which thread it belongs to."""
    if not any(name.split(".")[0] == "zmq" for _, name in module.imports()):
        return
    for call, name, around in module.calls():
        if name.rpartition(".")[2] in ("socket", "Socket") and name != "socket.socket":
            told = [
                ast.get_docstring(node) or ""
                for node in around
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            assert any("thread" in text.lower() for text in told), f"{module.at(call)}: which thread's socket is this?"


@pytest.mark.parametrize("module", modules_below("tests"), ids=str)
def test_tests_wait_for_conditions(module: Module) -> None:
    """A test that sleeps is too slow on one machine and too quick on another."""
    if module.path.name == "waiting.py":
        return
    assert [module.at(call) for call, name, _ in module.calls() if name in ("time.sleep", "sleep")] == []
