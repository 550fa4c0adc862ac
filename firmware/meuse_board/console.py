"""What a technician with a cable and any terminal program sees: plain words, with units, line by line.

Loaded when a command is typed and given back after its last line (typed.py), like console_sensors.py and the others,
each of which has one function `answer(name, app, link, words)`; `words`: what was typed behind the command's name.
Answers are generators, so that sampling goes on between two lines. They read everything from the application and
refuse to know how a line reaches the screen. The device's key is shown by no command.
"""

from .wording import span, utc_text

# One text each: strings of their own would cost the heap of a small board 600 bytes.
CAUSES = "unknown|power on|reset pin|watchdog|deep sleep|software"  # by the number in BOOT
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


def answer(name: str, app, link, words):
    if name == "hello":
        yield "This is %s. Type help; readings wait on the board until 30 s after the last key" % app.device
    elif name == "help":
        yield from HELP.split("\n")
    elif name == "frames":
        yield from _frames(app, link, words)
    elif name == "reboot":
        yield "flushing, then starting again"
        app.reboot()
    if name == "status":
        yield "device   %s, firmware %s" % (app.device, app.firmware)
    if name in ("status", "time"):
        yield from _time(app)
    if name == "status":
        yield _sensors(app)
    if name in ("status", "links"):
        yield from _links(app)
    if name in ("status", "log"):
        yield from _log(app.log)
    if name == "status":
        app.heap.collect()  # with all that answers this
        yield "memory   %d B free, lowest since boot %d B" % (app.heap.free, app.heap.low)
        for problem in app.problems:
            yield "PROBLEM  " + problem


def _time(app):
    clock = app.clock
    utc = clock.utc_ms(clock.now())
    if utc is None:
        yield "time     unknown, no host has told it; readings count from the boot and are dated later"
    else:
        yield "time     %s, wrong by %d ms at most" % (utc_text(utc, app.gmtime), clock.err_ms)
    yield "up       %s, boot %d (%s)" % (span(clock.now()), clock.boot, CAUSES.split("|")[app.cause])


def _sensors(app) -> str:
    values = []
    for group in app.sampler.groups:
        values += group.values
    return "sensors  %d of %d channels give a value" % (sum([isinstance(v, int) for v in values]), len(values))


def _links(app):
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


def _log(log):
    yield "log      %d records wait for the host; next is number %d" % (log.backlog(), log.next_seq())
    yield "         %d lost to a full log, %d to damaged flash; flash %s" % (
        log.dropped + log.refused, log.corrupt, "DOES NOT ANSWER" if log.volatile else "%d errors" % log.errors
    )


def _frames(app, link, words):
    if words not in (["on"], ["off"]):
        yield "say: frames on, or: frames off"
        return
    on = words == ["on"]
    yield "readings flow again" if on else "quiet until frames on, or 10 minutes without a key"
    link.frames(on, app.clock.now())
