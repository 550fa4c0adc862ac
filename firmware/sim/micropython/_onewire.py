"""MicroPython's C module `_onewire` on simulated wires: reset pulse and single bits, least significant first."""

import wires


def reset(pin):
    """True when a device answered with its presence pulse (or something holds the line low)."""
    return wires.call(wires.OW_RESET, bytes((pin.id,)))[0] == 1


def readbit(pin):
    return wires.call(wires.OW_READ, bytes((pin.id, 1)))[0]


def readbyte(pin):
    return wires.call(wires.OW_READ, bytes((pin.id, 8)))[0]


def writebit(pin, value):
    wires.send(wires.OW_WRITE, bytes((pin.id, 1, value & 1)))


def writebyte(pin, value):
    wires.send(wires.OW_WRITE, bytes((pin.id, 8, value & 255)))


def crc8(data):
    """Dallas CRC-8 (x8 + x5 + x4 + 1, reflected); 0 over a block that ends with its own CRC."""
    crc = 0
    for byte in data:
        for _ in range(8):
            mix = (crc ^ byte) & 1
            crc >>= 1
            if mix:
                crc ^= 0x8C
            byte >>= 1
    return crc
