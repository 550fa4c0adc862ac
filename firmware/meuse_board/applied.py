"""The application of a board that also controls: joins the product's own program to readings, outputs and commands.

Loaded by boards whose product has [application]; how to write such a program is docs/applications.md. Owns what the
program may see and do (`Board`) and when it is asked. Refuses to know what it controls.
"""

from meuse_protocol.commands import BAD_ARGUMENT, DENIED, DONE
from meuse_protocol.messages import BLOB

from .commands import LOG_TEXT, Commands, Refusal
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


def directed(own: dict):
    """What makes the commands of a board whose product has this [application], with its program.

    Called before anything else is made: the program's names make the interpreter's table of names grow, which wants
    6.4 kB in one piece, and later there may be no such piece.
    """
    module, why = None, ""
    try:
        module = __import__("examples.%s.application" % own["name"], None, None, ("x",))
    except Exception as problem:
        why = str(problem)
    return lambda app, settings: Directed(app, settings, module, why)


class Directed(Commands):
    """Ops of kind "application" go to the program; its outputs go to nobody else.

    `module` None: it cannot be loaded, `why`; outputs stay safe, and the board measures on.
    """

    def __init__(self, app, settings: dict, module, why: str):
        super().__init__(app, settings)
        own = settings["application"]
        self._pace = own.get("pace", 1)  # the simulator's machines live faster than its boards
        self._program = None
        self._ended = False
        try:
            if module:
                self._program = module.Application(Board(app, self._outputs), own)
        except Exception as problem:
            why = str(problem)
        if not self._program:
            app.problems.append("application %s: %s" % (own["name"], why))

    def step(self, now: int) -> int:
        """The program's turn comes when every channel was asked once, and then in every pass."""
        if self._program and not self._ended and not [g for g in self._app.sampler.groups if None in g.values]:
            self._program.step(now * self._pace)
        return super().step(now)

    def stop(self) -> None:
        self._ended = True
        super().stop()

    def _check_conditions(self, op: dict, given: dict, now: int) -> None:
        if op["kind"] == "application":
            why = self._program.refuses(op["name"], given.get("value")) if self._program else "it does not run"
            if why:
                raise Refusal(DENIED, why)
        super()._check_conditions(op, given, now)

    def _act(self, cid: int, op: dict, given: dict, now: int):
        if op["kind"] != "application":
            return super()._act(cid, op, given, now)
        lasting = op["name"] not in self._program.harmless
        if lasting:
            self._intend(cid, None)
        return DONE, self._program.act(op["name"], given.get("value")), lasting

    def _make_safe(self, given: dict):
        if given or not self._program:
            return super()._make_safe(given)
        self._program.safe()
        return DONE, None, False

    def _output(self, given: dict):
        raise Refusal(BAD_ARGUMENT, "the application drives it")
