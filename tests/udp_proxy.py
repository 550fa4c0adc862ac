"""A bad network between UDP boards and a host: loses, doubles, delays behind later ones, cuts off what is too long,
and gives a board another address in mid-sentence, as a NAT does. All from one seed. Simulated: only this.

Runs in a thread of its own, so that processes and event loops may be on either side.
"""

import contextlib
import random
import selectors
import socket
import threading
from collections import Counter, deque

HELD_MAX = 8  # a packet comes behind so many later ones at most


class UdpProxy:
    """Boards send to `port`; what goes on is sent to `target`. Rates are of 0 .. 1, for both directions.

    `counts`: lost, doubled, late, too_long, up, down (datagrams that went on); `longest` of what a board sent, bytes.
    """

    def __init__(
        self,
        target: int,
        seed: int,
        loss: float = 0.0,
        double: float = 0.0,
        late: float = 0.0,
        mtu: int = 65_535,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.longest = 0
        self.loss, self.double, self.late = loss, double, late
        self.mtu = mtu
        self._target = ("127.0.0.1", target)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._front = self._socket()
        self._front.bind(("127.0.0.1", 0))
        self.port: int = self._front.getsockname()[1]
        self._selector.register(self._front, selectors.EVENT_READ)
        self._outside: dict[tuple[str, int], socket.socket] = {}  # board's address -> where the host sees it
        self._boards: dict[socket.socket, tuple[str, int]] = {}
        self._waiting: deque[tuple[int, socket.socket, bytes, tuple[str, int]]] = deque()
        self._seen = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="udp proxy")

    def __enter__(self) -> "UdpProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join()
        for one in (self._front, *self._outside.values()):
            one.close()
        self._selector.close()

    def forget(self) -> None:
        """The NAT forgets every way: boards get new addresses, and nothing sent to the old ones arrives any more."""
        with self._lock:
            for one in self._outside.values():
                self._selector.unregister(one)
                one.close()
            self._outside.clear()
            self._boards.clear()
            self.counts["forgotten"] += 1

    @staticmethod
    def _socket() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)
        return one

    def _run(self) -> None:
        while not self._ending:
            ready = self._selector.select(0.02)
            with self._lock:
                for key, _ in ready:
                    self._read(key.fileobj)
                self._release(0 if not ready else self._seen)

    def _read(self, one: object) -> None:
        if one is not self._front and one not in self._boards:
            return  # forgotten meanwhile
        assert isinstance(one, socket.socket)
        try:
            data, address = one.recvfrom(65_535)
        except OSError:
            return  # nothing after all, or nobody listens there
        if one is self._front:
            self.longest = max(self.longest, len(data))
            self._carry("up", self._way(address), data, self._target)
        else:
            self._carry("down", self._front, data, self._boards[one])

    def _way(self, board: tuple[str, int]) -> socket.socket:
        if board not in self._outside:
            one = self._outside[board] = self._socket()
            one.bind(("127.0.0.1", 0))
            self._boards[one] = board
            self._selector.register(one, selectors.EVENT_READ)
        return self._outside[board]

    def _carry(self, way: str, out: socket.socket, data: bytes, to: tuple[str, int]) -> None:
        self._seen += 1
        if len(data) > self.mtu:
            self.counts["too_long"] += 1
            return
        if self._chance.random() < self.loss:
            self.counts["lost"] += 1
            return
        copies = 1
        if self._chance.random() < self.double:
            self.counts["doubled"] += 1
            copies = 2
        for _ in range(copies):
            if self._chance.random() < self.late:
                self.counts["late"] += 1
                self._waiting.append((self._seen + self._chance.randint(1, HELD_MAX), out, data, to))
            else:
                self._send(out, data, to)
        self.counts[way] += 1

    def _release(self, seen: int) -> None:
        """Late ones, once enough others went before them; all of them when nothing else comes."""
        for _ in range(len(self._waiting)):
            due, out, data, to = self._waiting.popleft()
            if not seen or due <= seen:
                self._send(out, data, to)
            else:
                self._waiting.append((due, out, data, to))

    @staticmethod
    def _send(out: socket.socket, data: bytes, to: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a way that was forgotten meanwhile; a full buffer is loss like any other
            out.sendto(data, to)
