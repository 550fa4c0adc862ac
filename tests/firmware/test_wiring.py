"""What the wiring makes of links and their settings: what fits, what does not and is said."""

from types import SimpleNamespace
from typing import Any

import pytest
from memory_log import PSK, STREAM, MemoryLog
from meuse_board.batcher import OVERHEAD
from meuse_board.runner import Runner
from meuse_board.wiring import room, width, wire
from meuse_protocol.messages import BLOB, splice
from meuse_protocol.shared_endpoint import SharedEndpoint


def board(*mtus: int, device: str = "stove-1") -> Any:
    """An application as far as the wiring looks at it, with links of these packets."""
    links = [SimpleNamespace(name=f"link {mtu}", mtu=mtu, cost=5, overhead=0) for mtu in mtus]
    app = SimpleNamespace(device=device, log=MemoryLog(STREAM), problems=[], kept=None, clock=None)
    app.append = lambda kind, body: None
    app.runners = [Runner(link, lambda event, now: None, lambda: 1) for link in links]
    return app


def wired(app: Any, **settings: object) -> int:
    found: int = wire(app, [{"kind": "lora", "cost": 5, **settings} for _ in app.runners], PSK, None)[1]
    return found


@pytest.mark.parametrize(("mtu", "device"), [(11, "stove-1"), (51, "the-stove-in-the-cellar-at-home")])
def test_packets_that_cannot_say_who_speaks_are_a_problem(mtu: int, device: str) -> None:
    """11 bytes are what LoRaWAN's US915 DR0 takes."""
    app = board(1024, mtu, device=device)
    wired(app)
    (problem,) = app.problems
    assert problem.startswith(f"link {mtu}: packets of {mtu} bytes, but who this board is takes ")
    assert problem.endswith(": raise the data rate, or shorten its name")


def test_packets_of_51_bytes_are_enough_for_a_usual_name() -> None:
    app = board(51)
    assert wired(app) == room([51])
    assert app.problems == []


@pytest.mark.parametrize(("settings", "short"), [({}, STREAM), ({"mac_bytes": 4}, 0), ({"sealed": True}, STREAM)])
def test_the_longest_record_of_a_batcher_fits_whatever_is_around_it(settings: dict[str, Any], short: int) -> None:
    """Plain, on a link that has a MAC of its own and binds the stream, and sealed: nothing too long."""
    aes = (lambda key: lambda block: block) if settings.get("sealed") else None
    log = MemoryLog(STREAM)
    endpoint = SharedEndpoint("stove-1", STREAM, PSK, log, mac_bytes=settings.get("mac_bytes", 8), aes=aes)
    most = width(settings, SimpleNamespace(mtu=222)) - OVERHEAD
    body = log.get(log.append(BLOB, 1, None, bytes(most - 7)))
    assert len(body) == most
    assert 219 <= len(splice(endpoint._signed(body), short)) <= 222
