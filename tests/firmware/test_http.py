"""HTTP POST from real MicroPython: directly, through nginx both ways round, and over connections that are cut."""

import contextlib
import copy
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authority import sign
from tests.ports import free_port

from .network import NetworkBoard, RealHost, real_host
from .peer import DEFAULT
from .virtual import wait_for

Make = Callable[..., NetworkBoard]
HOST_PORT = free_port()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    settings = f'[http]\nlisten = ["127.0.0.1:{HOST_PORT}"]\n'
    with real_host(tmp_path_factory.mktemp("host"), settings, HOST_PORT) as host:
        yield host


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path, host: RealHost) -> Iterator[Make]:
    made: list[NetworkBoard] = []

    def make(**more: Any) -> NetworkBoard:
        """Each board is the same device with a new log, so a new stream."""
        link = {"kind": "http", "host": "127.0.0.1", "port": HOST_PORT, "poll_ms": 1000, **more}
        folder = tmp_path / str(len(made))
        made.append(NetworkBoard(folder, bench_path, micropython, copy.deepcopy(DEFAULT), link, host))
        return made[-1]

    yield make
    for board in made:
        board.close()


def all_arrives(board: NetworkBoard, count: int = 20) -> None:
    """So many readings are stored while it runs, and after a stop all of them are."""
    board.start()
    board.until_stored(count)
    assert board.stop(60) == 0
    board.complete()


@pytest.mark.link("http", board="MicroPython, unix build", wire="TCP sockets on loopback", host="meuse run")
def test_readings_arrive_in_the_bodies_of_requests(make: Make) -> None:
    board = make()
    all_arrives(board)


def test_an_idle_board_asks_at_its_own_pace_and_speaks_at_once(make: Make) -> None:
    """With an hour between two polls a reading is there at once all the same."""
    board = make(poll_ms=600_000)
    all_arrives(board, 10)


def test_the_console_says_what_the_host_answers(make: Make, host: RealHost) -> None:
    board = make()
    key = host.data / "keys/bench-1.key"
    text = key.read_text()
    key.unlink()
    try:
        board.start()
        board.ask("", "Type help")
        board.until(lambda: "the host answers: b'http/1.1 404 not found'" in board.links(), 40)
        assert "DOWN" in board.links()
    finally:
        key.write_text(text)
    board.until(lambda: " up, " in board.links(), 60)


# -- real proxies


def nginx() -> str:
    found = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        words = "apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light"
        subprocess.run(["sh", "-c", words], capture_output=True, timeout=300)
        found = shutil.which("nginx") or "/usr/sbin/nginx"
    if found is None or not Path(found).exists():
        assert os.environ.get("CI") != "true", "no nginx: apt-get install nginx-light"
        pytest.skip("no nginx: apt-get install nginx-light")
    return found


@contextlib.contextmanager
def proxy(folder: Path, listen: str, location: str, more: str = "") -> Iterator[None]:
    """nginx in the foreground of a process of its own, with all its files in `folder`."""
    folder.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}} http {{ access_log {folder}/access.log; {paths}\n"
        f"server {{ listen 127.0.0.1:{listen}; {more}\n"
        f"location / {{ proxy_http_version 1.1; {location} }} }} }}\n"
    )
    words = [nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(int(listen.split()[0])), "nginx listens")
        yield
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.link("http", board="MicroPython, unix build", wire="nginx as reverse proxy, loopback", host="meuse run")
def test_readings_arrive_through_a_reverse_proxy(make: Make, tmp_path: Path) -> None:
    port = free_port()
    with proxy(tmp_path / "nginx", str(port), f"proxy_pass http://127.0.0.1:{HOST_PORT};", "keepalive_requests 5;"):
        all_arrives(make(port=port), 40)
        log = (tmp_path / "nginx/access.log").read_text()
        assert log.count("POST /v1/link/bench-1 HTTP/1.1") > 6, "more requests than nginx lets through one connection"
        statuses = re.findall(r'" (\d+) ', log)
        assert set(statuses[:-1]) == {"200"}, "but for the last, which the board may have left behind at its stop"


@pytest.mark.link("http", board="MicroPython, unix build", wire="nginx with TLS, loopback", host="meuse run")
def test_readings_arrive_through_a_reverse_proxy_with_tls(make: Make, tmp_path: Path) -> None:
    port = free_port()
    ca = sign(tmp_path, "ca", "Meuse test CA")
    own = sign(tmp_path, "own", "localhost", ca)
    more = f"ssl_certificate {own.cert}; ssl_certificate_key {own.key};"
    with proxy(tmp_path / "nginx", f"{port} ssl", f"proxy_pass http://127.0.0.1:{HOST_PORT};", more):
        all_arrives(make(host="localhost", port=port, tls=True, ca=ca.cert_der))


@pytest.mark.link("http", board="MicroPython, unix build", wire="nginx as forward proxy, loopback", host="meuse run")
def test_readings_arrive_through_a_proxy_that_is_asked_for_the_host(make: Make, tmp_path: Path) -> None:
    port = free_port()
    onwards = "proxy_pass http://$http_host$uri; proxy_set_header Host $http_host;"
    with proxy(tmp_path / "nginx", str(port), onwards):
        all_arrives(make(proxy=f"127.0.0.1:{port}"))
        log = (tmp_path / "nginx/access.log").read_text()
        assert f"POST http://127.0.0.1:{HOST_PORT}/v1/link/bench-1 HTTP/1.1" in log


# -- bad lines


class ReplyCutter:
    """A proxy (simulated: a bad line) that ends connections after so many bytes of replies, then lets all through."""

    def __init__(self, port: int, cuts: tuple[int, ...]) -> None:
        self._port = port
        self._left = list(cuts)
        self.cut = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
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
                asking = threading.Thread(target=self._ask, args=(board, host))
                asking.start()
                while budget > 0 and (data := host.recv(4096)):
                    board.sendall(data[:budget])
                    budget -= len(data)
                for one in (board, host):
                    one.shutdown(socket.SHUT_RDWR)
                asking.join()
            if self._left and budget <= 0:
                self._left.pop(0)
                self.cut += 1

    def _ask(self, board: socket.socket, host: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := board.recv(4096):
                host.sendall(data)
            host.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def test_a_reply_cut_anywhere_loses_and_doubles_nothing(make: Make) -> None:
    """In the status line, in the headers, in the body of the first, and in that of a later one."""
    cuts = (5, 60, 200, 700)
    with contextlib.closing(ReplyCutter(HOST_PORT, cuts)) as cutter:
        board = make(port=cutter.port)
        board.start()
        board.until(lambda: cutter.cut == len(cuts), 60)
        board.until_stored(len(board.readings()) + 10)
        assert board.stop(60) == 0
        board.complete()


class Closer(ReplyCutter):
    """A proxy (simulated: a host that gives up kept connections) that hangs up on a connection's third request."""

    def __init__(self, port: int, times: int) -> None:
        super().__init__(port, ())
        self._times = times
        self.hellos = 0

    def _ask(self, board: socket.socket, host: socket.socket) -> None:
        requests = 0
        with contextlib.suppress(OSError):
            while data := board.recv(4096):
                requests += data.startswith(b"POST ")
                if requests == 3 and self.cut < self._times:
                    self.cut += 1
                    break
                host.sendall(data)
                self.hellos += data.count(b"bench-1") - data.count(b"/bench-1 HTTP")
        for one in (board, host):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def test_a_request_on_a_connection_that_was_given_up_goes_again_at_once(make: Make) -> None:
    """The link does not go down for it: there is no HELLO for every connection."""
    with contextlib.closing(Closer(HOST_PORT, 3)) as closer:
        board = make(port=closer.port)
        board.start()
        board.until(lambda: closer.cut == 3, 60)
        board.until_stored(len(board.readings()) + 10)
        assert 1 <= closer.hellos < closer.cut
        assert board.stop(60) == 0
        board.complete()


def test_a_connection_that_was_closed_between_two_requests_is_made_anew(make: Make, tmp_path: Path) -> None:
    port = free_port()
    more = "keepalive_timeout 1s;"
    with proxy(tmp_path / "nginx", str(port), f"proxy_pass http://127.0.0.1:{HOST_PORT};", more):
        board = make(port=port, poll_ms=600_000)
        (group,) = board.settings["groups"]
        board.deploy({**board.settings, "groups": [{**group, "tick_ms": 500, "period_ms": 2500}]})
        all_arrives(board, 3)
