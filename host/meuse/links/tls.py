"""TLS in front of a TCP listener: who the host says it is, whom it lets in, and what became of handshakes.

Owns the certificate's files and the time before a connection is one; the bytes of a connection are tcp.py's. Strangers
that never finish a handshake are sent away after a while and count as connections until then.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from meuse.errors import ConfigError
from meuse.settings import TlsSettings

KIND = "tls"

# A microcontroller takes seconds for its part; a stranger gets no more than this.
HANDSHAKE_S = 20.0

EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
NOT_YET = 9  # X509_V_ERR_CERT_NOT_YET_VALID


def load(settings: TlsSettings) -> ssl.SSLContext:
    """What the settings name, ready to accept boards; raises ConfigError that names file and remedy."""
    cert, key = _readable(settings.cert, "tls.cert"), _readable(settings.key, "tls.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert, "tls.cert")  # only to see whether it is one
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # never ask a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"tls.key: {key} is not the key of {cert}", "name the key it was made with") from error
        raise ConfigError(f"tls.key: {key} holds no usable key", "name a PEM file without password") from error
    if settings.client_ca:
        _trust(context, _readable(settings.client_ca, "tls.client_ca"), "tls.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _trust(context: ssl.SSLContext, name: str, where: str) -> None:
    try:
        context.load_verify_locations(name)
    except ssl.SSLError as error:
        raise ConfigError(f"{where}: {name} holds no certificate", "name a PEM file: BEGIN CERTIFICATE") from error


def _readable(name: str, where: str) -> str:
    try:
        with Path(name).open("rb") as file:
            file.read(1)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"{where}: cannot read {name!r}: {why}", "correct the path, or its rights") from error
    return name


def out_of_date(settings: TlsSettings) -> str:
    """What a board with a clock will find wrong with the certificate's dates; empty when nothing.

    Asks OpenSSL itself: a handshake in memory, with the certificate as its own anchor.
    """
    host = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    host.load_cert_chain(settings.cert, settings.key, password=lambda: "")
    board = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    board.check_hostname = False
    board.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    board.load_verify_locations(settings.cert)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (board.wrap_bio(down, up), host.wrap_bio(up, down, server_side=True))
    try:
        for end in ends * 3:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        words = {EXPIRED: "has expired", NOT_YET: "is not valid yet"}
        return words.get(error.verify_code, "")
    return ""


class Ready(Protocol):
    """A connection of tcp.py, which begins when its handshake is through."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...


class Handshakes:
    """Those under way on one listener. `failed(peer, why)` is told of each that came to nothing."""

    def __init__(self, context: ssl.SSLContext, failed: Callable[[str, str], None]) -> None:
        self._context = context
        self._failed = failed
        self.under_way: set[asyncio.Task[None]] = set()

    def begin(self, transport: asyncio.BaseTransport, connection: Ready) -> None:
        task = asyncio.get_running_loop().create_task(self._shake(cast(asyncio.Transport, transport), connection))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    def close(self) -> None:
        for task in self.under_way:
            task.cancel()

    async def _shake(self, transport: asyncio.Transport, connection: Ready) -> None:
        peer = (transport.get_extra_info("peername") or ("unknown",))[0]
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                cast(asyncio.BaseProtocol, connection),
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError as error:
            self._failed(peer, reason(error))
            return
        if secured is None or secured.is_closing():
            self._failed(peer, "cut off")
            return
        connection.connection_made(secured)


def reason(error: Any) -> str:
    """OpenSSL's words without its own file names; what is none of OpenSSL's in ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return "not finished in time" if isinstance(error, ConnectionAbortedError) else "cut off"
