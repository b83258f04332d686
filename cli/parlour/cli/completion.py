"""The `completion` command: it prints the script with which a shell completes `parlour` commands.

This module owns the command; click makes the scripts. It must never write to a shell's start-up files.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from parlour.cli.group import cli

__all__ = ["completion"]


@click.command(
    epilog="\b\n"
    "Examples:\n"
    '  eval "$(parlour completion bash)"                          in ~/.bashrc\n'
    '  eval "$(parlour completion zsh)"                           in ~/.zshrc\n'
    "  parlour completion fish > ~/.config/fish/completions/parlour.fish\n"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, "click has a class for each shell that the argument allows"
    click.echo(kind(cli, {}, "parlour", "_PARLOUR_COMPLETE").source())
