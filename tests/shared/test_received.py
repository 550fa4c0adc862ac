"""Range sets against the naive set, under both runtimes."""

from memory_log import Lcg
from meuse_protocol.errors import LocalError
from meuse_protocol.received import RangeSet


def naive_cum(numbers):
    cum = 1
    while cum in numbers:
        cum += 1
    return cum


def naive_ranges(numbers):
    found = []
    for n in sorted(numbers):
        if found and found[-1][1] == n - 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    return found


def raises(call, *args):
    try:
        call(*args)
    except LocalError:
        return True
    return False


def test_random_operations_equal_a_naive_set():
    random = Lcg(1)
    for _ in range(30):
        ranges, numbers = RangeSet(), set()
        for _ in range(60):
            n = 1 + random.below(40)
            action = random.below(4)
            if action < 2:
                assert ranges.add(n) == (n not in numbers)
                numbers.add(n)
            elif action == 2:
                last = n + random.below(6)
                ranges.add_range(n, last)
                numbers.update(range(n, last + 1))
            else:
                ranges.discard(n)
                numbers.discard(n)
            assert ranges.ranges() == naive_ranges(numbers)
            assert ranges.cum == naive_cum(numbers)
            assert ranges.last() == (max(numbers) if numbers else 0)
            assert ranges.count() == len(naive_ranges(numbers))
            m = 1 + random.below(45)
            assert ranges.contains(m) == (m in numbers)
            free = m
            while free in numbers:
                free += 1
            assert ranges.next_missing(m) == free
            absent = set(range(m, m + 11)) - numbers
            assert ranges.missing(m, m + 10) == naive_ranges(absent)
            assert RangeSet.from_bytes(ranges.to_bytes()).ranges() == ranges.ranges()


def test_gaps_count_upward_from_cum_lowest_first():
    ranges = RangeSet()
    assert ranges.gaps(16) == []
    ranges.add_range(1, 4)
    assert ranges.gaps(16) == []
    ranges.add_range(7, 9)
    ranges.add(11)
    assert ranges.gaps(16) == [2, 3, 1, 1]
    assert ranges.gaps(1) == [2, 3]
    ranges.discard(1)
    assert ranges.cum == 1
    assert ranges.gaps(16) == [1, 3, 2, 3, 1, 1]


def test_edges_of_the_number_space():
    ranges = RangeSet()
    ranges.add(0xFFFFFFFF)
    assert ranges.to_bytes() == b"\xff\xff\xff\xff" * 2
    ranges.add_range(1, 0xFFFFFFFE)
    assert ranges.ranges() == [(1, 0xFFFFFFFF)]
    assert ranges.cum == 1 << 32
    assert not ranges.add(0xFFFFFFFF)
    for first, last in ((0, 1), (2, 1), (1, 1 << 32)):
        assert raises(ranges.add_range, first, last)
    assert raises(ranges.add, 0)
    assert raises(ranges.add, 1 << 32)


def test_bytes_that_are_no_set_are_refused():
    for text in ("00000001", "0000000200000001", "0000000000000001"):
        assert raises(RangeSet.from_bytes, bytes.fromhex(text))
    adjacent = "00000001000000020000000300000004"
    assert raises(RangeSet.from_bytes, bytes.fromhex(adjacent))
    assert RangeSet.from_bytes(b"").ranges() == []
