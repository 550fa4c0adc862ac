"""UDP: one socket for all boards, read directly; every datagram is one packet (PDU and MAC), without frame or CRC.

A datagram's sender can be invented, so nobody is believed here who has no key, and nothing is done for an address
before something verified came from it: it is sent no more bytes than it sent, and forgotten before others are
(peers.py). A callback from the selector and recvfrom until nothing is left cost a tenth of a DatagramProtocol.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from meuse_protocol.rate import Rate

from meuse.errors import NotReachable
from meuse.links import Opened, Receiver
from meuse.links.peers import Address, Peers

log = logging.getLogger(__name__)

KIND: Final = "udp"

# The largest packet and a byte: what is longer arrives cut off, and is seen to be too long.
READ_BYTES = 4096 + 16 + 1

# Datagrams per wake-up; then other sockets and timers have their turn.
READ_TOGETHER = 64

# Asked for; the system gives what it allows (net.core.rmem_max). A thousand boards that speak at once need 1 MB.
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

# Datagrams waiting for the socket to take them: 16 for each board that is answered in one wake-up.
BACKLOG_MAX = 1024
AGAIN_S = 0.005

# New addresses that are listened to within a second; each costs about what a frame on TCP does.
STRANGERS_PER_S = 1000

# A board that is up asks for the time every 15 minutes: who missed two of them is not there any more.
SILENT_S = 35 * 60.0
SWEEP_S = 60.0

# Not this datagram's fault: the same one may go a moment later.
LATER = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM)


class UdpLink:
    """Listens on one address; `address` is the real one once started. `count` takes the name of what was dropped."""

    def __init__(
        self, host: str, port: int, opened: Opened, max_peers: int, count: Callable[[str], None] = lambda name: None
    ) -> None:
        self._host = host
        self._port = port
        self._opened = opened
        self._count = count
        self._loop: asyncio.AbstractEventLoop
        self._socket: socket.socket | None = None
        self._listening = True
        self._reading = False
        self._full = False  # and a person was told so, within this sweep
        self._arrivals = Rate(STRANGERS_PER_S, 1000)
        self._backlog: deque[tuple[bytes, Address]] = deque()
        self._waiting: set[_Peer] = set()  # were told that the backlog is full
        self._sweep: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self.peers: Peers[_Peer] = Peers(max_peers)
        self.held = 0
        self.receive_buffer_bytes = 0
        self.address = f"{host}:{port}"

    # -- its life

    async def start(self) -> None:
        """Listen; raises NotReachable when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            self._socket = self._bound(found[0][0], found[0][4])
        except OSError as error:
            why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise NotReachable(
                f"cannot listen on {self.address} (UDP): {why}", "name another address with --udp HOST:PORT"
            ) from error
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._read_as_held()
        self._sweep = self._loop.call_later(SWEEP_S, self._forget_silent)

    def _bound(self, family: int, address: Address) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self.receive_buffer_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def stop_listening(self) -> None:
        """Nobody new; who is known may go on."""
        self._listening = False

    async def close(self) -> None:
        self._listening = False
        for peer in self.peers.all():
            self.drop(peer)
        for timer in (self._sweep, self._again):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._send_backlog()
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    # -- what comes

    def _readable(self) -> None:
        now_s = self._loop.time()
        for _ in range(READ_TOGETHER):
            if self._socket is None or not self._reading:
                return
            try:
                data, address = self._socket.recvfrom(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._count("udp_read_errors")  # of an earlier datagram of ours, says the system
                continue
            peer = self.peers.heard(address, now_s) or self._stranger(address, now_s)
            if peer is not None:
                self._take(peer, data, now_s)

    def _take(self, peer: "_Peer", data: bytes, now_s: float) -> None:
        receiver = peer.receiver
        if receiver is None or peer.held:
            self._count("udp_held")  # it comes again
            return
        peer.credit += len(data)
        receiver.receive(data)
        if receiver.device != peer.device and receiver.device is not None and peer.receiver is not None:
            leaving = self.peers.named(peer, receiver.device, now_s)
            if leaving is peer:
                self._refuse(peer)
            elif leaving is not None:
                self._count("udp_peers_replaced")
                self.drop(leaving)

    def _stranger(self, address: Address, now_s: float) -> "_Peer | None":
        """Somebody new, as far as there may be so many; whoever has to make way for it is gone."""
        if not self._listening or not self._arrivals.allow(int(now_s * 1000)):
            self._count("udp_strangers_ignored")
            return None
        peer = _Peer(self, address)
        leaving = self.peers.add(peer)  # before it is opened: that may hold it
        peer.receiver = self._opened(f"{KIND}:{address[0]}", KIND, peer)
        if peer.receiver is None:
            self.drop(peer)
            return None
        if leaving is not None:
            self._count("udp_strangers_replaced")
            self.drop(leaving)
        return peer

    def _refuse(self, peer: "_Peer") -> None:
        """No room for a board: it keeps its records and comes again. A person hears of it once a sweep."""
        self._count("udp_peers_refused")
        if not self._full:
            self._full = True
            log.warning(
                "%s: %d boards speak and more want to: raise udp.max_peers", self.address, len(self.peers.known)
            )
        self.drop(peer)

    def _forget_silent(self) -> None:
        self._full = False
        now_s = self._loop.time()
        while (peer := self.peers.silent_since(now_s - SILENT_S)) is not None:
            self._count("udp_peers_silent")
            self.drop(peer)
        self._sweep = self._loop.call_later(SWEEP_S, self._forget_silent)

    def drop(self, peer: "_Peer") -> None:
        """Forget an address; whoever still speaks there is asked for a HELLO."""
        receiver, peer.receiver = peer.receiver, None
        self.peers.remove(peer)
        self._waiting.discard(peer)
        if peer.held:
            peer.held = False
            self.held -= 1
        self._read_as_held()
        if receiver is not None:
            receiver.lost()

    def hold(self, peer: "_Peer", held: bool) -> None:
        if peer.held != held:
            peer.held = held
            self.held += 1 if held else -1
            self._read_as_held()

    def _read_as_held(self) -> None:
        """The socket is read unless everybody is held: then what comes waits in the system, or is dropped by it."""
        reading = self._socket is not None and (self.held == 0 or self.held < len(self.peers))
        if self._socket is not None and reading != self._reading:
            if reading:
                self._loop.add_reader(self._socket, self._readable)
            else:
                self._loop.remove_reader(self._socket)
        self._reading = reading

    # -- what goes

    def has_room(self, peer: "_Peer") -> bool:
        """Whether the backlog takes more; who hears that it does not is told when it does."""
        if len(self._backlog) < BACKLOG_MAX:
            return True
        self._waiting.add(peer)
        return False

    def write(self, peer: "_Peer", data: bytes) -> None:
        if peer.receiver is None or peer.receiver.device is None:
            if len(data) > peer.credit:
                self._count("udp_unanswered")  # nobody shall use us to send more than they do
                return
            peer.credit -= len(data)
        self._backlog.append((data, peer.address))
        if self._again is None:
            self._send_backlog()

    def _send_backlog(self) -> None:
        backlog = self._backlog
        while backlog and self._socket is not None:
            try:
                self._socket.sendto(*backlog[0])
            except OSError as error:
                if error.errno in LATER:
                    # By the clock: a selector has nothing to say about a device's full queue (ENOBUFS).
                    self._again = self._loop.call_later(AGAIN_S, self._try_again)
                    return
                self._count("udp_unsendable")  # no way to that address: it asks again, or is not there
            backlog.popleft()

    def _try_again(self) -> None:
        self._again = None
        self._send_backlog()
        if len(self._backlog) < BACKLOG_MAX // 2:
            waiting, self._waiting = self._waiting, set()
            for peer in waiting:
                if peer.receiver is not None:
                    peer.receiver.writable()


class _Peer:
    """One address: a Wire towards the session."""

    __slots__ = ("_link", "address", "credit", "device", "heard_s", "held", "receiver")

    packets = True

    def __init__(self, link: UdpLink, address: Address) -> None:
        self._link = link
        self.address = address
        self.credit = 0  # bytes that came, less those that went while it was a stranger
        self.device: str | None = None
        self.heard_s = 0.0
        self.held = False
        self.receiver: Receiver | None = None

    @property
    def writable(self) -> bool:
        return self._link.has_room(self)

    def write(self, data: bytes) -> None:
        self._link.write(self, data)

    def hold(self, held: bool) -> None:
        self._link.hold(self, held)

    def close(self) -> None:
        self._link.drop(self)
