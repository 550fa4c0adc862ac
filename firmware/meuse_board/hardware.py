"""The board behind names: buses, ports, radio, watchdog, reset. The only file of the application, but for drivers of
single pins and the slot of a memory card, that imports `machine`; knows nothing of channels, links or records.
"""

import time

import machine

LONGEST_MS = 8300  # RP2's watchdog raises above 8388

# BOOT causes, the protocol's numbers, by machine's names; a port lacks some of them.
CAUSES = ("unknown", "power on", "reset pin", "watchdog", "deep sleep", "software")
_NAMES = (None, "PWRON_RESET", "HARD_RESET", "WDT_RESET", "DEEPSLEEP_RESET", "SOFT_RESET")


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
            self._opened[name] = self._open(dict(self._buses[name]))
            del self._buses[name]  # pins have names enough in the settings on flash
        return self._opened[name]

    def _open(self, settings: dict):
        kind = settings.pop("kind")
        for key in settings:
            if key in ("pin", "scl", "sda", "sck", "mosi", "miso"):
                settings[key] = machine.Pin(settings[key])
        if kind == "onewire":
            from .drivers.onewire import Bus

            return Bus(settings["pin"])
        number = settings.pop("id", 0)
        return (machine.I2C if kind == "i2c" else machine.SPI)(number, **settings)

    def serial(self, settings: dict):
        """A port with read(n) and write(bytes) that never wait and give None when nothing moves."""
        if "uart" not in settings:
            from .links.usb import Port

            return Port()
        pins = {k: machine.Pin(settings[k]) for k in ("tx", "rx") if k in settings}
        return machine.UART(
            settings["uart"], settings.get("baud", 115200), timeout=0, rxbuf=1024, txbuf=1024, **pins
        )

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
        """Why the board started: index into CAUSES."""
        code = machine.reset_cause()
        for i in range(1, len(_NAMES)):
            if getattr(machine, _NAMES[i], None) == code:
                return i
        return 0

    def reboot(self) -> None:
        machine.reset()
