"""What can be wrong with an installation, found without starting anything; each with what to do.

`check_host` is `meuse run --check`; `check_all` is `meuse doctor`. Reads only, but for one probe
file in the data folder; safe beside a running host.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from meuse import sim, storage_checks
from meuse.access.backends import FOLDER as ACCESS_FOLDER
from meuse.access.backends import Backends
from meuse.api import token
from meuse.config import parse_address
from meuse.descriptors import Shares
from meuse.errors import ConfigError, HostError
from meuse.findings import Finding, fail, note, ok
from meuse.invocation import meuse
from meuse.journal import leader
from meuse.journal.database import FILE_NAME
from meuse.journal.place import Place, place_of, reading
from meuse.keys import FOLDER as KEYS_FOLDER
from meuse.keys import SUFFIX, KeyStore
from meuse.links import tls
from meuse.links.ble import load_bleak
from meuse.links.serial import matching
from meuse.run import LOCK_FILE
from meuse.settings import Settings, TlsSettings, UpstreamSettings
from meuse.topics import embedded
from meuse.upstream.task import FOLDER as OWN_KEYS_FOLDER

# Below this a day of a busy host may not fit; below the second nothing sensible does.
LOW_DISK_BYTES = 500 * 1024 * 1024
NO_DISK_BYTES = 20 * 1024 * 1024


def check_host(settings: Settings) -> list[Finding]:
    """What `meuse run` with these settings needs."""
    data = Path(settings.host.data)
    found = [ok("settings", "understood"), *_data(data)]
    running = host_runs(data)
    if running:
        found.append(note("host", "runs on this data already"))
    if settings.journal.url:
        found.append(_database(place_of(settings)))
    if short := Shares(settings).short:
        found.append(note("connections", short, "raise `ulimit -n`, or set max_connections; more are closed at once"))
    for address in settings.tcp.listen:
        found.append(_listen(address, running))
    found.extend(_listen(address, running, "udp") for address in settings.udp.listen)
    if settings.tls.listen:
        found.append(_tls(settings.tls))
        found.extend(_listen(address, running, "tls") for address in settings.tls.listen)
    found.extend(_listen(address, running, "http") for address in settings.http.listen)
    found.extend(_listen(address, running, "api") for address in settings.api.listen)
    for port in settings.serial:
        found.extend(_serial(port.port, running))
    for wire in settings.rs485:
        found.extend(_serial(wire.port, running, "rs485"))
    if settings.ble.devices or settings.ble.service:
        found.append(_ble())
    if settings.mqtt.embedded:
        found.append(_embedded())
    return found


def check_all(settings: Settings) -> list[Finding]:
    """Everything a person would ask when something seems wrong."""
    data = Path(settings.host.data)
    found = [*check_host(settings), *_keys(data), *_secrets(data), interpreter(needed=False)]
    if settings.mqtt.embedded:
        found.extend(_access(data, settings.mqtt.commands))
    if settings.api.listen:
        found.extend(_token(data))
    if settings.upstream.url:
        found.append(_upstream(settings.upstream, data))
    if (data / FILE_NAME).exists() or settings.journal.url:
        found.extend(storage_checks.check(place_of(settings)))
    else:
        found.append(note("journal", "none yet", f"start the host: {meuse('run')}"))
    return found


def _upstream(upstream: UpstreamSettings, data: Path) -> Finding:
    folders = f"{data / KEYS_FOLDER} and {data / OWN_KEYS_FOLDER}"
    advice = f"that host needs the key files of {folders} under its own data/keys"
    return note("upstream", f"all goes on to {upstream.url} as {upstream.name}", advice)


def _database(place: Place) -> Finding:
    """Reaches it, and may use it; the first host makes the tables."""
    try:
        assert place.address is not None
        db = place.open_writer()
    except HostError as error:
        return fail("journal", error.message, error.advice)
    try:
        (loses,) = db.execute("SELECT current_setting('fsync') = 'off'").fetchone()
    except place.errors as error:
        told = place.told(error)
        return fail("journal", told.message, told.advice)
    finally:
        db.close()
    if loses:
        return fail("journal", f"{place} would lose what it acknowledged in a power cut", "set fsync = on there")
    return ok("journal", f"{place} answers")


def host_runs(where: Path | Place) -> bool:
    """Is a host running on this folder; of several that share a journal, any?"""
    if isinstance(where, Place):
        if where.address is not None:
            with reading(where) as db:
                return leader.host_leads(db)
        where = where.data
    data = where
    try:
        handle = os.open(data / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def _data(data: Path) -> Iterator[Finding]:
    if not data.exists():
        parent = next(each for each in data.absolute().parents if each.exists())
        if not os.access(parent, os.W_OK):
            yield fail("data", f"cannot make {data}", "name another folder with --data")
            return
        yield ok("data", f"{data} will be made")
        data = parent
    else:
        try:
            probe = data / ".probe"
            try:
                probe.write_bytes(b"meuse")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "free some space; boards keep their readings until then" if full else "make it writable"
            yield fail("data", f"{data}: {error.strerror}", f"{advice}, or use another --data")
            return
        yield ok("data", f"{data} is writable")
    free = shutil.disk_usage(data).free
    state = f"{free // (1024 * 1024):,} MB free"
    if free < NO_DISK_BYTES:
        yield fail("disk", state, "free some space; boards keep their readings until then")
    elif free < LOW_DISK_BYTES:
        yield note("disk", state, "free some space soon")
    else:
        yield ok("disk", state)


def _tls(settings: TlsSettings) -> Finding:
    try:
        tls.load(settings)
    except ConfigError as error:
        return fail("tls", error.message, error.advice)
    wrong = tls.out_of_date(settings)
    if wrong:
        return note("tls", f"the certificate {wrong}", "boards with a clock will refuse it: make another")
    who = "boards need one signed by client_ca" if settings.client_ca else "boards need none"
    return ok("tls", f"certificate and key fit; {who}")


def _ble() -> Finding:
    """An adapter is not looked for: it may be plugged in later."""
    try:
        load_bleak()
    except HostError as error:
        return fail("ble", error.message, error.advice)
    return ok("ble", "bleak is installed")


def _listen(address: str, running: bool, kind: str = "tcp") -> Finding:
    host, port = parse_address(address, f"{kind}.listen")
    if running:
        return note(f"{kind} {address}", "not tried while the host runs")
    way = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    try:
        family = socket.getaddrinfo(host, port, type=way)[0][0]
        with socket.socket(family, way) as sock:
            if kind != "udp":  # a port that was just given back is free; for datagrams this would say nothing
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        where = f"--{kind} HOST:PORT" if kind in ("tcp", "udp") else f"{kind}.listen"
        return fail(f"{kind} {address}", str(error.strerror or error), f"name another: {where}")
    return ok(f"{kind} {address}", "free")


def _serial(port: str, running: bool, kind: str = "serial") -> Iterator[Finding]:
    paths = matching(port)
    if not paths:
        yield note(f"{kind} {port}", "not there", "plug it in; the host waits for it")
    for path in paths:
        if not is_terminal(path):
            yield fail(f"{kind} {path}", "is no serial port", "name one: ls -l /dev/serial/by-id")
        elif os.access(path, os.R_OK | os.W_OK):
            yield ok(f"{kind} {path}", "in use by the host" if running else "may be opened")
        else:
            group = _group_of(path)
            advice = f"sudo usermod -aG {group} $USER, then log in again"
            yield fail(f"{kind} {path}", "no permission", advice)


def is_terminal(path: str) -> bool:
    """Whether the kernel drives `path` as a serial line. Not opened for it: that would assert its modem lines."""
    status = Path(path).stat()
    if not stat.S_ISCHR(status.st_mode):
        return False
    try:
        drivers = Path("/proc/tty/drivers").read_text().splitlines()
    except OSError:
        return True  # another system than Linux: `meuse run` will find out
    return str(os.major(status.st_rdev)) in {line.split()[-3] for line in drivers if len(line.split()) > 3}


def _group_of(path: str) -> str:
    with contextlib.suppress(OSError, KeyError):
        return Path(path).group()
    return "dialout"


def _keys(data: Path) -> Iterator[Finding]:
    folder = data / KEYS_FOLDER
    store = KeyStore(folder)
    devices = store.devices()
    for device in devices:
        try:
            store.keys(device)
        except ConfigError as error:
            yield fail(f"key of {device}", error.message, error.advice)
        if (folder / (device + SUFFIX)).stat().st_mode & 0o077:
            advice = f"chmod 600 {folder / (device + SUFFIX)}"
            yield fail(f"key of {device}", "others may read it", advice)
    yield ok("keys", f"{len(devices)} devices have one")


def _secrets(data: Path) -> Iterator[Finding]:
    """Files of access; what is in them is not shown."""
    folder = data / ACCESS_FOLDER
    for path in sorted(folder.rglob("*.json")):
        if path.stat().st_mode & 0o077:
            yield fail("access", f"others may read {path}", f"chmod 600 {path}")
    try:
        backends = Backends(data).all()
    except HostError as error:
        yield fail("access", error.message, error.advice)
        return
    if backends:
        may = sum(1 for each in backends if each.hashes)
        yield ok("access", f"{may} of {len(backends)} backends may come; kept under {folder}")


def _embedded() -> Finding:
    """The program of the broker that the host starts."""
    try:
        return ok("nats-server", embedded.binary())
    except HostError as error:
        return fail("nats-server", error.message, error.advice)


def _access(data: Path, commands: bool) -> Iterator[Finding]:
    """How backends reach the host's own broker; who may ask the doctor may read the file."""
    try:
        access = embedded.known(data)
    except HostError as error:
        yield fail("broker", error.message, error.advice)
        return
    if access is None:
        yield note("broker", "makes its ports and passwords at the first start")
        return
    path = data / embedded.FOLDER / embedded.ACCESS
    if path.stat().st_mode & 0o077:
        yield fail("broker", f"others may read {path}", f"chmod 600 {path}")
    yield ok("broker", f"listens on {access.host}:{access.port}; passwords are in {path}")
    yield ok("broker, for backends", access.url(embedded.READER))
    if commands and embedded.COMMANDER in access.passwords:
        yield ok("broker, for commands", access.url(embedded.COMMANDER))


def _token(data: Path) -> Iterator[Finding]:
    """How backends reach [api]."""
    try:
        known = token.known(data)
    except HostError as error:
        yield fail("api", error.message, error.advice)
        return
    if not known:
        yield note("api", "makes its token at the first start")
        return
    if (data / token.FILE).stat().st_mode & 0o077:
        yield fail("api", f"others may read {data / token.FILE}", f"chmod 600 {data / token.FILE}")
    yield ok("api, for backends", f"Authorization: Bearer {known}")


def interpreter(needed: bool) -> Finding:
    """MicroPython, which only virtual boards need."""
    try:
        return ok("MicroPython", sim.interpreter())
    except HostError as error:
        if needed:
            return fail("MicroPython", error.message, error.advice)
        return note("MicroPython", error.message, error.advice + " (only for virtual boards)")
