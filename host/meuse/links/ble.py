"""Bluetooth LE: connects to boards that offer the Nordic UART service, and stays connected.

A connection is a stream of bytes that comes in notifications and goes in writes without response; any of them may be
lost. Who is there is what HELLO's MAC says, not the name or the address: those anybody can take.

Owns scanning, connecting and the pauses between. `radio` is the module bleak, or an object with its BleakScanner and
BleakClient. Connecting and scanning disturb each other on most adapters, so one is done at a time.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from meuse.errors import HostError
from meuse.links import Opened, Receiver
from meuse.settings import BleSettings

log = logging.getLogger(__name__)

KIND: Final = "ble"
SERVICE: Final = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
RX: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
TX: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"

# What every board takes at once, and what fits one packet of the radio (ATT_MTU 23 and 247, less 3 of header).
PIECE_LEAST, PIECE_MOST = 20, 244

# A scan response has room for so much of a name.
NAME_BYTES = 29

# One look around; after it a rest of 1, 2, 4 ... 20 s while nobody is found: connections share the radio.
SCAN_S = 10.0
REST_S = 20.0

# For one step of the system's Bluetooth: to begin a scan, to take a write, to let go.
STEP_S = 20.0
CONNECT_S = 30.0

# After a failure: 1, 2, 4 ... 60 s.
FIRST_S = 1.0
LONGEST_S = 60.0

# Addresses whose failures are remembered; who invents more of them pushes out the oldest.
ADDRESSES_MAX = 256

# Beyond it the session sends nothing more: a second of a slow connection.
WRITE_HIGH_BYTES = 2 * 1024

# Kept while nothing is taken: more than a board may have in flight. What comes beyond it is lost, and sent again.
HELD_BYTES = 16 * 1024


def load_bleak() -> Any:
    """The module; raises HostError where it is not installed."""
    try:
        import bleak
    except ImportError as error:
        raise HostError("[ble] needs the package bleak", "pip install 'meuse[ble]'") from error
    return bleak


@dataclass
class _Tries:
    """How it went with one address, or with the adapter."""

    failures: int = 0
    not_before_s: float = 0.0
    said: bool = False

    def failed(self, now_s: float) -> None:
        self.not_before_s = now_s + min(FIRST_S * 2**self.failures, LONGEST_S)
        self.failures = min(self.failures + 1, 16)


class BleLink:
    """All boards of one `[ble]`. `count` takes the name of what was dropped."""

    kind = KIND

    def __init__(
        self, settings: BleSettings, opened: Opened, radio: Any, count: Callable[[str], None] = lambda name: None
    ) -> None:
        self._names = [_folded(name) for name in settings.devices]
        self._most = settings.max_devices if settings.service else len(self._names)
        self._opened = opened
        self._radio = radio
        self._count = count
        self._keeping: asyncio.Task[None] | None = None
        self._look = asyncio.Event()  # somebody went
        self._looked = 0  # in vain, since somebody was found or went
        self._adapter = _Tries()
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()
        self.connections: dict[str, _Connection] = {}  # by address

    async def start(self) -> None:
        """Begin; boards and adapters that are not there are waited for."""
        log.info("ble: looking for %s", ", ".join(self._names) or "boards")
        self._keeping = asyncio.create_task(self._keep(), name="look for boards on Bluetooth")

    def stop_listening(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for connection in list(self.connections.values()):
            connection.close()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # -- looking for boards

    async def _keep(self) -> None:
        while True:
            self._look.clear()
            try:
                found = await self._scan() if len(self.connections) < self._most else []
            except Exception as error:  # how an adapter or D-Bus is missing, each system tells in its own way
                await self._no_radio(error)
                continue
            for device, name in found:
                await self._connect(device, name)
            if not found:
                await self._rest()

    async def _rest(self) -> None:
        """The longer, the more often nobody was found; not any longer when somebody goes."""
        pause_s = min(FIRST_S * 2**self._looked, REST_S)
        self._looked = min(self._looked + 1, 16)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._look.wait(), pause_s)

    async def _no_radio(self, error: Exception) -> None:
        """Said once; then it is tried again, ever more rarely."""
        if not self._adapter.said:
            self._adapter.said = True
            log.warning("ble: %s; trying again", no_radio(error))
        now_s = asyncio.get_running_loop().time()
        self._adapter.failed(now_s)
        await asyncio.sleep(self._adapter.not_before_s - now_s)

    async def _scan(self) -> list[tuple[Any, str]]:
        """(device, name) of boards to connect to, as soon as one is heard; none after SCAN_S."""
        room = self._most - len(self.connections)
        found: dict[str, tuple[Any, str]] = {}
        heard = asyncio.Event()

        def advertised(device: Any, told: Any) -> None:
            name = self._wanted(device, told)
            if name is not None and len(found) < room and name not in [known for _, known in found.values()]:
                found[device.address] = device, name
                self._looked = 0
                heard.set()

        scanner = self._radio.BleakScanner(detection_callback=advertised, service_uuids=[SERVICE])
        async with asyncio.timeout(STEP_S):
            await scanner.start()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), SCAN_S)
        finally:
            async with asyncio.timeout(STEP_S):
                await scanner.stop()
        if self._adapter.said:
            log.warning("ble: Bluetooth works again")
        self._adapter = _Tries()
        return list(found.values())

    def _wanted(self, device: Any, told: Any) -> str | None:
        """What the settings call this device, its address where they ask for all; None: not now, or not at all."""
        tries = self._tries.get(device.address)
        if device.address in self.connections:
            return None
        if tries is not None and asyncio.get_running_loop().time() < tries.not_before_s:
            return None
        if not self._names:
            return str(device.address)
        there = {connection.name for connection in self.connections.values()}
        own = (_folded(device.address), _folded(told.local_name or device.name or ""))
        return next((name for name in self._names if name in own and name not in there), None)

    # -- connections

    async def _connect(self, device: Any, name: str) -> None:
        connection = _Connection(self, name, device.address)
        self.connections[device.address] = connection
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.open(self._radio, device)
        except Exception as error:
            self._say(connection, error)
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        connection.start(self._opened(f"{KIND}:{device.address}", KIND, connection))

    def _say(self, connection: "_Connection", error: Exception) -> None:
        """Once about a board that somebody named; about others only to whom it may concern."""
        tries = self._of(connection.address)
        level = logging.WARNING if self._names and not tries.said else logging.DEBUG
        tries.said = True
        why = str(error) or type(error).__name__
        log.log(level, "ble %s: cannot be connected to: %s; trying again", connection.name, why)

    def ended(self, connection: "_Connection", known: bool, letting_go: asyncio.Task[None]) -> None:
        """`known`: whether a board had proved to be there; others are kept at a distance."""
        self._ending.add(letting_go)
        letting_go.add_done_callback(self._ending.discard)
        del self.connections[connection.address]
        if known:
            self._tries.pop(connection.address, None)
        self._of(connection.address).failed(asyncio.get_running_loop().time())
        self._looked = 0
        self._look.set()

    def dropped(self) -> None:
        """A notification came while there was no room for it."""
        self._count("ble_dropped")

    def _of(self, address: str) -> _Tries:
        tries = self._tries.setdefault(address, _Tries())
        self._tries.move_to_end(address)
        if len(self._tries) > ADDRESSES_MAX:
            self._tries.popitem(last=False)
        return tries


class _Connection:
    """A connection to one board: a Wire towards the session."""

    packets = False

    def __init__(self, link: BleLink, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._link = link
        self._client: Any = None
        self._rx: Any = None
        self._receiver: Receiver | None = None
        self._out = bytearray()
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._held = False
        self._kept = bytearray()
        self._closed = False

    async def open(self, radio: Any, device: Any) -> None:
        """Connected and subscribed, and the board knows it; raises whatever bleak does."""
        self._client = radio.BleakClient(device, disconnected_callback=lambda client: self.close(), timeout=CONNECT_S)
        await self._client.connect()
        self._rx = self._client.services.get_characteristic(RX)
        if self._rx is None:
            raise HostError("it has no Nordic UART service", "is it a board with this firmware?")
        await self._client.start_notify(TX, self._notified)
        await self._client.write_gatt_char(self._rx, b"\0", response=True)  # a delimiter: the board may speak

    def start(self, receiver: Receiver | None) -> None:
        """Bytes may flow; without a receiver nothing does."""
        self._receiver = receiver
        if receiver is None:
            self.close()
        elif self._closed:
            receiver.lost()  # it went while we still shook hands
        else:
            self._writing = asyncio.create_task(self._write_all(), name=f"write to {self.address}")
            self._take_later()

    # -- what comes

    def _notified(self, characteristic: Any, data: bytearray) -> None:
        if self._closed:
            return
        if self._held or self._kept or self._receiver is None:
            if len(self._kept) + len(data) > HELD_BYTES:
                self._link.dropped()
            else:
                self._kept += data
        else:
            self._receiver.receive(bytes(data))

    def hold(self, held: bool) -> None:
        """Notifications cannot be held back at their source: what comes meanwhile is kept, as far as there is room."""
        self._held = held
        if not held:
            self._take_later()

    def _take_later(self) -> None:
        asyncio.get_running_loop().call_soon(self._take_kept)

    def _take_kept(self) -> None:
        if self._kept and self._receiver is not None and not (self._held or self._closed):
            data = bytes(self._kept)
            self._kept.clear()
            self._receiver.receive(data)

    # -- what goes

    @property
    def writable(self) -> bool:
        return not self._closed and len(self._out) < WRITE_HIGH_BYTES

    def write(self, data: bytes) -> None:
        self._out += data
        self._wake.set()

    async def _write_all(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out:
                    await self._write_piece()
        except Exception as error:
            log.debug("ble %s: %s", self.name, error)
            self.close()

    async def _write_piece(self) -> None:
        """As much as goes at once; the width may change while a connection is young."""
        size = min(max(self._rx.max_write_without_response_size, PIECE_LEAST), PIECE_MOST)
        piece = bytes(self._out[:size])
        async with asyncio.timeout(STEP_S):
            await self._client.write_gatt_char(self._rx, piece, response=False)
        was_writable = self.writable
        del self._out[: len(piece)]
        if self.writable and not was_writable and self._receiver is not None:
            self._receiver.writable()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        receiver, self._receiver = self._receiver, None
        known = receiver is not None and receiver.device is not None
        self._link.ended(self, known, asyncio.create_task(self._let_go(), name=f"leave {self.address}"))
        if receiver is not None:
            receiver.lost()

    async def _let_go(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(Exception):  # what is gone already may say so in any words
                async with asyncio.timeout(STEP_S):
                    await self._client.disconnect()


def no_radio(error: Exception) -> str:
    """Why there is no Bluetooth here, and what may help."""
    why = str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no Bluetooth here: no D-Bus ({why}); install BlueZ and start bluetoothd"
    return f"no Bluetooth here: {why}; is an adapter plugged in and switched on, and does bluetoothd run?"


def _folded(name: str) -> str:
    """A name or address for comparing; longer names than a board can tell are cut as the board cuts them."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore").casefold()
