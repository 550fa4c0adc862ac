"""Batches: closed by rows, age, alarm and size; each record stands by itself."""

from meuse_board.batcher import OVERHEAD, Batcher, bytes_of
from meuse_board.clock import Clock
from meuse_board.sampler import Group
from meuse_protocol.columns import encode
from meuse_protocol.messages import DATA, SINGLE, record, splice


class Bench:
    """A group and a batcher over a list for a log."""

    def __init__(self, max_pdu=1024, channels=2, **settings):
        settings["name"] = "bench"
        settings["period_ms"] = settings["tick_ms"] = 1000
        settings["channels"] = [{}] * channels
        self.group = Group(settings, [None] * channels)
        self.group.sid = 7
        self.clock = Clock(lambda: 0, lambda a, b: a - b, 3)
        self.records = []
        self.batcher = Batcher([self.group], self.clock, max_pdu, self.append, lambda: 0xFFFFFFFF)

    def append(self, kind, body, urgent):
        self.records.append((kind, list(body), urgent))

    def rows(self):
        return [1 if kind == SINGLE else body[1] for kind, body, _ in self.records]


def test_closes_at_max_rows():
    b = Bench(max_rows=3)
    for i in range(7):
        b.batcher.add(b.group, i * 1000, [i, 2 * i], False)
    assert b.rows() == [3, 3]
    assert len(b.group.rows) == 1


def test_closes_at_max_age_and_says_when():
    b = Bench(max_age_ms=5000)
    b.batcher.add(b.group, 1000, [1, 2], False)
    b.batcher.add(b.group, 2000, [1, 2], False)
    assert b.batcher.step(5999) == 6000
    assert b.records == []
    b.batcher.step(6000)
    assert b.rows() == [2]
    assert b.batcher.step(6000) > 6000


def test_an_alarm_closes_at_once_and_is_urgent():
    b = Bench()
    b.batcher.add(b.group, 1000, [1, 2], False)
    b.batcher.add(b.group, 2000, [9, 2], True)
    assert b.rows() == [2]
    assert b.records[0][2]


def test_one_row_goes_as_single_and_carries_its_boot():
    b = Bench(max_rows=1)
    b.batcher.add(b.group, 5000, [215, [-3]], False)
    assert b.records == [(SINGLE, [7, -6, 215, [-3], 3], False)]


def test_times_are_utc_once_it_is_known_for_all_rows_of_the_batch():
    b = Bench(max_rows=2)
    b.batcher.add(b.group, 5000, [1, 2], False)
    b.clock.sync(1_790_000_000_000, 10)
    b.batcher.add(b.group, 6000, [1, 2], False)
    kind, body, _ = b.records[0]
    assert kind == DATA
    assert body[2] == 1_790_000_005
    assert body[3] == 1


def test_every_record_fits_the_smallest_packet():
    for max_pdu in (60, 120, 300):
        b = Bench(max_pdu=max_pdu, channels=8, max_rows=60)
        stored = []

        def append(kind, body, urgent):
            size = len(splice(record(kind, 0xFFFFFFFF, *body), 0xFFFFFFFF)) + 8
            assert size <= max_pdu or kind == SINGLE, (max_pdu, size, body[1])
            stored.append(1 if kind == SINGLE else body[1])

        batcher = Batcher([b.group], b.clock, max_pdu, append, lambda: 0xFFFFFFFF)
        noise = 12345
        for i in range(100):
            row = []
            for _ in range(8):
                noise = (noise * 69069 + 12345) & 0x3FFFFFFF
                row.append(noise >> (noise & 15))
            batcher.add(b.group, i * 1000, row, False)
        batcher.close(b.group)
        assert sum(stored) == 100


def test_small_changes_fill_a_packet_well():
    b = Bench(max_pdu=222, channels=8, max_rows=1000)
    for i in range(300):
        b.batcher.add(b.group, i * 1000, [20 + (i >> 3 & 1)] * 8, False)
    assert min(b.rows()) >= 40, b.rows()


def test_the_estimate_is_not_below_what_a_list_takes():
    assert bytes_of([0, 0, 0, 0], [0, 0, 0, 0]) == 2
    assert bytes_of([1 << 20], [0]) >= 5
    assert OVERHEAD >= 5 + 8


def test_a_heap_too_small_for_the_batch_makes_smaller_ones():
    def heap_for_8_rows(sid, times, rows, boot):
        if len(rows) > 8:
            raise MemoryError
        return encode(sid, times, rows, boot)

    b = Bench(max_rows=60)
    batcher = Batcher([b.group], b.clock, 1024, b.append, lambda: 1, heap_for_8_rows)
    for i in range(60):
        batcher.add(b.group, i * 1000, [i, -i], False)
    assert sum(b.rows()) == 60
    assert max(b.rows()) <= 8
