"""When a reading was measured: boards without a clock, restarts, stepped and absurd clocks."""

import random

import numpy as np
import pytest
from meuse import dating
from meuse.dating import Anchor, date_receipt, date_uptime, utc_quality

NOON_MS = 1_763_899_200_000
HOUR_MS = 3_600_000
YEAR_2000_MS = 946_684_800_000


def dated(uptimes: list[int], anchors: list[Anchor], received_ms: int = NOON_MS + 40 * HOUR_MS):
    """[(utc_ms, name of the quality), ...], or None."""
    found = date_uptime(np.array(uptimes, dtype=np.int64), anchors, received_ms)
    if found is None:
        return None
    names = [dating.TIME_QUALITIES[code] for code in found.quality]
    return list(zip(found.utc_ms.tolist(), names, strict=True))


def test_a_time_the_board_calls_utc_is_kept_and_judged() -> None:
    times = [NOON_MS, YEAR_2000_MS, 0, NOON_MS + 25 * HOUR_MS, NOON_MS + 23 * HOUR_MS]
    codes = utc_quality(np.array(times), NOON_MS)
    names = [dating.TIME_QUALITIES[code] for code in codes]
    assert names == ["synced", "absurd", "absurd", "absurd", "synced"]


def test_a_host_without_a_clock_calls_no_future_absurd() -> None:
    assert utc_quality(np.array([NOON_MS]), 5_000).tolist() == [dating.SYNCED]


def test_no_anchor_dates_nothing() -> None:
    assert dated([1_000, 2_000], []) is None


@pytest.mark.parametrize("uptime_ms", [0, 500, 60_000, 599_000])
def test_an_anchor_after_the_reading_dates_it(uptime_ms: int) -> None:
    anchor = Anchor(600_000, NOON_MS, 30)
    assert dated([uptime_ms], [anchor]) == [(NOON_MS - 600_000 + uptime_ms, "repaired")]


def test_an_anchor_before_the_reading_dates_it() -> None:
    assert dated([700_000], [Anchor(600_000, NOON_MS, 30)]) == [(NOON_MS + 100_000, "repaired")]


def test_between_two_anchors_the_drift_is_shared_out() -> None:
    # 20 millionths fast: after 10 hours the board's clock is 720 ms ahead.
    anchors = [Anchor(0, NOON_MS, 20), Anchor(36_000_720, NOON_MS + 36_000_000, 20)]
    (utc, quality), *_ = dated([18_000_360], anchors)
    assert (utc, quality) == (NOON_MS + 18_000_000, "repaired")


def test_far_from_its_only_anchor_a_reading_is_approximate() -> None:
    ((utc, quality),) = dated([30 * HOUR_MS], [Anchor(0, NOON_MS, 20)])
    assert (utc, quality) == (NOON_MS + 30 * HOUR_MS, "approximate")


def test_a_coarse_anchor_is_approximate() -> None:
    assert dated([0], [Anchor(0, NOON_MS, 1_500)]) == [(NOON_MS, "approximate")]


@pytest.mark.parametrize("said_ms", [0, YEAR_2000_MS, NOON_MS + 100 * HOUR_MS])
def test_an_anchor_that_cannot_be_true_dates_nothing(said_ms: int) -> None:
    assert dated([1_000], [Anchor(5_000, said_ms, 20)]) is None
    good = Anchor(9_000, NOON_MS, 20)
    assert dated([1_000], [Anchor(5_000, said_ms, 20), good]) == [(NOON_MS - 8_000, "repaired")]


@pytest.mark.parametrize("step_ms", [-3 * HOUR_MS, -5_000, 5_000, 3 * HOUR_MS])
def test_after_a_step_of_the_clock_the_correction_counts_and_nothing_is_sure(step_ms: int) -> None:
    wrong = Anchor(10_000, NOON_MS + step_ms, 20)
    right = Anchor(60_000, NOON_MS + 50_000, 20)
    for uptime in (0, 20_000, 70_000):
        ((utc, quality),) = dated([uptime], [wrong, right])
        assert utc == NOON_MS - 10_000 + uptime
        assert quality == "approximate"


def test_a_sleeping_chip_with_a_poor_clock_is_interpolated_and_called_approximate() -> None:
    anchors = [Anchor(0, NOON_MS, 20), Anchor(600_000, NOON_MS + 624_000, 20)]
    ((utc, quality),) = dated([300_000], anchors)
    assert (utc, quality) == (NOON_MS + 312_000, "approximate")


def test_whatever_a_device_sends_as_an_anchor_raises_nothing() -> None:
    edge = [0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64 - 1, NOON_MS, -(2**63)]
    for uptime in edge:
        for utc in edge:
            for error in edge:
                dated([0, dating.UPTIME_LIMIT_MS], [Anchor(uptime, utc, error)])


def test_the_last_resort_keeps_the_distances() -> None:
    found = date_receipt(np.array([1_000, 4_000]), NOON_MS)
    assert found.utc_ms.tolist() == [NOON_MS + 1_000, NOON_MS + 4_000]
    assert set(found.quality.tolist()) == {dating.APPROXIMATE}


@pytest.mark.parametrize("seed", range(40))
def test_what_is_called_repaired_is_right_within_a_second(seed: int) -> None:
    """Random boots: true clock with drift, anchors with true errors, readings anywhere."""
    chance = random.Random(seed)
    drift = chance.uniform(-50e-6, 50e-6)
    start = NOON_MS + chance.randrange(HOUR_MS)

    def truth(uptime_ms: int) -> float:
        return start + uptime_ms * (1 + drift)

    anchors = []
    for _ in range(chance.randrange(1, 5)):
        uptime = chance.randrange(20 * HOUR_MS)
        error = chance.randrange(1, 400)
        anchors.append(Anchor(uptime, round(truth(uptime)) + chance.randrange(-error, error + 1), error))
    uptimes = [chance.randrange(24 * HOUR_MS) for _ in range(200)]
    result = dated(uptimes, anchors)
    assert result is not None
    for uptime, (utc, quality) in zip(uptimes, result, strict=True):
        if quality == "repaired":
            assert abs(utc - truth(uptime)) <= 1_000
        else:
            assert quality == "approximate"
            assert abs(utc - truth(uptime)) <= 10_000
