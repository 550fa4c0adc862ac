"""What every test may ask for: the real MicroPython, and the repository's root; and how long searching tests search."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgres import Postgres
from tests.protocol.effort import EXAMPLES

ROOT = Path(__file__).resolve().parent.parent

# Loaded before any test is collected: a test takes the profile of the moment in which it is defined.
settings.register_profile(
    "meuse",
    max_examples=100 * EXAMPLES,
    derandomize=EXAMPLES == 1,
    database=None,
    deadline=None,
    print_blob=True,
)
settings.load_profile("meuse")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def micropython() -> str:
    """Path of the MicroPython interpreter; a missing one fails, it never skips."""
    named = os.environ.get("MICROPYTHON")
    beside = Path(sys.executable).with_name("micropython")
    path = named or (str(beside) if beside.exists() else shutil.which("micropython"))
    assert path, "no MicroPython: run `make setup`, or name one with MICROPYTHON=path"
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this process; whoever kills it starts one of its own."""
    server = Postgres()
    try:
        yield server.start("fsync=off")
    finally:
        server.remove()
