"""The `parlour` command: the list of its commands, the modules that hold them, and how their errors are printed.

This module owns the table of commands and the one place where an exception becomes a line and an exit status; it
runs on the main thread. It must never import a part before the user asks for a command of that part.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import click
from click.shell_completion import CompletionItem

from parlour.cli.streams import OutputError, ReaderLeftError, prepare

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("parlour.cli.up:up", "Start a broker and nodes on this machine."),
    "down": ("parlour.cli.up:down", "Stop what `up --detach` started."),
    "status": ("parlour.monitor.cli:status", "Show the nodes and their addresses."),
    "chat": ("parlour.client.cli:chat", "Talk in a room."),
    "send": ("parlour.client.cli:send", "Say something and wait until it is logged."),
    "tail": ("parlour.client.cli:tail", "Print what is said in a room."),
    "logout": ("parlour.client.cli:logout", "Sign this device out of an account."),
    "devices": ("parlour.client.cli:devices", "List an account's devices, or sign one out."),
    "monitor": ("parlour.monitor.cli:monitor", "Watch the load of every node."),
    "why": ("parlour.monitor.cli:why", "Explain why a client was sent to its node."),
    "drain": ("parlour.monitor.cli:drain", "Move a node's clients to the others, and stop it."),
    "rebalance": ("parlour.monitor.cli:rebalance", "Even out the clients over the nodes."),
    "account": ("parlour.directory.cli:account", "Make, change and remove accounts."),
    "invite": ("parlour.directory.cli:invite", "Print a code with which a person makes an account."),
    "ban": ("parlour.directory.cli:ban", "Keep a name or an address out of the cluster."),
    "unban": ("parlour.directory.cli:unban", "Lift such a ban."),
    "rooms": ("parlour.node.rooms_command:rooms", "List all rooms, with topic, people and owner."),
    "kick": ("parlour.directory.order_commands:kick", "End all connections of a person."),
    "say": ("parlour.directory.order_commands:say", "Say something to everybody who is connected."),
    "audit": ("parlour.directory.cli:audit", "Print what operators did and which sign-ins failed."),
    "replay": ("parlour.chaos.replay:replay", "Play recorded days of a channel and judge the delivery."),
    "chaos": ("parlour.chaos.cli:chaos", "Kill parts of a cluster of its own; judge what is lost."),
    "simulate": ("parlour.simulate.cli:simulate", "Compare balancing policies in simulated fleets."),
    "broker": ("parlour.broker.cli:broker", "Run a broker."),
    "node": ("parlour.node.cli:node", "Run a node."),
    "completion": ("parlour.cli.completion:completion", "Print a shell's completion script."),
}
"""Each command's `module:attribute` and its help in one line. The help stands here so that the list needs no import."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _LazyGroup(click.Group):
    """A group that imports the module of a command only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command; None if no command has this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(importlib.import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names, or fail and propose a similar name."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            likely = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {likely[0]!r}?" if likely else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command from the table, so that the Tab key imports no part."""
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    epilog="\b\n"
    "Examples:\n"
    "  parlour up --detach                a broker and two nodes, in the background\n"
    "  parlour chat                       talk\n"
    "  parlour monitor                    watch\n"
    "  parlour down                       stop\n",
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="parlour", message="parlour %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Parlour: a chat cluster that one command starts and that keeps its promises when machines die."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _fail(text: str, status: int) -> int:
    # Imported here so that a command that succeeds does not pay for it.
    from parlour.runtime.operator_messages import print_error

    print_error(text)
    return status


def _usage(error: click.UsageError) -> int:
    text = error.format_message().rstrip()
    if error.ctx is not None:
        text += f" (try `{error.ctx.command_path} --help`)"
    return _fail(text, USAGE)


def _unexpected(error: Exception) -> int:
    # Imported here so that a command that succeeds does not pay for it.
    from parlour.wire.errors import ParlourError, UsageError

    if isinstance(error, UsageError):
        return _fail(str(error), USAGE)
    if isinstance(error, ParlourError):
        return _fail(str(error), FAILED)
    if os.environ.get("PARLOUR_TRACEBACK") == "1":
        traceback.print_exception(error)
    return _fail(f"this is a bug in parlour: {type(error).__name__}: {error} (PARLOUR_TRACEBACK=1 shows where)", FAILED)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = cli.main(arguments, prog_name="parlour", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        # click raises this on Ctrl-C, and when the input ends at one of its prompts.
        return INTERRUPTED
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    # A command returns nothing, or its exit status (as `ctx.exit` does).
    return status if isinstance(status, int) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `parlour` command with these arguments (by default those of `sys.argv`) and return its exit status.

    The status is 0 for success, 1 for a failure, 2 for wrong usage and 130 after Ctrl-C. A failure and wrong usage
    also print one line on standard error.
    """
    try:
        prepare()
        return _run(arguments)
    except ReaderLeftError:
        # The reader has what it wanted, as `head` does.
        return 0
    except OutputError as error:
        return _fail(f"cannot write to standard output ({error}): make room, or send it elsewhere", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _unexpected(error)
