"""Who is known: devices, their keys, the streams bound to them; what the endpoints ask is answered here.

Owns the table `devices` and the states of all streams in memory. What a HELLO binds is made durable
by the commit queue, in front of the first record of that stream.
"""

import logging
import secrets
from collections.abc import Callable
from typing import NamedTuple

from meuse_protocol.host_stream import StreamState
from meuse_protocol.rate import Rate
from meuse_protocol.received import RangeSet

from meuse.errors import ConfigError
from meuse.journal.batch import Learned
from meuse.journal.sql import Database
from meuse.journal.threads import Journal
from meuse.keys import DEVICE_ID, KEY_BYTES, KeyStore, check_device_id

log = logging.getLogger(__name__)

# On a trusted link anyone may say any name: so many new ones a minute, so many in all.
TRUSTED_BINDS_PER_MINUTE = 60
MAX_KEYLESS_DEVICES = 1_000

# Links of which it is remembered how much they have bound.
MAX_TRUSTED_LINKS = 1_000

DEFAULT_TENANT = DEFAULT_SITE = "default"

Bound = Callable[[int, str], None]
"""(stream, device): called before any record of a new stream can come."""

_Row = tuple[str, int, bytes, bytes]  # device, next_seq, received, gapped


class Identity:
    """The directory for links that trust nobody: only devices with a key are known."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._rows: dict[int, _Row] = {}  # streams that nobody asked for yet
        self._states: dict[int, StreamState] = {}
        self._broken: set[str] = set()
        self.bound: Bound = lambda stream, device: None
        self.keyless: set[str] = set()

    @classmethod
    async def load(cls, journal: Journal, keys: KeyStore, now_ms: int) -> "Identity":
        """Everything the journal knows, and a row in `devices` for every key file."""
        known = cls(keys)
        with_key = keys.devices()
        await journal.write(lambda db: add_devices(db, with_key, now_ms))
        rows, devices = await journal.read(_read_all)
        known._rows = rows
        known.keyless = set(devices) - set(with_key)
        return known

    def keys(self, device: str) -> list[bytes] | None:
        """The device's secrets, current first; None for a device without, or with a broken file."""
        try:
            keys = self._keys.keys(device)
        except ConfigError as error:
            if device not in self._broken:
                self._broken.add(device)
                log.error("%s; %s", error.message, error.advice)
            return None
        self._broken.discard(device)
        return keys

    def stream(self, stream: int) -> StreamState | None:
        """The state of a bound stream, the same object on every link."""
        state = self._states.get(stream)
        if state is None and stream in self._rows:
            state = self._load(stream, *self._rows[stream])
        return state

    def _load(self, stream: int, device: str, next_seq: int, received: bytes, gapped: bytes) -> StreamState | None:
        keys = self.keys(device)
        if keys is None and self.locked(device):
            return None
        ranges = RangeSet.from_bytes(received), RangeSet.from_bytes(gapped)
        state = self._states[stream] = StreamState(stream, device, keys or [], *ranges, next_seq)
        del self._rows[stream]
        return state

    def learn(self, known: Learned) -> bool:
        """Another host that shares the journal stored more of a stream; False when it is another device's."""
        state = self._states.get(known.stream)
        sets = RangeSet.from_bytes(known.received), RangeSet.from_bytes(known.gapped)
        if state is None:
            self._rows[known.stream] = known[1:]
            return True
        ours = state.device == known.device
        now = StreamState(known.stream, known.device, [], *sets, max(known.next_seq, state.next_seq if ours else 1))
        # In place: every link of the board has this object.
        state.received, state.gapped, state.covered = now.received, now.gapped, now.covered
        state.next_seq = now.next_seq
        if not ours:
            log.error("stream %08x is of %s, not of %s", known.stream, known.device, state.device)
            state.device = known.device
            self._set_keys(state)
            state.pending.clear()
        return ours

    def locked(self, device: str) -> bool:
        """It has a key file, so nobody speaks for it without a key, even if the file is broken."""
        return self._keys.exists(device)

    def rekey(self, device: str) -> bool:
        """Its key file changed: what is not written with a key that holds now is refused from now on, on every link.

        -> whether it may still speak.
        """
        keys = self.keys(device)
        for state in self._states.values():
            if state.device != device:
                continue
            in_use = state.keys[:1]
            self._set_keys(state)
            if in_use and in_use[0] in state.keys:
                state.prefer(state.keys.index(in_use[0]))  # until the board is heard with another
        if keys:
            self.keyless.discard(device)
        return keys is not None

    def _set_keys(self, state: StreamState) -> None:
        """A device whose key was taken away gets one that nobody has: no key at all would mean that none is needed."""
        keys = self.keys(state.device)
        if keys is None and self.locked(state.device):
            keys = [secrets.token_bytes(KEY_BYTES)]
        state.set_keys(keys or [])

    def bind(self, stream: int, device: str) -> StreamState:
        """A verified HELLO brought a new stream."""
        state = StreamState(stream, device, self.keys(device) or [])
        self._states[stream] = state
        self.bound(stream, device)
        return state


class TrustedIdentity:
    """The same directory for links where devices without a key may speak, within bounds."""

    def __init__(self, identity: Identity, now_ms: Callable[[], int]) -> None:
        self._identity = identity
        self._now_ms = now_ms
        self._binds = Rate(TRUSTED_BINDS_PER_MINUTE, 60_000)
        self._flooded = False

    def keys(self, device: str) -> list[bytes] | None:
        keys = self._identity.keys(device)
        if keys is not None or self._identity.locked(device):
            return keys
        keyless = self._identity.keyless
        known = device in keyless or len(keyless) < MAX_KEYLESS_DEVICES
        return [] if known and DEVICE_ID.fullmatch(device) and not self._flood() else None

    def stream(self, stream: int) -> StreamState | None:
        return self._identity.stream(stream)

    def bind(self, stream: int, device: str) -> StreamState:
        self._flooded = not self._binds.allow(self._now_ms())
        if not self._identity.keys(device):
            self._identity.keyless.add(device)
        return self._identity.bind(stream, device)

    def _flood(self) -> bool:
        """More new streams than boards can explain: no more until the minute is over."""
        if self._flooded and self._binds.allow(self._now_ms()):
            self._flooded = False
        return self._flooded


class TrustedLinks:
    """One directory per port or address, however often it connects: a new one could bind anew."""

    def __init__(self, identity: Identity, now_ms: Callable[[], int]) -> None:
        self._identity = identity
        self._now_ms = now_ms
        self._known: dict[str, TrustedIdentity] = {}

    def directory(self, link: str) -> TrustedIdentity:
        if link not in self._known:
            while len(self._known) >= MAX_TRUSTED_LINKS:
                del self._known[next(iter(self._known))]  # the first, a minute after it is as good as new
            self._known[link] = TrustedIdentity(self._identity, self._now_ms)
        return self._known[link]


def add_devices(db: Database, devices: list[str], now_ms: int) -> None:
    """Part of the caller's transaction: a row for each device that has none."""
    db.executemany(
        "INSERT INTO devices VALUES(?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(device, DEFAULT_TENANT, DEFAULT_SITE, now_ms) for device in devices],
    )


class Home(NamedTuple):
    """Where a device belongs."""

    tenant: str = DEFAULT_TENANT
    site: str = DEFAULT_SITE


# In `meta`: how often a device was given another tenant or site.
MOVES = "devices_moved"


def move(db: Database, device: str, tenant: str | None, site: str | None, now_ms: int) -> Home:
    """Part of the caller's transaction, which may be another process's: give it a tenant, a site, or both."""
    add_devices(db, [check_device_id(device)], now_ms)
    for column, name in (("tenant", tenant), ("site", site)):
        if name is not None:
            if not DEVICE_ID.fullmatch(name):
                raise ConfigError(f"{name!r} is no name of a {column}", "use 1 to 32 of a-z, 0-9 and -, not - first")
            db.execute(f"UPDATE devices SET {column} = ? WHERE device = ?", (name, device))
    # Counted where it stands: another transaction may be counting, and two that read the same number count one.
    more = "CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)"
    db.execute(f"INSERT INTO meta VALUES(?, '1') ON CONFLICT(key) DO UPDATE SET value = {more}", (MOVES,))
    return Home(*db.execute("SELECT tenant, site FROM devices WHERE device = ?", (device,)).fetchone())


def moves(db: Database) -> int:
    """Changes whenever a device was given another tenant or site."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (MOVES,)).fetchone()
    return int(row[0]) if row else 0


def homes(db: Database) -> dict[str, Home]:
    """Of every known device."""
    return {device: Home(*where) for device, *where in db.execute("SELECT device, tenant, site FROM devices")}


def _read_all(db: Database) -> tuple[dict[int, _Row], list[str]]:
    rows = db.execute("SELECT stream, device, next_seq, received, gapped FROM streams")
    streams = {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}
    return streams, [device for (device,) in db.execute("SELECT device FROM devices")]
