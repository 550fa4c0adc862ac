"""The host's side of TLS: files that cannot work are named, strangers are bounded in number and in time."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from meuse import checks
from meuse.config import read_settings
from meuse.errors import ConfigError
from meuse.links import tls
from meuse.run import Host
from meuse.settings import TlsSettings

from tests.authority import Signed, sign
from tests.host.hosts import running
from tests.host.light_board import until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signed]:
    folder = tmp_path_factory.mktemp("certificates")
    ca = sign(folder, "ca", "Meuse test CA")
    return {
        "ca": ca,
        "host": sign(folder, "host", "localhost", ca),
        "old": sign(folder, "old", "localhost", ca, (-10, -2)),
        "early": sign(folder, "early", "localhost", ca, (2, 10)),
    }


def settings(of: Signed, **other: object) -> dict[str, object]:
    return {"listen": ["127.0.0.1:0"], "cert": str(of.cert), "key": str(of.key), **other}


def told(words: dict[str, object]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        tls.load(TlsSettings(**words))  # type: ignore[arg-type]
    return caught.value


def test_a_file_that_cannot_work_is_named_with_what_to_do(made: dict[str, Signed], tmp_path: Path) -> None:
    host, ca = made["host"], made["ca"]
    assert "cannot read '/nowhere/host.pem': No such file" in told(settings(host, cert="/nowhere/host.pem")).message
    assert "tls.key: cannot read" in told(settings(host, key=str(tmp_path))).message
    wrong = told(settings(host, key=str(ca.key)))
    assert wrong.message == f"tls.key: {ca.key} is not the key of {host.cert}"
    assert "holds no certificate" in told(settings(host, cert=str(host.key))).message
    assert "holds no usable key" in told(settings(host, key=str(host.cert))).message
    assert "tls.client_ca" in told(settings(host, client_ca=str(host.key))).message
    locked = tmp_path / "locked.key"
    words = ["openssl", "pkcs8", "-topk8", "-in", str(host.key), "-out", str(locked), "-passout", "pass:secret"]
    assert shutil.which("openssl"), "no openssl program: apt-get install openssl"
    subprocess.run(words, check=True, capture_output=True)
    assert "without password" in told(settings(host, key=str(locked))).advice
    unreadable = tmp_path / "unreadable.key"
    unreadable.write_bytes(host.key.read_bytes())
    unreadable.chmod(0)
    if os.geteuid():  # root reads everything
        assert "Permission denied" in told(settings(host, key=str(unreadable))).message
    assert stat.S_IMODE(unreadable.stat().st_mode) == 0


def test_run_check_looks_at_certificates(made: dict[str, Signed], tmp_path: Path) -> None:
    def found(words: dict[str, object]) -> tuple[str, str]:
        table = {"host": {"data": str(tmp_path)}, "tcp": {"listen": []}, "tls": words}
        (finding,) = (each for each in checks.check_host(read_settings(table, "test")) if each.what == "tls")
        return finding.mark, finding.state

    assert found(settings(made["host"])) == ("ok", "certificate and key fit; boards need none")
    assert found(settings(made["host"], client_ca=str(made["ca"].cert)))[0] == "ok"
    assert found(settings(made["old"])) == ("note", "the certificate has expired")
    assert found(settings(made["early"])) == ("note", "the certificate is not valid yet")
    assert found(settings(made["host"], key=str(made["ca"].key)))[0] == "FAIL"


BAD = [
    ({"tls": {"listen": ["127.0.0.1:1"], "cert": "a"}}, "tls.key is missing"),
    ({"tls": {"listen": ["here"], "cert": "a", "key": "b"}}, "tls.listen: 'here' is not HOST:PORT"),
    ({"trust": {"links": ["tls"]}}, "trust.links: anybody may connect with TLS"),
]


@pytest.mark.parametrize(("table", "message"), BAD)
def test_settings_that_make_no_sense_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(table, "meuse.toml")
    assert caught.value.message == f"meuse.toml: {message}"
    assert caught.value.advice


async def opened(host: Host) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    port = int(host.listening.tls[0].address.rsplit(":", 1)[1])
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    return one


async def closed(one: socket.socket) -> bool:
    """Waits for the other side to close."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(one, 1) == b""
    return True


def test_who_never_finishes_a_handshake_is_sent_away(
    made: dict[str, Signed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", 0.3)

    async def scene() -> None:
        async with running(tmp_path, tls=settings(made["host"], max_connections=3), tcp={"listen": []}) as host:
            strangers = [await opened(host) for _ in range(3)]
            await until(lambda: host.bridge.counters.get("tls_handshake") == 3, "all three are counted", 20)
            assert all([await closed(one) for one in strangers])
            link = host.listening.tls[0]
            assert "tls_refused" not in host.bridge.totals() and not host.bridge.sessions
            await until(lambda: not link._handshakes.under_way, "no task stays")  # type: ignore[union-attr]
            for one in strangers:
                one.close()

    asyncio.run(scene())


def test_handshakes_count_as_connections(made: dict[str, Signed], tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, tls=settings(made["host"], max_connections=2), tcp={"listen": []}) as host:
            strangers = [await opened(host) for _ in range(3)]
            await until(lambda: host.bridge.totals().get("tls_refused") == 1, "the third is refused")
            assert await closed(strangers[2])
            for one in strangers:
                one.close()

    asyncio.run(scene())


def test_noise_and_old_versions_change_only_a_counter(made: dict[str, Signed], tmp_path: Path) -> None:
    """A hundred failures are a hundred in the counter, and not a hundred lines."""

    async def scene() -> None:
        async with running(tmp_path, tls=settings(made["host"]), tcp={"listen": []}) as host:
            loop = asyncio.get_running_loop()
            for _ in range(100):
                one = await opened(host)
                await loop.sock_sendall(one, b"GET / HTTP/1.1\r\n\r\n")
                await closed(one)
                one.close()
            await until(lambda: host.bridge.counters.get("tls_handshake") == 100, "all are counted", 20)
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            port = int(host.listening.tls[0].address.rsplit(":", 1)[1])
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=old)
            assert not host.bridge.sessions

    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("meuse.bridge.log.warning", lambda text, *words: lines.append(text % words))
        asyncio.run(scene())
    assert 0 < len(lines) <= 20
    assert lines[0].startswith("tls:127.0.0.1: tls_handshake: ")
