"""Who is there and who is silent: a board, or only one of its sensors. Judges numbers; knows no broker and no clock.

A board is heard by its records and by its heartbeat (it asks for the time every 15 minutes). A sensor is silent while
its board reports that it does not answer, or, while the board is heard, when nothing comes of it any more.
"""

from dataclasses import dataclass
from typing import Any, Final

from meuse.catalog import BootRow, Origin
from meuse.presence import Presence
from meuse.topics.latest import Channel, Device
from meuse.topics.names import moment

ONLINE: Final = "online"
SILENT: Final = "silent"
OFFLINE: Final = "offline"

NO_READINGS: Final = "no_readings"

# Of a sensor that answers nothing; one that is out of range does answer.
UNANSWERED: Final = ("device_missing", "bus_error", "open", "stale", "missing")

# A channel that reports seldom is silent only after so many of its own intervals.
INTERVALS: Final = 3


@dataclass(slots=True)
class Heard:
    """What is known of a device that was not here since the host was started. Times are UTC ms; 0: never."""

    link: str = ""
    since_ms: int = 0
    heard_ms: int = 0
    elsewhere: bool = False  # it is connected to another host that shares the journal


def presence(known: Presence | None, before: Heard, now_ms: int, silent_ms: int) -> dict[str, Any]:
    """presence, why, since, heard_at and link of a state message."""
    if before.elsewhere and not (known is not None and known.online):
        link, since_ms, heard_ms = before.link, before.since_ms, before.heard_ms
        state, why = ONLINE, "connected"
        if now_ms - heard_ms > silent_ms:
            state, why, since_ms = SILENT, "connected, but nothing is heard", heard_ms
    elif known is None:
        link, since_ms, heard_ms = before.link, before.since_ms, before.heard_ms
        state, why = OFFLINE, "not heard since the host was started"
    else:
        link, since_ms, heard_ms = known.link, known.since_ms, known.heard_ms
        state, why = (ONLINE, "connected") if known.online else (OFFLINE, "connection lost")
        if known.online and now_ms - heard_ms > silent_ms:
            state, why, since_ms = SILENT, "connected, but nothing is heard", heard_ms
    return {
        "presence": state,
        "why": why,
        "since": moment(since_ms) if since_ms else None,
        "heard_at": moment(heard_ms) if heard_ms else None,
        "link": link,
    }


def silent_sensors(known: Device | None, state: str, now_ms: int, silent_ms: int) -> list[dict[str, Any]]:
    """The channels of which the board says that they do not answer, or of which nothing comes; sorted."""
    if known is None:
        return []
    found = []
    for name, channel in sorted(known.channels.items()):
        if channel.quality in UNANSWERED:
            found.append({"channel": name, "quality": channel.quality, "since": moment(channel.since_ms)})
        elif state == ONLINE and _overdue(channel, now_ms, silent_ms):
            found.append({"channel": name, "quality": NO_READINGS, "since": moment(channel.measured_ms)})
    return found


def _overdue(channel: Channel, now_ms: int, silent_ms: int) -> bool:
    return now_ms - channel.received_ms > max(silent_ms, INTERVALS * channel.interval_ms)


def message(
    origin: Origin, presence: dict[str, Any], sensors: list[dict[str, Any]], firmware: BootRow | None
) -> dict[str, Any]:
    """What stands under `state`."""
    return {
        "tenant": origin.tenant,
        "site": origin.site,
        "device": origin.device,
        **presence,
        "firmware": firmware.firmware if firmware else None,
        "boot": firmware.boot if firmware else None,
        "silent_sensors": sensors,
    }


def alerts(state: dict[str, Any], now_ms: int, heard_ms: int, silent_ms: int) -> dict[str, dict[str, Any]]:
    """alert id -> what is wrong, of all that fire now."""
    found: dict[str, dict[str, Any]] = {}
    if state["presence"] != ONLINE and now_ms - heard_ms > silent_ms:
        found["board-silent"] = {"since": state["heard_at"], "detail": state["why"]}
    for sensor in state["silent_sensors"]:
        found[f"sensor-{sensor['channel']}"] = {"since": sensor["since"], "detail": sensor["quality"]}
    return found
