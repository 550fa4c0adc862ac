"""Joins several links, or one with settings of its own, to the stream: loaded at boot by boards that have such.

Owns what each link may carry and at what cost; refuses to know which of them carries now.
"""

from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.outbox import ALARMS, ALL, NOTHING

PAID = 50  # a link of this cost carries alarms only while there are others, unless its settings say otherwise
WIDE_BYTES = 100  # a link that takes so much takes whole batches
PART_BYTES = 24  # head of a part, and its share of the MAC
LATER_BYTES = 4  # by which a HELLO of today grows when seqs have three bytes
FULL_MAC_BYTES = 8
BOUND_BYTES = 4  # less for the stream's id, where only one board speaks
SEALED_BYTES = 6  # more for what hides a record
CARRIES = {"nothing": NOTHING, "alarms": ALARMS, "all": ALL}


def wire(app, links: list, psk, gmtime):
    """(supervisor or None, bytes that a batch may have) for app.runners; `links`: their settings.

    Modules are loaded as far as these links need them: a small board may have a cable and a card.
    """
    pairs = list(zip(links, app.runners))
    below = [pair for pair in pairs if pair[0].get("carries") == "others"]
    if below:  # where other boards speak: these links carry nothing of ours
        pairs = [pair for pair in pairs if pair not in below]
        app.runners[:] = [pair[1] for pair in pairs + below]
    relay = _relay(app, below[0][0]) if below else None
    if relay and psk is None:
        app.problems.append("links for others: no host believes a relay without a key")
    lanes, cards = [], []
    for settings, runner in pairs:
        if hasattr(runner.link, "serve"):  # it takes what it carries: nothing to choose, nothing to wait for
            cards.append((settings, runner))
            continue
        carries = carried(settings, runner.link, len(pairs), runner is app.runners[0])
        if carries == NOTHING and (lanes or cards or runner is not pairs[-1][1]):
            continue  # a console; but a board on which no link carried anything would be lost
        lanes.append((settings, runner, carries or ALL))
    first = None
    for settings, runner, _ in lanes:
        shared = len(lanes) > 1 or "keep_alive_ms" in settings
        runner.endpoint = _endpoint(app, runner.link, settings, psk, shared, relay)
        if first:
            runner.endpoint.join(first)
        first = first or runner.endpoint
        needed = len(runner.endpoint.hello(0, 0xFFFFFFFF)) + LATER_BYTES
        if runner.link.mtu < needed:
            words = "%s: packets of %d bytes, but who this board is takes %d: raise the data rate, or shorten its name"
            app.problems.append(words % (runner.link.name, runner.link.mtu, needed))
    for settings, runner in cards:
        runner.endpoint = _endpoint(app, runner.link, settings, psk, False, None)
        if first:
            runner.endpoint.schemas = first.schemas  # all that a card needs to know of the others
        first = first or runner.endpoint
        runner.link.serve(runner.endpoint, app.log)
        if hasattr(runner.link, "count"):
            runner.link.count(app.kept, app.clock)
    supervisor = None
    if len(lanes) > 1 or [1 for settings, _, _ in lanes if "budget_kb" in settings]:
        supervisor = _supervise(app, lanes, gmtime)
    wired = [(settings, runner) for settings, runner in pairs if runner.endpoint]
    narrow = room([width(settings, runner.link) for settings, runner in wired])
    for _, runner in below:
        relay.downward(runner)
    return supervisor, narrow


def _relay(app, settings: dict):
    from .relay import Relay

    return Relay(app, settings.get("buffer_bytes"), settings.get("rate_bytes"))


def _supervise(app, lanes: list, gmtime):
    from .supervisor import Lane, Supervisor

    made = []
    for settings, runner, carries in lanes:
        if "budget_kb" in settings:
            from .allowance import Allowance, month

            budget = settings["budget_kb"] * 1000
            now = month(app.clock, gmtime)
            runner.allowance = Allowance(app.kept, runner.link.name, budget, runner.link.overhead, now)
        made.append(Lane(runner, carries, settings.get("cost", runner.link.cost), runner.allowance))
    return Supervisor(made, app)


def carried(settings: dict, link, count: int, first: bool) -> int:
    """A cable that comes after another link is a console; what is paid by the byte is for alarms."""
    usual = "all"
    if count > 1 and not first and settings["kind"] == "uart":
        usual = "nothing"
    elif count > 1 and settings.get("cost", link.cost) >= PAID:
        usual = "alarms"
    return CARRIES.get(settings.get("carries", usual), ALL)


def width(settings: dict, link) -> int:
    """The longest packet there, if every record had the full stream id and a MAC of 8 bytes.

    A link whose MACs are shorter has its own, which says who speaks: the host binds the stream to it.
    """
    saved = FULL_MAC_BYTES - settings.get("mac_bytes", FULL_MAC_BYTES)
    if saved:
        saved += BOUND_BYTES
    return link.mtu + saved - (SEALED_BYTES if settings.get("sealed") else 0)


def room(widths: list) -> int:
    """What a batch has to fit: the narrowest link, but for those where the first row would take half of it.

    There several parts of one batch cost less than as many batches: 4 bytes a reading of a stove against 9 at 51.
    """
    narrow = min(widths)
    return narrow if narrow >= WIDE_BYTES else 4 * (narrow - PART_BYTES)


def _endpoint(app, link, settings: dict, psk, shared: bool, relay):
    """Of the link's own kind, where it has one; `shared`: one of several, or with more to say."""
    kind = getattr(link, "Endpoint", BoardEndpoint)
    if kind is not BoardEndpoint:
        relay = None  # who speaks when asked only has no room for others
    elif relay:
        from .relay import Upper as kind
    elif shared:
        from meuse_protocol.shared_endpoint import SharedEndpoint as kind
    aes = None
    if settings.get("sealed"):
        from .cipher import aes
    window, mac_bytes = getattr(link, "window", 32), settings.get("mac_bytes", 8)
    made = kind(app.device, app.log.stream, psk, app.log, window, mac_bytes, aes)
    if relay:
        relay.upward(made)
    return made
