"""The command: its table, its JSON, its picture, and its answers to wrong usage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from parlour.cli import main
from parlour.simulate.cli import simulate
from parlour.simulate.comparison import POLICIES
from parlour.simulate.scenario import SCENARIOS
from support.processes import run

SMALL = ["--nodes", "4", "--clients", "400"]


def said(*arguments: str) -> str:
    """Run the command in this process and return its output."""
    done = CliRunner().invoke(simulate, [*arguments, *SMALL], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_all_pairs_run() -> None:
    """Without arguments the table has a line for each scenario and policy."""
    pairs = [tuple(line.split()[:2]) for line in said().splitlines()[1:] if line.strip()]
    assert pairs == [(scenario, policy) for scenario in SCENARIOS for policy in POLICIES]


def test_json() -> None:
    """Each line is an object, its sums add up, and the same seed gives the same lines."""
    arguments = ["simulate", "flash", "failures", "--policy", "two-choices", "--policy", "parlour", "--json", *SMALL]
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["scenario"], each["policy"]) for each in outcomes] == [
        ("flash", "two-choices"),
        ("flash", "parlour"),
        ("failures", "two-choices"),
        ("failures", "parlour"),
    ]
    for each in outcomes:
        assert each["came"] == each["departed"] + each["here"] + each["away"]
        assert 1 <= each["imbalance"]["mean"] <= each["imbalance"]["p99"] <= each["imbalance"]["max"]
    assert run(*arguments).stdout == done.stdout


def test_late_and_lost_reports() -> None:
    """The options replace the scenario's values: late reports mislead, and without reports there is no node."""
    lost = json.loads(said("steady", "--policy", "parlour", "--loss", "1", "--json"))
    assert (lost["assigned"] < lost["away"], lost["refused"] > 0) == (True, True)
    prompt, late = (
        json.loads(said("morning", "--policy", "least-loaded", "--report-delay", delay, "--json"))
        for delay in ("0", "2.5")
    )
    assert prompt["imbalance"]["mean"] < late["imbalance"]["mean"]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    """The file is a PNG; if it cannot be written, the figures are printed all the same, and a line says why."""
    for picture, status in ((tmp_path / "a.png", 0), (tmp_path / "nowhere" / "a.png", 1)):
        # In a process of its own, because matplotlib keeps its font files open.
        done = run("simulate", "steady", "upgrade", "--plot", str(picture), *SMALL, timeout=60)
        assert done.returncode == status
        assert "two-choices" in done.stdout
        if status:
            said = f"parlour: cannot write {picture} (No such file or directory): choose another --plot\n"
            assert done.stderr == said
        else:
            assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any work a line says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["simulate", "--plot", "a.png"]) == 1
    assert capsys.readouterr().err == "parlour: a plot needs matplotlib: `pip install matplotlib` beside parlour\n"


def test_an_unknown_scenario_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line that lists the scenarios."""
    assert main(["simulate", "stedy"]) == 2
    assert "'flash'" in capsys.readouterr().err
