"""Small numbers that outlive a reboot, on littlefs: meter totals beside schema ids. Run by cases.py."""

from config_cases import Chip
from meuse_board.kept import Kept
from meuse_board.sampler import Group
from meuse_board.schemas import name_groups

PATH = "/main/kept"


def groups(*names):
    channels = [{"name": name, "unit": "m3", "exp": -3} for name in names]
    return [Group({"name": "every_1s", "tick_ms": 1000, "channels": channels}, [])]


def ids(names, stream):
    return [(group.sid, new) for group, _, new in name_groups(groups(*names), Kept(PATH), stream)]


def test_a_meter_may_be_called_like_anything_that_a_product_can_say():
    for name in ("stream", "kept", "0"):
        with Chip():
            assert ids([name], 7) == [(1, True)]
            assert ids([name, "other"], 7) == [(2, True)]
            for total in (5, 6):
                kept = Kept(PATH)
                kept.put(name, total)
                kept.flush()
                assert ids([name], 7) == [(1, False)], "an id given once means the same for ever"
                assert Kept(PATH).get(name) == total


def test_another_stream_gives_its_own_ids():
    with Chip():
        assert ids(["a"], 7) == [(1, True)]
        assert ids(["b"], 8) == [(1, True)]
        assert ids(["a"], 8) == [(2, True)]
