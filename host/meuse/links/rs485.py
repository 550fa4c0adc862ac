"""RS-485: the host is the master of a wire that several boards share, behind one serial port.

Finds and opens the port as a cable's is found (hot plug, no reset). The adapter turns its driver on and off by itself,
as USB adapters do, and must not hand back what it sends. Whose turn it is, the session's master decides.
"""

from collections.abc import Callable

from meuse.bus_session import Bus
from meuse.links import Receiver, Wire
from meuse.links.serial import SerialLink

KIND = "rs485"

OpenedBus = Callable[[str, str, Wire, Bus], Receiver]
"""(name, kind, wire, bus) -> who receives and says when to speak."""


class Rs485Link(SerialLink):
    """One wire: a port that matches `pattern`, kept open."""

    kind = KIND

    def __init__(self, pattern: str, bus: Bus, opened: OpenedBus) -> None:
        super().__init__(pattern, bus.baud, lambda name, kind, wire: opened(name, kind, wire, bus))
