"""How many connections this process may have open, of those that all its listeners together would take.

The system counts them in one sum (`ulimit -n`), so they are shared out in one place, in proportion to the settings.
"""

from meuse.links.tcp import room_for
from meuse.settings import Settings


def wanted(settings: Settings) -> int:
    """Connections at most, as the settings have it."""
    listeners = (settings.tcp, settings.tls, settings.http, settings.api)
    return sum(each.max_connections * len(each.listen) for each in listeners)


class Shares:
    """What each listener may take. Asks the system for more, if need be; `allowed` is what it gives."""

    def __init__(self, settings: Settings) -> None:
        self.wanted = wanted(settings)
        self.allowed = room_for(self.wanted)

    @property
    def short(self) -> str:
        """"" or what is wrong."""
        if self.allowed >= self.wanted:
            return ""
        return f"the system allows {self.allowed} connections, not {self.wanted}"

    def of(self, connections: int) -> int:
        """So many of so many; one at least."""
        return max(1, connections * self.allowed // max(1, self.wanted))
