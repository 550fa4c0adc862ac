"""What the vectors are about: objects, batches and bytes by name; generate.py turns them into lines.

Objects are written without the stream, which each case names, and bytes as they are.
"""

import csv
from pathlib import Path
from typing import Any, NamedTuple

from meuse_protocol import columns
from meuse_protocol import messages as m

TRACES = Path(__file__).resolve().parent.parent / "traces"
T0 = 1761955200
STREAM = 0x80000001
OTHER_STREAM = 0xFEDCBA98
PSK = bytes(range(32))
OTHER_PSK = bytes(range(255, 223, -1))

INTEGER_EDGES = (
    [0, 1, 31, 32, 127, 128, 255, 256, 32767, 32768, 65535, 65536]
    + [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
    + [-1, -31, -32, -33, -127, -128, -129, -255, -256, -257, -32768, -32769, -65536]
    + [-(2**31), -(2**31) - 1, -(2**32), -(2**53) - 1, -(2**63)]
)


class Case(NamedTuple):
    name: str
    kind: int
    body: list[Any]  # what follows stream
    stream: int = STREAM  # as written in the PDU; 0 and aliases stand for STREAM
    psk: bytes | None = PSK
    mac_bytes: int = 8
    batch: tuple[Any, ...] | None = None  # (sid, times, rows, boot_no) that `encode` makes the body of


def all_cases() -> list[Case]:
    return messages() + sizes() + large() + by_hand() + batches()


def messages() -> list[Case]:
    """Each type, with and without its optional elements; streams, seqs, MAC lengths."""
    hash4 = b"\x4b\x70\xee\x12"
    big = ["x" * n for n in (0, 31, 32, 255, 256)]
    cases = [
        Case("schema", m.SCHEMA, [2, 1, "stove", 1000, [["flue_temp", "Cel", -1], ["door", "", 0, 2]]]),
        Case("schema with ops", m.SCHEMA, [2, 127, "x", 1, [["a", "", 0]], [["on", [0, 1]]]]),
        Case("blob", m.BLOB, [3, 1, None, b"Traceback: \x00\xff"]),
        Case("blob with meta", m.BLOB, [3, 2, ["log", 1], b""]),
        Case("boot", m.BOOT, [1, 1, 1, "0.1.0"]),
        Case("boot, last number", m.BOOT, [1, 2**32 - 1, 5, ""]),
        Case("anchor", m.ANCHOR, [9, 86400000, 1761955200123, 250, 3]),
        Case("result without value", m.RESULT, [10, 1, 0]),
        Case("result prepared", m.RESULT, [12, 3, 1, [305419896, ["heater", 0, 0], ["flue_temp", 235, -1]]]),
        Case("result refused in words", m.RESULT, [13, 4, 7, "flue_temp is not < 60"]),
        Case("gap", m.GAP, [7, 3, 6, m.GAP_POWER_CUT]),
        Case("sealed", m.SEALED, [11, bytes(range(64))]),
        Case("hello", m.HELLO, [16, 0, 1, 8, 1024, 32, "stove-1", [[1, hash4]], 305419896]),
        Case("hello of a relay", m.HELLO, [16, 1, 1, 8, 1024, 32, "gateway-1", [[1, hash4]], 305419896]),
        Case("hello, nothing yet", m.HELLO, [16, 0, 1, 1, 20, 4, "a", [], 0], psk=None),
        Case("timeq", m.TIMEQ, [4294967295]),
        Case("ping", m.PING, []),
        Case("frag", m.FRAG, [5, 40, b"abc"], psk=None),
        Case("frag0", m.FRAG0, [5, 408, b"\x00" * 30], psk=None),
        Case("ack", m.ACK, [101]),
        Case("ack with window", m.ACK, [101, 0]),
        Case("ack with more", m.ACK, [101, None, True]),
        Case("ack with ranges", m.ACK, [5, 32, None, 2, 3, 1, 1]),
        Case("ack, 16 pairs, long header", m.ACK, [5, 32, False] + [1, 200] * 16),
        Case("welcome", m.WELCOME, [16, 0, 0, 101, 32, 305419896]),
        Case("cmd", m.CMD, [1, [3, 60000], "fan", 50]),
        Case("cmd without argument", m.CMD, [2, [3, 60000], "off"]),
        Case("cmd with a condition", m.CMD, [3, [3, 60000], "heater", ["on", 1, "if", ["flue_temp", "<", 605, -1]]]),
        Case("cmd that commits", m.CMD, [4294967295, [3, 4294967295], "commit", ["cid", 3, "token", 305419896]]),
        Case("time", m.TIME, [4294967295, 1761955200123, 4]),
        Case("need schemas", m.NEED, [m.NEED_SCHEMA, [1, 2]]),
        Case("need all schemas", m.NEED, [m.NEED_SCHEMA]),
        Case("need hello", m.NEED, [m.NEED_HELLO], psk=None),
        Case("need fragments", m.NEED, [m.NEED_FRAGMENTS, [5, 40, 80, 160, 37]]),
        Case("need anchor", m.NEED, [m.NEED_ANCHOR]),
        Case("poll", m.POLL, [5, 8]),
        Case("poll of an alias, no turn", m.POLL, [2**32 - 1, 0], stream=5),
        Case("need hello in slots", m.NEED, [m.NEED_HELLO, [8, 93, 305419896]], stream=0, psk=None),
        Case("welcome with alias", m.WELCOME, [16, 0, 127, 101, 32, 305419896]),
        Case("err", m.ERR, [m.ERR_PACKET], psk=None),
        Case("err with text and seq", m.ERR, [m.ERR_CONFLICT, "conflict", 77]),
        Case("unknown control 38", 38, ["later", [1, [2, [3]]]]),
        Case("unknown control 127", 127, []),
        Case("further elements", m.TIMEQ, [1, "from a later version", None]),
    ]
    for kind in range(10, 16):
        cases.append(Case(f"unknown record {kind}", kind, [kind, "anything", [True, False, None, 0.5]]))
    for stream in (0, 1, 127, 2**31, 2**32 - 1):
        cases.append(Case(f"stream {stream}", m.GAP, [7, 3, 6, 1], stream=stream))
    for seq in (1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1):
        cases.append(Case(f"seq {seq}", m.GAP, [seq, 1, 1, 1], OTHER_STREAM, OTHER_PSK))
    for n in (4, 8, 16):
        cases.append(Case(f"mac of {n}", m.PING, [], mac_bytes=n))
    for edge in INTEGER_EDGES:
        cases.append(Case(f"integer {edge}", m.RESULT, [1000, 1, 0, edge], stream=0, psk=None))
    for value in (1.5, -0.0, 1e300, 5e-324, True, False, None, "\u00b5\u20ac\U0001f525", [], [[]]):
        cases.append(Case(f"value {value!r}", m.RESULT, [1000, 1, 0, value]))
    cases += [Case(f"text of {len(text)}", m.RESULT, [1000, 1, 0, text]) for text in big]
    for n in (10, 11, 12, 13, 40):  # the array header grows at 16 elements
        cases.append(Case(f"{n + 3} elements", 15, [1, *([7] * n)]))
    return cases


def sizes() -> list[Case]:
    """Zeros and full blocks for COBS, and PDUs just below, at and above limits."""
    cases = []
    for n in (250, 251, 252, 253, 254, 255, 256, 257, 508, 509, 762):
        cases.append(Case(f"{n} bytes without a zero", m.BLOB, [1, 1, None, b"\x55" * n], 1, None))
    for byte in (0, 0xFF):
        for n in (1, 2, 254, 255, 300):
            cases.append(Case(f"{n} bytes of {byte}", m.BLOB, [1, 1, None, bytes([byte]) * n], 1))
    cases.append(Case("every byte", m.BLOB, [1, 1, None, bytes(range(256))]))
    for size in (20, 24, 51, 90, 91, 92, 115, 126, 127, 128, 129, 222, 255, 256, 1023, 1024, 1025):
        cases.append(Case(f"pdu of {size}", m.BLOB, [1, 1, None, _fill(size)], 0, None))
    return cases


def large() -> list[Case]:
    """What only a host takes."""
    cases = []
    for size in (4095, 4096, 4097):
        cases.append(Case(f"pdu of {size}", m.BLOB, [1, 1, None, _fill(size)], 0, None))
    for name, rows in (
        ("constant", [[7]] * 1024),
        ("packed", [[i * i % 5] for i in range(1024)]),
        ("two channels", [[i // 100, i % 2] for i in range(1024)]),
    ):
        cases.append(encoded(f"1024 rows, {name}", range(T0, T0 + 1024), rows))
    return cases


def _fill(size: int) -> bytes:
    """Content that makes a BLOB with stream 0 and seq 1 `size` bytes long."""
    content = bytes(i * 7 & 0xFF for i in range(size))
    n = size
    while len(m.pdu(m.BLOB, 0, 1, 1, None, content[:n])) > size:
        n -= 1
    return content[:n]


def encoded(name: str, times: Any, rows: list[list[Any]], boot_no: int | None = None, **more: Any) -> Case:
    batch = (1, list(times), rows, boot_no)
    return Case(name, m.DATA, [1000, *columns.encode(*batch)], batch=batch, **more)


def packed(name: str, k: int, zigzags: list[int]) -> Case:
    """A DATA whose only column is packed with `k`, written down bit by bit."""
    quotients = [min(z >> k, 20) for z in zigzags]
    bits = "".join(f"{z % 2**k:0{k}b}" if k else "" for z in zigzags)
    bits += "".join("0" * q + "1" for q in quotients)
    bits += "".join(f"{z:032b}" for z, q in zip(zigzags, quotients, strict=True) if q == 20)
    bits += "0" * (-len(bits) % 8)
    block = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return Case(name, m.DATA, [1000, 1, len(zigzags) + 1, T0, 10, [0], [k], block], stream=0, psk=None)


def by_hand() -> list[Case]:
    """Batches no encoder here would make, though every decoder must read them."""
    cases = []
    for k in range(31):
        zigzags = [2**k, 2**k - 1, 0, min(19 * 2**k, 2**32 - 1), 2 ** (k + 1) + 1]
        cases.append(packed(f"packed with k = {k}", k, zigzags))
    for k in (0, 3, 7, 26):
        cases.append(packed(f"escapes with k = {k}", k, [2**32 - 1, 1, 20 << k, 2**32 - 2]))
    cases.append(packed("escapes only", 2, [80, 81, 2**31]))
    data = {
        "no columns, no bits": [1000, 1, 5, T0, 10, [1, 2]],
        "columns nil, bits nil": [1000, 1, 5, T0, 10, [1, 2], None, None],
        "no columns, a boot": [1000, 1, 5, -1, 10, [1], [], None, 0],
        "bits empty": [1000, 1, 5, T0, 10, [1], [], b""],
        "one row, a packed column of nothing": [1000, 1, 1, T0, 0, [1], [4], b""],
        "runs of the base": [1000, 1, 6, T0, 10, [5, None, [-2]], [[[5]], [[2], 7], [[4], 1]]],
        "runs of a missing value": [1000, 1, 6, T0, 10, [5], [[None, [2], 1, [1]]]],
        "changes of 0": [1000, 1, 4, T0, 10, [5], [[0, 0, 0]]],
        "lateness as a list": [1000, 1, 4, T0, [10, [1, [1], -1]], [5]],
        "lateness nil": [1000, 1, 4, T0, [10, None], [5]],
        "rows at one moment": [1000, 1, 4, T0, 0, [5], [[1, 1, 1]]],
        "a clock set back": [1000, 1, 4, T0, -10, [5], [[1, 1, 1]]],
        "a quality of a later version": [1000, 1, 2, T0, 10, [[-127]], [[[-7]]]],
        "a batch with further elements": [1000, 1, 2, T0, 10, [5], [], None, None, "later"],
    }
    cases += [Case(name, m.DATA, body) for name, body in data.items()]
    return cases


def batches() -> list[Case]:
    """Batches as the encoder makes them."""
    grid = range(T0, T0 + 600, 10)
    wave = [abs(i % 14 - 7) for i in range(60)]
    late = [T0 + 10 * i + (i in (7, 31)) for i in range(60)]
    cases = [
        encoded("one row", [T0], [[1, 2, 3]]),
        encoded("two rows", [T0, T0 + 3], [[1, 2, 3], [1, 5, 3]]),
        encoded("three rows", [T0, T0 + 3, T0 + 7], [[1], [5], [3]]),
        encoded("all constant", grid, [[1, -2, 0]] * 60),
        encoded("constant at the end is left out", grid, [[w, 5, 6] for w in wave]),
        encoded("all missing", grid, [[None, [-3], 1]] * 60),
        encoded("64 channels", grid[:5], [[i * c % 9 for c in range(64)] for i in range(5)]),
        encoded("one change", grid, [[0]] * 39 + [[1]] * 21),
        encoded("every other missing", grid, [[w if i % 2 else None] for i, w in enumerate(wave)]),
        encoded("each quality", grid[:8], [[5]] + [[[-q]] for q in range(1, 7)] + [[6]]),
        encoded("runs of 1 to 4", range(12), [[x] for x in (None, 1, 1, 2, 2, 2, 3, 3, 3, 3, 9, 9)]),
        encoded("missing first", grid[:4], [[None], [5], [5], [7]]),
        encoded("broken wire, then back", grid[:6], [[250], [[-3]], [[-3]], [[-3]], [251], [251]]),
        encoded("late twice", late, [[w] for w in wave]),
        encoded("jitter", [t + t * 7 % 5 for t in grid], [[w, 2 * w] for w in wave]),
        encoded("a night without", [*grid[:5], T0 + 40000], [[1], [2], [3], [2], [1], [9]]),
        encoded("clock set back", [T0, T0 + 10, T0 - 3000, T0 - 2990], [[1], [2], [3], [4]]),
        encoded("no clock", range(50, 110, 10), [[100 + i, 10 * i * i] for i in range(6)], 3),
        encoded("no clock, all constant", range(0, 60, 10), [[1]] * 6, 1),
        encoded("no clock, irregular", [0, 10, 21, 30], [[1], [2], [2], [9]], 4294967295),
        encoded("an outlier", grid, [[w + 90000 * (i == 30)] for i, w in enumerate(wave)]),
        encoded("outliers both ways", grid, [[w + 10**9 * (i % 20 == 3)] for i, w in enumerate(wave)]),
        encoded("a meter's index", grid, [[12345678901234 + i * i] for i in range(60)]),
        encoded("62 bits", grid[:4], [[2**62 - 1], [-(2**62)], [0], [2**62 - 1]]),
        encoded("33 bits", grid[:4], [[0], [2**32], [-1], [2**31]]),
        encoded("floats", grid[:5], [[1.5], [1.5], [2.25], [None], [2.25]]),
        encoded("texts", grid[:5], [["on"], ["on"], ["off"], [""], ["on"]]),
        encoded("bytes and bools", grid[:4], [[b"\x00", True], [b"\x00", False], [b"\x01", False], [b"", True]]),
        encoded("kinds mixed", grid[:6], [[1], [1.0], [True], ["1"], [None], [2]]),
        encoded("alias, short MAC", grid, [[w, -w] for w in wave], stream=5, mac_bytes=4),
        encoded("link's stream", grid, [[w, -w] for w in wave], stream=0, psk=None),
    ]
    for n in range(3, 12):  # every number of padding bits
        cases.append(encoded(f"{n} rows of ones", grid[:n], [[i % 2] for i in range(n)], stream=0))
    for name in ("stove", "weather", "occupancy"):
        times, rows = _rows(name, 60)
        cases.append(encoded(f"{name}, 60 rows", times, rows))
        cases.append(encoded(f"{name}, 10 rows", times[:10], rows[:10]))
    singles = {
        "single": (T0, [251, None, [-3]], None),
        "single without clock": (41, [251, 185, 7], 3),
        "single, uptime 0, boot 1": (0, [0], 1),
        "single, every kind": (T0, [0, -1, 1.5, "on", b"\x01", True, False, None, [-1]], None),
        "single, 64 channels": (T0, list(range(-32, 32)), None),
    }
    for name, (time, row, boot_no) in singles.items():
        body = [1000, *columns.single(1, time, row, boot_no)]
        cases.append(Case(name, m.SINGLE, body, batch=(1, [time], [row], boot_no)))
    return cases


def _rows(name: str, count: int) -> tuple[list[int], list[list[int]]]:
    with (TRACES / f"{name}.csv").open(newline="") as file:
        header, *lines = list(csv.reader(file))[: count + 1]
    decimals = [int(title.rpartition(";")[2].rstrip("]")) for title in header[1:]]
    rows = [
        [round(float(x) * 10**d) for x, d in zip(line[1:], decimals, strict=True)] for line in lines
    ]
    return [int(line[0]) for line in lines], rows
