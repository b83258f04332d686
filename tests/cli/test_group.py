"""The command group: its imports, its list of commands, completion and errors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from parlour.cli import main
from parlour.cli.group import COMMANDS
from parlour.wire.errors import ParlourError, UsageError
from support.processes import unread

PARTS = ("broker", "directory", "node", "client", "monitor", "runtime", "wire")


def parlour(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does, with these variables added to the environment."""
    command = [sys.executable, "-m", "parlour.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=30)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["completion", "fish"]])
def test_the_list_needs_no_import(arguments: list[str]) -> None:
    """To list the commands the group imports no part and no library of a part."""
    program = (
        "import sys; from parlour.cli import main; status = main(sys.argv[1:]); "
        "print(status, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=30)
    status, *modules = done.stderr.split()
    assert status == "0"
    heavy = {"zmq", "rich", "msgspec", "prompt_toolkit", "platformdirs", *(f"parlour.{part}" for part in PARTS)}
    assert not heavy & set(modules)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The list has every command, with one line for each."""
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"  {name:10}  {text}\n" in printed


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`parlour` without a command prints the list of commands."""
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each command has an example with that command."""
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "Example" in printed
    assert f"parlour {name}" in printed.partition("Example")[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the installed distribution."""
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"parlour {version('parlour')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["monitr"], "there is no command 'monitr'; did you mean 'monitor'? (try `parlour --help`)"),
        (["xyzzy"], "there is no command 'xyzzy' (try `parlour --help`)"),
        (["--bogus"], "--bogus"),
        (["down", "--broker", "nowhere"], "an address is HOST:PORT"),
        (["up", "--nodes", "0"], "0 is not in the range"),
        (["up", "--broker", "127.0.0.1:0"], "port"),
        (["why"], "(try `parlour why --help`)"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage prints one line on standard error that names the mistake, and ends with status 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("parlour: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


@click.command
@click.argument("how")
def trouble(how: str) -> None:
    """Raise the error with the name in the argument."""
    errors: dict[str, BaseException] = {
        "parlour": ParlourError("no broker here:\n start\x1b[31m one"),
        "usage": UsageError("too long"),
        "click": click.ClickException("as click says"),
        "bug": ZeroDivisionError("one by\nnought"),
        "interrupt": KeyboardInterrupt(),
        "abort": click.Abort(),
        "exit": click.exceptions.Exit(7),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
    }
    raise errors[how]


@pytest.fixture
def _trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "trouble", (f"{__name__}:trouble", ""))
    monkeypatch.delenv("PARLOUR_TRACEBACK", raising=False)


@pytest.mark.usefixtures("_trouble")
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("parlour", 1, "parlour: no broker here: start\ufffd[31m one\n"),
        ("usage", 2, "parlour: too long\n"),
        ("click", 1, "parlour: as click says\n"),
        (
            "bug",
            1,
            "parlour: this is a bug in parlour: ZeroDivisionError: one by nought (PARLOUR_TRACEBACK=1 shows where)\n",
        ),
        # An OSError of another file is not taken for one of standard output.
        (
            "disk",
            1,
            "parlour: this is a bug in parlour: OSError: [Errno 28] No space left on device"
            " (PARLOUR_TRACEBACK=1 shows where)\n",
        ),
        ("abort", 130, ""),
        ("exit", 7, ""),
    ],
)
def test_an_error_becomes_a_line_and_a_status(
    how: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of error has its status, and one line without control characters."""
    assert main(["trouble", how]) == status
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("_trouble")
def test_ctrl_c_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C the command prints no text; a newline may follow the terminal's ^C."""
    assert main(["trouble", "interrupt"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_ctrl_c_is_quiet_from_the_start(tmp_path: Path) -> None:
    """Ctrl-C during the imports prints no traceback."""
    (tmp_path / "click.py").write_text("import time; print('ready', flush=True)\nwhile True: time.sleep(0.05)")
    process = subprocess.Popen(
        [sys.executable, "-m", "parlour.cli"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


@pytest.mark.usefixtures("_trouble")
def test_a_traceback_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With PARLOUR_TRACEBACK=1 a bug prints its traceback."""
    monkeypatch.setenv("PARLOUR_TRACEBACK", "1")
    assert main(["trouble", "bug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# A program that runs a command whose output is still in the buffer when the command ends.
LATE = """
import sys, types, click
from parlour.cli import group
module = sys.modules["late"] = types.ModuleType("late")
module.late = click.Command("late", callback=lambda: print("late"))
group.COMMANDS["late"] = ("late:late", "")
sys.exit(group.main(["late"]))
"""


@pytest.mark.parametrize("arguments", [["-m", "parlour.cli", "--help"], ["-c", LATE]], ids=["at once", "late"])
def test_a_reader_that_left(arguments: list[str]) -> None:
    """If the reader has closed the pipe, the command ends with status 0 and prints no error."""
    command = [sys.executable, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with unread() as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, timeout=30)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script for each shell asks `parlour` for completions."""
    assert main(["completion", shell]) == 0
    assert f"_PARLOUR_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_a_shell_completes_commands_and_options() -> None:
    """The command completes names of commands and options of a command, as the bash script asks."""
    asked = parlour(_PARLOUR_COMPLETE="bash_complete", COMP_WORDS="parlour mo", COMP_CWORD="1")
    assert asked.stdout == "plain,monitor\n"
    asked = parlour(_PARLOUR_COMPLETE="bash_complete", COMP_WORDS="parlour up --no", COMP_CWORD="2")
    assert asked.stdout == "plain,--nodes\n"


def test_bash_takes_the_script(tmp_path: Path) -> None:
    """The shell reads the script without an error, and then has a completion for `parlour`."""
    script = tmp_path / "parlour.bash"
    script.write_text(parlour("completion", "bash").stdout)
    done = subprocess.run(
        ["bash", "-c", f"source {script} && complete -p parlour"], capture_output=True, text=True, timeout=30
    )
    assert "_parlour_completion parlour" in done.stdout
    assert done.stderr == ""
