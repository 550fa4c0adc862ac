"""Ports for servers that tests start, kill and start again at the same place, boards knocking all the while.

What the system picks for port 0 is free until anybody's next connection goes out from it: another test's server, or a
board that calls a server which is down and gets connected to itself. So these ports lie below those that Linux picks
from (ip_local_port_range, 32768 and up), and each is kept from other test processes by a lock until this one ends.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, COUNT = 20_000, 10_000
_LOCKS = Path(tempfile.gettempdir()) / f"meuse-test-ports-{os.getuid()}"
_held: dict[int, int] = {}  # port -> descriptor of its lock


def free_port(beside: int = 0) -> int:
    """A port of 127.0.0.1 that nobody uses, TCP and UDP, and that no other test gets; as is the one `beside` it."""
    _LOCKS.mkdir(exist_ok=True)
    begin = os.getpid() * 37  # processes side by side look in different places first
    for i in range(COUNT):
        port = FIRST + (begin + i) % COUNT
        if all(one not in _held and _lock(one) for one in {port, port + beside}):
            return port
    raise RuntimeError(f"no port is free from {FIRST} to {FIRST + COUNT - 1}; see {_LOCKS}")


def _lock(port: int) -> bool:
    descriptor = os.open(_LOCKS / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as trial:
                trial.bind(("127.0.0.1", port))
    except OSError:
        os.close(descriptor)
        return False
    _held[port] = descriptor
    return True
