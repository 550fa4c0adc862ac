"""A light board whose wire is UDP: each packet is a datagram, and its address may change in mid-sentence."""

import asyncio
import secrets
import socket
from collections import deque

from tests.host.light_board import LightBoard, now_ms

MTU_BYTES = 1200


class UdpBoard(LightBoard):
    """`answers`: every datagram that came, as it came; `spoken`: those sent last."""

    answers: list[bytes]
    spoken: deque[bytes]

    async def connect(self, address: str) -> None:
        self._host = address.rsplit(":", 1)
        self.answers = []
        self.spoken = deque(maxlen=32)
        self._open()
        self._up()

    def _up(self) -> None:
        self.endpoint.link_up(now_ms(), MTU_BYTES, secrets.randbits(32), False)
        self._pump()

    def move(self) -> None:
        """What a NAT does that forgot us: from now on we speak, and are heard, elsewhere; nobody tells the board."""
        self._close()
        self._open()

    def unplug(self) -> None:
        self._close()
        self.endpoint.link_down(now_ms())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def port(self) -> int:
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    def send_raw(self, data: bytes) -> None:
        """Anything at all as one datagram."""
        assert self._socket is not None
        self._socket.send(data)

    def _open(self) -> None:
        host, port = self._host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((host, int(port)))
        self._fd = self._socket.fileno()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self._socket = None
        self._fd = -1

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            return  # nothing after all; or nobody listens there just now
        self.received += len(data)
        self.answers.append(data)
        self._take(data)
        self._pump()

    def _pump(self) -> None:
        if self._socket is None:
            return
        try:
            while (e2e := self.endpoint.next_pdu(now_ms())) is not None:
                self.spoken.append(e2e)
                self._socket.send(e2e)
        except OSError:
            pass  # lost, like all that travels
        self._arm()
