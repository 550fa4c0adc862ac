"""Takes files that were carried here into the journal, by way of the host that owns it; `meuse import`.

A host that runs on the data folder is connected to as a board would; where none runs, one is started for the while.
So a record has one way into the journal, and importing again changes nothing. Done means: the journal has it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from meuse_protocol.framing import frame
from meuse_protocol.host_stream import PENDING_MAX

from meuse import captured
from meuse.config import parse_address
from meuse.errors import HostError, JournalBusy, NotReachable
from meuse.journal.place import Place
from meuse.journal.sql import Database
from meuse.keys import FOLDER as KEYS_FOLDER
from meuse.keys import KeyStore
from meuse.run import LOCK_FILE, NOWHERE, Host
from meuse.settings import Settings, TcpSettings, TrustSettings
from meuse.vouched import Known, Part, Sorter, stored_state

# So many records on their way: a host forgets what is beyond its limit for records not yet stored.
TOGETHER = PENDING_MAX // 2

# A host that stores nothing for so long has another trouble, which it says itself.
PATIENCE_S = 30.0

# A host that has just been started says soon where it listens.
STARTING_S = 5.0

LOOK_EVERY_S = 0.01

# Reason -> what it means, and what to do; the first that holds is the one to be told.
WHY = {
    "unknown_device": ("its device is not known here", "put its key into {keys}, or name another folder with --data"),
    "bad_hello": ("it was written with another key than the one kept here", "compare the key in {keys}"),
    "untrusted": (
        "it has no key",
        'with `links = ["serial", "file"]` under [trust] it is taken while no host runs',
    ),
    "stream_of_another": ("its stream belongs to another device", "is a key or a name used twice?"),
    "unbound": ("its records come without the HELLO that says whose they are", "import the whole file"),
    "version": ("it speaks a version that this host does not", "update this host"),
    "bad_mac": ("records that are damaged or forged are not stored", "compare the key in {keys}"),
}

Progress = Callable[[int, int], None]
"""(packets done, packets of this file)"""


class Imported(NamedTuple):
    """What became of one file. `acks`: frames for the board, of every stream whose records are accepted."""

    path: Path
    parts: list[Part]
    damaged: int
    cut: bool
    packets: int
    lines: int
    acks: bytes


class Door(NamedTuple):
    """Where the host listens, and whether it takes devices without a key there."""

    address: tuple[str, int]
    trusted: bool


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Door]:
    """A host on the data folder, for as long as this lasts; NotReachable when the one that runs cannot be reached."""
    own = Host(_without_links(settings))
    try:
        await own.start()
    except JournalBusy:
        trust = settings.trust.links
        yield Door(await _running(Path(settings.host.data)), "tcp" in trust)
        return
    try:
        yield Door(parse_address(own.tcp[0].address, "host"), "file" in settings.trust.links)
    finally:
        await own.stop(finish_lake=False)


def _without_links(settings: Settings) -> Settings:
    """The same storage; no way in but ours."""
    trust = ["tcp"] if "file" in settings.trust.links else []
    return Settings(
        host=settings.host,
        tcp=TcpSettings(listen=["127.0.0.1:0"], max_connections=8),
        trust=TrustSettings(links=trust),
        journal=settings.journal,
        console=settings.console,
    )


async def _running(data: Path) -> tuple[str, int]:
    deadline = time.monotonic() + STARTING_S
    addresses: list[str] = []
    while not addresses and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            addresses = (data / LOCK_FILE).read_text().split()
        await asyncio.sleep(LOOK_EVERY_S)
    if not addresses or addresses == [NOWHERE]:
        why = f"the host that runs on {data} listens on no TCP address"
        raise NotReachable(why, "stop it, import, and start it again")
    host, port = parse_address(addresses[0], LOCK_FILE)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


async def import_file(
    path: Path, data: Path | Place, door: Door, progress: Progress = lambda done, of: None
) -> Imported:
    """Everything sound in one file, durable before this returns. ConfigError: it cannot be read."""
    found = captured.read(path)
    place = data if isinstance(data, Place) else Place(data)
    with contextlib.closing(place.open_reader()) as db:
        sorter = Sorter(Known(db, KeyStore(place.data / KEYS_FOLDER), door.trusted), door.trusted)
        for e2e in found.packets:
            sorter.sort(e2e)
        parts = list(sorter.parts.values())
        done, of = 0, sum(len(part.packets) for part in parts)
        for part in parts:
            for at in range(0, len(part.packets), TOGETHER):
                some = part.packets[at : at + TOGETHER]
                await _deliver(db, part, some, door)
                done += len(some)
                progress(done, of)
        acks = [sorter.acknowledgement(db, part.stream) for part in parts if part.new or part.known]
    frames = b"".join(b"\0" + frame(e2e) for e2e in acks if e2e is not None)
    damaged = found.damaged + sorter.strays
    return Imported(path, parts, damaged, found.cut, len(found.packets), found.lines, frames)


async def _deliver(db: Database, part: Part, some: Iterable[tuple[int, bytes]], door: Door) -> None:
    """Hands packets to the host and waits until its journal has them.

    A connection for each delivery: a host closes one on which nobody says HELLO for half a minute.
    """
    try:
        _, writer = await asyncio.open_connection(*door.address)
    except OSError as error:
        where = "{}:{}".format(*door.address)
        raise NotReachable(f"the host at {where} does not answer: {error.strerror or error}", "try again") from error
    try:
        writer.write(b"\0" + b"".join(frame(e2e) for _, e2e in some))
        await _until_durable(db, part, [seq for seq, _ in some if seq], writer)
    finally:
        writer.transport.abort()


async def _until_durable(db: Database, part: Part, seqs: list[int], writer: asyncio.StreamWriter) -> None:
    missing, deadline = len(seqs) + 1, time.monotonic() + PATIENCE_S
    while True:
        state = stored_state(db, part.stream)
        left = [seq for seq in seqs if state is None or not state.received.contains(seq)]
        if state is not None and not left and state.next_seq >= part.next_seq:
            return
        if len(left) < missing:
            missing, deadline = len(left), time.monotonic() + PATIENCE_S
        if writer.is_closing():
            raise NotReachable("the host closed the connection", "is it still running? try again")
        if time.monotonic() > deadline:
            raise HostError(
                f"{part.device}: the host does not store {len(left)} records", "look at what the host itself says"
            )
        await asyncio.sleep(LOOK_EVERY_S)


def problems(done: Imported, data: Path) -> list[HostError]:
    """What a person has to know of a file that was not taken whole; cut and damaged pieces are no failure."""
    name = done.path.name
    found = []
    if not done.packets and not done.cut and (done.damaged or done.lines):
        found.append(HostError(f"{name} holds no frames of a board", "is it the right file? see `meuse frames`"))
    for part in done.parts:
        who = part.device or f"stream {part.stream:08x}"
        reason = next((each for each in WHY if each in part.reasons), None)
        if part.refused or reason:
            what, advice = WHY.get(reason or "", ("records are refused", "see `meuse frames`"))
            found.append(HostError(f"{name}: {who}: {what}", advice.format(keys=data / KEYS_FOLDER)))
    return found
