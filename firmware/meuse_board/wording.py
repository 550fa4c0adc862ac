"""Numbers and times as people write them. Pure; refuses to know who says what to whom."""

EPOCH_2000_S = 946684800  # ESP32 counts from 2000-01-01, RP2 and Unix from 1970-01-01


def decimal(value: int, exp: int) -> str:
    """value * 10**exp without a float: a board's float has 24 bits."""
    if exp >= 0:
        return str(value * 10**exp)
    digits = "%0*d" % (1 - exp, abs(value))
    return ("-" if value < 0 else "") + digits[:exp] + "." + digits[exp:]


def span(ms: int) -> str:
    """A length of time in its two largest units."""
    if ms < 1000:
        return "%d ms" % ms
    s = ms // 1000
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size:
            return "%d %s %d %s" % (s // size, unit, s % size // part, small)
    return "%d s" % s


def utc_text(utc_ms: int, gmtime) -> str:
    """'2026-08-29 14:03:07 UTC', with the port's own gmtime, whatever its epoch."""
    epoch_s = EPOCH_2000_S if gmtime(0)[0] == 2000 else 0
    return "%d-%02d-%02d %02d:%02d:%02d UTC" % tuple(gmtime(utc_ms // 1000 - epoch_s)[:6])
