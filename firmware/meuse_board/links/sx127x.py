"""SX1276, 77, 78 or 79 (RFM95 and the like) in LoRa mode, by its registers over SPI, mode 0. Nothing here waits.

Source: Semtech, SX1276/77/78/79 datasheet, rev. 7: 4.1.2 (LoRa registers), 4.1.6 (sequences), 4.4 (SPI), 6.4 (table
of registers). Owns the chip; refuses to know what a packet says, how long it takes and whether it may be sent.
`spi` may be shared; `select` is called with the level of the chip select pin, low while it is this chip's turn.
"""

import errno

FIFO, MODE, FREQUENCY, POWER, LNA = 0x00, 0x01, 0x06, 0x09, 0x0C
POINTER, SEND_BASE, RECEIVE_BASE, RECEIVED_AT, MASK, FLAGS, RECEIVED_BYTES = 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13
STATUS, HOP, CONFIG_1, CONFIG_2, PREAMBLE, SEND_BYTES, CONFIG_3 = 0x18, 0x1C, 0x1D, 0x1E, 0x20, 0x22, 0x26
DETECT, THRESHOLD, SYNC_WORD, VERSION = 0x31, 0x37, 0x39, 0x42
SLEEP, STANDBY, SENDING, LISTENING = 0x80, 0x81, 0x83, 0x85  # bit 7: LoRa
RECEIVED, BAD_CRC, SENT = 0x40, 0x20, 0x08
HAS_CRC = 0x40  # in HOP: the packet that came was sent with a CRC
SIGNAL = 0x03  # in STATUS: a preamble is seen, or a packet is on its way
CHIP = 0x12
BANDWIDTHS = {125: 7, 250: 8}
SLOW_SYMBOL_MS = 16  # longer symbols need the mode for low rates (4.1.1.6)
PIECE = 64  # bytes in one operation of the bus


class Radio:
    """how: (frequency in kHz; bandwidth in kHz, 125 or 250; SF 7..12; coding 5..8 for 4/5 .. 4/8; power 2..17 dBm, at
    the PA_BOOST pin; network 0..255: the sync word, packets of others are not heard)."""

    def __init__(self, spi, select, how: tuple):
        frequency_khz, bandwidth_khz, sf, coding, power_dbm, network = how
        self._spi = spi
        self._select = select
        step = (frequency_khz << 14) // 1000  # of 61 Hz: 32 MHz / 2^19
        slow = 8 if (1 << sf) > SLOW_SYMBOL_MS * bandwidth_khz else 0
        self._setup = (
            (FREQUENCY, bytes((step >> 16, step >> 8 & 255, step & 255, 0x80 | power_dbm - 2))),
            (LNA, b"\x23"),
            (SEND_BASE, b"\0\0"),
            (MASK, b"\0"),
            (CONFIG_1, bytes((BANDWIDTHS[bandwidth_khz] << 4 | coding - 4 << 1, sf << 4 | 4))),  # header; CRC
            (PREAMBLE, b"\0\x08"),
            (CONFIG_3, bytes((slow | 4,))),
            (DETECT, b"\xc3"),
            (THRESHOLD, b"\x0a"),
            (SYNC_WORD, bytes((network,))),
        )
        select(1)

    def begin(self) -> None:
        """From any state to listening; OSError when no such chip answers."""
        if self._get(VERSION) != CHIP:
            raise OSError(errno.ENODEV)
        self._enter(SLEEP)
        self._enter(SLEEP)  # only a chip that sleeps changes between FSK and LoRa
        for register, values in self._setup:
            self._put(register, values)
        self.listen()

    def listen(self) -> None:
        self._enter(STANDBY)
        self._put(FLAGS, b"\xff")
        self._enter(LISTENING)

    def listening(self) -> bool:
        """False: the chip has lost its supply, or its mind."""
        return self._get(MODE) == LISTENING

    def sleep(self) -> None:
        self._enter(SLEEP)

    def busy(self) -> bool:
        """Somebody is on the air."""
        return bool(self._get(STATUS) & SIGNAL)

    def send(self, packet: bytes) -> None:
        """Up to 255 bytes go out now; what was being received is lost."""
        self._enter(STANDBY)
        self._put(FLAGS, b"\xff")
        self._put(POINTER, b"\0")
        self._put(FIFO, packet)
        self._put(SEND_BYTES, bytes((len(packet),)))
        self._enter(SENDING)

    def sent(self) -> bool:
        """The last bit has left."""
        return bool(self._get(FLAGS) & SENT)

    def receive(self):
        """A packet that came whole; b"" one that came damaged, or without CRC; None: nothing."""
        flags = self._get(FLAGS)
        if not flags & RECEIVED:
            return None
        self._put(FLAGS, b"\xff")
        if flags & BAD_CRC or not self._get(HOP) & HAS_CRC:
            return b""
        self._put(POINTER, bytes((self._get(RECEIVED_AT),)))
        return self._read(FIFO, self._get(RECEIVED_BYTES))

    def _enter(self, mode: int) -> None:
        self._put(MODE, bytes((mode,)))

    def _get(self, register: int) -> int:
        return self._read(register, 1)[0]

    def _read(self, register: int, size: int) -> bytes:
        data = b""
        self._select(0)
        try:
            self._spi.write(bytes((register,)))
            while size:
                part = min(size, PIECE)
                data += self._spi.read(part)
                size -= part
        finally:
            self._select(1)
        return data

    def _put(self, register: int, values: bytes) -> None:
        self._select(0)
        try:
            self._spi.write(bytes((register | 0x80,)))
            for at in range(0, len(values), PIECE):
                self._spi.write(values[at : at + PIECE])
        finally:
            self._select(1)
