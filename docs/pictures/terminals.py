"""Draw the README's picture: two people who chat on two nodes, and a shell of the same cluster.

It starts a cluster at the default ports and three terminals in tmux, types in them, and draws their screens as SVG.
Run it in a clone while no cluster runs, and look at the result:

    .venv/bin/python docs/pictures/terminals.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_suffix(".svg")

README = Path(__file__).parents[2] / "README.md"
"""The page that has the picture. The command for scripts is typed as it stands there."""

PERSON, SHELL = 58, 118
"""Columns of a person's terminal, and of the shell below."""

SECONDS = 20
"""How long a screen may take to show what it should."""

FORMAT = """\
<svg width="{width}" height="{height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g class="{unique_id}-matrix" transform="translate({terminal_x}, {terminal_y})">{backgrounds}{matrix}</g>
</svg>
"""
"""One terminal in the picture: rich's own format without its font, which a picture on a page cannot load."""


class Terminals:
    """Terminals of bash in one tmux server, named by their owners; a folder holds all that they leave behind."""

    def __init__(self, folder: Path) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "tmux")]
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "COLORTERM": "truecolor",
            "HOME": str(folder),
            **{f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("DATA", "STATE", "CONFIG")},
        }

    def run(self, *arguments: str) -> str:
        """Run a command of tmux; return what it prints."""
        command = [*self._tmux, *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def open(self, owner: str, columns: int) -> None:
        """Open a terminal."""
        shell = f"env LOGNAME={owner} PS1='$ ' bash --norc --noprofile"
        self.run("new-session", "-d", "-s", owner, "-x", str(columns), "-y", "24", shell, ";", "set", "status", "off")
        self.shows(owner, r"\$$")

    def type(self, owner: str, text: str, shown: str) -> None:
        """Type a text and Enter in a terminal, and wait until the screen shows something."""
        self.run("send-keys", "-t", owner, "-l", text)
        self.run("send-keys", "-t", owner, "Enter")
        self.shows(owner, shown)

    def shows(self, owner: str, pattern: str) -> None:
        """Wait until a pattern is found on a screen, whose lines are joined by spaces."""
        try:
            wait_for(lambda: re.search(pattern, " ".join(self.screen(owner).split())) is not None)
        except TimeoutError:
            raise SystemExit(f"{pattern!r} is not on the screen of {owner}:\n{self.screen(owner)}") from None

    def screen(self, owner: str, *options: str) -> str:
        """Return what a terminal shows."""
        return self.run("capture-pane", "-p", "-t", owner, *options)

    def used(self, owner: str) -> int:
        """Return how many rows of a terminal are in use."""
        return len(self.screen(owner).rstrip().split("\n"))

    def draw(self, owner: str, title: str, columns: int, rows: int) -> str:
        """Return so many rows of a screen as SVG."""
        console = Console(record=True, width=columns, file=StringIO(), force_terminal=True)
        text = Text.from_ansi("\n".join(self.screen(owner, "-e").split("\n")[:rows]))
        # In a style of its own an emoji is placed by itself: rich takes it for as narrow as a letter.
        text.highlight_regex("[\U0001f300-\U0001faff]", "bold")
        console.print(text, no_wrap=True, crop=False)
        return console.export_svg(title=title, theme=MONOKAI, code_format=FORMAT, unique_id=owner)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true; raises TimeoutError."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def spread(environment: dict[str, str]) -> bool:
    """Whether each node has a client."""
    done = subprocess.run(["parlour", "status", "--json"], env=environment, capture_output=True, text=True)
    return [node["clients"] for node in json.loads(done.stdout)["nodes"]] == [1, 1]


def talk(terminals: Terminals) -> None:
    """Let two people and a script talk."""
    (command,) = re.findall(r"^```sh\n(printf .*?)\n```", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    terminals.open("ops", SHELL)
    terminals.type("ops", "parlour up -d", r"n2 at 127.0.0.1:6011 \$$")
    for person, node in (("ada", "n1"), ("bob", "n2")):
        terminals.open(person, PERSON)
        terminals.type(person, "parlour chat", rf"Your name \[{person}\]:$")
        terminals.type(person, "", r"Room \[lobby\]:$")
        terminals.type(person, "", f"connected to {node} as {person} .* lobby>$")
    terminals.shows("ada", "bob came")
    for person, text, shown in (
        ("ada", "lunch, bob?", "ada: lunch, bob?"),
        ("bob", "/reply at noon?", "at noon?"),
        ("ada", "/react 👍", "ada: 👍"),
    ):
        terminals.type(person, text, shown)
        for each in ("ada", "bob"):
            terminals.shows(each, shown)
    wait_for(lambda: spread(terminals.environment))
    terminals.type("ops", "parlour status", r"out/s \$$")
    terminals.type("ops", command, r'"text":"all green"} .*\$$')
    terminals.shows("bob", "ci: all green")
    terminals.type("bob", "/react 🎉", "bob: 🎉")
    terminals.shows("ada", "bob: 🎉")


def picture(terminals: Terminals) -> str:
    """Return the three terminals as one SVG."""
    rows = max(terminals.used("ada"), terminals.used("bob"))
    ada = terminals.draw("ada", "ada, on node n1", PERSON, rows)
    bob = terminals.draw("bob", "bob, on node n2", PERSON, rows)
    ops = terminals.draw("ops", "a shell of the same cluster", SHELL, terminals.used("ops"))
    (width, height), (whole, low) = (map(float, re.findall(r'"([\d.]+)"', each)[:2]) for each in (ada, ops))
    gap = whole - 2 * width
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:g} {height + gap + low:g}">
{ada}
<g transform="translate({width + gap:g})">{bob}</g>
<g transform="translate(0 {height + gap:g})">{ops}</g>
</svg>
"""


def main() -> None:
    """Draw the picture, and leave nothing running."""
    with TemporaryDirectory(prefix="parlour-") as folder:
        terminals = Terminals(Path(folder))
        try:
            talk(terminals)
            PICTURE.write_text(picture(terminals), encoding="utf-8")
        finally:
            terminals.run("kill-server")
            subprocess.run(["parlour", "down"], env=terminals.environment, check=False)


if __name__ == "__main__":
    main()
