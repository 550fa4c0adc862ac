"""First thing at boot, before anything that takes time or could fail: outputs go to their safe state."""

import machine

from .config import Config
from .outputs import make_safe


def boot(root: str = ""):
    """-> the board's Config, read once; outputs that could not be driven are named in its `unsafe`."""
    config = Config(root + "/config.msgpack")
    config.unsafe = make_safe(config.value.get("outputs", ()), machine.Pin)
    return config
