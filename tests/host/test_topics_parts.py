"""The parts of publishing, without a broker: lanes, the shelf, newest values, who is silent, messages too long."""

import msgspec
import numpy as np
from meuse import catalog, decode
from meuse.catalog import Origin
from meuse.decode import Stored
from meuse.presence import Presence
from meuse.topics import forms, progress, states
from meuse.topics.lane import Lane
from meuse.topics.latest import Latest
from meuse.topics.names import milliseconds, moment
from meuse.topics.shelf import Shelf
from meuse.topics.states import Heard
from meuse_protocol import columns, messages
from meuse_protocol.received import RangeSet
from meuse_protocol.schema import Schema

from tests.topics_listener import validator

READINGS = validator({"$ref": "#/components/schemas/readings"})
NOON = 1_767_268_800_000
ORIGIN = Origin("stove-1", "default", "default")
CHANNELS = [("flue_temp", "Cel", -1, 0), ("code", "", 0, 2)]
MINUTE = 60_000


def block_of(times: list[int], rows: list[list[object]], seq: int = 1, received_ms: int = NOON) -> decode.Block:
    facts = catalog.Facts()
    facts.schemas[7, 1] = Schema(1, "stove", 1, CHANNELS)
    record = messages.record(messages.DATA, seq, *columns.encode(1, times, rows))
    block = decode.decode(Stored(seq, 7, seq, messages.DATA, received_ms, record), facts)
    assert block is not None and block.quality == decode.GOOD
    return block


def take(latest: Latest, block: decode.Block) -> bool:
    return latest.take(block, forms.timed(block), ORIGIN)


def test_a_lane_is_done_only_as_far_as_everything_before_is() -> None:
    lane = Lane(10)
    first, none, last = lane.add(11, 2), lane.add(12, 0), lane.add(13, 1)
    last.left -= 1
    assert lane.settle() == [] and lane.done == 10
    first.left -= 2
    assert lane.settle() == [11, 12, 13] and lane.done == lane.read == 13 and none.left == 0 and lane.idle
    lane.add(14, 1)
    lane.restart()
    assert lane.read == 13 and lane.idle


def test_ranges_are_clipped_to_what_one_step_reads() -> None:
    ids = RangeSet()
    for first, last in ((5, 6), (9, 9), (100, 5_000)):
        ids.add_range(first, last)
    assert progress.clipped(ids, 1, 100) == [(5, 6), (9, 9), (100, 104)]
    assert progress.clipped(ids, 105, 100) == [(105, 204)]
    assert progress.clipped(ids, 5_001, 100) == []
    state = progress.Progress(9_000, ids, RangeSet(), 0, 0, 0, RangeSet(), progress.NEVER)
    assert state.safe == 4 and state._replace(late=RangeSet()).safe == 9_000


def test_progress_is_bounded_at_the_price_of_publishing_twice() -> None:
    ids = RangeSet()
    for number in range(2, 2 * progress.MAX_RANGES + 4, 2):
        ids.add(number)
    progress.bound(ids)
    assert len(ids.ranges()) == 1 and ids.contains(3)


def test_the_shelf_publishes_what_changed_and_everything_to_a_new_broker() -> None:
    shelf = Shelf({"a": b"1"})
    assert list(shelf.take(9)) == [("a", b"1")]
    shelf.put("a", b"1")
    shelf.put("b", b"2")
    assert list(shelf.take(9)) == [], "it is written down first"
    assert shelf.unnamed(9) == {"b": b"2"}
    shelf.named(["b"])
    assert shelf.unnamed(9) == {} and list(shelf.take(9)) == [("b", b"2")]
    shelf.again()
    assert list(shelf.take(1)) == [("a", b"1")] and list(shelf.take(9)) == [("b", b"2")]
    shelf.pass_by("b", b"over")
    assert list(shelf.take(9)) == [("b", b"over")]
    shelf.acknowledged("b", b"over")
    assert list(shelf.take(9)) == [("b", b"")]
    assert shelf.unsaved("b") == []
    shelf.not_saved(shelf.unsaved())
    assert dict(shelf.unsaved()) == {"b": b""}
    shelf.acknowledged("b", b"")
    assert dict(shelf.unsaved()) == {"b": None} and shelf.topics() == ["a"]
    shelf.put("b", b"3")
    assert shelf.unnamed(9) == {"b": b"3"}, "nothing of it is written down any more"


def test_the_newest_is_the_one_measured_last_not_the_one_that_came_last() -> None:
    latest = Latest()
    assert take(latest, block_of([NOON - 20, NOON - 5, NOON - 10], [[200, 1], [201, 2], [202, 3]], 1))
    assert not take(latest, block_of([NOON - 60_000], [[999, 9]], 2, NOON + 1))
    assert not take(latest, block_of([NOON + 10**11], [[999, 9]], 3))  # a day that cannot be
    assert not take(latest, block_of([NOON - 5], [[777, 7]], 0))  # measured at once, and made before
    topic, payload = latest.message("stove-1", NOON)
    shown = msgspec.json.decode(payload)["channels"]["flue_temp"]
    assert topic == "meuse/default/default/stove-1/latest"
    assert (shown["value"], shown["row"], shown["seq"], shown["age_ms"]) == (20.1, 1, 1, 5)
    again = Latest()
    again.restore(payload)
    assert again.message("stove-1", NOON) == (topic, payload)


def test_a_silent_sensor_is_not_a_silent_board() -> None:
    latest = Latest()
    take(latest, block_of([NOON], [[200, 1]], 1))
    take(latest, block_of([NOON + MINUTE], [[[-1], 1]], 2, NOON + MINUTE))
    take(latest, block_of([NOON + 2 * MINUTE], [[[-1], 1]], 3, NOON + 2 * MINUTE))
    known = Presence("stove-1", "tcp:1", 1, NOON, NOON + 2 * MINUTE)

    def seen(now_ms: int) -> tuple[str, list[tuple[str, str, str]], set[str]]:
        state = states.presence(known, Heard(), now_ms, 5 * MINUTE)
        sensors = states.silent_sensors(latest.devices["stove-1"], state["presence"], now_ms, 5 * MINUTE)
        told = states.message(ORIGIN, state, sensors, None)
        firing = states.alerts(told, now_ms, known.heard_ms, 5 * MINUTE)
        return state["presence"], [(each["channel"], each["quality"], each["since"]) for each in sensors], set(firing)

    no_answer = ("flue_temp", "device_missing", moment(NOON + MINUTE))
    assert seen(NOON + 3 * MINUTE) == ("online", [no_answer], {"sensor-flue_temp"})
    known.heard_ms = NOON + 10 * MINUTE  # a heartbeat, and no readings
    quiet = ("code", "no_readings", moment(NOON + 2 * MINUTE))
    assert seen(NOON + 10 * MINUTE) == ("online", [quiet, no_answer], {"sensor-flue_temp", "sensor-code"})
    assert seen(NOON + 16 * MINUTE) == ("silent", [no_answer], {"board-silent", "sensor-flue_temp"})
    known.links = 0
    assert seen(NOON + 11 * MINUTE)[0] == "offline" and "board-silent" not in seen(NOON + 11 * MINUTE)[2]


def test_a_channel_that_reports_seldom_is_given_its_time() -> None:
    latest = Latest()
    for hour in range(2):
        at = NOON + hour * 60 * MINUTE
        take(latest, block_of([at], [[200, 1]], hour + 1, at))
    now_ms = NOON + 60 * MINUTE + 100 * MINUTE
    assert states.silent_sensors(latest.devices["stove-1"], "online", now_ms, 35 * MINUTE) == []


def test_a_record_that_unpacks_to_megabytes_goes_in_pieces() -> None:
    """1,024 rows of a long text: 70 bytes on the wire for each that changes, one for all that do not."""
    rows: list[list[object]] = [["x" * 3_000, 1] for _ in range(1_024)]
    block = block_of([NOON - 1_024 + at for at in range(1_024)], rows)
    pieces = list(forms.pieces(forms.readings(block, forms.timed(block), ORIGIN, "stove")))
    assert len(pieces) > 20 and max(map(len, pieces)) <= forms.MAX_BYTES
    found = [row["row"] for piece in pieces for row in msgspec.json.decode(piece)["rows"]]
    assert found == list(range(1_024))


def test_rows_stand_in_order_of_measured_time() -> None:
    times = [NOON - 10, NOON - 30, NOON - 20]
    block = block_of(times, [[1, 1], [2, 2], [None, "on"]])
    form = forms.readings(block, forms.timed(block), ORIGIN, "stove")
    assert [(row["row"], row["values"]["code"]) for row in form["rows"]] == [(1, 2), (2, "on"), (0, 1)]
    assert form["rows"][1]["quality"] == {"flue_temp": "missing"} and "quality" not in form["rows"][0]
    assert form["rows"][0]["measured_at"] == moment(NOON - 30)


def test_moments_are_read_as_they_are_written() -> None:
    for ms in (0, 1, 999, NOON + 7, int(np.iinfo(np.int32).max) * 1_000 + 999, 253_402_300_799_999):
        assert milliseconds(moment(ms)) == ms


def test_whatever_a_board_may_send_is_a_message_that_the_document_describes() -> None:
    """The edges of the wire's integers, scales and times, and everything that is no number."""
    extremes: list[object] = [2**63 - 1, -(2**63), 0, 1e308, float("nan"), float("inf"), "", "\u20ac\x00", b"\xff"]
    extremes += [True, None, [-1], [-127]]
    for exp10 in (-18, 0, 18):
        channels = [("flue_temp", "Cel", exp10, 0), ("code", "", exp10, 2)]
        facts = catalog.Facts()
        facts.schemas[7, 1] = Schema(1, "stove", 3_600_000, channels)
        for element in extremes:
            for tick, boot in ((0, None), (2**62, None), (0, 3), (2**62, 3)):
                record = messages.record(messages.SINGLE, 1, *columns.single(1, tick, [element, 1], boot))
                block = decode.decode(Stored(1, 7, 1, messages.SINGLE, NOON, record), facts)
                assert block is not None
                form = forms.readings(block, forms.timed(block), ORIGIN, "stove")
                (payload,) = forms.pieces(form)
                READINGS.validate(msgspec.json.decode(payload))
                assert msgspec.msgpack.decode(next(forms.pieces(form, forms.to_msgpack))) == msgspec.json.decode(
                    payload
                )
                latest = Latest()
                if latest.take(block, forms.timed(block), ORIGIN):
                    latest.message("stove-1", NOON)
