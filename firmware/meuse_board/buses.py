"""Opens what the product names, and asks the chip why it started: needed while a board boots, or a link opens anew."""

import machine

# BOOT causes in the order of the protocol's numbers, by machine's names; a port lacks some of them.
CAUSES = "|PWRON_RESET|HARD_RESET|WDT_RESET|DEEPSLEEP_RESET|SOFT_RESET"


def opened(settings: dict):
    """A bus of this kind, id, pins by number and speed."""
    kind = settings.pop("kind")
    for key in settings:
        if key in ("pin", "scl", "sda", "sck", "mosi", "miso"):
            settings[key] = machine.Pin(settings[key])
    if kind == "onewire":
        from .drivers.onewire import Bus

        return Bus(settings["pin"])
    number = settings.pop("id", 0)
    return (machine.I2C if kind == "i2c" else machine.SPI)(number, **settings)


def serial(settings: dict):
    """See Hardware.serial."""
    if "uart" not in settings:
        from .links.usb import Port

        return Port()
    pins = {k: machine.Pin(settings[k]) for k in ("tx", "rx") if k in settings}
    return machine.UART(settings["uart"], settings.get("baud", 115200), timeout=0, rxbuf=1024, txbuf=1024, **pins)


def cause() -> int:
    """Why the board started; 0 where the chip does not say."""
    code = machine.reset_cause()
    for number, name in enumerate(CAUSES.split("|")):
        if name and getattr(machine, name, None) == code:
            return number
    return 0
