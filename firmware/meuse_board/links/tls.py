"""TLS on a connected socket: the host proves who it is, and so does the board where it has a certificate.

Nothing waits: each begin() is one step of the handshake. MicroPython's ssl takes DER only, and mbedTLS itself compares
names and, with the board's clock, dates. Owns the words for refusals; refuses to know what travels.
"""

import ssl


def wrap(settings: dict, sock):
    """A stream over `sock`, which must not block; its handshake is still to come. OSError: these are no certificates.

    ca: whom the board believes, a CA's certificate or the host's own; cert, client_key: the board's, both or none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=settings["ca"])
        if "cert" in settings:
            context.load_cert_chain(settings["cert"], settings["client_key"])
    except ValueError as problem:
        raise OSError("TLS: ca, cert or client_key: %s" % problem)
    name = settings.get("server_name") or settings["host"]
    return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)


def begin(stream, data: bytes):
    """Writes the first bytes -> how many; None while the handshake goes on. OSError says in words who refuses whom."""
    try:
        return stream.write(data)
    except ValueError as problem:
        raise OSError("TLS: this board refuses the host: " + " ".join(str(problem).split()))
    except OSError as problem:
        raise OSError("TLS: the host hung up (%d): does it want another certificate of this board?" % problem.errno)
