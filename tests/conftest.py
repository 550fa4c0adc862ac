"""What every test may ask for: the real MicroPython, and the repository's root."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
