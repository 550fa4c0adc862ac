"""Commands over HTTP: ask, follow, confirm, renew. The same requests and states as over MQTT, behind a bearer token.

Owns addresses, statuses and bounds. Serves nothing by itself: `routes` belong into an application (meuse.web).
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from meuse.api.token import Access, Permission
from meuse.clock import Clock
from meuse.commands import request as requests
from meuse.commands import table, told
from meuse.commands.desk import Desk, Inquiry, Verdict
from meuse.commands.request import Confirm, Renew, Unfit
from meuse.errors import ConfigError, JournalError
from meuse.identity import DEFAULT_TENANT
from meuse.journal.threads import Journal
from meuse.query.selection import parse_length

BODY_S: Final = 30.0

# Who waits for a command to settle holds a connection for so long at most.
WAIT_MAX_MS: Final = 60_000
LOOK_S: Final = 0.5

Answer = Callable[[Request, Permission], Awaitable[Response]]


class CommandsApi:
    """`access`: whose token it is."""

    def __init__(self, journal: Journal, desk: Desk, access: Access, clock: Clock) -> None:
        self._journal = journal
        self._desk = desk
        self.access = access
        self._clock = clock
        one = "/api/commands/{id:path}"
        self.routes = [
            Route("/api/devices/{device}/commands", self._allowed(self._ask, commands=True), methods=["POST"]),
            Route("/api/devices/{device}/commands", self._allowed(self._list), methods=["GET"]),
            Route(f"{one}/confirm", self._allowed(self._confirm, commands=True), methods=["POST"]),
            Route(f"{one}/renew", self._allowed(self._renew, commands=True), methods=["POST"]),
            Route(one, self._allowed(self._show), methods=["GET"]),
        ]

    def _allowed(self, answer: Answer, commands: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            permission = self.access.may(_token(request.headers.get("authorization", "")))
            if permission is None:
                return _says(401, "send the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer, Basic"})
            if commands and not permission.may_command:
                return _says(403, "this token may not send commands")
            try:
                return await answer(request, permission)
            except JournalError as error:
                return _says(503, error.message)

        return guarded

    async def _ask(self, request: Request, permission: Permission) -> Response:
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request)
        except TimeoutError:
            return _says(408, f"the body took longer than {BODY_S:.0f} s")
        except ClientDisconnect:
            return _says(400, "cut off")
        device = request.path_params["device"]
        try:
            wanted = requests.read(body, device, self._clock.utc_ms(), held_back=False)
        except Unfit as error:
            return _says(413 if len(body) > requests.MAX_BYTES else 400, error.message)
        return await self._answer(Inquiry(wanted, device, permission.tenant, None))

    async def _confirm(self, request: Request, permission: Permission) -> Response:
        return await self._answer(Inquiry(Confirm(request.path_params["id"]), None, permission.tenant, None))

    async def _renew(self, request: Request, permission: Permission) -> Response:
        wanted = Renew(request.path_params["id"], self._clock.utc_ms())
        return await self._answer(Inquiry(wanted, None, permission.tenant, None))

    async def _answer(self, inquiry: Inquiry) -> Response:
        (verdict,) = await self._desk.take([inquiry])
        form = {"id": inquiry.wanted.id, "state": verdict.state, "detail": verdict.detail}
        if not verdict.kept:
            return JSONResponse(form, _status(verdict))
        return JSONResponse(form, 202, {"Location": f"/api/commands/{inquiry.wanted.id}"})

    async def _show(self, request: Request, permission: Permission) -> Response:
        """One command with its states; with `wait` not before it is settled, or the time is over."""
        id = request.path_params["id"]
        try:
            wait_ms = parse_length(request.query_params["wait"], "wait") if "wait" in request.query_params else 0
        except ConfigError as error:
            return _says(400, error.message)
        until_ms = self._clock.now_ms() + min(wait_ms, WAIT_MAX_MS)
        while True:
            found = await self._journal.read(lambda db: told.history(db, id))
            if found is None or permission.tenant not in (None, found["tenant"]):
                return _says(404, f"there is no command {id!r} here")
            left_ms = until_ms - self._clock.now_ms()
            if found["settled"] or left_ms <= 0 or await request.is_disconnected():
                return JSONResponse(found)
            await self._desk.change(min(left_ms / 1_000, LOOK_S))

    async def _list(self, request: Request, permission: Permission) -> Response:
        device = request.path_params["device"]
        tenant, listed = await self._journal.read(lambda db: (_tenant(db, device), told.listed(db, device)))
        if tenant is None or permission.tenant not in (None, tenant):
            return _says(404, f"there is no device {device!r} here")
        return JSONResponse({"device": device, "commands": listed})


def _tenant(db: Any, device: str) -> str | None:
    row = db.execute("SELECT tenant FROM devices WHERE device = ?", (device,)).fetchone()
    return None if row is None else row[0] or DEFAULT_TENANT


def _status(verdict: Verdict) -> int:
    """Of what was not taken."""
    if verdict.missing:
        return 404
    return 410 if verdict.state == table.EXPIRED else 409


def _token(header: str) -> str:
    """What stands in an Authorization header: a bearer's token, or USER:PASSWORD; "" for anything else."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode()
    except ValueError:
        return ""


def _says(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": text}, status, headers)


async def _body(request: Request) -> bytes:
    """The request's body, or so much of it that it is seen to be too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > requests.MAX_BYTES:
            break
    return body
