"""A port's network.PPP and the sockets over it, for boards on the bench: a stand-in, no IP runs here.

Real are the UART, which belongs to this module while a call is up, and the frames on it: RFC 1662 with its escapes and
FCS-16, and of RFC 1661 LCP's Configure and Terminate. What would be IP is said shorter, protocol 0x0021 with a number
of the connection, OPEN, DATA or CLOSE, and data; firmware/sim/modem/data_mode.py is the other end. States and status()
are those of MicroPython's extmod/network_ppp_lwip.c; like lwIP it asks no echo, so a peer that went away is not missed.
Sockets never wait. Whatever runs the board calls `drain` when `pollable` can be read, as interrupts do on a board.
"""

import errno
import io
import os
import select
import sys
import time

import usocket

FLAG, ESCAPE = 0x7E, 0x7D
LCP, DATAGRAM = 0xC021, 0x0021
REQUEST, ACK, TERMINATE, TERMINATED = 1, 2, 5, 6
OPEN, DATA, CLOSE = 1, 2, 3
INACTIVE, IDLE, ERROR, CONNECTING, CONNECTED = range(5)
PEER_DEAD = 5  # PPPERR_CONNECT: the connection was lost
AGAIN_MS = 600  # of lwIP's 3 s a fifth, like all time on the bench
TERMINATES = 2
PIECE = 200
SOCK_STREAM, SOCK_DGRAM, AF_INET = usocket.SOCK_STREAM, usocket.SOCK_DGRAM, usocket.AF_INET


def fcs(data):
    """RFC 1662, C.2."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return value ^ 0xFFFF


class PPP:
    """One per board; `sockets` go over it."""

    one = None

    def __init__(self, stream):
        PPP.one = self
        self._port = stream
        self._state = INACTIVE
        self._in = b""
        self._out = b""
        self._again = self._left = 0
        self.sockets = {}

    def connect(self):
        if self._state >= CONNECTING:
            raise OSError(errno.EALREADY)
        self._state = CONNECTING
        self._in = self._out = b""
        self._ask(REQUEST)

    def disconnect(self):
        if self._state >= CONNECTING:
            self._left = TERMINATES
            self._ask(TERMINATE)

    def isconnected(self):
        self.poll()
        return self._state == CONNECTED

    def status(self):
        self.poll()
        return -PEER_DEAD if self._state == ERROR else self._state

    def ifconfig(self):
        return "10.64.0.2", "255.255.255.255", "10.64.64.64", "0.0.0.0"

    def _ask(self, code):
        self._again = time.ticks_add(time.ticks_ms(), AGAIN_MS)
        self.frame(LCP, bytes((code, 1, 0, 4)))

    def _over(self, state):
        self._state = state
        self._left = 0
        for one in list(self.sockets.values()):
            one.broken = True
        self.sockets.clear()

    def frame(self, protocol, data):
        data = bytes((0xFF, 3, protocol >> 8, protocol & 255)) + data
        data += fcs(data).to_bytes(2, "little")
        out = bytearray((FLAG,))
        for byte in data:
            if byte in (FLAG, ESCAPE) or byte < 0x20:
                out.append(ESCAPE)
                byte ^= 0x20
            out.append(byte)
        out.append(FLAG)
        self._out += out
        self._write()

    def _write(self):
        while self._out:
            n = self._port.write(self._out[:PIECE])
            if not n:
                break
            self._out = self._out[n:]

    def poll(self, *_):
        """Moves everything; the port is not touched unless a call is on."""
        if self._state < CONNECTING:
            return
        self._write()
        while self._state >= CONNECTING:
            data = self._port.read(256)
            if not data:
                break
            self._in += data
            *frames, self._in = self._in.split(b"\x7e")
            for one in frames:
                self._frame(one)
        if self._state == CONNECTED and not self._left:
            return
        if self._state >= CONNECTING and time.ticks_diff(time.ticks_ms(), self._again) >= 0:
            if not self._left:
                self._ask(REQUEST)
            elif self._left == 1:
                self._over(INACTIVE)
            else:
                self._left -= 1
                self._ask(TERMINATE)

    def _frame(self, raw):
        data = bytearray()
        escaped = False
        for byte in raw:
            if byte == ESCAPE:
                escaped = True
            else:
                data.append(byte ^ 0x20 if escaped else byte)
                escaped = False
        if len(data) < 6 or fcs(data[:-2]) != int.from_bytes(data[-2:], "little"):
            return  # between frames, or damaged, or a modem's words
        protocol = data[2] << 8 | data[3]
        if protocol == LCP:
            self._control(data[4])
        elif protocol == DATAGRAM and data[4] in self.sockets:
            self.sockets[data[4]].told(data[5], bytes(data[6:-2]))

    def _control(self, code):
        if code == ACK and self._state == CONNECTING and not self._left:
            self._state = CONNECTED
        elif code == TERMINATED and self._left:
            self._over(INACTIVE)
        elif code == TERMINATE:
            self.frame(LCP, bytes((TERMINATED, 1, 0, 4)))
            self._over(ERROR)


class Socket(io.IOBase):
    """A TCP socket that never waits, over PPP.one."""

    def __init__(self):
        self._number = None
        self._in = b""
        self._open = self._ended = self.broken = False

    def setblocking(self, on):
        pass

    def connect(self, address):
        ppp = PPP.one
        if not ppp or not ppp.isconnected():
            raise OSError(errno.ENETUNREACH if hasattr(errno, "ENETUNREACH") else 101)
        self._number = min(set(range(1, 200)) - set(ppp.sockets))
        ppp.sockets[self._number] = self
        ppp.frame(DATAGRAM, bytes((self._number, OPEN)) + address.encode())
        raise OSError(errno.EINPROGRESS)

    def told(self, op, data):
        self._open = self._open or op == OPEN
        self._in += data if op == DATA else b""
        self._ended = self._ended or op == CLOSE

    def read(self, size):
        PPP.one.poll()
        if self._in:
            data, self._in = self._in[:size], self._in[size:]
            return data
        if self.broken:
            raise OSError(errno.ECONNRESET)
        return b"" if self._ended else None

    def readinto(self, buf):
        data = self.read(len(buf))
        if data:
            buf[: len(data)] = data
        return None if data is None else len(data)

    def write(self, data):
        if self.broken or self._ended:
            raise OSError(errno.ECONNRESET)
        if len(PPP.one._out) > 2048:
            PPP.one.poll()
            return None
        data = bytes(data[:PIECE])
        PPP.one.frame(DATAGRAM, bytes((self._number, DATA)) + data)
        return len(data)

    def close(self):
        ppp = PPP.one
        if self._number and ppp.sockets.pop(self._number, None):
            ppp.frame(DATAGRAM, bytes((self._number, CLOSE)))
        self._number = None

    def ioctl(self, request, wanted):
        if request != 3:  # MP_STREAM_POLL; there is no file descriptor
            return 0 if request == 4 else -errno.EINVAL
        PPP.one.poll()
        flags = select.POLLIN if self._in or self._ended else 0
        if self._open:
            flags |= select.POLLOUT
        if self.broken or (self._ended and not self._open):
            flags |= select.POLLHUP
        return flags & (wanted | select.POLLHUP)


def socket(*_):
    return Socket()


def getaddrinfo(host, port, *_):
    """The network behind the modem resolves."""
    return [(AF_INET, SOCK_STREAM, 0, "", "%s:%d" % (host, port))]


def drain():
    if PPP.one:
        PPP.one.poll()


pollable = open(int(os.getenv("MEUSE_UART1")), "r+b", buffering=0)
sys.modules["network"] = sys.modules["socket"] = sys.modules[__name__]
