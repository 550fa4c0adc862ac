"""What the host may ask of this board: outputs, settings, statistics. Loaded by boards whose product has ops.

Owns the journal of ids (the file `commands`), arguments, conditions, leases and the second phase of what is dangerous;
in which order is written in the protocol's specification, "Commands". Refuses to know how a CMD was verified.
Acts that outlive their moment are made known to flash before they are done, and their result after: whenever power
goes, an id that ran never runs again.
"""

from binascii import crc32

from machine import Pin
from meuse_protocol.commands import (
    ACCEPTED,
    BAD_ARGUMENT,
    DENIED,
    DONE,
    EXPIRED,
    FAILED,
    INTERRUPTED,
    OLD,
    PREPARED_MS,
    SEEN,
    STALE,
    STALE_BURST,
    STALE_EACH_MS,
    STARTED,
    UNKNOWN_OP,
    WINDOW,
    CommandWindow,
    is_late,
    mark,
)
from meuse_protocol.conditions import holds, is_condition
from meuse_protocol.errors import MeuseError
from meuse_protocol.messages import BLOB, RESULT
from meuse_protocol.msgpack import pack, unpack
from meuse_protocol.reactions import Command

from .app import RUNNING, App
from .health import readings
from .loading import forget, load
from .stored import load as kept
from .stored import save

LOG_TEXT = 2  # BLOB subject
FRESH_MS = 10_000  # a value may be older than its period by so much, and one period
DEPTH = 8  # of the journal: window > values > value > its parts
STATS_COUNTERS = 24
OWN = ("safe", "renew", "commit")  # ops of every board that has any


class Refusal(Exception):
    """args: RESULT code and value."""


class Output:
    """A pin that goes back to its safe level by itself."""

    def __init__(self, settings: dict):
        self.safe = self.level = settings.get("safe", 0)
        self.lease_ms = 0  # that was asked for last
        self.until_ms = None  # when it ends, while the output is not safe
        self._pin = Pin(settings["pin"], Pin.OUT, value=self.safe)

    def put(self, level: int, until_ms) -> None:
        self.level = level
        self.until_ms = None if level == self.safe else until_ms
        self._pin.value(level)


class Commands:
    """`app` as App, with log, clock, sampler, endpoints and append(); settings with ops and outputs."""

    def __init__(self, app, settings: dict):
        self._app = app
        self._path = path = app.root + "/commands"
        self._ops = {op["name"]: op for op in settings["ops"]}
        self._outputs = {output["name"]: Output(output) for output in settings.get("outputs", ())}
        self._prepared = None  # (cid, token, until_ms, op, arguments)
        self._told = []  # ids whose RESULT is in the log since this boot
        self._stale_ms = 0
        window = again = None
        try:
            window, again = unpack(kept(path) or b"\x92\xc0\xc0", DEPTH)
        except (MeuseError, OSError, ValueError):
            pass  # ids of this boot are safe without: another boot's deadline is always over
        self._window = CommandWindow(app.log.stream, window)
        self._recover(again)

    def _recover(self, again) -> None:
        """After a boot: what was prepared is over, what was begun is told, or done if twice does no harm."""
        window = self._window
        for cid in window.having(ACCEPTED):
            window.finish(cid, EXPIRED)
        for cid in window.having(STARTED):
            code, value = INTERRUPTED, None
            if again and again[0] == cid and again[1] in self._ops:
                code, value = self._set(self._ops[again[1]], again[2])
            self._finish(cid, code, value, True)

    # -- what the application calls

    def receive(self, command, now: int) -> None:
        """A CMD whose MAC verified."""
        try:
            self._take(command, now)
        except MemoryError:  # it comes again, unless it was begun: then nobody knows how far it got
            if command.cid in self._window.having(STARTED):
                self._finish(command.cid, INTERRUPTED, "memory", True)

    def step(self, now: int) -> int:
        """Ends leases; returns the uptime at which to call again."""
        wake_ms = now + 60_000
        for name, output in self._outputs.items():
            until_ms = output.until_ms
            if until_ms is not None and now >= until_ms:
                output.put(output.safe, None)
                self._app.append(BLOB, (LOG_TEXT, None, b"output %s: its lease is over" % name.encode()), True)
            elif until_ms is not None:
                wake_ms = min(wake_ms, until_ms)
        return wake_ms

    def stop(self) -> None:
        """The application ends, or has crashed: all outputs to their safe level."""
        for output in self._outputs.values():
            output.put(output.safe, None)

    # -- one command

    def _take(self, command, now: int) -> None:
        cid, deadline, op, arg = command
        try:
            marked = mark(op, arg)
        except MeuseError:
            arg, marked = False, 0  # something that no op takes
        window = self._window
        verdict = window.judge(cid, marked)
        if verdict == SEEN:
            if window.code(cid) != STARTED and cid not in self._told:
                self._tell(cid, window.code(cid), window.value(cid))
        elif verdict == OLD:
            if self._stale_ms - now <= (STALE_BURST - 1) * STALE_EACH_MS:
                self._stale_ms = max(self._stale_ms, now) + STALE_EACH_MS
                self._tell(cid, STALE, None)
        else:
            window.start(cid, marked)
            lasting = False
            try:
                if is_late(deadline, self._app.clock.boot, now):
                    raise Refusal(EXPIRED, None)
                code, value, lasting = self._run(cid, op, arg, now)
            except Refusal as refusal:
                code, value = refusal.args
            self._finish(cid, code, value, lasting)

    def _run(self, cid: int, op: str, arg, now: int):
        """(RESULT code, value, whether its intent is in flash)"""
        found = self._ops.get(op)
        if not found and op not in OWN:
            raise Refusal(UNKNOWN_OP, None)
        given = _pairs(arg)
        if op == "safe":
            return self._make_safe(given)
        if op == "renew":
            return self._renew(given, now)
        if op == "commit":
            return self._commit(given, now)
        self._check_arguments(found, given)
        self._check_conditions(found, given, now)
        if found.get("dangerous") and not self._to_safe(found, given):
            return self._prepare(cid, found, given, now)
        return self._act(cid, found, given, now)

    def _act(self, cid: int, op: dict, given: dict, now: int):
        kind = op["kind"]
        if kind == "stats":
            return DONE, self._stats(), False
        if kind == "setting":
            self._intend(cid, (cid, op["name"], given["value"]))
            return self._set(op, given["value"]) + (True,)
        output, level = self._outputs[op["output"]], given["on"]
        lasting = level != output.safe
        if lasting:
            self._intend(cid, None)
        output.lease_ms = given.get("lease_ms", op["lease_ms"])
        output.put(level, now + output.lease_ms)
        return DONE, [op["output"], level], lasting

    def _to_safe(self, op: dict, given: dict) -> bool:
        return op["kind"] == "output" and given["on"] == self._outputs[op["output"]].safe

    def _set(self, op: dict, value: int):
        try:
            load("config").Config(self._app.root + "/config.msgpack").set(op["setting"], str(value))
            return DONE, value
        except (ValueError, OSError) as problem:
            return FAILED, str(problem)[:60]
        finally:
            forget("config")

    def _stats(self) -> list:
        """[name, value, name, value ...]: what health measures, and the counters of the links."""
        flat = []
        for channel, value in zip(load("schemas").channels(), readings(self._app)):
            flat += (channel[0], value)
        forget("schemas", "meuse_protocol.schema")
        for endpoint in self._app.endpoints:
            for name in sorted(endpoint.counters)[:STATS_COUNTERS]:
                flat += (name, endpoint.counters[name])
        return flat

    def _make_safe(self, given: dict):
        outputs = [self._output(given)] if given else self._outputs.values()
        for output in outputs:
            output.put(output.safe, None)
        return DONE, None, False

    def _output(self, given: dict) -> Output:
        name = given.get("output")
        if len(given) != 1 or not isinstance(name, str) or name not in self._outputs:
            raise Refusal(BAD_ARGUMENT, "output")
        return self._outputs[name]

    def _renew(self, given: dict, now: int):
        output = self._output(given)
        if output.until_ms is None:
            raise Refusal(DENIED, "not on")
        output.until_ms = now + output.lease_ms
        return DONE, output.level, False

    # -- two phases

    def _prepare(self, cid: int, op: dict, given: dict, now: int):
        """The state that whoever commits should have seen."""
        state = []
        if op["kind"] == "output":
            state.append([op["output"], self._outputs[op["output"]].level, 0])
        for condition in self._conditions(op, given):
            value, exp10 = self._measured(condition[0], now)
            state.append([condition[0], value, exp10])
        token = crc32(pack([cid, now, state]))
        self._prepared = cid, token, now + PREPARED_MS, op, given
        return ACCEPTED, [token] + state, False

    def _commit(self, given: dict, now: int):
        prepared, self._prepared = self._prepared, None
        if not prepared or prepared[:2] != (given.get("cid"), given.get("token")) or now > prepared[2]:
            raise Refusal(EXPIRED, "not prepared any more")
        cid, _, _, op, arguments = prepared
        lasting = False
        try:
            self._check_conditions(op, arguments, now)
            self._window.finish(cid, STARTED)
            code, value, lasting = self._act(cid, op, arguments, now)
        except Refusal as refusal:
            code, value = refusal.args
        self._finish(cid, code, value, False)  # flash hears of both together
        return code, value, lasting

    # -- arguments and conditions

    def _check_arguments(self, op: dict, given: dict) -> None:
        kind = op["kind"]
        known = ["if"]
        if kind == "output":
            known += ("on", "lease_ms")
            _within(given, "on", 0, 1)
            if "lease_ms" in given:
                _within(given, "lease_ms", 1, op["lease_ms"])
        elif "low" in op:
            known.append("value")
            _within(given, "value", op["low"], op["high"])
        for name in given:
            if name not in known:
                raise Refusal(BAD_ARGUMENT, "no argument %s" % name)

    def _conditions(self, op: dict, given: dict) -> list:
        return op.get("if", []) + ([given["if"]] if "if" in given else [])

    def _check_conditions(self, op: dict, given: dict, now: int) -> None:
        for condition in self._conditions(op, given):
            if not is_condition(condition):
                raise Refusal(BAD_ARGUMENT, "if")
            if self._to_safe(op, given) and condition is not given.get("if"):
                continue  # what makes safe needs no reason
            value, exp10 = self._measured(condition[0], now)
            if not holds(condition, value, exp10):
                text = "%s %s %d" % tuple(condition[:3]) + ("e%d" % condition[3] if condition[3] else "")
                raise Refusal(DENIED, text + " does not hold")

    def _measured(self, name: str, now: int):
        """(last value if it is fresh, else None; exp10)"""
        for group in self._app.sampler.groups:
            for i, channel in enumerate(group.settings["channels"]):
                if channel["name"] == name:
                    fresh = now - group.at_ms <= 2 * group.settings["period_ms"] + FRESH_MS
                    return group.values[i] if fresh else None, channel["exp"]
        raise Refusal(BAD_ARGUMENT, "no channel %s" % name)

    # -- what must not be forgotten

    def _intend(self, cid: int, again) -> None:
        """The intent is in flash, or nothing happens. again: (cid, op, value) of what may be done twice."""
        try:
            self._save(again)
        except OSError:
            raise Refusal(FAILED, "flash")

    def _finish(self, cid: int, code: int, value, lasting: bool) -> None:
        self._window.finish(cid, code, value)
        if lasting:
            try:
                self._save(None)
            except OSError:
                pass  # after a boot it is told as interrupted; the host keeps what it heard first
        self._tell(cid, code, value)

    def _save(self, again) -> None:
        save(self._path, pack([self._window.saved(), again]))

    def _tell(self, cid: int, code: int, value) -> None:
        self._told = self._told[1 - WINDOW :] + [cid]
        seq = self._app.log.append(RESULT, (cid, code, value))
        if seq:
            for endpoint in self._app.endpoints:
                endpoint.record_added(seq, True)


def _pairs(arg) -> dict:
    """The arguments by name."""
    if arg is None:
        return {}
    if not isinstance(arg, list) or len(arg) % 2:
        raise Refusal(BAD_ARGUMENT, "arguments")
    given = {}
    for i in range(0, len(arg), 2):
        if not isinstance(arg[i], str) or arg[i] in given:
            raise Refusal(BAD_ARGUMENT, "arguments")
        given[arg[i]] = arg[i + 1]
    return given


def _within(given: dict, name: str, low: int, high: int) -> None:
    value = given.get(name)
    if not isinstance(value, int) or not low <= value <= high:
        raise Refusal(BAD_ARGUMENT, "%s is a whole number from %d to %d" % (name, low, high))


class Commanded(App):
    """The application of a board with ops."""

    def __init__(self, settings: dict, device: str, psk, hardware, time, random_u32, root: str = ""):
        kind = load("applied").directed(settings["application"]) if "application" in settings else Commands
        super().__init__(settings, device, psk, hardware, time, random_u32, root)
        self._commands = kind(self, settings)

    def _event(self, event, now: int) -> None:
        if not isinstance(event, Command):
            super()._event(event, now)
        elif self._state == RUNNING:
            self._commands.receive(event, now)

    def step(self) -> int:
        wake_ms = super().step()
        if self._state != RUNNING:
            self._commands.stop()
        return min(wake_ms, self._commands.step(self.clock.now()))

    def run(self, also=()) -> None:
        try:
            super().run(also)
        finally:
            self._commands.stop()  # also after a crash
