"""Bluetooth LE: a peripheral with the Nordic UART service, whose notifications carry the stream of frames in pieces.

Owns the radio and one central's connection; refuses to know what a packet means. Uses MicroPython's own `bluetooth`,
without tasks: the Bluetooth stack gathers what is written to us in one buffer of a fixed size, the interrupt handler
notes who is there, and everything else is done when receive() is called. Nothing tells a peripheral that a central has
subscribed, so the host writes a delimiter once it has: from then on the link is up.

Pieces may be lost. What is damaged by that has no valid CRC, and the endpoint sends it again.
"""

import errno

import bluetooth
from meuse_protocol.framing import FRAME, Deframer, frame

from .backoff import Backoff

SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
RX = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
TX = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
CONNECTED, GONE, WIDTH = 1, 2, 21  # _IRQ_CENTRAL_CONNECT, _IRQ_CENTRAL_DISCONNECT, _IRQ_MTU_EXCHANGED
MTU_LEAST, MTU_MOST = 23, 247  # of ATT: what every central takes, and what fits one packet of the radio (LE 4.2)
HEADER_BYTES = 3  # of ATT, in front of each piece
IN_BYTES = 1024  # written to us between two looks; what comes beyond is lost
# Advertisement: flags (general discoverable, no classic Bluetooth), and the service's UUID, least byte first.
ADVERTISEMENT = b"\2\1\6\x11\7\x9e\xca\xdc\x24\x0e\xe5\xa9\xe0\x93\xf3\xa3\xb5\1\0\x40\x6e"
NAME_BYTES = 29  # that a scan response of 31 bytes has room for
INTERVAL_US = 250_000  # a host that scans sees us within a second or two
AGAIN_MS = 15_000  # advertised anew: connections that did not come about end an advertisement without a word
LOOK_MS = 20  # how long something written to us may lie
STRANGER_MS = 30_000  # a central that sent no frame for so long keeps others out
FIRST_MS = 500
LONGEST_MS = 60_000
LATER = (errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)  # the stack's queue of notifications is full


class Link:
    cost = 5  # before a network: none is needed, and the radio takes less
    overhead = 0
    ordered = True
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "ble"
        self.mtu = settings.get("max_pdu", 237)  # with its frame one piece of the longest kind
        self.problem = None
        self._device = settings["device"]
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._ble = None
        self._tx = self._rx = 0  # handles of the characteristics
        self._peer = None  # the connection's handle; like _width set by the interrupt
        self._width = MTU_LEAST
        self._deframer = None  # while somebody is connected
        self._since_ms = 0  # of that
        self._heard = self._more = False
        self._out = b""
        self.up = False
        self.pollable = None  # the stack has nothing to wait on
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        pass  # receive() begins when due_ms comes

    def doubt(self, now: int) -> None:
        """Whoever is connected stores nothing: let another one connect, or the same one anew."""
        self._hang_up(now)

    def close(self, now: int) -> None:
        self._hang_up(now)
        if self._ble:
            self._guard(lambda now: self._ble.active(False), now)

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return not self._out

    def send(self, e2e: bytes, now: int) -> None:
        self._out = b"\0" + frame(e2e)  # led by a delimiter: a lost piece costs one frame, not two
        self.sent += 1
        self._guard(self._write, now)

    def receive(self, now: int):
        if self._peer is not None:
            return self._guard(self._next, now)
        if self._deframer:
            self._hang_up(now)  # the central is gone
        if now >= self.due_ms:
            self._guard(self._advertise, now)
        return None

    def _guard(self, act, now: int):
        try:
            return act(now)
        except OSError as problem:
            self.problem = "the Bluetooth stack says: %s" % problem
            self._hang_up(now)
            self.due_ms = now + self._backoff.next_ms()
            return None

    def _interrupt(self, event: int, data) -> None:
        """Called by the stack at any time: notes, and does nothing."""
        if event == CONNECTED:
            self._width = MTU_LEAST
            self._peer = data[0]
        elif event == GONE and data[0] == self._peer:
            self._peer = None
        elif event == WIDTH:
            self._width = data[1]

    def _hang_up(self, now: int) -> None:
        peer, self._peer = self._peer, None
        self._deframer = None
        self.up = False
        self._out = b""
        self.due_ms = now
        try:
            if peer is not None:
                self._ble.gap_disconnect(peer)
            if self._ble:
                self._ble.gatts_read(self._rx)  # what was written meanwhile is nobody's
        except OSError:
            pass  # it was gone already

    def _advertise(self, now: int) -> None:
        """Tells everybody who is near what is offered here, until one connects."""
        self.due_ms = now + AGAIN_MS
        if not self._ble:
            self._offer()
        name = self._device.encode()
        kind = 9 if len(name) <= NAME_BYTES else 8  # Complete, or Shortened Local Name
        name = name[:NAME_BYTES]
        answer = bytes((len(name) + 1, kind)) + name
        self._ble.gap_advertise(INTERVAL_US, adv_data=ADVERTISEMENT, resp_data=answer)
        self.problem = None
        self._backoff.reset()

    def _offer(self) -> None:
        ble, uuid = bluetooth.BLE(), bluetooth.UUID
        ble.active(True)
        ble.config(gap_name=self._device, mtu=MTU_MOST)
        ble.irq(self._interrupt)
        written = bluetooth.FLAG_WRITE | bluetooth.FLAG_WRITE_NO_RESPONSE
        parts = ((uuid(TX), bluetooth.FLAG_NOTIFY), (uuid(RX), written))
        ((self._tx, self._rx),) = ble.gatts_register_services(((uuid(SERVICE), parts),))
        ble.gatts_set_buffer(self._rx, IN_BYTES, True)
        self._ble = ble

    def _next(self, now: int):
        if not self._deframer:
            self._deframer = Deframer(self.mtu + 16, False)
            self._since_ms = now
            self._heard = self._more = False
        self._write(now)
        self.due_ms = now + LOOK_MS
        while True:
            item = self._deframer.next()
            if item is None:
                if self._more:  # whoever never stops must not keep the board from its sensors
                    self._more = False
                    self.due_ms = now
                    return None
                data = self._ble.gatts_read(self._rx)
                if not data:
                    break
                self.up = self._more = True
                self._deframer.feed(data)
            elif item[0] == FRAME:
                self.received += 1
                self._heard = True
                return item[1]
            else:
                self.damaged += 1
        if not self._heard and now - self._since_ms > STRANGER_MS:
            self._hang_up(now)
        return None

    def _write(self, now: int) -> None:
        size = min(self._width, MTU_MOST) - HEADER_BYTES
        while self._out:
            peer = self._peer  # the interrupt may come between any two lines
            if peer is None:
                return
            try:
                self._ble.gatts_notify(peer, self._tx, self._out[:size])
            except OSError as problem:
                if problem.errno in LATER:
                    return
                raise
            self._out = self._out[size:]
