"""The command line: registers every command, turns failures into words and exit statuses.

Statuses: 0 done, 1 failed, 2 usage, 3 not reachable. Command modules import what is heavy inside
their functions, so that `meuse --help` stays quick.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from meuse.cli import access, debug, devices, doctor, importing, query, run, send, sim, tail, work
from meuse.errors import HostError
from meuse.invocation import meuse

app = typer.Typer(
    name="meuse",
    help="Carries readings from any board, over any link, into storage anyone can open.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _commands() -> None:
    """Carries readings from any board, over any link, into storage anyone can open."""


# Each module registers its own commands; the order here is the order of `meuse --help`.
for module in (run, sim, devices, access, query, tail, send, importing, work, doctor, debug):
    module.register(app)


@contextmanager
def words_for_storage() -> Iterator[None]:
    """An error of SQLite while somebody reads is a HostError like any other."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise HostError(f"the journal cannot be read: {error}", f"{meuse('doctor')} says more") from error


def main() -> None:
    """Entry point of `meuse`; never returns."""
    try:
        with words_for_storage():
            app()
    except HostError as failure:
        with suppress(OSError):  # a terminal that was closed; the status says it as well
            print(f"meuse: {failure.message}", file=sys.stderr)
            if failure.advice:
                print(f"  next: {failure.advice}", file=sys.stderr)
        sys.exit(failure.status)
    except BrokenPipeError:
        # The reader of our output (a pager, `head`) has gone; nothing of ours failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
