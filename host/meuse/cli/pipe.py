"""Output into a pipe whose reader may leave (`head`, a pager): that is its good right, no failure."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """End with status 0 when standard output has no reader any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python still holds must not fail once more when it is flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
