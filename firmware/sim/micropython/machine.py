"""MicroPython's `machine` on simulated wires: what the firmware uses of it, with the real names and arguments.

Simulated: every operation is carried out by the world process (firmware/sim/world), at register and bit level. Kept
thin, since it shares the board's heap; settings of pace and pins (`freq`, `scl`, `baudrate` ...) change nothing.
"""

import os

import wires

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
call = wires.call
send = wires.send


class Pin:
    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, id, mode=-1, pull=0, value=None):
        self.id = id
        self.init(mode, pull, value)

    def init(self, mode=-1, pull=0, value=None):
        if value is not None:
            self.value(value)
        if mode != -1:
            call(wires.PIN_MODE, bytes((self.id, mode, pull or 0)))

    def value(self, level=None):
        if level is None:
            if wires.handling and self.id == wires.edge[0]:
                return wires.edge[1]
            return call(wires.PIN_READ, bytes((self.id, wires.handling)))[0]
        send(wires.PIN_WRITE, bytes((self.id, level)))

    __call__ = value

    def irq(self, handler=None, trigger=3):
        wires.handlers[self.id] = handler and (self, handler)
        call(wires.PIN_IRQ, bytes((self.id, trigger if handler else 0)))


class I2C:
    def __init__(self, id, **pace):
        self.id = id

    def writeto(self, addr, buf, stop=True):
        return call(wires.I2C_WRITE, bytes((self.id, addr)) + buf)[0]

    def readfrom(self, addr, nbytes, stop=True):
        return call(wires.I2C_READ, bytes((self.id, addr, nbytes)))

    def writeto_mem(self, addr, memaddr, buf):
        self.writeto(addr, bytes((memaddr,)) + buf)

    def readfrom_mem(self, addr, memaddr, nbytes):
        self.writeto(addr, bytes((memaddr,)))
        return self.readfrom(addr, nbytes)


class SPI:
    def __init__(self, id, **pace):
        self.id = id

    def read(self, nbytes, write=0):
        return call(wires.EXCHANGE, bytes((self.id,)) + bytes((write,)) * nbytes)

    def readinto(self, buf, write=0):
        buf[:] = self.read(len(buf), write)

    def write(self, buf):
        call(wires.EXCHANGE, bytes((self.id,)) + buf)


def UART(id, baudrate=9600, **pace):
    """The port as a stream that never waits: read(n) and write(bytes) give None when nothing moves."""
    return open(int(os.getenv("MEUSE_UART%d" % id)), "r+b", buffering=0)


class WDT:
    def __init__(self, id=0, timeout=5000):
        if timeout > 8388:
            raise ValueError("timeout exceeds 8388")  # as an RP2's; others can wait longer
        send(wires.FEED, timeout.to_bytes(4, "big"))

    def feed(self):
        send(wires.FEED)


def reset():
    call(wires.RESET)  # the world takes the supply away
    while True:
        call(wires.CAUSE)


def reset_cause():
    return call(wires.CAUSE)[0]


def unique_id():
    return call(wires.IDENTITY)


class RTC:
    """Simulated: remembers what it was told; time goes on as the operating system says."""

    told = None

    def datetime(self, told):
        RTC.told = told
