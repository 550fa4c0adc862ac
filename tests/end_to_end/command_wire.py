"""A wire between board and host that somebody listens to: records what goes down, loses it, holds it, plays it again.

TCP on loopback. Threads, since the test's own waits by polling.
"""

import contextlib
import socket
import threading


class Eavesdropper:
    """Boards connect to `port`; what they get is the host's at `host_port`, and what replay() adds."""

    def __init__(self, host_port: int) -> None:
        self._host_port = host_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._recorded: list[bytes] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._rising = threading.Event()
        self._rising.set()
        self._lose = b""
        self.lost = 0  # times that something was
        self._lock = threading.Lock()
        self._board: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """From now on nothing reaches the board; it is only late."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def mute(self) -> None:
        """From now on nothing of the board's reaches the host."""
        self._rising.clear()

    def lose(self, what: bytes) -> None:
        """The next piece with these bytes is lost on its way down, and its connection with it."""
        self._lose = what

    def carried(self, what: bytes) -> int:
        """How often the board's socket was given these bytes."""
        with self._lock:
            return b"".join(self._recorded).count(what)

    def replay(self) -> int:
        """All that ever went down goes down again -> bytes."""
        with self._lock:
            data = b"\0" + b"".join(self._recorded) + b"\0"
            if self._board is not None:
                self._board.sendall(data)
        return len(data)

    def close(self) -> None:
        self._flowing.set()
        self._rising.set()
        for one in (self._server, *self._sockets):
            one.close()

    def __enter__(self) -> "Eavesdropper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                board, _ = self._server.accept()
                host = socket.create_connection(("127.0.0.1", self._host_port))
            except ConnectionError:  # no host: the board tries again
                board.close()
                continue
            except OSError:
                return
            self._sockets += [board, host]
            with self._lock:
                self._board = board
            threading.Thread(target=self._up, args=(board, host), daemon=True).start()
            threading.Thread(target=self._down, args=(host, board), daemon=True).start()

    def _up(self, board: socket.socket, host: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := board.recv(4096):
                self._rising.wait()
                host.sendall(data)
        self._end(board, host)

    def _down(self, host: socket.socket, board: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := host.recv(4096):
                self._flowing.wait()
                if self._lose and self._lose in data:
                    self._lose = b""
                    self.lost += 1
                    break
                with self._lock:
                    self._recorded.append(data)
                    board.sendall(data)
        self._end(board, host)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
