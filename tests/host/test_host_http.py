"""POST to the running host: the vectors' own frames by urllib, and everything a request can be wrong in."""

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from meuse import web
from meuse.config import read_settings
from meuse.errors import ConfigError
from meuse.keys import FOLDER
from meuse.links import http as link
from meuse.run import Host
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.messages import ACK, BOOT, WELCOME, head

from tests.host.hosts import ask, key_of, running, stored
from tests.host.light_board import POLL_S, LightBoard, now_ms, until

T = TypeVar("T")
BINARY = {"Content-Type": "application/octet-stream"}


@asynccontextmanager
async def listening(data: Path, **tables: object) -> AsyncIterator[Host]:
    async with running(data, http={"listen": ["127.0.0.1:0"]}, tcp={"listen": []}, **tables) as host:
        yield host


async def beside(call: Callable[[], T]) -> T:
    """A client that waits, in a thread of its own."""
    return await asyncio.to_thread(call)


def asked(host: Host, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """One request by the standard library's client -> status and body."""
    connection = http.client.HTTPConnection(host.listening.web[0].address, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, {**BINARY, **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        return answer.status, answer.read()


def packets(stream: bytes) -> list[bytes]:
    """The frames in a reply's body, out of their frames."""
    deframer = Deframer(2048)
    deframer.feed(stream)
    found = []
    while (item := deframer.next()) is not None:
        assert item[0] == FRAME
        found.append(item[1])
    return found


def vectors(root: Path) -> dict[str, dict[str, str]]:
    lines = (root / "tests/vectors/pdus.jsonl").read_text().splitlines()
    return {case["name"]: case for case in map(json.loads, lines)}


@pytest.mark.link("http", board="frames of the vectors, http.client", wire="TCP on loopback", host="host in the test")
def test_frames_of_the_vectors_are_answered_and_stored(root: Path, tmp_path: Path) -> None:
    known = vectors(root)
    hello = known["hello"]
    record = next(c for c in known.values() if c["key"] == hello["key"] and c["object"][0] == BOOT)

    async def scene() -> None:
        async with listening(tmp_path) as host:
            key_of(tmp_path, "stove-1")
            (tmp_path / FOLDER / "stove-1.key").write_text(hello["key"] + "\n")
            for case, kind in ((hello, WELCOME), (record, ACK)):
                body = b"\0" + bytes.fromhex(case["wire"])
                status, answer = await beside(lambda: asked(host, "POST", "/v1/link/stove-1", body))  # noqa: B023
                assert status == 200
                assert kind in [head(e2e)[0] for e2e in packets(answer)], case["name"]
            assert len(host.listening.requests.lines) == 1  # type: ignore[union-attr]

    asyncio.run(scene())
    ((device,),) = ask(tmp_path, "SELECT device FROM streams")
    assert device == "stove-1"
    assert len(stored(tmp_path, int(hello["stream"]))) == 1


def test_what_is_wrong_with_a_request_is_said_in_one_line(tmp_path: Path) -> None:
    cases = [
        (415, "content-type", ("POST", "/v1/link/stove-1", b"x"), {"Content_Type": "text/plain"}),
        (404, "no device", ("POST", "/v1/link/stranger", b"x"), {}),
        (404, "", ("POST", "/v1/link/..%2fhost", b"x"), {}),
        (404, "", ("POST", "/v1/links", b"x"), {}),
        (404, "", ("POST", "/v1/link/stove-1/more", b"x"), {}),
        (405, "", ("GET", "/v1/link/stove-1", b""), {}),
        (413, "at most 65536 bytes", ("POST", "/v1/link/stove-1", b"x" * 65_537), {}),
        (200, "", ("POST", "/v1/link/stove-1", b""), {}),
        (200, "", ("POST", "/v1/link/stove-1", bytes(range(256)) * 200), {}),
    ]

    async def scene() -> None:
        async with listening(tmp_path) as host:
            key_of(tmp_path, "stove-1")
            for status, words, (method, path, body), headers in cases:
                found, text = await beside(lambda: asked(host, method, path, body, **headers))  # noqa: B023
                assert found == status, (path, text)
                assert words.encode() in text and (status == 200 or text.count(b"\n") <= 1)
            assert ask(tmp_path, "SELECT * FROM streams") == []
            assert host.bridge.totals()["damaged"] > 0

    asyncio.run(scene())


async def raw(host: Host, data: bytes) -> bytes:
    """What comes back, until the host closes."""
    name, port = host.listening.web[0].address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(name, int(port))
    writer.write(data)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_malformed_and_unfinished_requests_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ASK_WITHIN_S", 0.3)
    monkeypatch.setattr(link, "BODY_S", 0.3)
    monkeypatch.setattr(link, "BODY_BYTES", 1000)
    begin = b"POST /v1/link/stove-1 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
    begin += b"Content-Type: application/octet-stream\r\n"

    async def scene() -> None:
        async with listening(tmp_path) as host:
            key_of(tmp_path, "stove-1")
            assert (await raw(host, b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400")
            assert (await raw(host, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)).startswith(b"HTTP/1.1 400")
            assert await raw(host, b"") == b"", "who says nothing"
            assert await raw(host, begin[:40]) == b"", "who does not finish the head"
            assert (await raw(host, begin + b"Content-Length: 9\r\n\r\nabc")).startswith(b"HTTP/1.1 408")
            chunks = b"Transfer-Encoding: chunked\r\n\r\n400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n"
            assert (await raw(host, begin + chunks)).startswith(b"HTTP/1.1 413")
            assert not ask(tmp_path, "SELECT * FROM streams")

    asyncio.run(scene())


class Poster(LightBoard):
    """A light board whose wire is one request after another."""

    def __init__(self, host: Host, device: str, key: bytes | None, number: str = "") -> None:
        super().__init__(device, key)
        self._host = host
        self._number = number
        self.endpoint.link_up(now_ms(), 1024, secrets.randbits(32))

    async def drained(self, seconds: float = 20.0) -> None:
        """Asks again and again, as a board does that waits for an acknowledgement."""
        async with asyncio.timeout(seconds):
            while self.acked < self.made:
                await self.post()
                await asyncio.sleep(POLL_S)

    async def post(self, lose_reply: bool = False) -> int:
        """Everything that is due in one request; the reply's frames are received, or lost."""
        body = b""
        while (e2e := self.endpoint.next_pdu(now_ms())) is not None:
            body += b"\0" + frame(e2e)
        path = f"/v1/link/{self.device}"
        status, answer = await beside(lambda: asked(self._host, "POST", path, body, meuse_link=self._number))
        for e2e in [] if lose_reply or status != 200 else packets(answer):
            self.endpoint.receive(e2e, now_ms())
        return status


def test_an_acknowledgement_is_in_the_reply_of_what_it_acknowledges(tmp_path: Path) -> None:
    async def scene() -> None:
        async with listening(tmp_path) as host:
            board = Poster(host, "stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            await board.drained()
            board.add(1)
            await board.post()
            assert board.acked == board.made, "a single record, whose acknowledgement would wait for others"
            assert stored(tmp_path, board.log.stream) == board.log.created

    asyncio.run(scene())


def test_a_lost_reply_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with listening(tmp_path) as host:
            board = Poster(host, "stove-1", key_of(tmp_path, "stove-1"))
            board.add(20)
            await board.post()
            await board.post(lose_reply=True)
            board.endpoint.link_down(now_ms())
            board.endpoint.link_up(now_ms(), 1024, secrets.randbits(32))
            await board.drained()
            assert stored(tmp_path, board.log.stream) == board.log.created

    asyncio.run(scene())


def test_devices_without_a_key_are_strangers_whatever_is_trusted(tmp_path: Path) -> None:
    async def scene() -> None:
        async with listening(tmp_path, trust={"links": ["serial", "tcp"]}) as host:
            assert await Poster(host, "bare-1", None).post() == 404
            key_of(tmp_path, "stove-1")
            board = Poster(host, "stove-1", None)
            board.add(2)
            assert await board.post() == 200
            assert ask(tmp_path, "SELECT * FROM streams") == []

    asyncio.run(scene())
    with pytest.raises(ConfigError, match="'http' cannot be trusted"):
        read_settings({"trust": {"links": ["http"]}}, "meuse.toml")


def test_strangers_under_a_devices_name_do_not_take_its_place(tmp_path: Path) -> None:
    """Each comes with a number of its own; the one whose HELLO holds stays."""

    async def scene() -> None:
        async with listening(tmp_path) as host:
            board = Poster(host, "stove-1", key_of(tmp_path, "stove-1"), "mine")
            await board.post()
            for number in range(20):
                await Poster(host, "stove-1", bytes(32), str(number)).post()
            lines = host.listening.requests.lines  # type: ignore[union-attr]
            assert len(lines) == link.PER_DEVICE
            assert len(host.bridge.sessions) == link.PER_DEVICE
            assert ("stove-1", "mine") in lines
            board.add(3)
            await board.post()
            assert board.acked == board.made

    asyncio.run(scene())


def test_who_does_not_ask_any_more_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "IDLE_S", 0.2)

    async def scene() -> None:
        async with listening(tmp_path) as host:
            board = Poster(host, "stove-1", key_of(tmp_path, "stove-1"))
            await board.post()
            await until(lambda: not host.bridge.sessions, "its session ends", 20)
            assert not host.listening.requests.lines  # type: ignore[union-attr]
            board.add(2)
            await board.drained()  # it is asked who it is, and says so

    asyncio.run(scene())


def test_while_nothing_can_be_stored_requests_are_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with listening(tmp_path) as host:
            board = Poster(host, "stove-1", key_of(tmp_path, "stove-1"))
            assert await board.post() == 200
            host.bridge.pressure(True)
            assert await board.post() == 503
            host.bridge.pressure(False)
            board.add(1)
            assert await board.post() == 200

    asyncio.run(scene())


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        async def scene() -> None:
            with pytest.raises(Exception, match=f"cannot listen on {address}: Address already in use"):
                async with running(tmp_path, http={"listen": [address]}, tcp={"listen": []}):
                    pass

        asyncio.run(scene())
