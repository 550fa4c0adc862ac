"""Commands over HTTP: the running host asked by the standard library's client, a light board on the shared protocol."""

import asyncio
import base64
import contextlib
import http.client
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meuse import checks
from meuse.access.backends import Backends
from meuse.api import token
from meuse.config import read_settings
from meuse.errors import ConfigError
from meuse.run import Host
from meuse_protocol import commands as wire

from tests.host.hosts import ask, running
from tests.host.light_board import until
from tests.host.test_command_topics import at, form
from tests.host.test_host_commands import DEVICE, Answering, board_on, reaches, silent, utc_ms

COMMANDS = f"/api/devices/{DEVICE}/commands"


async def asked(
    host: Host, method: str, path: str, body: Any = None, key: str | None = None, basic: str = ""
) -> tuple[int, Any, Any]:
    """One request in a thread of its own -> status, the reply's JSON, its headers."""
    known = token.known(host.data) if key is None else key
    shown = f"Basic {base64.b64encode(basic.encode()).decode()}" if basic else f"Bearer {known}"
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    def call() -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection(host.listening.api[0].address, timeout=90)
        with contextlib.closing(connection):
            connection.request(method, path, payload, {"Authorization": shown} if known else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers

    return await asyncio.to_thread(call)


def play(data: Path, scene: Callable[[Host, Answering], Any]) -> None:
    async def run() -> None:
        async with running(data, api={"listen": ["127.0.0.1:0"]}) as host:
            board = board_on(data)
            await board.connect(host.tcp[0].address)
            await board.drained()
            try:
                await scene(host, board)
            finally:
                board.unplug()

    asyncio.run(run())


def test_ask_follow_and_list(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = silent
        status, found, headers = await asked(host, "POST", COMMANDS, form("one", lease="30s"))
        assert (status, found["state"], headers["Location"]) == (202, "queued", "/api/commands/one")
        waiting = asyncio.create_task(asked(host, "GET", "/api/commands/one?wait=60s"))
        await until(lambda: board.got, "the command")
        status, found, _ = await asked(host, "GET", "/api/commands/one")
        assert status == 200 and found["state"] == "sent" and not found["settled"] and not waiting.done()
        status, found, _ = await asked(host, "POST", COMMANDS, form("one", lease="30s"))
        assert (status, found["state"]) == (202, "sent"), "asked again: the state that it has"
        board.reply = lambda command: [(command.cid, wire.DONE, 1 if command.op == "renew" else ["fan", 1])]
        status, found, _ = await waiting
        assert status == 200 and found["settled"]
        assert [state["state"] for state in found["states"]] == ["queued", "sent", "done"]
        assert found["states"][-1]["answer"] == ["fan", 1]
        status, found, _ = await asked(host, "POST", "/api/commands/one/renew")
        assert status == 202
        await until(lambda: any(command.op == "renew" for command in board.got), "the renewal")
        (renewal,) = ask(tmp_path, "SELECT id FROM commands WHERE op = 'renew'")
        status, found, _ = await asked(host, "GET", f"/api/commands/{renewal[0]}?wait=60s")
        assert status == 200 and found["state"] == "done"
        status, found, _ = await asked(host, "GET", COMMANDS)
        assert status == 200 and [(one["id"], one["state"]) for one in found["commands"]] == [("one", "done")]
        assert [op for _, op in board.ops] == ["fan", "renew"]

    play(tmp_path, scene)


def test_two_phases(tmp_path: Path) -> None:
    def two_phases(command: Any) -> list[tuple[int, int, Any]]:
        if command.op != "commit":
            return [(command.cid, wire.ACCEPTED, [77, ["fan", 0, 0]])]
        return [(command.arg[1], wire.DONE, ["fan", 1]), (command.cid, wire.DONE, ["fan", 1])]

    async def scene(host: Host, board: Answering) -> None:
        board.reply = two_phases
        status, _, _ = await asked(host, "POST", "/api/commands/one/confirm")
        assert status == 404
        await asked(host, "POST", COMMANDS, form("one"))
        await reaches(tmp_path, "one", "started")
        status, _, _ = await asked(host, "POST", "/api/commands/one/confirm")
        assert status == 202
        await reaches(tmp_path, "one", "done")
        status, found, _ = await asked(host, "POST", "/api/commands/one/renew")
        assert status == 409 and "without a lease" in found["detail"]

    play(tmp_path, scene)


def test_what_is_wrong_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        late = form("late", expires=at(utc_ms() - 1))
        cases = [
            (401, ("POST", COMMANDS, form("x"), "")),
            (401, ("POST", COMMANDS, form("x"), "guessed")),
            (401, ("GET", "/api/commands/one", None, "é")),
            (404, ("POST", "/api/devices/unheard-of/commands", form("x"))),
            (404, ("GET", "/api/devices/unheard-of/commands")),
            (404, ("GET", "/api/commands/unheard-of")),
            (400, ("POST", COMMANDS, b"{")),
            (400, ("POST", COMMANDS, {"op": "fan"})),
            (400, ("POST", COMMANDS, form("x", speed=1))),
            (400, ("GET", "/api/commands/one?wait=moon")),
            (413, ("POST", COMMANDS, b"x" * 5000)),
            (410, ("POST", COMMANDS, late)),
        ]
        for status, request in cases:
            found, told, _ = await asked(host, *request)  # type: ignore[misc]
            assert found == status and told["detail"], (request, told)
        assert ask(tmp_path, "SELECT count(*) FROM commands") == [(0,)]
        status, _, _ = await asked(host, "POST", COMMANDS, {"id": "one", "op": "fan"})
        assert status == 202, "nothing can be held back here: five minutes from now"
        status, found, _ = await asked(host, "POST", COMMANDS, {"id": "one", "op": "other"})
        assert status == 409 and "another command" in found["detail"]
        status, found, _ = await asked(host, "GET", "/api/commands/one?wait=60s")
        assert found["state"] == "done"

    play(tmp_path, scene)


def test_a_token_of_one_tenant_sees_nothing_of_another(tmp_path: Path) -> None:
    backends = Backends(tmp_path)
    other = "other_app:" + backends.add("other", "app", True)
    reader = "default_screen:" + backends.add("default", "screen", False)

    async def scene(host: Host, board: Answering) -> None:
        await asked(host, "POST", COMMANDS, form("one"))
        await reaches(tmp_path, "one", "done")
        for path in ("/api/commands/one", COMMANDS):
            assert (await asked(host, "GET", path, key=other))[0] == 404
            assert (await asked(host, "GET", path, key=reader))[0] == 200
            assert (await asked(host, "GET", path, basic=reader))[0] == 200
            assert (await asked(host, "GET", path, basic=reader + "x"))[0] == 401
        for path in ("/api/commands/one/renew", "/api/commands/one/confirm", COMMANDS):
            assert (await asked(host, "POST", path, form("two"), key=other))[0] == 404
            assert (await asked(host, "POST", path, form("two"), key=reader))[0] == 403

    play(tmp_path, scene)


def test_the_token_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    settings = read_settings({"host": {"data": str(tmp_path)}, "api": {"listen": ["127.0.0.1:0"]}}, "test")
    first = token.TokenFile(tmp_path)
    assert stat.S_IMODE((tmp_path / token.FILE).stat().st_mode) == 0o600
    known = token.known(tmp_path)
    assert token.TokenFile(tmp_path).may(known) == first.may(known) == token.Permission(None, True)
    assert first.may("") is None
    told = [finding.state for finding in checks.check_all(settings) if finding.what == "api, for backends"]
    assert told == [f"Authorization: Bearer {known}"]
    (tmp_path / token.FILE).chmod(0o644)
    assert [finding.what for finding in checks.check_all(settings) if finding.bad] == ["api"]
    (tmp_path / token.FILE).write_text("short\n")
    assert [finding.state for finding in checks.check_all(settings) if finding.bad]
    with pytest.raises(ConfigError, match="no broker"):
        read_settings({"mqtt": {"commands": True}}, "test")
