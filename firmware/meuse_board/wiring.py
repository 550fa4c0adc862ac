"""Joins several links, or one with settings of its own, to the stream: loaded at boot by boards that have such.

Owns what each link may carry and at what cost; refuses to know which of them carries now.
"""

from meuse_protocol.messages import BLOB
from meuse_protocol.outbox import ALARMS, ALL, NOTHING
from meuse_protocol.shared_endpoint import SharedEndpoint

from .allowance import Allowance
from .supervisor import Lane, Supervisor
from .wording import EPOCH_2000_S

LOG_TEXT = 2  # BLOB subject: what may interest a person
PAID = 50  # a link of this cost carries alarms only while there are others, unless its settings say otherwise
WIDE_BYTES = 100  # a link that takes so much takes whole batches
PART_BYTES = 24  # head of a part, and its share of the MAC
CARRIES = {"nothing": NOTHING, "alarms": ALARMS, "all": ALL}


def wire(app, links: list, psk, gmtime):
    """(supervisor or None, bytes that a batch may have) for app.runners; `links`: their settings."""
    lanes, first = [], None
    for settings, runner in zip(links, app.runners):
        carries = carried(settings, runner.link, len(links), not first)
        if carries == NOTHING and (first or runner is not app.runners[-1]):
            continue  # a console; but a board on which no link carried anything would be lost
        endpoint = _endpoint(app, runner.link, settings, psk)
        if first:
            endpoint.join(first)
        first = first or endpoint
        runner.endpoint = endpoint
        if hasattr(runner.link, "serve"):  # a file that a person carries: nothing to choose, nothing to wait for
            runner.link.serve(endpoint, app.log)
            continue
        if "budget_kb" in settings:
            budget = settings["budget_kb"] * 1000
            runner.allowance = Allowance(app.kept, runner.link.name, budget, runner.link.overhead, _month(app, gmtime))
        lanes.append(Lane(runner, carries or ALL, settings.get("cost", runner.link.cost), runner.allowance))
    supervised = len(lanes) > 1 or (lanes and lanes[0].allowance)

    def tell(text: str) -> None:
        app.append(BLOB, (LOG_TEXT, None, text.encode()))

    widths = [runner.link.mtu for runner in app.runners if runner.endpoint]
    return Supervisor(lanes, tell) if supervised else None, room(widths)


def carried(settings: dict, link, count: int, first: bool) -> int:
    """A cable that comes after another link is a console; what is paid by the byte is for alarms."""
    usual = "all"
    if count > 1 and not first and settings["kind"] == "uart":
        usual = "nothing"
    elif count > 1 and settings.get("cost", link.cost) >= PAID:
        usual = "alarms"
    return CARRIES.get(settings.get("carries", usual), ALL)


def room(widths: list) -> int:
    """What a batch has to fit: the narrowest link, but for those where the first row would take half of it.

    There several parts of one batch cost less than as many batches: 4 bytes a reading of a stove against 9 at 51.
    """
    narrow = min(widths)
    return narrow if narrow >= WIDE_BYTES else 4 * (narrow - PART_BYTES)


def _endpoint(app, link, settings: dict, psk) -> SharedEndpoint:
    """Of the link's own kind, where it has one."""
    kind = getattr(link, "Endpoint", SharedEndpoint)
    aes = None
    if settings.get("sealed"):
        from .cipher import aes
    return kind(app.device, app.log.stream, psk, app.log, mac_bytes=settings.get("mac_bytes", 8), aes=aes)


def _month(app, gmtime):
    epoch_s = EPOCH_2000_S if gmtime(0)[0] == 2000 else 0

    def month():
        utc_ms = app.clock.utc_ms(app.clock.now())
        if utc_ms is None:
            return None
        year, month = gmtime(utc_ms // 1000 - epoch_s)[:2]
        return 12 * year + month

    return month
