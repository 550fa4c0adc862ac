"""MicroPython's `machine` on simulated wires: the parts that the firmware uses, with the real signatures.

Simulated: every operation is carried out by the world process (firmware/sim/world), at register and bit level.
"""

import os

import wires
from umachine import PinBase, mem8  # noqa: F401  (the real module keeps its name there)

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5


class Pin:
    IN, OUT, OPEN_DRAIN = 0, 1, 2
    PULL_UP, PULL_DOWN = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        self.id = id
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None):
        if value is not None:
            self.value(value)
        if mode != -1:
            wires.call(wires.PIN_MODE, bytes((self.id, mode, 0 if pull in (-1, None) else pull)))

    def value(self, x=None):
        if x is None:
            return wires.call(wires.PIN_READ, bytes((self.id, wires.handling)))[0]
        wires.call(wires.PIN_WRITE, bytes((self.id, 1 if x else 0)))

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=None, trigger=3, hard=False):
        if handler:
            wires.handlers[self.id] = lambda: handler(self)
        else:
            wires.handlers.pop(self.id, None)
        wires.call(wires.PIN_IRQ, bytes((self.id, trigger if handler else 0)))
        return self


class I2C:
    def __init__(self, id, *, scl=None, sda=None, freq=400_000, timeout=50_000):
        self.id = id

    def writeto(self, addr, buf, stop=True):
        return wires.call(wires.I2C_WRITE, bytes((self.id, addr, 1 if stop else 0)) + buf)[0]

    def readfrom(self, addr, nbytes, stop=True):
        return wires.call(wires.I2C_READ, bytes((self.id, addr, nbytes)))

    def readfrom_into(self, addr, buf, stop=True):
        buf[:] = self.readfrom(addr, len(buf))

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        self.writeto(addr, bytes((memaddr,)) + buf)

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        self.writeto(addr, bytes((memaddr,)), False)
        return self.readfrom(addr, nbytes)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        buf[:] = self.readfrom_mem(addr, memaddr, len(buf))

    def scan(self):
        found = []
        for addr in range(8, 0x78):
            try:
                self.writeto(addr, b"")
                found.append(addr)
            except OSError as e:
                if e.errno != 19:
                    raise
        return found


SoftI2C = I2C


class SPI:
    MSB, LSB = 0, 1

    def __init__(self, id, baudrate=1_000_000, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        self.id = id

    def write_readinto(self, write_buf, read_buf):
        read_buf[:] = wires.call(wires.SPI, bytes((self.id,)) + write_buf)

    def read(self, nbytes, write=0):
        return wires.call(wires.SPI, bytes((self.id,)) + bytes((write,)) * nbytes)

    def readinto(self, buf, write=0):
        buf[:] = self.read(len(buf), write)

    def write(self, buf):
        wires.call(wires.SPI, bytes((self.id,)) + buf)


SoftSPI = SPI


class UART:
    """The serial port as a stream without blocking: read() gives None when nothing is there. Baud rate, bits and
    pins are the cable's and the chip's business; the world paces the bytes."""

    def __new__(cls, id, *args, **kwargs):
        return open(int(os.getenv("MEUSE_UART%d" % id)), "r+b", buffering=0)


class WDT:
    def __init__(self, id=0, timeout=5000):
        wires.call(wires.WDT, timeout.to_bytes(4, "big"))

    def feed(self):
        wires.call(wires.WDT)


class RTC:
    """Set by nobody: a board without a battery starts at the epoch of its port."""

    def datetime(self, value=None):
        return (2000, 1, 1, 5, 0, 0, 0, 0)


def reset():
    wires.call(wires.RESET)  # the world answers by taking the supply away
    while True:
        wires.call(wires.CAUSE)


def reset_cause():
    return wires.call(wires.CAUSE)[0]


def unique_id():
    return wires.call(wires.IDENTITY)


def freq(hz=None):
    return 240_000_000


def disable_irq():
    return 0


def enable_irq(state=0):
    pass
