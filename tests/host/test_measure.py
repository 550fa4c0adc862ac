"""Bytes per reading: no more than the design promised; and what is said about files that are no trace."""

from pathlib import Path

import pytest
from meuse.errors import ConfigError
from meuse.measure import LINKS, Channel, measure, read_trace
from meuse_protocol import columns, messages

TRACES = Path(__file__).resolve().parent.parent / "traces"

# Measured beforehand with a throw-away encoder; its figures were rounded to what stands here.
PAYLOAD = {
    "stove": (26.5, 5.54, 2.70),
    "weather": (34.1, 10.35, 6.99),
    "occupancy": (22.5, 6.52, 4.15),
}
HALF_A_DIGIT = (0.05, 0.005, 0.005)


@pytest.mark.parametrize("name", PAYLOAD)
def test_payload_is_no_larger_than_promised(name: str) -> None:
    payload = measure(TRACES / f"{name}.csv")["payload"]
    for got, promised, rounding in zip(payload, PAYLOAD[name], HALF_A_DIGIT, strict=True):
        assert got < promised + 2 * rounding
    assert payload[2] <= {"stove": 2.71, "weather": 7.1, "occupancy": 4.2}[name]


def test_the_stove_on_a_cable() -> None:
    uart = measure(TRACES / "stove.csv")["uart"]
    assert uart[0] <= 34 and uart[1] <= 6.4 and uart[2] <= 2.9


def test_links_differ_by_their_headers(tmp_path: Path) -> None:
    """One row of one channel, counted by hand."""
    trace = tmp_path / "one.csv"
    trace.write_text("time,level[%;0]\n1761955200,7\n")
    # 96 02 00 cd03e8 01 ce........ 07 = 13; UART: 00, COBS 1, CRC 4, 00; full stream id: 4 more.
    assert measure(trace) == {
        "payload": [13, 13, 13],
        "uart": [20, 20, 20],
        "udp": [53, 53, 53],  # 28 + 17 + MAC 8
        "mqtt": [51, 51, 51],  # PUBLISH 1 + 1 + 2 + 24 + 2 + 17, PUBACK 4
    }
    assert tuple(measure(trace)) == LINKS


def test_the_last_short_batch_counts(tmp_path: Path) -> None:
    trace = tmp_path / "eleven.csv"
    trace.write_text("time,a[;0]\n" + "".join(f"{1000 + i},5\n" for i in range(11)))
    batch = messages.pdu(messages.DATA, 0, 1000, *columns.encode(1, list(range(1000, 1010)), [[5]] * 10))
    single = messages.pdu(messages.SINGLE, 0, 1001, *columns.single(1, 1010, [5]))
    assert measure(trace)["payload"][1] == round((len(batch) + len(single)) / 11, 3)


def test_values_are_scaled_exactly_and_rounded_half_away(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("\ufefftime, temp[Cel;1],n[;0]\n10,1.25,-0.5\n20,-1.25,\n30,2.675e1,nan\n\n")
    read = read_trace(trace)
    assert read.channels == [Channel("temp", "Cel", 1), Channel("n", "", 0)]
    assert read.rows == [[13, -1], [-13, None], [268, None]]
    assert (read.tick_ms, read.times) == (1000, [10, 20, 30])
    trace.write_text("time,a[;0]\n10.25,1\n11,2\n")
    assert read_trace(trace)[1:3] == (1, [10250, 11000])


BAD = {
    "": "is empty",
    "time,a[;0]\n": "no readings",
    "when,a[;0]\n1,2\n": "line 1: the first column is 'when', not `time`",
    "time\n1\n": "line 1: 0 channels",
    "time," + ",".join(["a[;0]"] * 65) + "\n": "line 1: 65 channels",
    "time,temp\n1,2\n": "line 1: column 'temp' is not `channel[unit;decimals]`",
    "time,temp[Cel]\n1,2\n": "line 1: column 'temp[Cel]' is not",
    "time,temp[Cel;x]\n1,2\n": "line 1: column 'temp[Cel;x]' is not",
    "time,temp[Cel;19]\n1,2\n": "0 to 18 decimals",
    "time,[Cel;1]\n1,2\n": "line 1: column '[Cel;1]' is not",
    "time,a[;0]\n1,2\n2,3,4\n": "line 3: 3 cells, but the header has 2",
    "time,a[;0]\n1,2\n2,x\n": "line 3: a 'x' is not a number",
    "time,a[;0]\n1,inf\n": "line 2: a 'inf' is not a number",
    "time,a[;0]\n1,1e99\n": "line 2: a '1e99' is not a number",
    "time,a[;0]\n1,9e18\n": "line 2: a '9e18' is too large",
    "time,a[;0]\nnoon,2\n": "line 2: time 'noon' is not a number",
    "time,a[;0]\n-1,2\n": "line 2: time '-1' is not possible",
    "time,a[;0]\n,2\n": "line 2: time '' is not possible",
}


@pytest.mark.parametrize("content", BAD, ids=lambda content: BAD[content][:30])
def test_a_bad_trace_is_named_with_its_line(content: str, tmp_path: Path) -> None:
    trace = tmp_path / "bad.csv"
    trace.write_text(content)
    with pytest.raises(ConfigError) as caught:
        measure(trace)
    assert BAD[content] in caught.value.message and str(trace) in caught.value.message
    assert caught.value.advice


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        measure(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="cannot read"):
        measure(tmp_path)
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"time,a[;0]\n\xff\xfe\n")
    with pytest.raises(ConfigError, match="not a CSV file"):
        measure(binary)
