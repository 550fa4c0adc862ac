"""Where a host is on the network: joins the radio, looks the name up, never waits for either.

Owns the address last found; refuses to know what is sent there.
"""

import socket


class Address:
    """settings: host, port, and those of the radio (hardware.network). `due_ms`: when find() wants to be called."""

    def __init__(self, settings: dict, hardware, random_u32):
        self._settings = settings
        self._hardware = hardware
        self._random_u32 = random_u32
        self._lookup = None
        self._found = None
        self.due_ms = 0

    def find(self, again: bool, now: int):
        """What connect() takes, None while it is not known. again: look it up though it is. OSError: nobody knows."""
        self.due_ms = now + 500
        if not self._hardware.network(self._settings):
            return None  # the radio retries by itself
        if self._found is None or again:
            self.due_ms = now + 20
            if not self._look_up(now):
                return None
        return self._found

    def close(self) -> None:
        """Gives up a search; what was found stays."""
        if self._lookup:
            self._lookup.close()
            self._lookup = None

    def _look_up(self, now: int) -> bool:
        """Asks the name server where one is known; elsewhere the system resolves by itself."""
        host, server = self._settings["host"], self._hardware.name_server()
        if server and not host.replace(".", "").isdigit():
            if not self._lookup:
                from .dns import Lookup

                self._lookup = Lookup(host, server, self._random_u32(), now)
            host = self._lookup.step(now)
            if not host:
                return False
        self._lookup = None
        self._found = socket.getaddrinfo(host, self._settings["port"], 0, socket.SOCK_STREAM)[0][-1]
        return True
