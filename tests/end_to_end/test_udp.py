"""A board on a bad network: every fifth datagram lost each way, some doubled, late or too long, the address changed.

Real firmware on real MicroPython, real UDP sockets, the real host; simulated are the sensors and what the network does.
"""

from pathlib import Path

import pytest
from meuse_protocol.received import RangeSet

from tests.end_to_end.river import Host, board, rows
from tests.firmware.virtual import VirtualBoard, wait_for
from tests.host.hosts import ask
from tests.ports import free_port
from tests.udp_proxy import UdpProxy

SEED = 20163
MTU_BYTES = 400
RECORDS = 45


def on_udp(top: Path, data: Path, port: int) -> VirtualBoard:
    """A building's board with UDP for its TCP, which closes ten records a second."""
    made = board(top, "building", data, port)
    product = top / "hasty" / "building.product.toml"
    text = product.read_text().replace("500ms", "100ms")
    for given, instead in (
        ('kind = "tcp"', f'kind = "udp"\nmax_pdu = {MTU_BYTES}'),
        ('driver = "ads1115"', 'driver = "ads1115"\nperiod = "100ms"'),
    ):
        assert text.count(given) == 1
        text = text.replace(given, instead)
    product.write_text(text)
    return made


def told(data: Path, name: str) -> int:
    """A counter of the running host."""
    found = ask(data, "SELECT value FROM host_status WHERE key = ?", name)
    return int(str(found[0][0])) if found else 0


@pytest.mark.link(
    "udp",
    board="MicroPython, unix build",
    wire="UDP sockets on loopback, proxy that loses 20 % each way, doubles, reorders, changes the address",
    host="meuse run",
)
def test_every_record_is_stored_once_over_a_network_that_loses_doubles_and_reorders(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    with (
        Host(data, words=["--udp", f"127.0.0.1:{port}"]) as host,
        UdpProxy(port, SEED, loss=0.2, double=0.1, late=0.2, mtu=MTU_BYTES) as network,
        on_udp(tmp_path, data, network.port) as building,
    ):

        def stored() -> int:
            return int(str(ask(data, "SELECT count(*) FROM records")[0][0]))

        wait_for(lambda: stored() >= RECORDS, "records over a bad network", 60)
        network.forget()
        before = stored()
        wait_for(lambda: stored() >= before + RECORDS, "records from a new address", 60)
        wait_for(lambda: told(data, "link.unbound"), "the new address was asked who it is")
        network.loss = 0.0  # a stop waits 10 s for what is left, and no longer
        assert building.stop(60) == 0, building.log()
        host.stop()
        served = [line for line in building.served() if line["value"] is not None]
    assert network.longest <= MTU_BYTES and not network.counts["too_long"]
    for damage in ("lost", "doubled", "late"):
        assert network.counts[damage] > RECORDS // 10, network.counts
    ((received, gapped, next_seq),) = ask(data, "SELECT received, gapped, next_seq FROM streams")
    assert RangeSet.from_bytes(received).ranges() == [(1, next_seq - 1)]  # type: ignore[arg-type,operator]
    assert RangeSet.from_bytes(gapped).ranges() == []  # type: ignore[arg-type]
    table = [r for r in rows("--data", str(data)) if r["value"]]
    keys = [(r["seq"], r["row"], r["channel"]) for r in table]
    assert len(keys) == len(set(keys))
    for channel in {line["channel"] for line in served}:
        ordered = sorted(table, key=lambda r: (int(r["seq"]), int(r["row"])))
        known = [float(r["value"]) for r in ordered if r["channel"] == channel]
        given = [line["value"] for line in served if line["channel"] == channel]
        rest = iter(given)
        assert all(value in rest for value in known), f"{channel}: not what was served, or not in this order"
    print(f"seed {SEED}: {dict(network.counts)}, {next_seq} records, {len(table)} values")
