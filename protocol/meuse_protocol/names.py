"""Names for people: of types, elements and codes. Host side; nothing on the wire depends on it."""

from . import messages as m

# Type -> (its name, names of its elements from the first on).
_CONTROL = ("type", "stream")
_RECORD = ("type", "stream", "seq")
FIELDS = {
    m.DATA: _RECORD + ("sid", "n", "t0", "dt", "base", "columns", "bits", "boot_no"),
    m.SINGLE: _RECORD + ("sid", "t0"),  # and the values
    m.SCHEMA: _RECORD + ("sid", "name", "tick_ms", "channels", "ops"),
    m.BLOB: _RECORD + ("subject", "meta", "content"),
    m.BOOT: _RECORD + ("boot_no", "cause", "firmware"),
    m.ANCHOR: _RECORD + ("uptime_ms", "utc_ms", "err_ms", "boot_no"),
    m.RESULT: _RECORD + ("cid", "code", "value"),
    m.GAP: _RECORD + ("first", "last", "reason"),
    m.SEALED: _RECORD + ("content",),
    m.HELLO: _CONTROL
    + ("version", "features", "oldest", "next", "mtu", "window", "device", "schemas", "nonce"),
    m.TIMEQ: _CONTROL + ("token",),
    m.PING: _CONTROL,
    m.FRAG: _CONTROL + ("seq", "offset", "part"),
    m.FRAG0: _CONTROL + ("seq", "total", "part"),
    m.ACK: _CONTROL + ("cum", "window", "more"),  # and pairs of gap and run
    m.WELCOME: _CONTROL + ("version", "features", "alias", "cum", "window", "nonce"),
    m.CMD: _CONTROL + ("cid", "deadline", "op", "arg"),
    m.TIME: _CONTROL + ("token", "utc_ms", "hold_ms"),
    m.NEED: _CONTROL + ("what", "list"),
    m.POLL: _CONTROL + ("cum", "credit"),
    m.ERR: _CONTROL + ("code", "text", "seq"),
}

TYPES = {
    m.DATA: "DATA",
    m.SINGLE: "SINGLE",
    m.SCHEMA: "SCHEMA",
    m.BLOB: "BLOB",
    m.BOOT: "BOOT",
    m.ANCHOR: "ANCHOR",
    m.RESULT: "RESULT",
    m.GAP: "GAP",
    m.SEALED: "SEALED",
    m.HELLO: "HELLO",
    m.TIMEQ: "TIMEQ",
    m.PING: "PING",
    m.FRAG: "FRAG",
    m.FRAG0: "FRAG0",
    m.ACK: "ACK",
    m.WELCOME: "WELCOME",
    m.CMD: "CMD",
    m.TIME: "TIME",
    m.NEED: "NEED",
    m.POLL: "POLL",
    m.ERR: "ERR",
}

BOOT_CAUSES = ("unknown", "power on", "reset pin", "watchdog", "deep sleep", "software")
GAP_REASONS = (
    "",
    "log full",
    "power cut",
    "corrupt flash",
    "set aside",
    "stream closed",
    "unannounced",
    "log wiped",
)
NEEDS = ("schema", "hello", "fragments", "anchor")
ERRORS = ("", "version", "not a PDU", "limit", "content", "conflict", "device")
RESULTS = (
    "done",
    "running",
    "failed",
    "unknown op",
    "bad argument",
    "expired",
    "interrupted",
    "denied",
    "stale",
)
# (type, element) -> what its numbers are called.
CODES = {
    (m.BOOT, "cause"): BOOT_CAUSES,
    (m.GAP, "reason"): GAP_REASONS,
    (m.NEED, "what"): NEEDS,
    (m.ERR, "code"): ERRORS,
    (m.RESULT, "code"): RESULTS,
}
