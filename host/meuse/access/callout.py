"""Answers nats-server's question who may come (auth callout), and ends connections of whoever may no longer.

At each server of a cluster one connection to be asked on, and one of the system account to see and end others: a server
asks whoever listens at itself, so when one goes nobody waits at another. Only MQTT is let in, only with a client id of
one's own, and with exactly the rights that the register knows.

Each connection is called USER#MARK at the server, and the mark tells with which password and rights it was let in: so
any host judges all of them, at all servers of the cluster, whoever let them in. While no host runs, nobody new comes in
and nobody is thrown out.
(docs.nats.io, "Auth Callout", "System Events", "Monitoring: connz"; NATS ADR-26.)
"""

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from meuse.access import nats_account, nkey
from meuse.access.nats_account import ACCOUNT, NatsAccount
from meuse.access.register import Admitted, Register
from meuse.access.rights import subjects
from meuse.cluster.stream import close, go_on, together
from meuse.links.steady import Steady

log = logging.getLogger(__name__)

ASK: Final = "$SYS.REQ.USER.AUTH"

# Several hosts may answer: one of them does.
QUEUE: Final = "meuse"

# Between a user and its mark; no user is called so.
MARK: Final = "#"

# Connections are listed by their numbers, so many at once; those that end meanwhile move the others up: so pages
# overlap.
PAGE: Final = 1_000
OVERLAP: Final = 100

CONNECT_S: Final = 2
REPLY_S: Final = 5.0

# A server that is away without a word is given up after two that were not answered.
PING_S: Final = 3

# Every server of a cluster answers; those that do not have so long.
GATHER_S: Final = 2.0

# Between two looks at all connections; and until the next when a server did not answer the last. What another host let
# in by what it knew before, and who is at a server that could not be reached, is found by them.
LOOK_S: Final = 45.0
AGAIN_S: Final = 5.0

# From our answer until the server is sure to list the connection.
COMING_S: Final = 5.0

# Judged in one go: a tenth of a millisecond each.
TOGETHER: Final = 50

Place = tuple[str, int]
"""(server, connection) of one client."""


class Callout:
    """`run()` as a task; `ready` once a server can ask. `recheck()` after anything changed. urls: of one cluster."""

    def __init__(self, register: Register, account: NatsAccount, urls: Sequence[str]) -> None:
        self._register = register
        self._account = account
        self._signer = nkey.Signer(account.seed)
        self._steady = {url: Steady(f"access: {url}", log) for url in urls}
        self._systems: dict[str, Client] = {}  # url -> the connection to see and end others
        self._coming: deque[tuple[float, Place, str]] = deque()
        self._good: set[str] = set()  # names that held since the last change
        self._due = asyncio.Event()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Servers that are away are waited for."""
        servers = [steady.run(partial(self._serve, url)) for url, steady in self._steady.items()]
        await together(*servers, self._watch())

    async def recheck(self) -> bool:
        """See to it that the connections of all end whose password or rights do not hold any more.

        Without waiting for it: at servers that are away it is done when they are back.
        """
        self._good.clear()
        self._due.set()
        return True

    # -- connections

    async def _serve(self, url: str) -> str:
        """Answers one server until it is lost -> why."""
        lost = asyncio.Event()
        clients: list[Client] = []
        try:
            for user, password in (
                (nats_account.ANSWERS, self._account.answers),
                (nats_account.ENDS, self._account.ends),
            ):
                clients.append(await _connect(url, user, password, lost))
                go_on()
            asked, system = clients
            await asked.subscribe(ASK, queue=QUEUE, cb=self._asked)
            await asked.flush()
            go_on()
            self._systems[url] = system
            self._due.set()
            self.ready.set()
            self._steady[url].connected()
            await lost.wait()
            return "connection lost"
        except (OSError, TimeoutError, nats.errors.Error) as error:
            return str(error) or type(error).__name__
        finally:
            self._systems.pop(url, None)
            if not self._systems:
                self.ready.clear()
            for client in clients:
                await close(client)

    async def _watch(self) -> None:
        """Looks at who is there, by another server each time: when something has changed, and every now and then."""
        while True:
            await self.ready.wait()
            if not self._systems:
                continue  # lost in the same moment
            self._due.clear()
            url, system = next(iter(self._systems.items()))
            self._systems[url] = self._systems.pop(url)
            whole = await self._look(system)
            go_on()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if whole else AGAIN_S):
                    await self._due.wait()

    # -- who comes

    async def _asked(self, message: Msg) -> None:
        try:
            request = nkey.claims_of(message.data.decode())["nats"]
            server, user_key = request["server_id"]["id"], request["user_nkey"]
            place = (server, int(request["client_info"]["id"]))
        except (ValueError, KeyError, TypeError):
            return  # no server asks like this
        admitted, why = self._admit(request)
        answer: dict[str, Any] = {"type": "authorization_response", "version": 2}
        if admitted is None:
            answer["error"] = why
        else:
            name = f"{admitted.user}{MARK}{admitted.mark}"
            self._comes(place, name)
            answer["jwt"] = self._signer.sign(_user(user_key, name, admitted))
        with contextlib.suppress(nats.errors.Error):
            await message.respond(self._signer.sign({"aud": server, "sub": user_key, "nats": answer}).encode())

    def _admit(self, request: dict[str, Any]) -> tuple[Admitted | None, str]:
        """-> who it is, or why not; never a word of the password."""
        options, client = request.get("connect_opts", {}), request["client_info"]
        user = str(options.get("user", ""))
        admitted = self._register.admit(user, str(options.get("pass", "")))
        if admitted is None:
            return None, "unknown user or wrong password"
        if client.get("type") != "mqtt":
            return None, "only MQTT"
        if not self._register.may_use(user, str(client.get("mqtt_id", ""))):
            return None, "not its client id"
        return admitted, ""

    def _comes(self, place: Place, name: str) -> None:
        self._forget_listed()
        self._coming.append((asyncio.get_running_loop().time(), place, name))

    def _forget_listed(self) -> None:
        before = asyncio.get_running_loop().time() - COMING_S
        while self._coming and self._coming[0][0] < before:
            self._coming.popleft()

    # -- who is there

    async def _look(self, system: Client) -> bool:
        """Ends every connection that does not hold -> whether all servers were asked and have done it."""
        self._forget_listed()
        found = {place: name for _, place, name in self._coming}
        servers, whole = await _servers(system)
        answering = {server for server in servers if await _list(system, server, found)}
        whole = whole and answering == servers
        for number, (place, name) in enumerate(found.items()):
            if number % TOGETHER == 0:
                await asyncio.sleep(0)
            if not self._holds(name):
                log.info("access: %s does not hold any more: its connection ends", name.partition(MARK)[0])
                if place[0] not in answering or not await _end(system, place):
                    answering.discard(place[0])  # it is waited for once, not for each
                    whole = False
        self._good.intersection_update(found.values())
        return whole

    def _holds(self, name: str) -> bool:
        if name not in self._good:
            user, _, mark = name.partition(MARK)
            if not self._register.holds(user, mark):
                return False
            self._good.add(name)
        return True


async def _end(system: Client, place: Place) -> bool:
    server, connection = place
    return await _request(system, f"$SYS.REQ.SERVER.{server}.KICK", {"cid": connection}) is not None


async def _connect(url: str, user: str, password: str, lost: asyncio.Event) -> Client:
    async def gone() -> None:
        lost.set()

    return await nats.connect(
        url,
        user=user,
        password=password,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # else it knocks at one that is away for two minutes
        reconnect_time_wait=0,
        connect_timeout=CONNECT_S,
        ping_interval=PING_S,
        max_outstanding_pings=2,
        error_cb=_quiet,
        closed_cb=gone,
        disconnected_cb=gone,
    )


async def _list(system: Client, server: str, found: dict[Place, str]) -> bool:
    """Adds the connections of boards and backends at a server -> whether these are all, for sure."""
    offset = 0
    before: set[int] = set()
    while True:
        asked = {"acc": ACCOUNT, "auth": True, "sort": "cid", "limit": PAGE, "offset": offset}
        answer = await _request(system, f"$SYS.REQ.SERVER.{server}.CONNZ", asked)
        if answer is None or not answer.get("data"):
            return False
        page = answer["data"].get("connections") or []
        names = {int(each["cid"]): str(each.get("authorized_user", "")) for each in page}
        if offset and before.isdisjoint(names):
            return False  # more have ended than pages overlap
        before = set(names)
        for number, name in names.items():
            if MARK in name or (server, number) not in found:  # one that is coming has its name a moment later
                found[server, number] = name
        if len(page) < PAGE:
            return True
        offset += PAGE - OVERLAP


async def _servers(system: Client) -> tuple[set[str], bool]:
    """Ids of those that answer, and whether these are all that they know of."""
    found: set[str] = set()
    known = 0
    with contextlib.suppress(TimeoutError, ValueError, KeyError, nats.errors.Error):
        inbox = system.new_inbox()
        heard = await system.subscribe(inbox)
        await system.publish("$SYS.REQ.SERVER.PING", b"", reply=inbox)
        try:
            async with asyncio.timeout(GATHER_S):
                async for message in heard.messages:
                    said = json.loads(message.data)
                    found.add(str(said["server"]["id"]))
                    known = max(known, said["statsz"].get("active_servers", 0))
                    if len(found) == known:
                        return found, True
        finally:
            await heard.unsubscribe()
    return found, bool(found) and not known


async def _request(system: Client, subject: str, form: dict[str, Any]) -> dict[str, Any] | None:
    """The answer; None when there is none."""
    try:
        answer = await system.request(subject, json.dumps(form).encode(), timeout=REPLY_S)
        found: dict[str, Any] = dict(json.loads(answer.data))
    except (OSError, ValueError, TypeError, TimeoutError, nats.errors.Error) as error:
        log.warning("access: nats-server does not answer %s: %r", subject.rpartition(".")[2], error)
        return None
    return found


def _user(user_key: str, name: str, admitted: Admitted) -> dict[str, Any]:
    """What the server is to know of somebody who may come in. An empty list of NATS allows everything, so: deny."""
    may: dict[str, Any] = {}
    for key, filters in (("pub", admitted.rights.publish), ("sub", admitted.rights.subscribe)):
        may[key] = {"allow": subjects(filters)} if filters else {"deny": [">"]}
    limits = {"subs": -1, "data": -1, "payload": -1, "allowed_connection_types": ["MQTT"]}
    return {
        "aud": ACCOUNT,
        "sub": user_key,
        "name": name,
        "nats": {"type": "user", "version": 2, **limits, **may},
    }


async def _quiet(error: Exception) -> None:
    """What matters is told by the end of the connection."""
