"""What accepted and dialled TCP connections share: a peer that does not read is not sent more, an end is told once."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from meuse.links import Wire
from meuse.links.connection import KEEPALIVE_IDLE_S, WRITE_HIGH_BYTES
from meuse.links.dial import DialLink
from meuse.links.tcp import TcpLink

from tests.host.light_board import until

PIECES, PIECE_BYTES = 1000, 4096  # many times what small socket buffers and the connection's own hold
SOCKET_BYTES = 4096


class Talker:
    """A receiver that says more than the wire takes."""

    device: str | None = None
    stranger = False

    def __init__(self, name: str, kind: str, wire: Wire) -> None:
        self.wire = wire
        self.said = 0
        self.heard = b""
        self.ended = 0
        self.most_waiting = 0

    @property
    def transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.wire._transport  # type: ignore[attr-defined]
        return transport

    def receive(self, data: bytes) -> None:
        self.heard += data
        self.writable()

    def writable(self) -> None:
        while self.wire.writable and self.said < PIECES:
            self.wire.write(piece(self.said))
            self.said += 1
            self.most_waiting = max(self.most_waiting, self.transport.get_write_buffer_size())

    def lost(self) -> None:
        self.ended += 1


def piece(n: int) -> bytes:
    return n.to_bytes(2, "big") * (PIECE_BYTES // 2)


@asynccontextmanager
async def joined(way: str) -> AsyncIterator[tuple[Talker, socket.socket]]:
    """A connection that this host accepted, or one that it made; the other end is a bare socket that nobody reads."""
    talkers: list[Talker] = []

    def opened(name: str, kind: str, wire: Wire) -> Talker:
        talkers.append(Talker(name, kind, wire))
        return talkers[-1]

    loop = asyncio.get_running_loop()
    link: TcpLink | DialLink
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
    other.setblocking(False)
    if way == "accepted":
        link = TcpLink("127.0.0.1", 0, opened, 10, lambda name: None)
        await link.start()
        await loop.sock_connect(other, ("127.0.0.1", int(link.address.rsplit(":", 1)[1])))
    else:
        with other as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            link = DialLink("tcp", "127.0.0.1", listener.getsockname()[1], opened, None)
            await link.start()
            other, _ = await loop.sock_accept(listener)
    try:
        other.setblocking(False)
        await until(lambda: talkers, "it is opened")
        talkers[0].transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        yield talkers[0], other
    finally:
        other.close()
        await link.close()


@pytest.mark.parametrize("way", ["accepted", "dialled"])
def test_who_does_not_read_is_not_sent_more_and_gets_the_rest_later(way: str) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with joined(way) as (talker, other):
            await loop.sock_sendall(other, b"talk")
            await until(lambda: talker.said, "it talks")
            assert not talker.wire.writable and talker.said < PIECES
            got = bytearray()
            while len(got) < PIECES * PIECE_BYTES:
                got += await asyncio.wait_for(loop.sock_recv(other, 65536), 60)
            assert got == b"".join(map(piece, range(PIECES)))
            assert talker.most_waiting <= WRITE_HIGH_BYTES + PIECE_BYTES
            assert talker.wire.writable and talker.heard == b"talk"

    asyncio.run(scene())


@pytest.mark.parametrize("way", ["accepted", "dialled"])
@pytest.mark.parametrize("whose", ["own", "theirs"])
def test_an_end_is_told_once_and_nothing_can_be_written_after_it(way: str, whose: str) -> None:
    async def scene() -> None:
        async with joined(way) as (talker, other):
            if whose == "own":
                talker.wire.close()
            else:
                other.close()
            await until(lambda: talker.ended, "the end is told")
            talker.writable()
            assert talker.said == 0, "nothing can be written"
            talker.wire.close()
        assert talker.ended == 1

    asyncio.run(scene())


@pytest.mark.parametrize("way", ["accepted", "dialled"])
def test_a_peer_that_vanishes_without_a_word_is_probed_for(way: str) -> None:
    async def scene() -> None:
        async with joined(way) as (talker, _):
            sock = talker.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_S

    asyncio.run(scene())


def test_an_accepted_connection_has_no_dictionary() -> None:
    """There are tens of thousands: a class above it that forgets its slots costs each of them one."""

    async def scene() -> None:
        async with joined("accepted") as (talker, _):
            assert not hasattr(talker.wire, "__dict__")

    asyncio.run(scene())
