"""Values are the exact decimal numbers rounded once; what cannot be read is marked, never dropped."""

from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meuse import catalog, dating
from meuse import decode as decoding
from meuse.catalog import Facts, Origin
from meuse.decode import QUALITIES, Stored, decode
from meuse.readings import Readings
from meuse.scale import scale, scaled
from meuse_protocol import messages
from meuse_protocol.schema import Schema

from tests.host.journals import (
    NOON_MS,
    STREAM,
    Journal,
    anchor_record,
    boot_record,
    data_record,
    schema_record,
    single_record,
)

STOVE = Schema(1, "stove", 1_000, [("flue", "Cel", -1, 0), ("door", "", 0, 2), ("note", "", 0, 0)])
NOON_S = NOON_MS // 1_000


def facts(*schemas: Schema) -> Facts:
    known = Facts()
    known.origins[STREAM] = Origin("stove-1", "default", "cellar")
    for schema in schemas:
        known.schemas[STREAM, schema.sid] = schema
    return known


def stored(record: bytes, received_ms: int = NOON_MS) -> Stored:
    return Stored(1, STREAM, 7, record[1], received_ms, record)


def rows_of(record: bytes, known: Facts) -> list[dict[str, object]]:
    """The rows of one record, as dicts with names; the times still as integers."""
    block = decode(stored(record), known)
    assert block is not None
    readings = Readings(known)
    readings.add(block)
    arrays = readings.arrays()
    rows = []
    for i in range(arrays.length):
        row = {name: column[i].item() for name, column in arrays.rows.items()}
        row["channel"] = arrays.series[row["series"]].channel
        row["text"] = arrays.texts[row["text"]]
        row["value"] = None if row.pop("absent") else row["value"]
        row["quality"] = QUALITIES[row["quality"]]
        row["time_quality"] = dating.TIME_QUALITIES[row["time_quality"]]
        rows.append(row)
    return rows


def rounded_once(integer: int, exp10: int) -> float:
    """What Python's own decimal arithmetic says: exact product, then one rounding."""
    with localcontext() as context:
        context.prec = 60
        return float(Decimal(integer).scaleb(exp10))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-(10**6), 10**6),
            st.integers(2**53 - 4, 2**53 + 4),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(-18, 18),
)
def test_a_value_is_the_exact_number_rounded_once(integers: list[int], exp10: int) -> None:
    column = scale(list(integers), exp10, 128, 129)
    expected = [rounded_once(integer, exp10) for integer in integers]
    assert column.value.tolist() == expected
    assert not column.absent.any()
    assert [scaled(integer, exp10) for integer in integers] == expected
    exact = [Fraction(integer) * Fraction(10) ** exp10 for integer in integers]
    assert [float(fraction) for fraction in exact] == expected


def test_every_kind_of_element_becomes_what_it_says() -> None:
    elements: list[object] = [5, True, False, 2.5, float("nan"), "on", b"\x01\xff", None, [-3], [-77]]
    column = scale(elements, -1, decoding.MISSING, decoding.NOT_FINITE)
    values = [None if gone else value for value, gone in zip(column.value, column.absent, strict=True)]
    assert values == [0.5, 1.0, 0.0, 2.5, None, None, None, None, None, None]
    assert column.texts == {5: "on", 6: "01ff"}
    names = [QUALITIES[code] for code in column.quality]
    assert names == ["good"] * 4 + ["not_finite"] + ["good"] * 2 + ["missing", "open", "code_77"]


def test_a_batch_becomes_rows_by_channel_and_time() -> None:
    record = data_record(7, 1, [NOON_S, NOON_S + 1, NOON_S + 3], [[251, 0, "a"], [252, 1, "a"], [[-3], 1, None]])
    rows = rows_of(record, facts(STOVE))
    flue = [row for row in rows if row["channel"] == "flue"]
    assert [row["channel"] for row in rows] == ["door"] * 3 + ["flue"] * 3 + ["note"] * 3
    assert [row["value"] for row in flue] == [25.1, 25.2, None]
    assert [row["quality"] for row in flue] == ["good", "good", "open"]
    assert [row["measured_ms"] for row in flue] == [NOON_MS, NOON_MS + 1_000, NOON_MS + 3_000]
    assert [row["text"] for row in rows][-3:] == ["a", "a", None]
    assert [row["row"] for row in flue] == [0, 1, 2]
    assert {row["seq"] for row in rows} == {7}
    assert {row["time_quality"] for row in rows} == {"synced"}
    assert {(row["boot"], row["uptime_ms"]) for row in rows} == {(-1, -1)}


def test_a_single_reading_without_a_clock_is_undated_until_an_anchor_comes() -> None:
    record = single_record(7, 1, 90, [251, 0, None], boot=4)
    known = facts(STOVE)
    assert {(row["time_quality"], row["uptime_ms"], row["boot"]) for row in rows_of(record, known)} == {
        ("undated", 90_000, 4)
    }
    known.anchors[STREAM, 5] = [dating.Anchor(0, NOON_MS, 20)]  # of another boot
    assert rows_of(record, known)[0]["time_quality"] == "undated"
    known.anchors[STREAM, 4] = [dating.Anchor(100_000, NOON_MS, 20)]
    row = rows_of(record, known)[0]
    assert (row["time_quality"], row["measured_ms"]) == ("repaired", NOON_MS - 10_000)


@pytest.mark.parametrize(
    ("record", "quality"),
    [
        (messages.record(messages.DATA, 7, 1, 2, NOON_S, 1, [1, 2]), "undecodable"),
        (messages.record(messages.DATA, 7, 1, 2, NOON_S, 1, [1, 2], []), "undecodable"),
        (messages.record(messages.DATA, 7, 1, 2, NOON_S, 1, [1, 2, 3], [9], b"\0"), "undecodable"),
        (messages.record(messages.DATA, 7, "x", 2, NOON_S, 1, [1, 2, 3], []), "undecodable"),
        (messages.record(messages.DATA, 7), "undecodable"),
        (messages.record(messages.SINGLE, 7, 1, NOON_S, 1), "undecodable"),
        (messages.record(messages.SINGLE, 7, 1, -5, 1, 2, 3), "undecodable"),
        (messages.record(messages.SINGLE, 7, 9, NOON_S, 1), "unknown_schema"),
        (messages.record(messages.SCHEMA, 7, 1, "x", 0, []), "undecodable"),
        (messages.record(messages.ANCHOR, 7, -5, 0, 0, 1), "undecodable"),
        (messages.record(messages.GAP, 7, 1), "undecodable"),
        (messages.record(messages.BLOB, 7, 1, None, b"boot log"), "raw"),
        (messages.record(14, 7, "from a newer board", [1, [2, [3]]]), "raw"),
    ],
)
def test_what_cannot_be_read_is_one_row_with_the_record_in_it(record: bytes, quality: str) -> None:
    (row,) = rows_of(record, facts(STOVE))
    assert (row["quality"], row["channel"], row["value"]) == (quality, "", None)
    assert row["text"] == record.hex()
    assert (row["time_quality"], row["seq"]) == ("undated", 7)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_byte_of_a_record_can_stop_the_decoder(data: st.DataObject) -> None:
    record = bytearray(
        data_record(7, 1, [NOON_S + i for i in range(9)], [[250 + i * i, i % 2, None] for i in range(9)])
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(3, len(record) - 1))
        record[at] = data.draw(st.integers(0, 255))
    assert rows_of(bytes(record), facts(STOVE))


@pytest.mark.parametrize("time", [0, 5, 2**40, 2**62])
def test_an_absurd_time_is_flagged_and_its_row_kept(time: int) -> None:
    rows = rows_of(single_record(7, 1, time, [1, 2, 3]), facts(STOVE))
    assert len(rows) == 3
    assert {row["time_quality"] for row in rows} == {"absurd"}
    assert {row["measured_ms"] for row in rows} == {min(time * 1_000, dating.LAST_MS // 1_000 * 1_000)}


def test_the_catalog_reads_facts_once_and_keeps_the_first_schema(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    other = Schema(1, "other", 1_000, [("flue", "K", 0, 0)])
    journal.store(schema_record(1, STOVE))
    journal.store(boot_record(2, 4))
    journal.store(anchor_record(3, 5_000, NOON_MS, 30, 4))
    journal.store(schema_record(4, other))
    journal.store(messages.record(messages.SCHEMA, 5, 1, "broken", 0, []))
    db = journal.writer._db
    before = catalog.load(db)  # from the records alone
    found = catalog.find(db)
    assert (len(found.facts), found.last_id, found.worth_commit) == (4, 5, True)
    for _ in range(2):  # a crash before the cursor moved makes the second one
        catalog.store(db, found, NOON_MS)
    assert catalog.find(db).worth_commit is False
    after = catalog.load(db)
    for known in (before, after):
        assert known.schemas[STREAM, 1].channels == STOVE.channels
        assert known.anchors == {(STREAM, 4): [(5_000, NOON_MS, 30)]}
        assert known.origin(STREAM) == ("stove-1", "default", "default")
    assert db.execute("SELECT boot, cause, firmware, seq FROM boots").fetchall() == [(4, 1, "0.1.0", 2)]
    journal.close()


@pytest.mark.parametrize("sid", [0, 128, 1 << 31, (1 << 32) - 1])
def test_a_schema_id_that_cannot_be_waits_for_no_schema(sid: int) -> None:
    """Nor may it break the table for everybody else."""
    (row,) = rows_of(messages.record(messages.SINGLE, 7, sid, NOON_S, 1), facts(STOVE))
    assert row["quality"] == "undecodable" and row["text"]
