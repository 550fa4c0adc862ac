"""What a technician reads and types, number by number."""

from meuse_board.typed import meant
from meuse_board.wording import decimal, span, utc_text


def test_decimals_without_floats():
    assert decimal(215, -1) == "21.5"
    assert decimal(-5, -2) == "-0.05"
    assert decimal(0, -3) == "0.000"
    assert decimal(7, 0) == "7"
    assert decimal(7, 2) == "700"
    assert decimal(-123456789012345, -3) == "-123456789012.345"


def test_spans_in_their_two_largest_units():
    assert [span(ms) for ms in (0, 999, 1000, 59_999)] == ["0 ms", "999 ms", "1 s", "59 s"]
    assert span(61_000) == "1 min 1 s"
    assert span(7_260_000) == "2 h 1 min"
    assert span(90_000_000) == "1 d 1 h"


def test_a_line_as_it_was_meant():
    assert meant(b"status") == "status"
    assert meant(b"stx\bat\x7ftus") == "status"
    assert meant(b"\b\x7f") == ""
    assert meant(b"\x1b[Ahelp\xa6") == "[Ahelp"


def test_text_is_the_same_under_both_epochs():
    def gmtime_1970(seconds):
        return calendar(seconds, 1970)

    def gmtime_2000(seconds):
        return calendar(seconds, 2000)

    at_ms = 1_788_012_187_999
    assert utc_text(at_ms, gmtime_1970) == "2026-08-29 14:03:07 UTC"
    assert utc_text(at_ms, gmtime_2000) == "2026-08-29 14:03:07 UTC"


def calendar(seconds, year):
    """time.gmtime of a port whose epoch begins with `year`."""
    days, second = seconds // 86400, seconds % 86400
    while True:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if days < 365 + leap:
            break
        days -= 365 + leap
        year += 1
    month = 1
    for length in (31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31):
        if days < length:
            break
        days -= length
        month += 1
    return (year, month, days + 1, second // 3600, second % 3600 // 60, second % 60, 0, 0)
