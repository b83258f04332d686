"""The guard against leaks is itself guarded: one that sees nothing would look like a suite that leaks nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.source import ROOT

LEAKS = """
import os, socket, sqlite3, subprocess, threading, zmq

KEPT = []

def test_thread_named_bob():
    threading.Thread(target=threading.Event().wait, args=(30,), name="bob", daemon=True).start()

def test_descriptor_socket():
    KEPT.append(socket.socket())

def test_descriptor_pipe():
    KEPT.append(os.pipe())

def test_descriptor_anon_inode():
    context = zmq.Context()
    KEPT.append((context, context.socket(zmq.PUB)))

def test_descriptor_of_a_file(tmp_path):
    KEPT.append(sqlite3.connect(tmp_path / "rooms.db"))
    KEPT[-1].execute("CREATE TABLE t (x)")

def test_process_running():
    KEPT.append(subprocess.Popen(["sleep", "2"]))

def test_process_not_waited_for():
    KEPT.append(subprocess.Popen(["true"]))

def test_process_gone_astray():
    # Its line says that it runs: between fork and exec the guard could look and not know it for ours.
    with subprocess.Popen("setsid sh -c 'echo; sleep 2; :' &", shell=True, stdout=subprocess.PIPE) as shell:
        shell.stdout.readline()
"""

CLEAN = """
import os, socket, sqlite3, subprocess, threading, zmq

def test_all_closed(tmp_path, capfd):
    threading.Thread(target=threading.Event().wait, args=(0.01,), daemon=True).start()
    with socket.socket(), zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.bind("tcp://127.0.0.1:0")
    sqlite3.connect(tmp_path / "rooms.db").close()
    subprocess.run(["true"], check=True, capture_output=True)

def test_the_users_own_data_is_out_of_reach():
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        assert "parlour-tests-" in os.environ[name]
    assert "PARLOUR_BROKER" not in os.environ
"""


def run(folder: Path, tests: str, **variables: str) -> str:
    """Run the tests in a session of their own, with the guard, and return what pytest says at the end."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_it.py").write_text(tests)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests"),
        "PARLOUR_BROKER": "the.users.own:6000",
        **variables,
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def test_what_is_left_behind_is_found(tmp_path: Path) -> None:
    """Each kind of leak fails the very test that left it, and is told by its kind."""
    # The leaks do not end by themselves, so the guard need not be patient.
    said = run(tmp_path, LEAKS, PARLOUR_TEST_SLOWNESS="0.1")
    assert "8 passed, 8 errors" in said
    reports = {line.rpartition("::")[2].split(" ")[0]: line for line in said.splitlines() if line.startswith("ERROR ")}
    assert len(reports) == 8
    for test in reports:
        section = said.partition(f"teardown of {test} ")[2].partition("\nleft behind: ")[2]
        assert section.startswith(test.split("_")[1]), test
    assert "left behind: thread bob" in said


def test_what_is_closed_is_no_leak(tmp_path: Path) -> None:
    """What a test closes, or what ends by itself soon after it, is not held against it."""
    assert "2 passed in" in run(tmp_path, CLEAN)
