"""The ``onhand`` command: one module a subcommand, each imported only when it is asked for.

To add a command, write ``src/onhand/cli/<name>.py`` with a click command in it and add a line to
:data:`COMMANDS`. A command that works on a deployment takes the shared options with
:func:`onhand.cli.options.settings_options`. It returns None, or an int as its exit code, and
raises :class:`~onhand.errors.OnhandError` for whatever the user can mend.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import click

from onhand.errors import OnhandError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1

TRACEBACK_ENV: Final = "ONHAND_TRACEBACK"
"""Set to anything, an unexpected failure shows its traceback."""


class Entry(NamedTuple):
    """Where a command lives, and the line about it that ``onhand --help`` shows."""

    target: str
    summary: str


COMMANDS: Final[dict[str, Entry]] = {
    "up": Entry("onhand.cli.up:up", "Run everything on this machine."),
    "ingest": Entry("onhand.cli.ingest:ingest", "Run the dataflow from the log into the tables."),
    "changes": Entry("onhand.cli.changes:changes", "Tell of changes; ingest runs it by itself."),
    "purchases": Entry(
        "onhand.cli.purchases:purchases", "Keep purchases; ingest runs it by itself."
    ),
    "recommendations": Entry(
        "onhand.cli.recommendations:recommendations",
        "Learn what is bought together; ingest runs it by itself.",
    ),
    "serve": Entry("onhand.cli.serve:serve", "Serve orders and all reads over HTTP."),
    "storefront": Entry("onhand.cli.storefront:storefront", "Serve reads only, on many workers."),
    "publish": Entry("onhand.cli.publish:publish", "Publish events from a file or standard input."),
    "replay": Entry("onhand.cli.replay:replay", "Replay a data set of real sales."),
    "demo": Entry("onhand.cli.demo:demo", "Start, replay real sales, and keep serving."),
    "locations": Entry("onhand.cli.locations:locations", "Load and list locations."),
    "token": Entry("onhand.cli.token:token", "Create, list and revoke access tokens."),
    "verify": Entry("onhand.cli.verify:verify", "Rebuild aside and list every difference."),
    "simulate": Entry("onhand.cli.simulate:simulate", "Run simulated worlds and find what breaks."),
    "explain": Entry("onhand.cli.explain:explain", "Show the terms behind one number."),
    "dead-letters": Entry(
        "onhand.cli.dead_letters:dead_letters", "List, show and re-submit refused events."
    ),
}


class LazyGroup(click.Group):
    """A group whose help needs no import of the commands it lists."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            msg = f"Invariant: {entry.target} is a click command"
            raise TypeError(msg)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with its summary."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="onhand", message="%(prog)s %(version)s")
def onhand() -> None:
    """Know what is in stock, where, and what of it can still be promised."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and answer its exit code: 0 done, 1 failed, 2 bad usage."""
    try:
        result = onhand.main(args=arguments, prog_name="onhand", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a person gets a line, not a stack
        return _report(error)
    return result if isinstance(result, int) else EXIT_DONE


def main() -> NoReturn:
    """Run the process's own command line; the console script."""
    sys.exit(run())


def _report(error: BaseException) -> int:
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OnhandError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return _fail("stopped.", EXIT_FAILED)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone; closing quietly is what `head` expects of us.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    if isinstance(error, OSError):
        return _fail(_describe_os_error(error), EXIT_FAILED)
    return _unexpected(error)


def _fail(message: str, code: int) -> int:
    click.echo(f"onhand: {message}", err=True)
    return code


def _describe_os_error(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}." if error.filename else f"{what}."


def _unexpected(error: BaseException) -> int:
    if os.environ.get(TRACEBACK_ENV):
        raise error
    return _fail(
        f"unexpected failure, {type(error).__name__}: {error}. This is a fault of onhand; "
        f"run it again with {TRACEBACK_ENV}=1 and report what it prints.",
        EXIT_FAILED,
    )
