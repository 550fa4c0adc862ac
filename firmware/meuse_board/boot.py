"""First thing at boot, before anything that takes time or could fail: outputs go to their safe state."""

import machine

from .config import Config
from .outputs import make_safe


def boot(path: str) -> list:
    """Drives the outputs that the settings at `path` name -> the names of those that could not be driven."""
    return make_safe(Config(path).value.get("outputs", ()), machine.Pin)
