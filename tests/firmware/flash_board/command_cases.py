"""Commands on littlefs, with power cut at every operation; simulated: pins, the chip, who asks. Run by cases.py."""

import sys

import vfs
from config_cases import SETTINGS, packed
from flash import CLEAN, HALF, RANDOM, RamFlash, mount
from meuse_board.stored import save
from meuse_protocol.commands import (
    ACCEPTED,
    BAD_ARGUMENT,
    DENIED,
    DONE,
    EXPIRED,
    FAILED,
    INTERRUPTED,
    PREPARED_MS,
    STALE,
    STALE_BURST,
    STALE_EACH_MS,
    UNKNOWN_OP,
)
from meuse_protocol.messages import BLOB, RESULT, splice
from meuse_protocol.msgpack import unpack
from meuse_protocol.reactions import Command

PIN = 25


class Pins:
    """Copper: the level of each pin, and how often each was driven from its safe level."""

    def __init__(self):
        self.levels = {}
        self.switched = 0
        self.flash = None  # of the board: where power has failed nothing is switched either


pins = Pins()


class Pin:
    OUT = 1

    def __init__(self, number, mode, value):
        self.number = number
        pins.levels[number] = value

    def value(self, level):
        if pins.flash.dead:
            return
        if level and not pins.levels[self.number]:
            pins.switched += 1
        pins.levels[self.number] = level


class Machine:
    """Stands in for the module `machine`."""


Machine.Pin = Pin
sys.modules["machine"] = Machine

from meuse_board.commands import Commanded, Commands  # noqa: E402
from meuse_board.flash_log import FlashLog  # noqa: E402
from meuse_board.sampler import Group  # noqa: E402

OPS = [
    {"name": "heater", "kind": "output", "output": "igniter", "lease_ms": 30000, "if": [["flue_temp", "<", 60, 0]]},
    {"name": "light", "kind": "output", "output": "igniter", "lease_ms": 30000, "dangerous": True},
    {"name": "health", "kind": "setting", "setting": "health_ms", "low": 1000, "high": 60000},
    {"name": "nothing", "kind": "setting", "setting": "no.such", "low": 0, "high": 9},
    {"name": "stats", "kind": "stats"},
]


class Clock:
    boot = 1

    def now(self):
        return 0


class Sampler:
    errors = slow = 0


class Heap:
    low = 0


class App:
    """As much of the application as commands need, on the chip under test."""

    root = "/main"
    cause = 1
    endpoints = runners = ()

    def __init__(self):
        self.log = FlashLog("/main/log", lambda: 0x5EED)
        self.clock = Clock()
        self.clock.boot = self.log.boot_no
        self.heap = Heap()
        group = Group({"name": "g", "period_ms": 1000, "channels": [{"name": "flue_temp", "exp": -1}]}, [None])
        group.values = [235]
        self.flue = group
        self.sampler = Sampler()
        self.sampler.groups = [group]
        self.said = []
        self.commands = Commands(self, {"ops": OPS, "outputs": [{"name": "igniter", "pin": PIN}]})

    def append(self, kind, body, urgent=False):
        self.said.append(body)
        self.log.append(kind, body, urgent)

    def ask(self, cid, op, arg, now=1000, until_ms=1000000, boot=None, measured_ms=None):
        self.flue.at_ms = now if measured_ms is None else measured_ms
        self.commands.receive(Command(cid, [boot or self.clock.boot, until_ms], op, arg), now)

    def results(self):
        """(cid, code, value) of every RESULT in the log."""
        found = []
        for seq in range(1, self.log.next_seq()):
            record = self.log.get(seq)
            if record and record[1] == RESULT:
                found.append(tuple(unpack(splice(record, 0))[3:]))
        return found


class Chip:
    def __init__(self):
        pins.levels.clear()
        pins.switched = 0
        self.flash = pins.flash = RamFlash(24)
        mount(self.flash, "/main")
        save("/main/config.msgpack", packed(SETTINGS))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        vfs.umount("/main")

    def boot(self):
        """Power comes (back): the chip as it is, pins at their safe level."""
        vfs.umount("/main")
        self.flash.dead = False
        self.flash.cut_at = None
        mount(self.flash, "/main")
        return App()


def test_an_output_is_switched_once_and_goes_back_when_its_lease_is_over():
    with Chip():
        app = App()
        for now in (1000, 2000):
            app.ask(1, "heater", ["on", 1], now)
        assert pins.levels[PIN] == 1 and pins.switched == 1
        assert app.results() == [(1, DONE, ["igniter", 1])], "said once: a record is reliable"
        assert app.commands.step(30999) == 31000 and pins.levels[PIN] == 1
        app.ask(2, "renew", ["output", "igniter"], 20000)
        app.commands.step(49999)
        assert pins.levels[PIN] == 1
        app.commands.step(50000)
        assert pins.levels[PIN] == 0 and "lease" in str(app.said[-1])
        app.ask(3, "renew", ["output", "igniter"], 50001)
        assert pins.levels[PIN] == 0 and app.results()[-1][:2] == (3, DENIED)
        app.ask(4, "heater", ["on", 1, "lease_ms", 500], 51000)
        app.commands.step(51500)
        assert pins.levels[PIN] == 0 and pins.switched == 2
        app.ask(5, "heater", ["on", 1], 52000)
        app.ask(6, "safe", None, 52001)
        assert pins.levels[PIN] == 0 and app.results()[-1][:2] == (6, DONE)
        app.ask(7, "heater", ["on", 1], 53000)
        app.commands.stop()
        assert pins.levels[PIN] == 0
        assert BLOB == 4


class Unmade(Commanded):
    """An application that crashes at once: nothing of it but its commands was ever made."""

    def __init__(self, commands):
        self._commands = commands


def test_an_application_that_crashes_leaves_every_output_safe():
    with Chip():
        app = App()
        app.ask(1, "heater", ["on", 1])
        assert pins.levels[PIN] == 1
        try:
            Unmade(app.commands).run()
        except AttributeError:
            assert pins.levels[PIN] == 0
            return
        raise AssertionError("did not crash")


def refusal(op, arg, now=1000, **options):
    app = App()
    before = pins.switched
    app.ask(1 + len(app.results()), op, arg, now, **options)
    assert pins.switched == before
    return app.results()[-1][1]


def test_what_is_refused_and_why():
    for op, arg, code in (
        ("oven", None, UNKNOWN_OP),
        ("oven", {"on": 1}, UNKNOWN_OP),
        ("heater", None, BAD_ARGUMENT),
        ("heater", {"on": 1}, BAD_ARGUMENT),
        ("heater", ["on"], BAD_ARGUMENT),
        ("heater", ["on", 2], BAD_ARGUMENT),
        ("heater", ["on", True], BAD_ARGUMENT),
        ("heater", ["on", 1, "on", 1], BAD_ARGUMENT),
        ("heater", ["on", 1, "lease_ms", 30001], BAD_ARGUMENT),
        ("heater", ["on", 1, "speed", 1], BAD_ARGUMENT),
        ("heater", ["on", 1, "if", ["flue_temp", "!", 1, 0]], BAD_ARGUMENT),
        ("heater", ["on", 1, "if", ["moon", "<", 1, 0]], BAD_ARGUMENT),
        ("heater", ["on", 1, "if", ["flue_temp", ">", 235, -1]], DENIED),
        ("health", ["value", 999], BAD_ARGUMENT),
        ("health", ["value", "1000"], BAD_ARGUMENT),
        ("nothing", ["value", 1], FAILED),
        ("renew", ["output", "moon"], BAD_ARGUMENT),
        ("renew", None, BAD_ARGUMENT),
        ("renew", ["output", ["igniter"]], BAD_ARGUMENT),
        ("safe", ["pin", 25], BAD_ARGUMENT),
        ("commit", None, EXPIRED),
        ("safe", ["output", "moon"], BAD_ARGUMENT),
        ("commit", ["cid", 1, "token", 1], EXPIRED),
    ):
        with Chip():
            assert refusal(op, arg) == code, (op, arg)
    with Chip():
        assert refusal("heater", ["on", 1], until_ms=999) == EXPIRED
    with Chip():
        assert refusal("heater", ["on", 1], boot=9) == EXPIRED


def test_a_condition_needs_a_fresh_value_and_off_needs_none():
    cases = ((599, 0, DONE), (600, 0, DENIED), ([-2], 0, DENIED), (None, 0, DENIED), (235, -12000, DENIED))
    for value, at_ms, code in cases:
        with Chip():
            app = App()
            app.flue.values = [value]
            app.ask(1, "heater", ["on", 1], measured_ms=at_ms)
            assert app.results()[0][1] == code and pins.switched == (code == DONE), value
            app.ask(2, "heater", ["on", 0])
            assert app.results()[1][1] == DONE and pins.levels[PIN] == 0


def test_a_dangerous_op_runs_only_when_it_is_committed():
    with Chip():
        app = App()
        app.ask(1, "light", ["on", 1, "if", ["flue_temp", "<", 60, 0]])
        (cid, code, value), = app.results()
        assert (cid, code, value[1:]) == (1, ACCEPTED, [["igniter", 0, 0], ["flue_temp", 235, -1]])
        assert pins.switched == 0
        app.ask(2, "commit", ["cid", 1, "token", value[0] ^ 1])
        assert app.results()[1][:2] == (2, EXPIRED) and pins.switched == 0
        app.ask(3, "light", ["on", 1, "if", ["flue_temp", "<", 60, 0]])
        token = app.results()[-1][2][0]
        app.flue.values = [610]
        app.ask(4, "commit", ["cid", 3, "token", token])
        assert [r[:2] for r in app.results()[3:]] == [(3, DENIED), (4, DENIED)] and pins.switched == 0
        app.ask(5, "light", ["on", 1])
        commit = ["cid", 5, "token", app.results()[-1][2][0]]
        for cid in (6, 6, 7):
            app.ask(cid, "commit", commit)
        assert pins.switched == 1
        assert [r[:2] for r in app.results()[6:]] == [(5, DONE), (6, DONE), (7, EXPIRED)]
        app.ask(8, "light", ["on", 0])
        assert pins.levels[PIN] == 0, "off needs no second phase"
        app.ask(9, "light", ["on", 1])
        app.ask(10, "commit", ["cid", 9, "token", app.results()[-1][2][0]], 1001 + PREPARED_MS)
        assert pins.switched == 1 and app.results()[-1][1] == EXPIRED


def test_a_reboot_forgets_what_was_prepared_and_everything_that_waited():
    with Chip() as chip:
        app = App()
        app.ask(1, "light", ["on", 1])
        token = app.results()[-1][2][0]
        app.ask(2, "health", ["value", 5000])
        app.log.flush()
        again = chip.boot()
        waited = ((1, "light", ["on", 1]), (3, "commit", ["cid", 1, "token", token]), (4, "heater", ["on", 1]))
        for cid, op, arg in waited:
            again.ask(cid, op, arg, boot=app.clock.boot)
        assert pins.switched == 0
        assert [r[:2] for r in again.results()[2:]] == [(1, EXPIRED), (3, EXPIRED), (4, EXPIRED)]


def test_replays_cost_a_few_records_and_no_act():
    with Chip():
        app = App()
        app.ask(9, "heater", ["on", 1])
        for now in range(2000, 2000 + 10 * STALE_EACH_MS, 500):
            app.ask(9, "heater", ["on", 1], now)
            app.ask(5, "heater", ["on", 1], now)
            app.ask(9, "heater", ["on", 0], now)
        found = app.results()
        assert pins.switched == 1 and found[0] == (9, DONE, ["igniter", 1])
        assert {r[1] for r in found[1:]} == {STALE} and len(found) <= 1 + STALE_BURST + 10


def test_statistics_name_every_number():
    with Chip():
        app = App()
        app.ask(1, "stats", None)
        (_, code, value), = app.results()
        assert code == DONE and value[:2] == ["uptime", 0] and len(value) % 2 == 0


def cut_everywhere(op, arg, look):
    """Power fails at each operation of the flash in turn; look(app, cut, switched before the cut) afterwards."""
    cuts = 0
    for mode in (CLEAN, HALF, RANDOM):
        operation = 0
        cut = True
        while cut:
            operation += 1
            with Chip() as chip:
                app = App()
                app.ask(1, "heater", ["on", 1])  # one that is over: its result stays
                app.ask(2, "safe", None)
                chip.flash.cut_at = chip.flash.operations + operation
                chip.flash.cut_mode = mode
                switched = pins.switched
                app.ask(3, op, arg)
                app.log.flush()
                cut = chip.flash.dead
                acted = pins.switched - switched
                boot = app.clock.boot
                again = chip.boot()
                look(again, cut, acted)
                before = pins.switched
                for cid, was in ((1, ("heater", ["on", 1])), (3, (op, arg)), (3, (op, arg))):
                    again.ask(cid, was[0], was[1], boot=boot)
                assert pins.switched == before, "ran again after a reboot"
                codes = [r[1] for r in again.results() if r[0] == 3]
                assert codes, "no result"
                again.log.flush()
                third = chip.boot()
                third.ask(3, op, arg, boot=boot)
                assert pins.switched == before, "ran again"
            cuts += cut
    return cuts


def test_power_fails_at_every_operation_and_no_output_is_switched_twice_or_unsaid():
    seen = {}

    def look(app, cut, acted):
        codes = [code for cid, code, _ in app.results() if cid == 3]
        window = app.commands._window
        told = window.code(3) if window.newest() >= 3 else None
        assert acted <= 1 and pins.levels[PIN] == 0
        if acted:
            assert told == DONE or (told == INTERRUPTED and INTERRUPTED in codes), "acted, and nobody knows"
        if DONE in codes or told == DONE:
            assert acted == 1, "said done, and did nothing"
        if not cut:
            assert codes == [DONE]
        seen[told, acted] = seen.get((told, acted), 0) + 1

    cuts = cut_everywhere("heater", ["on", 1], look)
    print("cuts:", cuts, seen)
    assert cuts > 30
    for case in ((None, 0), (INTERRUPTED, 0), (INTERRUPTED, 1), (DONE, 1)):
        assert seen.get(case), case


def test_a_setting_that_was_begun_is_there_after_the_cut():
    from meuse_board.config import Config

    seen = {}

    def look(app, cut, acted):
        value = Config("/main/config.msgpack").value["health_ms"]
        codes = [code for cid, code, _ in app.results() if cid == 3]
        assert value == (5000 if DONE in codes else 60000) or not codes, (value, codes)
        assert INTERRUPTED not in codes
        seen[value] = seen.get(value, 0) + 1

    cuts = cut_everywhere("health", ["value", 5000], look)
    print("cuts:", cuts, seen)
    assert cuts > 30 and len(seen) == 2
