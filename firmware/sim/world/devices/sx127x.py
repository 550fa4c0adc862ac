"""SX1276 radio in LoRa mode at register level, and the air between several of them. Simulated: physics and chip.

Source: Semtech, SX1276/77/78/79 datasheet, rev. 7: 4.1.2.3 (FIFO), 4.1.5 (interrupts), 4.1.1.7 (time on air), 6.4
(registers). Modelled: modes, FIFO and its pointers, interrupt flags, the modem's status, CRC, settings that must
agree, packets that meet on the air, loss by a seed. Not modelled: strength, FSK, CAD, hopping, frequency error.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

FIFO, MODE, FREQUENCY, POINTER, SEND_BASE, RECEIVE_BASE = 0x00, 0x01, 0x06, 0x0D, 0x0E, 0x0F
RECEIVED_AT, FLAGS, RECEIVED_BYTES, STATUS, HOP, CONFIG_1, CONFIG_2 = 0x10, 0x12, 0x13, 0x18, 0x1C, 0x1D, 0x1E
PREAMBLE, SEND_BYTES, CONFIG_3, SYNC_WORD, VERSION = 0x20, 0x22, 0x26, 0x39, 0x42
SLEEP, STANDBY, SENDS, LISTENS, LORA = 0, 1, 3, 5, 0x80
RX_DONE, CRC_ERROR, VALID_HEADER, TX_DONE = 0x40, 0x20, 0x10, 0x08
SIGNAL = 0x03
BANDWIDTHS_HZ = {6: 62_500, 7: 125_000, 8: 250_000, 9: 500_000}
DETECT_SYMBOLS = 5  # a preamble is recognised after so many


@dataclass
class Packet:
    """On the air from `begin_us` to `end_us`; settings: what a receiver must share to hear it."""

    sender: "Sx127x"
    data: bytes
    settings: tuple[int, ...]
    crc: bool
    symbol_us: float
    begin_us: float
    end_us: float
    met: bool = False  # with another one


class Air:
    """What is on the way. `now_us`: any clock; lose: share of packets that one receiver misses; by `seed`."""

    def __init__(self, now_us: Callable[[], float], seed: int = 0, lose: float = 0.0, damage: float = 0.0) -> None:
        self.now_us = now_us
        self.lose = lose
        self.damage = damage
        self.radios: list[Sx127x] = []
        self.packets: list[Packet] = []
        self.lost = self.damaged = self.met = 0
        self.log: list[tuple[int, float, float]] = []  # chip select of the sender, begin and end of each packet, in us
        self._random = random.Random(seed)

    def begin(self, packet: Packet) -> None:
        for other in self.packets:
            if other.settings == packet.settings and other.end_us > packet.begin_us:
                other.met = packet.met = True
        self.log.append((packet.sender.cs, packet.begin_us, packet.end_us))
        self.packets.append(packet)

    def settle(self) -> None:
        """Delivers what has ended by now, in the order of the ends."""
        now = self.now_us()
        for packet in sorted((p for p in self.packets if p.end_us <= now), key=lambda p: p.end_us):
            self.packets.remove(packet)
            packet.sender.left(packet)
            self.met += packet.met
            for radio in self.radios:
                if radio is not packet.sender and radio.hears(packet):
                    self._deliver(packet, radio)

    def _deliver(self, packet: Packet, radio: "Sx127x") -> None:
        if self._random.random() < self.lose:
            self.lost += 1
        elif packet.met or self._random.random() < self.damage:
            self.damaged += 1
            radio.received(packet, damaged=True)
        else:
            radio.received(packet, damaged=False)

    def signal(self, radio: "Sx127x") -> bool:
        """Whether a listening radio sees somebody."""
        now = self.now_us()
        return any(p.begin_us + DETECT_SYMBOLS * p.symbol_us <= now for p in self.packets if radio.hears(p))


class Sx127x:
    """A slave on an SPI bus (world/buses.py). `broken`: it does not answer, as without supply."""

    def __init__(self, cs: int, air: Air) -> None:
        self.cs = cs
        self.broken = False
        self._air = air
        self._write = False
        self._address: int | None = None
        self.power_on()
        air.radios.append(self)

    def power_on(self) -> None:
        """FSK, standby; registers as after a reset, as far as they matter here."""
        self._registers = bytearray(128)
        self._registers[MODE] = STANDBY
        self._registers[VERSION] = 0x12
        self._registers[SEND_BASE], self._registers[SYNC_WORD] = 0x80, 0x12
        self._registers[CONFIG_1], self._registers[CONFIG_2] = 0x72, 0x70
        self._registers[PREAMBLE + 1] = 8
        self._fifo = bytearray(256)
        self._receive_at = 0
        self._listens_us = 0.0
        self._sending: Packet | None = None

    # -- the bus

    def selected(self) -> None:
        self._address = None
        self._air.settle()

    def exchange(self, data: bytes) -> bytes:
        if self.broken:
            return b"\xff" * len(data)
        out = bytearray()
        for byte in data:
            if self._address is None:
                self._address, self._write = byte & 0x7F, bool(byte & 0x80)
                out.append(0)
            else:
                out.append(self._read(self._address))
                if self._write:
                    self._store(self._address, byte)
                if self._address != FIFO:
                    self._address = (self._address + 1) & 0x7F
        return bytes(out)

    def _read(self, register: int) -> int:
        if register == STATUS:
            return SIGNAL if self.mode == LISTENS and self._air.signal(self) else 0x10
        if register != FIFO:
            return self._registers[register]
        if self._write or self.mode == SLEEP:
            return 0  # no access to the FIFO in sleep (4.1.2.3)
        pointer = self._registers[POINTER]
        self._registers[POINTER] = (pointer + 1) & 0xFF
        return self._fifo[pointer]

    def _store(self, register: int, value: int) -> None:
        if register == FIFO:
            if self.mode == STANDBY:
                pointer = self._registers[POINTER]
                self._fifo[pointer] = value
                self._registers[POINTER] = (pointer + 1) & 0xFF
        elif register == FLAGS:
            self._registers[FLAGS] &= ~value & 0xFF
        elif register == MODE:
            self._change(value)
        elif register not in (VERSION, STATUS, RECEIVED_AT, RECEIVED_BYTES, HOP):
            self._registers[register] = value

    # -- modes

    @property
    def mode(self) -> int:
        return self._registers[MODE] & 7

    def _change(self, value: int) -> None:
        lora = value & LORA if self.mode == SLEEP else self._registers[MODE] & LORA
        before, mode = self.mode, value & 7
        self._registers[MODE] = lora | mode
        if not lora:
            return
        if self._sending is not None and mode != SENDS:
            self._sending.met = True  # cut off
            self._sending = None
        if mode == LISTENS and before != LISTENS:
            self._listens_us = self._air.now_us()
            self._receive_at = self._registers[RECEIVE_BASE]
        elif mode == SENDS and before != SENDS:
            self._send()

    def _send(self) -> None:
        size, base = self._registers[SEND_BYTES], self._registers[SEND_BASE]
        data = bytes(self._fifo[(base + i) & 0xFF] for i in range(size))
        now = self._air.now_us()
        crc = bool(self._registers[CONFIG_2] & 4)
        end_us = now + self.air_us(size)
        self._sending = Packet(self, data, self.settings, crc, self._symbol_us, now, end_us)
        self._air.begin(self._sending)

    @property
    def settings(self) -> tuple[int, ...]:
        r = self._registers
        return (*r[FREQUENCY : FREQUENCY + 3], r[CONFIG_1] >> 4, r[CONFIG_2] >> 4, r[CONFIG_3] & 8, r[SYNC_WORD])

    @property
    def _symbol_us(self) -> float:
        return float(2 ** (self._registers[CONFIG_2] >> 4) / BANDWIDTHS_HZ[self._registers[CONFIG_1] >> 4] * 1e6)

    def air_us(self, size: int) -> float:
        """4.1.1.7, in floating point; explicit header."""
        r = self._registers
        sf, coding, crc, slow = r[CONFIG_2] >> 4, r[CONFIG_1] >> 1 & 7, r[CONFIG_2] >> 2 & 1, r[CONFIG_3] >> 3 & 1
        preamble = (r[PREAMBLE] << 8 | r[PREAMBLE + 1]) + 4.25
        symbols = 8 + max(math.ceil((8 * size - 4 * sf + 28 + 16 * crc) / (4 * (sf - 2 * slow))) * (coding + 4), 0)
        return (preamble + symbols) * self._symbol_us

    # -- the air

    def hears(self, packet: Packet) -> bool:
        """It listens since before the packet's preamble was half over, with the same settings."""
        since_us = packet.begin_us + 4 * packet.symbol_us
        listens = self._registers[MODE] == LORA | LISTENS and self._listens_us <= since_us
        return listens and not self.broken and packet.sender is not self and packet.settings == self.settings

    def left(self, packet: Packet) -> None:
        if self._sending is packet:
            self._sending = None
            self._registers[MODE] = LORA | STANDBY
            self._registers[FLAGS] |= TX_DONE

    def received(self, packet: Packet, damaged: bool) -> None:
        r, at = self._registers, self._receive_at
        for i, byte in enumerate(packet.data):
            self._fifo[(at + i) & 0xFF] = byte ^ (0x55 if damaged and i == 0 else 0)
        r[RECEIVED_AT], r[RECEIVED_BYTES] = at, len(packet.data)
        self._receive_at = (at + len(packet.data)) & 0xFF
        r[HOP] = 0x40 if packet.crc else 0
        r[FLAGS] |= RX_DONE | VALID_HEADER | (CRC_ERROR if damaged and packet.crc else 0)
