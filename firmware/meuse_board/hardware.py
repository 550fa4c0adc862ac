"""The board behind names: buses, ports, radio, watchdog, reset. The only file of the application, but for drivers of
single pins and the slot of a memory card, that imports `machine`; knows nothing of channels, links or records.
"""

import time

import machine

from .loading import forget, load

LONGEST_MS = 8300  # RP2's watchdog raises above 8388


class Hardware:
    """`buses`: name -> settings of the product: kind (i2c, spi, onewire), id, pins by number, speed."""

    def __init__(self, buses: dict):
        self._buses = buses
        self._opened = {}
        self._watchdog = None
        self._radio = None

    def bus(self, name):
        """The bus of that name, opened once and shared; None for None. ValueError for a name nobody defined."""
        if name is None:
            return None
        if name not in self._opened:
            if name not in self._buses:
                raise ValueError("no bus " + name)
            self._opened[name] = load("buses").opened(dict(self._buses[name]))
            forget("buses")
            del self._buses[name]  # pins have names enough in the settings on flash
        return self._opened[name]

    def serial(self, settings: dict):
        """A port with read(n) and write(bytes) that never wait and give None when nothing moves."""
        port = load("buses").serial(settings)
        forget("buses")
        return port

    def output(self, number: int):
        """A pin that drives low, until it is called with 1."""
        return machine.Pin(number, machine.Pin.OUT, value=0)

    def pollable(self, port):
        """What select.poll can wait on for this port."""
        return getattr(port, "pollable", port)

    def network(self, settings: dict) -> bool:
        """Whether IP can flow; joins the Wi-Fi that `ssid` names, again and again. Without `ssid` it is just there.

        OSError when the radio cannot be switched on.
        """
        if "ssid" not in settings:
            return True
        if not self._radio:
            from .radio import Radio

            self._radio = Radio()
        return self._radio.joined(settings)

    def name_server(self):
        """(address, port) of the name server the network named; None where the system resolves by itself (Unix)."""
        return self._radio.name_server() if self._radio else None

    def clock_at_least(self, day) -> None:
        """Sets the port's clock to [year, month, day] if it is behind, as it is after every start without a battery.

        Only TLS asks that clock, for the dates of certificates; readings are dated by clock.py.
        """
        if list(time.gmtime()[:3]) < day:
            machine.RTC().datetime(tuple(day) + (0, 0, 0, 0, 0))

    def feed(self, timeout_ms: int) -> None:
        """Starts the watchdog at the first call, feeds it at each; as late as the port can where that is sooner."""
        if self._watchdog:
            self._watchdog.feed()
        elif timeout_ms:
            try:
                self._watchdog = machine.WDT(timeout=max(timeout_ms, 1000))
            except ValueError:
                self._watchdog = machine.WDT(timeout=LONGEST_MS)

    def cause(self) -> int:
        """Why the board started: the protocol's number in BOOT."""
        return load("buses").cause()

    def reboot(self) -> None:
        machine.reset()
