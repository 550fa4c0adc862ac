"""What a technician with a cable and any terminal program sees: plain words, with units, line by line.

Owns wording and commands; reads everything from the application and refuses to know how a line reaches the screen.
Answers are generators, so that sampling goes on between two lines. The device's key is shown by no command.
"""

from .hardware import CAUSES
from .loading import forget, load
from .wording import decimal, span, typed, utc_text

# One text each: strings of their own would cost the heap of a small board 600 bytes.
WHY = "sensor does not answer|bus fault or bad checksum|open or broken wire|out of range|not ready|stale"
HELP = """status              how this board is
sensors             every channel: newest value, unit, age
links               the ways to the host
log                 what waits on this board, what was lost
time                clock and uptime
config get [KEY]    settings of this board
config set KEY VALUE
export              what waits for the host, for a capture file: meuse import FILE
frames off | on     quiet while you work (10 minutes at most) | readings flow at once
reboot              flush everything, then start again"""


class Console:
    """console(line, typing) -> iterator of lines, or None when the line is no command and nobody is typing."""

    def __init__(self, app, link, gmtime):
        self._app = app
        self._link = link
        self._gmtime = gmtime

    def __call__(self, line: bytes, typing: bool):
        words = typed(line).split(None, 3)  # what is set may have spaces in it
        name = words[0] if words else "hello"
        command = getattr(self, "do_" + name, None)
        if command:
            return command(words[1:])
        return iter(("'%s' is no command. Type help" % name,)) if typing else None

    def do_hello(self, words):
        yield "This is %s. Type help; readings wait on the board until 30 s after the last key" % self._app.device

    def do_help(self, words):
        yield from HELP.split("\n")

    def do_status(self, words):
        app = self._app
        yield "device   %s, firmware %s" % (app.device, app.firmware)
        yield from self.do_time(words)
        values = [v for group in app.sampler.groups for v in group.values]
        yield "sensors  %d of %d channels give a value" % (sum([isinstance(v, int) for v in values]), len(values))
        yield from self.do_links(words)
        yield from self.do_log(words)
        yield "memory   %d B free, lowest since boot %d B" % (app.heap.free, app.heap.low)
        for problem in app.problems:
            yield "PROBLEM  " + problem

    def do_sensors(self, words):
        now = self._app.clock.now()
        for group in self._app.sampler.groups:
            settings = group.settings
            yield "%s, newest %s ago" % (settings["name"], span(now - group.at_ms))
            for i, c in enumerate(settings["channels"]):
                value = group.values[i]
                if isinstance(value, int):
                    text = decimal(value, c["exp"]) + " " + c["unit"]
                    alarm = group.alarms.get(i)
                    if alarm and alarm.on:
                        text += "  ALARM"
                elif value is None:
                    text = "not read yet"
                else:
                    text = "no value: " + why(-value[0])
                yield "  %-16s %s" % (c["name"], text)

    def do_links(self, words):
        app = self._app
        now = app.clock.now()
        for runner in app.runners:
            link = runner.link
            text = "link     %s, " % link.name
            if hasattr(link, "words"):
                yield text + link.words()
                continue
            if not runner.endpoint:
                yield text + "console only"
                continue
            text += "%s, %d sent, %d received, %d damaged, host " % (
                "up" if link.up else "DOWN", link.sent, link.received, link.damaged
            )
            text += "never heard" if runner.heard_ms is None else "heard %s ago" % span(now - runner.heard_ms)
            yield text + getattr(link, "signal", "")
            problem = getattr(link, "problem", None)
            if problem:
                yield "PROBLEM  %s: %s" % (link.name, problem)
        if app.refused:
            why = (app.refused.text or "?").replace("_", " ")
            yield "PROBLEM  the host refuses this board: %s (code %d)" % (why, app.refused.code)
        if app.supervisor:
            yield from app.supervisor.lines(now)

    def do_log(self, words):
        log = self._app.log
        yield "log      %d records wait for the host; next is number %d" % (log.backlog(), log.next_seq())
        yield "         %d lost to a full log, %d to damaged flash; flash %s" % (
            log.dropped + log.refused, log.corrupt, "DOES NOT ANSWER" if log.volatile else "%d errors" % log.errors
        )

    def do_time(self, words):
        clock = self._app.clock
        utc = clock.utc_ms(clock.now())
        if utc is None:
            yield "time     unknown, no host has told it; readings count from the boot and are dated later"
        else:
            yield "time     %s, wrong by %d ms at most" % (utc_text(utc, self._gmtime), clock.err_ms)
        yield "up       %s, boot %d (%s)" % (span(clock.now()), clock.boot, CAUSES[self._app.cause])

    def do_config(self, words):
        try:
            yield from _configured(load("config").Config(self._app.root + "/config.msgpack"), words)
        except ValueError as problem:
            yield str(problem)
        except OSError as problem:
            yield "flash refuses (error %d), nothing changed; try again" % problem.errno
        finally:
            forget("config")  # its heap is worth more to the readings

    def do_export(self, words):
        from .export import lines

        yield from lines(self._app, self._link.mtu)

    def do_frames(self, words):
        if words not in (["on"], ["off"]):
            yield "say: frames on, or: frames off"
            return
        on = words == ["on"]
        yield "readings flow again" if on else "quiet until frames on, or 10 minutes without a key"
        self._link.frames(on, self._app.clock.now())

    def do_reboot(self, words):
        yield "flushing, then starting again"
        self._app.reboot()


def _configured(config, words):
    if words[:1] == ["get"] and len(words) < 3:
        yield from config.lines(*words[1:])
    elif words[:1] == ["set"] and len(words) == 3:
        text = words[2].strip()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        changed = config.set(words[1], text)
        yield "stored, works after: reboot" if changed else "it has that value already"
    else:
        yield "say: config get, config get KEY, or config set KEY VALUE"


def why(quality: int) -> str:
    """The quality's words, counted from 1."""
    words = WHY.split("|")
    return words[quality - 1] if quality <= len(words) else "reason %d" % quality
