"""The application of a board that also controls: joins the product's own program to readings, outputs and commands.

Loaded by boards whose product has [application]; how to write such a program is docs/applications.md. Owns what the
program may see and do (`Board`) and when it is asked. Refuses to know what it controls.
"""

import gc

from meuse_protocol.commands import BAD_ARGUMENT, DENIED, DONE
from meuse_protocol.messages import BLOB

from .app import RUNNING
from .commands import LOG_TEXT, Commanded, Commands, Refusal
from .drivers.application import told

STALE_MS = 3_000  # a reading may be older than two of its periods by so much
TEXT_BYTES = 120


class Board:
    """What a program sees of its board; nothing here waits, but `keep`, for the flash (80 ms at most on an ESP32)."""

    def __init__(self, app, outputs: dict):
        self._app = app
        self._outputs = outputs
        self._where = {}
        for group in app.sampler.groups:
            for i, channel in enumerate(group.settings["channels"]):
                self._where[channel["name"]] = (group, i)

    def reading(self, channel: str):
        """The channel's newest value, times 10**-exp; None when it is not good, or too old. Never an invented one."""
        group, i = self._where[channel]
        age_ms = self._app.clock.now() - group.at_ms
        value = group.values[i]
        if age_ms > 2 * group.settings["period_ms"] + STALE_MS + self._app.sampler.grace_ms:
            return None
        return value if isinstance(value, int) else None

    def drive(self, output: str, level: int) -> None:
        """Sets an output, at once and until it is set again, the program ends, or the board does."""
        pin = self._outputs[output]
        if pin.level != level:
            pin.put(level, None)

    def tell(self, channel: str, value: int) -> None:
        """The value of a channel with driver "application", from its next reading on."""
        told[channel] = value

    def say(self, text: str) -> None:
        """A line for people, which goes to flash at once: `events` of the host."""
        self._app.append(BLOB, (LOG_TEXT, None, text.encode()[:TEXT_BYTES]), True)

    def keep(self, name: str, value: int) -> bool:
        """Puts a small number into flash; whether it is there. 0 is what is not kept."""
        kept = self._app.kept
        errors = kept.errors
        kept.put("application." + name, value)
        kept.flush()
        return kept.errors == errors

    def kept(self, name: str) -> int:
        return self._app.kept.get("application." + name)


class Directed(Commands):
    """Ops of kind "application" go to the program; its outputs go to nobody else."""

    program = None

    def _check_conditions(self, op: dict, given: dict, now: int) -> None:
        if op["kind"] == "application":
            why = self.program.refuses(op["name"], given.get("value")) if self.program else "it does not run"
            if why:
                raise Refusal(DENIED, why)
        super()._check_conditions(op, given, now)

    def _act(self, cid: int, op: dict, given: dict, now: int):
        if op["kind"] != "application":
            return super()._act(cid, op, given, now)
        lasting = op["name"] not in self.program.harmless
        if lasting:
            self._intend(cid, None)
        return DONE, self.program.act(op["name"], given.get("value")), lasting

    def _make_safe(self, given: dict):
        if given or not self.program:
            return super()._make_safe(given)
        self.program.safe()
        return DONE, None, False

    def _output(self, given: dict):
        raise Refusal(BAD_ARGUMENT, "the application drives it")


class Applied(Commanded):
    """The application of a board with a program of its own. `pace`: a simulated machine may live faster than this."""

    _taking = Directed
    pace = 1

    def __init__(self, settings: dict, device: str, psk, hardware, time, random_u32, root: str = ""):
        settings["ops"] = settings.get("ops", ())
        own = settings["application"]
        module = None
        try:
            # First, and collected: its names make the interpreter's table of names grow, which wants 6.4 kB in one
            # piece, and later there may be no such piece.
            gc.collect()
            module = __import__("examples.%s.application" % own["name"], None, None, ("x",))
        except Exception as problem:
            why = problem
        super().__init__(settings, device, psk, hardware, time, random_u32, root)
        try:
            if not module:
                raise why
            self._commands.program = module.Application(Board(self, self._commands._outputs), own)
        except Exception as problem:  # outputs stay safe, and the board goes on measuring
            self.problems.append("application %s: %s" % (own["name"], problem))

    def step(self) -> int:
        """The program's turn comes when every channel was asked once, and then in every pass."""
        wake_ms = super().step()
        program = self._commands.program
        if program and self._state == RUNNING and not [g for g in self.sampler.groups if None in g.values]:
            program.step(self.clock.now() * self.pace)
        return wake_ms
