"""What the log does, case by case, on littlefs in a chip in RAM. Run by cases.py."""

import os
import random

import vfs
from flash import ERASE, RamFlash, mount
from meuse_board.flash_log import RETRY_MS, FlashLog
from meuse_protocol.messages import (
    ANCHOR,
    BOOT,
    DATA,
    GAP_CORRUPT,
    GAP_LOG_FULL,
    GAP_POWER_CUT,
    SCHEMA,
)
from model import gap_of

FOLDER = "/main/log"


class Chip:
    """A mounted chip with a log on it; `reboot` is a power cut, `close` first makes it a clean one."""

    def __init__(self, blocks=32, program_bytes=32, **settings):
        self.flash = RamFlash(blocks)
        self.settings = settings
        self.program_bytes = program_bytes
        self.random = 0x1234567
        mount(self.flash, "/main", program_bytes)
        self.reboot()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.flash.dead = False
        self.flash.fail = None
        vfs.umount("/main")

    def reboot(self):
        vfs.umount("/main")
        mount(self.flash, "/main", self.program_bytes)
        self.log = FlashLog(FOLDER, lambda: self.random, **self.settings)
        return self.log

    def fill(self, count, size=40, kind=DATA):
        return [self.log.append(kind, (1, i, bytes([i & 255]) * size)) for i in range(count)]

    def gaps(self):
        records = [self.log.get(seq) for seq in range(self.log.oldest(), self.log.next_seq())]
        return [tuple(gap_of(r)) for r in records if r and gap_of(r)]

    def files(self):
        return sorted([n for n in os.listdir(FOLDER) if n != "head"])


def test_a_new_log_has_a_stream_of_its_own_and_counts_from_one():
    with Chip() as chip:
        assert chip.log.stream == 0x81234567
        assert (chip.log.next_seq(), chip.log.oldest(), chip.log.backlog()) == (1, 1, 0)
        assert chip.log.boot_no == 1
        assert chip.fill(3) == [1, 2, 3]
        assert chip.log.get(2) == b"\x96\x01\x02\x01\x01\xc4\x28" + b"\x01" * 40
        assert chip.log.get(4) is None


def test_a_clean_stop_leaves_no_gap():
    with Chip() as chip:
        chip.fill(5)
        kept = [chip.log.get(seq) for seq in range(1, 6)]
        assert chip.log.close()
        log = chip.reboot()
        assert (log.stream, log.boot_no, log.next_seq()) == (0x81234567, 2, 6)
        assert [log.get(seq) for seq in range(1, 6)] == kept
        assert chip.gaps() == []


def test_after_a_power_cut_numbering_goes_on_at_the_reserved_edge_and_a_gap_says_so():
    with Chip() as chip:
        chip.fill(5)
        chip.log.flush()
        chip.fill(3)  # perhaps sent, never flushed
        log = chip.reboot()
        assert log.get(5) and log.get(6) is None
        assert chip.gaps() == [(6, 64, GAP_POWER_CUT)]
        assert log.next_seq() == 66
        log = chip.reboot()  # the GAP itself was not flushed either
        assert chip.gaps() == [(6, 128, GAP_POWER_CUT)]


def test_a_record_acknowledged_before_its_flush_is_never_written():
    with Chip() as chip:
        chip.fill(40)
        chip.log.acked(31, [(35, 38)])
        chip.log.flush()
        assert [seq for seq in range(1, 41) if chip.log.get(seq)] == [31, 32, 33, 34, 39, 40]
        before = chip.flash.programmed_bytes
        for i in range(40):
            seq = chip.log.append(DATA, (1, i, b"x" * 100))
            chip.log.acked(seq + 1)
            chip.log.tick(i * 1000)
        assert chip.log.flushes == 1
        assert chip.flash.programmed_bytes - before < 1000, "numbers are reserved, nothing else"


def test_ticks_flush_by_count_by_size_and_by_age():
    with Chip(flush_records=4, flush_bytes=1000, flush_age_ms=5000) as chip:
        log = chip.log
        chip.fill(3)
        log.tick(0)
        log.tick(4999)
        assert log.flushes == 0
        log.tick(5000)
        assert log.flushes == 1
        chip.fill(3)
        log.tick(5001)
        assert log.flushes == 1
        chip.fill(1)
        log.tick(5002)
        assert log.flushes == 2
        chip.fill(2, 500)
        log.tick(5003)
        assert log.flushes == 3


def test_an_alarm_is_on_flash_at_once_with_all_before_it():
    with Chip() as chip:
        chip.fill(2)
        chip.log.append(DATA, (1, 2, b"alarm"), True)
        log = chip.reboot()
        assert log.get(1) and log.get(2) and log.get(3)


def test_whole_acknowledged_segments_are_deleted():
    with Chip(segment_bytes=500, flush_records=4) as chip:
        for _ in range(8):
            chip.fill(4)
            chip.log.tick(0)
        names = chip.files()
        assert len(names) == 4
        chip.log.acked(int(names[1], 16))
        chip.log.tick(0)
        assert chip.files() == names[1:]
        chip.log.acked(chip.log.next_seq())
        chip.log.tick(0)
        assert chip.files() == []
        log = chip.reboot()
        assert chip.gaps() == [(33, log.next_seq() - 2, GAP_POWER_CUT)]
        assert log.oldest() == 33, "the acknowledgements are remembered"


def test_a_full_log_drops_its_oldest_and_announces_it():
    with Chip(segment_bytes=500, max_segments=3, flush_records=4) as chip:
        for _ in range(16):
            chip.fill(4)
            chip.log.tick(0)
        log = chip.log
        assert len(chip.files()) == 3
        first = int(chip.files()[0], 16)
        assert log.get(first) and log.get(first - 1) is None
        assert (1, first - 1, GAP_LOG_FULL) in chip.gaps(), "the newest GAP covers all of it"
        assert log.dropped == first - 1
        chip.log.close()
        chip.reboot()
        assert (1, first - 1, GAP_LOG_FULL) in chip.gaps()


def test_what_later_records_need_is_written_again_before_it_is_dropped():
    with Chip(segment_bytes=500, max_segments=3, flush_records=4) as chip:
        log = chip.log
        schema = [[1, "main", 1000, [["a", "Cel", -1]]], [2, "slow", 1000, [["b", "Pa", 0]]]]
        log.append(BOOT, (1, 1, "old"))
        log.append(BOOT, (2, 1, "new"))
        log.append(SCHEMA, schema[0])
        log.append(SCHEMA, schema[1])
        log.append(ANCHOR, (1000, 1763913600123, 20, 2))
        for _ in range(40):
            chip.fill(4)
            log.tick(0)
        found = [log.get(seq) for seq in range(log.oldest(), log.next_seq())]
        kinds = [r[1 if r[0] < 0xDC else 3] for r in found if r]
        assert kinds.count(SCHEMA) == 2
        assert kinds.count(BOOT) == 1 and kinds.count(ANCHOR) == 1
        assert [r for r in found if r and b"new" in r]
        assert not [r for r in found if r and b"old" in r]


def test_a_full_file_system_costs_the_oldest_records_only():
    with Chip(blocks=12, segment_bytes=4096, max_segments=50) as chip:
        for _ in range(30):
            chip.fill(16, 100)
            chip.log.tick(0)
        log = chip.log
        assert log.errors > 0 and log.dropped > 0
        newest = [seq for seq in range(1, log.next_seq()) if log.get(seq)]
        assert len(newest) > 100
        missing = [seq for seq in range(log.oldest(), log.next_seq()) if not log.get(seq)]
        assert not [s for s in missing if not any([a <= s <= b for a, b, _ in chip.gaps()])]


def test_a_flash_that_refuses_costs_no_flushed_record_and_is_asked_again():
    with Chip(reserve=1024) as chip:
        chip.fill(4)
        chip.log.flush()
        chip.flash.fail = lambda kind, block: 5 if kind else 0
        for i in range(400):
            chip.log.append(DATA, (1, i, b"x" * 60))
            chip.log.tick(i)
        assert chip.log.errors and chip.log.refused
        assert chip.log.get(1) and chip.log.get(4) and chip.log.get(5)
        room = sum([len(chip.log.get(s) or b"") for s in range(5, chip.log.next_seq())])
        assert room < 4 * 2048 + 200, "RAM is bounded"
        chip.flash.fail = None
        chip.log.tick(400 + RETRY_MS)
        assert chip.log.append(DATA, (1, 1, b"again"))
        lost = [g for g in chip.gaps() if g[2] == GAP_LOG_FULL]
        assert len(lost) == 1 and chip.log.get(lost[0][0]) is None
        assert chip.log.get(lost[0][0] - 1) and chip.log.get(lost[0][1] + 1)


def test_a_number_that_cannot_be_reserved_is_not_given():
    with Chip() as chip:
        chip.flash.fail = lambda kind, block: 5 if kind else 0
        seqs = [s for s in chip.fill(100) if s]
        assert seqs == list(range(1, 65)) and chip.log.refused == 36
        chip.flash.fail = None
        assert chip.fill(1) == [65]
        chip.log.flush()
        assert chip.reboot().get(64)


def test_a_dead_flash_means_a_log_in_ram_with_a_stream_of_its_own():
    with Chip() as chip:
        chip.fill(3)
        chip.log.flush()
        chip.random = 77
        chip.flash.dead = True
        log = FlashLog(FOLDER, lambda: chip.random)
        assert log.volatile and log.stream == 0x80000000 | 77
        seq = log.append(DATA, (1, 2, b"x"), True)
        assert log.get(seq) and not log.flush()
        log.acked(seq + 1)
        assert log.backlog() == 0
        chip.flash.dead = False
        assert chip.reboot().stream == 0x81234567, "what is on flash was left alone"
        assert chip.log.get(3)


def test_a_lost_head_means_a_new_stream_without_old_records():
    with Chip() as chip:
        chip.fill(3)
        chip.log.flush()
        os.remove(FOLDER + "/head")
        chip.random = 99
        log = chip.reboot()
        assert (log.stream, log.next_seq(), log.boot_no) == (0x80000000 | 99, 1, 1)
        assert log.get(1) is None and chip.files() == []


def flip(chip, text, bit=1):
    """Changes one bit of `text` on the chip, behind littlefs' back."""
    at = bytes(chip.flash.cells).find(text)
    assert at > 0
    chip.flash.cells[at] ^= bit


def corrupted(where, bit=1):
    with Chip() as chip:
        for i in range(20):
            chip.log.append(DATA, (1, i, b"record %02d " % i * 8))
        chip.log.close()
        at = bytes(chip.flash.cells).find(b"record 07") + where
        chip.flash.cells[at] ^= bit
        chip.reboot()
        found = [seq for seq in range(1, 21) if chip.log.get(seq)]
        assert [seq for seq in range(1, 21) if seq not in found] == [8]
        assert chip.log.corrupt == 1
        chip.log.tick(0)
        assert chip.gaps() == [(8, 8, GAP_CORRUPT)]
        assert [seq for seq in range(1, 21) if chip.log.get(seq)] == found
        chip.log.tick(0)
        assert chip.gaps()[0] == (8, 8, GAP_CORRUPT)


def test_a_corrupt_record_is_skipped_and_announced():
    corrupted(5)


def test_a_corrupt_length_does_not_hide_what_follows():
    corrupted(-13, 0x40)  # the frame's length, high byte: longer than the segment
    corrupted(-12, 0x01)  # low byte: one byte more or less


def test_a_torn_tail_is_dropped_and_the_log_goes_on_behind_it():
    with Chip() as chip:
        chip.fill(4)
        chip.log.close()
        with open(FOLDER + "/00000001", "ab") as f:
            f.write(b"\x00\x2fhalf a frame")
        log = chip.reboot()
        assert log.get(4) and log.next_seq() == 5
        assert chip.fill(2) == [5, 6]
        log.flush()
        assert chip.files() == ["00000001", "00000005"]
        log.close()
        log = chip.reboot()
        assert [seq for seq in range(1, 8) if log.get(seq)] == [1, 2, 3, 4, 5, 6]


def test_files_of_others_are_left_alone():
    with Chip() as chip:
        chip.fill(2)
        chip.log.close()
        names = ("note.txt", "0000004", "000000041", "DEADBEEF", "00000zzz", "head.new")
        for name in names:
            with open(FOLDER + "/" + name, "wb") as f:
                f.write(b"\x00\x04\x00\x00\x00\x00junk")
        os.mkdir(FOLDER + "/00000777")
        with open(
            FOLDER + "/00000aaa", "wb"
        ) as f:  # named like a segment, empty like one just begun
            f.write(b"")
        log = chip.reboot()
        assert log.get(2) and log.next_seq() == 3 and not log.errors
        chip.fill(60)
        log.flush()
        log.acked(log.next_seq())
        log.tick(0)
        left = os.listdir(FOLDER)
        assert [n for n in names if n not in left] == [] and "00000777" in left
        assert "00000aaa" not in left


def test_reading_in_order_reads_each_byte_about_once():
    with Chip(blocks=64) as chip:
        for _ in range(8):
            chip.fill(32, 60)
            chip.log.flush()
        chip.flash.reads = 0
        assert [s for s in range(1, 257) if not chip.log.get(s)] == []
        in_order = chip.flash.reads
        assert in_order < 256 * 60, in_order  # reads of 32 to 128 bytes, opening included
        holes = chip.log.next_seq()
        chip.log.acked(holes)
        chip.flash.reads = 0
        assert chip.log.get(holes + 5) is None
        assert chip.flash.reads == 0


def test_numbers_reserved_and_thrown_away_are_few():
    with Chip() as chip:
        for _ in range(20):
            chip.reboot()
        assert chip.log.next_seq() < 20 * 66
        assert chip.log.boot_no == 21
        assert chip.flash.erases < 20


def wear(batch, program_bytes):
    """Programmed bytes and erases per record of 60 bytes, flushed `batch` at a time, none acknowledged."""
    settings = {"max_segments": 20, "flush_records": batch}
    with Chip(64, program_bytes, **settings) as chip:
        erased = []
        chip.flash.after = lambda kind, *_: erased.append(1) if kind == ERASE else None
        body = b"x" * (60 - 8)
        count = 2048
        chip.flash.programmed_bytes = 0
        for _ in range(count):
            chip.log.append(DATA, (1, body))
            chip.log.tick(0)
        return chip.flash.programmed_bytes / count, len(erased) / count


def test_wear_per_record_is_that_of_the_design():
    """The design's figures are of bare records; frames, reserved numbers and dropping may cost 15 %."""
    for batch, program_bytes, design_bytes, design_erases in (
        (8, 32, 312, 0.135),
        (8, 256, 351, 0.135),
        (32, 32, 119, 0.04),
        (32, 256, 131, 0.04),
    ):
        programmed, erases = wear(batch, program_bytes)
        print("wear:", batch, "records a flush, programs of", program_bytes, end=": ")
        print("%.1f bytes, %.4f erases a record" % (programmed, erases))
        assert programmed < design_bytes, (batch, program_bytes, programmed)
        assert erases < design_erases * 1.15, (batch, program_bytes, erases)


class Counter:
    """Counts the bytes that a chip is asked for."""

    def __init__(self, chip):
        self.bytes = 0
        self._read = chip.flash._read
        chip.flash._read = self

    def __call__(self, address, buffer):
        self.bytes += len(buffer)
        self._read(address, buffer)


def look_through(chip):
    """Asks for all records again and again, as an endpoint does in one round of the board after another.

    -> (records by seq, rounds, most bytes that the chip was asked for in one of them)
    """
    log, counter, found, rounds, most = chip.log, Counter(chip), {}, 0, 0
    end = log.next_seq()
    while True:
        missed = False
        for begin in range(log.oldest(), end, 64):
            log.search[0] = 4096
            rounds += 1
            counter.bytes = 0
            for seq in range(begin, min(begin + 64, end)):
                record = log.get(seq)
                if record:
                    found[seq] = record
                elif log.search[0] <= 0:
                    missed = True
            most = max(most, counter.bytes)
        if not missed:
            return found, rounds, most


def wreck(chip, seq, size, at=0, worst=400):
    """Overwrites so much of the segment that begins with `seq`; `worst` bytes look like heads of long records."""
    with open("%s/%08x" % (FOLDER, seq), "r+b") as f:
        f.seek(at)
        f.write(b"\x0f\xf0\x90\x00" * (worst // 4))
        for _ in range(size - worst):
            f.write(bytes((random.getrandbits(8),)))


def test_a_large_segment_damaged_at_its_start_is_looked_through_little_by_little():
    with Chip(blocks=96, segment_bytes=131072, flush_records=64) as chip:
        random.seed(7)
        chip.fill(1500, 60)
        kept, _, usual = look_through(chip)
        assert chip.log.close() and len(chip.files()) == 1
        wreck(chip, 1, 20000, 0, 2000)
        chip.reboot()
        found, rounds, most = look_through(chip)
        lost = [seq for seq in kept if seq not in found]
        lost.sort()
        assert lost == list(range(1, len(lost) + 1)) and 250 < len(lost) < 300, lost
        assert [seq for seq in found if found[seq] != kept.get(seq)] == []
        chip.log.tick(0)
        assert chip.gaps() == [(1, lost[-1], GAP_CORRUPT)] and chip.log.corrupt == 1
        print("20 kB of a segment damaged: at most", most, "bytes in one of", rounds, "rounds; usual are", usual)
        assert most < usual + 32 * 1024, "no round takes much longer because of it"


def test_damaged_places_in_several_segments_are_all_announced():
    with Chip(segment_bytes=4000, flush_records=16) as chip:
        random.seed(8)
        for _ in range(12):
            chip.fill(16, 60)
            chip.log.flush()
        assert chip.log.close()
        names = [int(name, 16) for name in chip.files()]
        assert len(names) > 3
        wreck(chip, names[0], 1200)
        wreck(chip, names[0], 300, 2000, 0)
        wreck(chip, names[2], 2400, 160)
        chip.reboot()
        found, _, _ = look_through(chip)
        chip.log.tick(0)
        lost = [seq for seq in range(1, 193) if seq not in found]
        gaps = chip.gaps()
        assert [seq for seq in lost if not any([a <= seq <= b for a, b, _ in gaps])] == []
        assert 40 < len(lost) < 70 and [reason for _, _, reason in gaps] == [GAP_CORRUPT] * 3, (lost, gaps)
        assert [seq for seq in found if any([a <= seq <= b for a, b, _ in gaps])] == []
        again, _, _ = look_through(chip)
        assert len(again) == len(found) + 3, "and the GAPs"
        chip.log.tick(1)
        assert chip.gaps() == gaps and chip.log.corrupt == 3
