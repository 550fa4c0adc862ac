"""The board's end of the wires: one bus operation is one message to the world and one answer.

Simulated: on a real board this is copper. Owns the inherited descriptor and the order of things on it; knows
nothing of buses. Request: op, length, payload; what cannot fail and tells nothing has no answer (PIN_WRITE, OW_WRITE,
FEED, NOTE, TAKEN). From the world: kind, length, payload; kind 0 answers, 1..127 is the errno of an answer, EDGES
carries a pin, its level and how often its interrupt fired, STOP asks the board to end.

An interrupt handler runs when its edge is taken from the wires: after the bus operation under way, or from
`drain` when none is. That is where MicroPython's soft interrupts run too: between two operations, never inside.
"""

import os
import select
import sys

PIN_MODE, PIN_READ, PIN_WRITE, PIN_IRQ, I2C_WRITE, I2C_READ, EXCHANGE, OW_RESET = 1, 2, 3, 4, 5, 6, 7, 8
OW_READ, OW_WRITE, FEED, RESET, CAUSE, IDENTITY, NETWORK, NOTE, TAKEN = 9, 10, 11, 12, 13, 14, 15, 16, 17
EDGES, STOP = 128, 129

pollable = open(int(os.getenv("MEUSE_WIRES")), "r+b", buffering=0)
_poll = select.poll()
_poll.register(pollable, select.POLLIN)
_edges = []
handling = False  # inside an interrupt handler
edge = (None, None)  # pin and level it is about: asking the world would take longer than contacts bounce
handlers = {}  # pin number -> (Pin, handler)
on_stop = None  # called once when the world asks the board to end
stopped = False


def _exactly(n):
    data = b""
    while len(data) < n:
        part = pollable.read(n - len(data))
        if part is None:
            _poll.poll()
        elif part:
            data += part
        else:
            sys.exit(3)  # the world is gone, and with it the supply voltage
    return data


def _next():
    """One message; interrupts and the wish to stop are noted, not acted on."""
    global stopped
    kind, size = _exactly(2)
    data = _exactly(size)
    if kind == EDGES:
        _edges.append(data)
    elif kind == STOP:
        stopped = True
    return kind, data


def _interrupts():
    global handling, on_stop, edge
    if handling:
        return
    handling = True
    try:
        while _edges:
            number, level, times = _edges.pop(0)
            edge = (number, level)
            for _ in range(times):
                armed = handlers.get(number)
                if armed:
                    armed[1](armed[0])
            send(TAKEN)
        if stopped and on_stop:
            call_now, on_stop = on_stop, None
            call_now()
    finally:
        handling = False


def send(op, data=b""):
    """Does an operation that has no answer."""
    try:
        pollable.write(bytes((op, len(data))) + data)
    except OSError:
        sys.exit(3)  # the world is gone


def call(op, data=b""):
    """Does one operation and waits for its answer; OSError(errno) as the real port raises it."""
    if len(data) > 255:
        raise ValueError("simulated bus: at most 255 bytes in one operation")
    send(op, data)
    kind = EDGES
    while kind >= EDGES:
        kind, answer = _next()
    _interrupts()
    if kind:
        raise OSError(kind)
    return answer


def drain():
    """Delivers interrupts while no bus operation does; call it when `pollable` can be read."""
    while _poll.poll(0):
        _next()
    _interrupts()
