"""Answers nats-server's question who may come (auth callout), and ends connections of whoever may no longer.

One connection to be asked on, one of the system account to end others with. Only MQTT is let in, only with a client
id of one's own, and with exactly the rights that the register knows. While this does not run, nobody new comes in and
nobody is thrown out; at its first start whoever it did not let in itself must come again.
(docs.nats.io, "Auth Callout", "System Events"; NATS ADR-26.)
"""

import asyncio
import contextlib
import json
import logging
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from meuse.access import nats_account, nkey
from meuse.access.nats_account import ACCOUNT, NatsAccount
from meuse.access.register import Admitted, Register
from meuse.access.rights import subjects
from meuse.links.steady import Steady

log = logging.getLogger(__name__)

ASK: Final = "$SYS.REQ.USER.AUTH"
GONE: Final = f"$SYS.ACCOUNT.{ACCOUNT}.DISCONNECT"

# Several hosts may answer: one of them does.
QUEUE: Final = "meuse"

PAGE: Final = 1_000
REPLY_S: Final = 5.0

# In a cluster every server answers; they have so long.
GATHER_S: Final = 1.0

# Connections whose end was not told: looked for when there are so many more than twice those that were there.
SLACK: Final = 1_000

Place = tuple[str, int]
"""(server, connection) of one client."""


class Callout:
    """`run()` as a task; `ready` once the server can ask. `recheck()` after anything changed."""

    def __init__(self, register: Register, account: NatsAccount, url: str) -> None:
        self._register = register
        self._account = account
        self._signer = nkey.Signer(account.seed)
        self._url = url
        self._steady = Steady("access: nats-server", log)
        self._system: Client | None = None
        self._admitted: dict[Place, Admitted] = {}
        self._enough = SLACK
        self._first = True
        self.ready = asyncio.Event()
        self.answers = self.refusals = self.ended = 0

    async def run(self) -> None:
        """Until cancelled. A server that is away is waited for."""
        await self._steady.run(self._serve)

    async def recheck(self) -> bool:
        """End the connections of all whose password or rights do not hold any more -> whether the server did.

        One that is away is asked again when it is back.
        """
        done = True
        for place, admitted in list(self._admitted.items()):
            if not self._register.holds(admitted):
                log.info("access: %s does not hold any more: its connection ends", admitted.user)
                done = await self._end(place) and done
        return done or self._system is None

    # -- one connection

    async def _serve(self) -> str:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        clients: list[Client] = []

        async def gone() -> None:
            if not lost.done():
                lost.set_result("connection lost")

        try:
            for user, password in (
                (nats_account.ANSWERS, self._account.answers),
                (nats_account.ENDS, self._account.ends),
            ):
                clients.append(
                    await nats.connect(
                        self._url,
                        user=user,
                        password=password,
                        allow_reconnect=False,
                        connect_timeout=round(REPLY_S),
                        error_cb=_quiet,
                        closed_cb=gone,
                        disconnected_cb=gone,
                    )
                )
            asked, self._system = clients
            await self._system.subscribe(GONE, cb=self._gone)
            await asked.subscribe(ASK, queue=QUEUE, cb=self._asked)
            await asked.flush()
            await self._system.flush()
            self._steady.connected()
            self.ready.set()
            await self._sweep()
            await self.recheck()
            return await lost
        except (OSError, TimeoutError, nats.errors.Error) as error:
            return str(error) or type(error).__name__
        finally:
            self._system = None
            self.ready.clear()
            for client in clients:
                with contextlib.suppress(OSError, nats.errors.Error):
                    await client.close()

    # -- who comes

    async def _asked(self, message: Msg) -> None:
        try:
            request = nkey.claims_of(message.data.decode())["nats"]
            server, user_key = request["server_id"]["id"], request["user_nkey"]
            place = (server, int(request["client_info"]["id"]))
        except (ValueError, KeyError, TypeError):
            return  # no server asks like this
        self.answers += 1
        admitted, why = self._admit(request)
        answer: dict[str, Any] = {"type": "authorization_response", "version": 2}
        if admitted is None:
            self.refusals += 1
            answer["error"] = why
        else:
            self._admitted[place] = admitted
            answer["jwt"] = self._signer.sign(_user(user_key, admitted))
        with contextlib.suppress(nats.errors.Error):
            await message.respond(self._signer.sign({"aud": server, "sub": user_key, "nats": answer}).encode())
        if len(self._admitted) > self._enough:
            self._enough = 2 * len(self._admitted)  # until the sweep has counted them
            await self._sweep()

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

    async def _gone(self, message: Msg) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            event = json.loads(message.data)
            self._admitted.pop((event["server"]["id"], int(event["client"]["id"])), None)

    # -- who is there

    async def _end(self, place: Place) -> bool:
        server, connection = place
        if await self._request(f"$SYS.REQ.SERVER.{server}.KICK", {"cid": connection}) is None:
            return False
        self.ended += 1
        self._admitted.pop(place, None)
        return True

    async def _sweep(self) -> None:
        """All connections there are: forgets who is gone, and at the first time ends whoever was there before."""
        before = set(self._admitted)
        there: set[Place] = set()
        for server in await self._servers():
            offset = 0
            while True:
                asked = {"acc": ACCOUNT, "limit": PAGE, "offset": offset}
                found = await self._request(f"$SYS.REQ.SERVER.{server}.CONNZ", asked)
                if found is None:
                    return  # who knows who is there: nothing is forgotten
                page = found.get("data", {}).get("connections") or []
                there.update((server, int(each["cid"])) for each in page)
                offset += PAGE
                if len(page) < PAGE:
                    break
        if self._first:
            self._first = False
            for place in there - self._admitted.keys():
                await self._end(place)
        for place in before - there:
            self._admitted.pop(place, None)
        self._enough = 2 * len(self._admitted) + SLACK

    async def _servers(self) -> list[str]:
        system = self._system
        if system is None:
            return []
        inbox = system.new_inbox()
        heard = await system.subscribe(inbox)
        await system.publish("$SYS.REQ.SERVER.PING", b"", reply=inbox)
        found = []
        with contextlib.suppress(TimeoutError, nats.errors.Error):
            async with asyncio.timeout(GATHER_S):
                async for message in heard.messages:
                    found.append(str(json.loads(message.data)["server"]["id"]))
        await heard.unsubscribe()
        return found

    async def _request(self, subject: str, form: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None when there is none, or it says an error."""
        if self._system is None:
            return None
        try:
            answer = await self._system.request(subject, json.dumps(form).encode(), timeout=REPLY_S)
            found: dict[str, Any] = json.loads(answer.data)
        except (OSError, ValueError, TimeoutError, nats.errors.Error) as error:
            log.warning("access: nats-server does not answer %s: %r", subject.rpartition(".")[2], error)
            return None
        return found


def _user(user_key: str, admitted: Admitted) -> dict[str, Any]:
    """What the server is to know of somebody who may come in. An empty list of NATS allows everything, so: deny."""
    may: dict[str, Any] = {}
    for key, filters in (("pub", admitted.rights.publish), ("sub", admitted.rights.subscribe)):
        may[key] = {"allow": subjects(filters)} if filters else {"deny": [">"]}
    limits = {"subs": -1, "data": -1, "payload": -1, "allowed_connection_types": ["MQTT"]}
    return {
        "aud": ACCOUNT,
        "sub": user_key,
        "name": admitted.user,
        "nats": {"type": "user", "version": 2, **limits, **may},
    }


async def _quiet(error: Exception) -> None:
    """What matters is told by the end of the connection."""
