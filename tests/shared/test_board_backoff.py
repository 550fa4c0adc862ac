"""Waits double, have a ceiling, and differ between boards by the random numbers they were given."""

from meuse_board.links.backoff import Backoff


def waits(random, count):
    backoff = Backoff(500, 60_000, lambda: random)
    return [backoff.next_ms() for _ in range(count)]


def test_waits_double_up_to_the_longest():
    assert waits(0, 9) == [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]


def test_jitter_is_at_most_as_long_again():
    ceilings = [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    for random in (1, 12345, 0x7FFFFFFF, 0xFFFFFFFF):
        for wait, ceiling in zip(waits(random, 9), ceilings):
            assert ceiling // 2 <= wait <= ceiling


def test_a_steady_connection_begins_anew():
    backoff = Backoff(500, 60_000, lambda: 0)
    for _ in range(5):
        backoff.next_ms()
    backoff.failures = 0
    assert backoff.next_ms() == 250
