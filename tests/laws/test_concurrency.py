"""The law of threads, locks and sockets: made in one place each, ranked, and owned by a thread that is named."""

from __future__ import annotations

import ast
import importlib

from support.source import Module, hold, modules, modules_below
from support.tables import GUARDS, comment_above

LOCKS = {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "allocate_lock"}
THREADS = {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}


def rank_of(module: Module, call: ast.Call) -> int:
    """Return the rank that a lock is made with: a number, or a constant of the module."""
    rank = call.args[0]
    if isinstance(rank, ast.Constant):
        return int(rank.value)  # type: ignore[arg-type]
    assert isinstance(rank, ast.Name), f"{module.at(call)}: a rank is a number or a constant"
    value: int = getattr(importlib.import_module(module.name), rank.id)
    return value


def test_every_lock_tells_what_it_guards() -> None:
    """The comment above each lock names the fields it guards, and the rank that it is made with."""
    wrong = []
    for module in modules():
        for call, name, _ in module.calls:
            if name.rpartition(".")[2] == "make_lock":
                said = GUARDS.search(comment_above(module, call.lineno))
                if not said:
                    wrong.append(f"{module.at(call)} has no comment `# Guards FIELDS. Rank N.` above")
                elif int(said[2]) != rank_of(module, call):
                    wrong.append(f"{module.at(call)} has rank {rank_of(module, call)}, its comment says {said[2]}")
    hold(wrong)


def test_every_lock_has_a_rank() -> None:
    """Only make_lock makes locks, and a condition stands over such a lock."""
    hold(
        f"{module.at(call)} makes a lock without make_lock: {name}"
        for module in modules()
        if module.name != "parlour.runtime.locks"
        for call, name, _ in module.calls
        if (last := name.rpartition(".")[2]) in LOCKS or (last == "Condition" and not call.args)
    )


def test_every_thread_has_a_name() -> None:
    """Only spawn starts threads, and names them."""
    hold(
        f"{module.at(call)} starts a thread without spawn: {name}"
        for module in modules()
        if module.name != "parlour.runtime.threads"
        for call, name, _ in module.calls
        if name.rpartition(".")[2] in THREADS
    )


def test_every_zeromq_socket_has_an_owner() -> None:
    """The class or function that makes a ZeroMQ socket says in its docstring which thread the socket belongs to."""
    wrong = []
    for module in modules():
        if not any(name.split(".")[0] == "zmq" for _, name in module.imports()):
            continue
        for call, name, around in module.calls:
            if name.rpartition(".")[2] in ("socket", "Socket") and name != "socket.socket":
                told = [
                    ast.get_docstring(node) or ""
                    for node in around
                    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                ]
                if not any("thread" in text.lower() for text in told):
                    wrong.append(f"{module.at(call)} makes a socket; the docstring does not say for which thread")
    hold(wrong)


def test_tests_wait_for_conditions() -> None:
    """A test never sleeps: a sleep is too long on one machine and too short on another."""
    hold(
        f"{module.at(call)} sleeps; wait for a condition with support.waiting"
        for module in modules_below("tests")
        if module.path.name != "waiting.py"
        for call, name, _ in module.calls
        if name in ("time.sleep", "sleep")
    )
