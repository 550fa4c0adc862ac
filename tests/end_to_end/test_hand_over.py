"""A stove on a cable and on a network at once: the stream goes from one to the other, and only the events tell.

Real firmware on MicroPython, a pty, a TCP connection, the real host; the sensors are simulated.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.end_to_end.river import Host, hasty, meuse, provision, rows
from tests.firmware.virtual import VirtualBoard, json_lines, wait_for

NETWORK = '\n[[links]]\nkind = "tcp"\n\n[[outputs]]'


def stove(top: Path, data: Path, port: int) -> VirtualBoard:
    """The usual stove, with a second link; 128 kB of memory, since two links are more than one."""
    scenario = hasty(top / "hasty", "stove")
    product = scenario.with_name("stove.product.toml")
    product.write_text(product.read_text().replace("\n[[outputs]]", NETWORK, 1))
    words = ("--scenario", str(scenario), "--key", str(provision(data, "stove-1")), "--heap", "192k")
    return VirtualBoard(top / "stove", "stove-1", *words, "--host", f"127.0.0.1:{port}")


def stored(data: Path) -> int:
    """Records, as `meuse devices` counts them."""
    return sum(json.loads(line)["stored"] for line in meuse("devices", "--data", str(data), "--json").splitlines())


@pytest.mark.link("serial", board="MicroPython, unix build", wire="pty", host="meuse run")
@pytest.mark.link("tcp", board="MicroPython, unix build", wire="TCP sockets on loopback", host="meuse run")
def test_a_board_changes_between_cable_and_network_and_loses_nothing(tmp_path: Path) -> None:
    data, top = tmp_path / "data", tmp_path / "boards"
    host = Host(data, [str(top / "stove" / "tty")])
    with host, stove(top, data, host.port) as board:
        wait_for(lambda: stored(data) > 3, "readings by cable", 60)
        for _ in range(2):
            board.control(do="unplug")
            before = stored(data)
            wait_for(lambda before=before: stored(data) > before + 3, "readings by network", 60)
            board.control(do="replug")
            before = stored(data)
            wait_for(lambda before=before: stored(data) > before + 3, "readings still", 60)
        board.control(do="network", on=False)
        before = stored(data)
        wait_for(lambda: stored(data) > before + 3, "readings without network", 60)
        assert board.stop(60) == 0
        host.stop()
    expected: dict[str, list[float | None]] = defaultdict(list)
    for line in json_lines(top / "stove" / "served.jsonl"):
        expected[line["channel"]].append(line["value"])
    table = rows("--data", str(data), "--device", "stove-1")
    told: dict[str, list[float | None]] = defaultdict(list)
    for row in sorted(table, key=lambda row: (int(row["seq"]), int(row["row"]))):
        told[row["channel"]].append(float(row["value"]) if row["value"] else None)
    for channel, values in expected.items():
        assert told[channel] == values, channel
    assert rows("--data", str(data), "--gaps") == []
    assert len({(row["stream"], row["seq"], row["row"], row["channel"]) for row in table}) == len(table)
    events = meuse("query", "--data", str(data), "--sql", "SELECT kind, detail FROM events", "--format", "csv")
    assert "link-changed" in events
    assert "carries all" in events, "the board says why"
