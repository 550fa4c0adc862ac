"""TLS from real MicroPython to the real host: who may speak does, who may not is refused in words, and cuts heal."""

import contextlib
import copy
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Signed, sign
from tests.ports import free_port

from .network import NetworkBoard, RealHost, real_host
from .peer import DEFAULT

Make = Callable[..., NetworkBoard]


class World:
    """Two authorities, and a host whose certificate is signed by the first."""

    def __init__(
        self, folder: Path, days: tuple[int, int] = (-1, 30), client_ca: bool = False, alone: bool = False
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = sign(folder, "ca", "Meuse test CA")
        self.foreign = sign(folder, "foreign", "Meuse test CA")  # the same name, another key
        self.certificate = sign(folder, "host", "localhost", None if alone else self.ca, days)
        self.port = free_port()
        self.settings = f'[tls]\nlisten = ["127.0.0.1:{self.port}"]\n'
        self.settings += f'cert = "{self.certificate.cert}"\nkey = "{self.certificate.key}"\n'
        if client_ca:
            self.settings += f'client_ca = "{self.ca.cert}"\n'

    def link(self, **more: Any) -> dict[str, Any]:
        """What the product compiler makes of a link to this host."""
        return {"kind": "tcp", "host": "localhost", "port": self.port, "tls": True, "ca": self.ca.cert_der, **more}

    @contextlib.contextmanager
    def host(self) -> Iterator[RealHost]:
        with real_host(self.folder, self.settings, self.port) as host:
            yield host


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, RealHost]]:
    world = World(tmp_path_factory.mktemp("open"))
    with world.host() as host:
        yield world, host


@pytest.fixture(scope="module")
def closed_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, RealHost]]:
    world = World(tmp_path_factory.mktemp("closed"), client_ca=True)
    with world.host() as host:
        yield world, host


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Make]:
    made: list[NetworkBoard] = []

    def make(host: RealHost, link: dict[str, Any]) -> NetworkBoard:
        folder = tmp_path / str(len(made))
        made.append(NetworkBoard(folder, bench_path, micropython, copy.deepcopy(DEFAULT), link, host))
        return made[-1]

    yield make
    for board in made:
        board.close()


def refused(board: NetworkBoard, host: RealHost, words: str, told: str) -> None:
    """The board says why, the host says why, and nothing is stored; the board's loop goes on all the while."""
    before = host.records()
    board.start()
    board.ask("", "Type help")
    board.until(lambda: words in board.links(), 40)
    assert "DOWN" in board.links()
    board.until(lambda: told in host.log(), 40)
    read = len(board.served("flue"))
    board.until(lambda: len(board.served("flue")) > read + 5, 40)
    assert host.records() == before
    board.kill()


@pytest.mark.link(
    "tls", board="MicroPython, unix build (mbedTLS)", wire="TCP sockets on loopback", host="meuse run (OpenSSL)"
)
def test_readings_arrive_whoever_signed_the_host_is_known(tmp_path: Path, make: Make) -> None:
    world = World(tmp_path / "world")
    with world.host() as host:
        board = make(host, world.link(clock=[2026, 1, 31]))
        board.start()
        board.until_stored(20)
        assert (board.folder / "clock").read_text() == "2026-1-31", "set before certificates are looked at"
        assert "tls to localhost" in board.links() and " up, " in board.links()
        assert board.stop(60) == 0
        board.complete()
        assert "bench-1: on tls:127.0.0.1" in host.log()
        assert host.stop() == 0


@pytest.mark.link(
    "tls",
    board="MicroPython, unix build (mbedTLS)",
    wire="TCP sockets on loopback",
    host="meuse run (OpenSSL)",
)
def test_a_board_with_a_certificate_is_let_in_where_one_is_wanted(
    closed_world: tuple[World, RealHost], make: Make
) -> None:
    world, host = closed_world
    own = sign(world.folder, "bench", "bench-1", world.ca)
    board = make(host, world.link(cert=own.cert_der, client_key=own.key_der))
    board.start()
    board.until_stored(10)
    assert board.stop(60) == 0
    board.complete()


def test_a_host_that_signed_its_own_certificate_may_be_pinned(tmp_path: Path, make: Make) -> None:
    world = World(tmp_path / "world", alone=True)
    with world.host() as host:
        link = world.link(ca=world.certificate.cert_der, host="127.0.0.1", server_name="localhost")
        board = make(host, link)
        board.start()
        board.until_stored(5)
        assert board.stop(60) == 0
        board.complete()


def test_an_authority_the_board_does_not_know_is_refused(open_world: tuple[World, RealHost], make: Make) -> None:
    world, host = open_world
    board = make(host, world.link(ca=world.foreign.cert_der))
    refused(board, host, "not correctly signed by the trusted CA", "tls_handshake: tlsv1 alert unknown ca")


def test_a_certificate_for_another_name_is_refused(open_world: tuple[World, RealHost], make: Make) -> None:
    world, host = open_world
    board = make(host, world.link(server_name="elsewhere.example"))
    refused(board, host, "does not match with the expected CN", "alert bad certificate")


def test_a_certificate_out_of_its_time_is_refused_by_a_board_with_a_clock(tmp_path: Path, make: Make) -> None:
    """Too early is what a board whose own clock is behind sees, too."""
    for days, words, told in (
        ((-10, -2), "validity has expired", "the certificate has expired"),
        ((2, 10), "validity starts in the future", "the certificate is not valid yet"),
    ):
        world = World(tmp_path / words, days)
        with world.host() as host:
            assert told in host.log(), "said at the start"
            refused(make(host, world.link()), host, words, "tls_handshake: ")


def test_a_board_without_a_certificate_is_refused_where_one_is_wanted(
    closed_world: tuple[World, RealHost], make: Make
) -> None:
    world, host = closed_world
    board = make(host, world.link())
    refused(board, host, "does it want another certificate", "peer did not return a certificate")


def test_a_board_with_a_foreign_certificate_is_refused(closed_world: tuple[World, RealHost], make: Make) -> None:
    world, host = closed_world
    own: Signed = sign(world.folder, "stranger", "bench-1", world.foreign)
    board = make(host, world.link(cert=own.cert_der, client_key=own.key_der))
    refused(board, host, "does it want another certificate", "its certificate: ")


def test_a_clock_that_is_behind_is_set_and_no_other(board_path: str, micropython: str) -> None:
    """Simulated: machine.RTC only remembers; whether a port's TLS reads it is the port's business."""
    script = (
        "import machine; from meuse_board.hardware import Hardware as H\n"
        "H({}).clock_at_least([2020, 1, 31]); print(machine.RTC.told); H({}).clock_at_least([2199, 1, 31])\n"
        "print(machine.RTC.told)"
    )
    environment = {**os.environ, "MICROPYPATH": board_path}
    here, there = socket.socketpair()
    with here, there:
        environment["MEUSE_WIRES"] = str(there.fileno())
        words = [micropython, "-c", script]
        done = subprocess.run(words, env=environment, pass_fds=[there.fileno()], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["None", "(2199, 1, 31, 0, 0, 0, 0, 0)"], done.stderr


def test_settings_that_hold_no_certificate_leave_a_board_that_can_say_so(
    open_world: tuple[World, RealHost], make: Make
) -> None:
    world, host = open_world
    board = make(host, world.link(ca=b"0\x82nothing"))
    board.start()
    board.ask("", "Type help")
    board.until(lambda: "ca, cert or client_key" in board.links(), 40)


class Cutter:
    """A proxy (simulated: a bad line) that cuts one connection after each number of bytes, then lets all through."""

    def __init__(self, port: int, cuts: tuple[int, ...]) -> None:
        self._port = port
        self._left = list(cuts)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cut = 0  # connections so far
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                board, _ = self._server.accept()
            except OSError:
                return  # closed
            budget = self._left[0] if self._left else 1 << 60
            with board, socket.create_connection(("127.0.0.1", self._port)) as host, contextlib.suppress(OSError):
                self._carry({board: host, host: board}, budget)
            if self._left:
                self._left.pop(0)
                self.cut += 1

    def _carry(self, other: dict[socket.socket, socket.socket], budget: int) -> None:
        while budget > 0:
            for here in select.select(list(other), [], [])[0]:
                if not (data := here.recv(4096)):
                    return
                other[here].sendall(data[:budget])
                budget -= len(data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def test_a_connection_cut_in_mid_handshake_is_made_again(tmp_path: Path, make: Make) -> None:
    """Before the first byte is answered, within both hellos, within the certificate, and after the handshake."""
    world = World(tmp_path / "world")
    cuts = (0, 300, 900, 3000)
    with world.host() as host, contextlib.closing(Cutter(world.port, cuts)) as cutter:
        board = make(host, world.link(port=cutter.port))
        board.start()
        board.until(lambda: cutter.cut == len(cuts), 60)
        board.until_stored(len(board.readings()) + 20)
        assert board.stop(60) == 0
        board.complete()
        assert "tls_handshake: cut off" in host.log()
