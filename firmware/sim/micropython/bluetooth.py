"""MicroPython's `bluetooth` without a radio: what a peripheral uses of it, with the real names and arguments.

Simulated: what is done goes over an inherited socket to whoever plays the air (tests/air.py), and so comes what the air
does; a message is op, length, payload. The rules a program can run into are kept: 20 bytes of a characteristic until
gatts_set_buffer, what is too long is cut off, a queue of notifications with an end. A real interrupt comes at any time;
here it comes in a call, or from `drain`, which whoever runs the board calls when `pollable` can be read.
"""

import errno
import os
import select
import struct

FLAG_READ = 0x02
FLAG_WRITE_NO_RESPONSE = 0x04
FLAG_WRITE = 0x08
FLAG_NOTIFY = 0x10
ADVERTISE, NOTIFY, HANG_UP, WIDTH, SERVE = 1, 2, 3, 4, 5  # to the air
CONNECT_IRQ, GONE_IRQ, WRITE_IRQ, WIDTH_IRQ, TAKEN = 1, 2, 3, 21, 100  # from it; TAKEN: a notification left the queue
QUEUE = 8  # notifications that wait for the air

pollable = open(int(os.getenv("MEUSE_BLE")), "r+b", buffering=0)
_poll = select.poll()
_poll.register(pollable, select.POLLIN)


class UUID:
    def __init__(self, value):
        self.text = value


class _State:
    """Of the one radio there is."""

    handler = None
    active = False
    peer = None
    waiting = 0
    values = []  # per handle: [what was written, bytes it may have, whether it is gathered]


def _tell(op, data=b""):
    if not _State.active:
        raise OSError(errno.ENODEV)
    pollable.write(struct.pack("<BH", op, len(data)) + data)


def drain():
    """Delivers what the air did since the last time."""
    while _poll.poll(0):
        event, size = struct.unpack("<BH", _exactly(3))
        _happened(event, _exactly(size))


def _exactly(n):
    data = pollable.read(n) if n else b""  # blocks: a packet comes whole
    if len(data) < n:
        raise SystemExit(3)  # the air is gone
    return data


def _happened(event, data):
    if event == TAKEN:
        _State.waiting -= 1
        return
    conn, number = struct.unpack("<HH", data[:4])
    if event == WRITE_IRQ:
        _written(number, data[4:])
    elif event == CONNECT_IRQ:
        _State.peer, _State.waiting = conn, 0
    elif event == GONE_IRQ:
        _State.peer = None
    if _State.handler:
        told = (conn, number) if event in (WRITE_IRQ, WIDTH_IRQ) else (conn, 0, b"\0" * 6)
        _State.handler(event, told)


def _written(handle, data):
    held = _State.values[handle]
    if held[2]:
        data = held[0] + data
    held[0] = data[: held[1]]


class BLE:
    def active(self, on):
        _State.active = on

    def config(self, gap_name=None, mtu=None):
        _tell(WIDTH, struct.pack("<H", mtu))

    def irq(self, handler):
        _State.handler = handler

    def gatts_register_services(self, services):
        """Handles count from 0 in the order of the characteristics; the air hears UUID and flags of each."""
        handles = []
        for uuid, characteristics in services:
            own = []
            for each, flags in characteristics:
                own.append(len(_State.values))
                _State.values.append([b"", 20, False])
                _tell(SERVE, bytes((own[-1], flags)) + ("%s %s" % (uuid.text, each.text)).encode())
            handles.append(tuple(own))
        return tuple(handles)

    def gatts_set_buffer(self, value_handle, size, append=False):
        _State.values[value_handle][1:] = [size, append]

    def gatts_read(self, value_handle):
        drain()
        held = _State.values[value_handle]
        data = held[0]
        if held[2]:
            held[0] = b""
        return data

    def gatts_notify(self, conn_handle, value_handle, data):
        drain()
        if conn_handle != _State.peer:
            raise OSError(errno.ENOTCONN)
        if _State.waiting >= QUEUE:
            raise OSError(errno.ENOMEM, "the queue is full")
        _State.waiting += 1
        _tell(NOTIFY, struct.pack("<HH", conn_handle, value_handle) + data)

    def gap_advertise(self, interval_us, adv_data=b"", resp_data=b""):
        if max(len(adv_data), len(resp_data)) > 31:
            raise OSError(errno.EINVAL)
        _tell(ADVERTISE, bytes((len(adv_data),)) + adv_data + resp_data)

    def gap_disconnect(self, conn_handle):
        if conn_handle == _State.peer:
            _tell(HANG_UP, struct.pack("<H", conn_handle))
        return conn_handle == _State.peer
