"""Looks at every device every few seconds and puts its state, and the alerts that fire, on the shelf."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from meuse.bridge import Bridge
from meuse.commands.alarms import Alerts
from meuse.journal.sql import Database
from meuse.topics import forms, states
from meuse.topics.latest import Latest
from meuse.topics.names import STATE, moment, of
from meuse.topics.reader import Reader
from meuse.topics.shelf import Shelf
from meuse.topics.states import Heard

# Devices looked at before others may run.
TOGETHER: Final = 200

FIRING: Final = "firing"
RESOLVED: Final = "resolved"

# (kind, device, detail): an event for people.
Note = Callable[[str, str | None, str], None]


def heard_before(db: Database, elsewhere: bool = False) -> dict[str, Heard]:
    """Every device that is known, with what the last host wrote of it; `elsewhere`: what other hosts write of it."""
    rows = db.execute(
        "SELECT device, coalesce(link, ''), coalesce(since_ms, 0), coalesce(seen_ms, 0), coalesce(online, FALSE)"
        " FROM (SELECT DISTINCT device FROM streams) AS known LEFT JOIN device_status USING (device)"
    )
    return {
        device: Heard(link, since_ms, seen_ms, bool(elsewhere and online))
        for device, link, since_ms, seen_ms, online in rows
    }


class Watch:
    """`look()` again and again."""

    def __init__(
        self, bridge: Bridge, reader: Reader, latest: Latest, shelf: Shelf, silent_ms: int, note: Note
    ) -> None:
        self._bridge = bridge
        self._reader = reader
        self._latest = latest
        self._shelf = shelf
        self._silent_ms = silent_ms
        self._note = note
        self._told: dict[str, tuple[object, ...]] = {}
        self._firing: dict[str, dict[str, dict[str, Any]]] = {}  # `.../alert` -> alert id -> its message
        self._restore()

    async def look(self, before: dict[str, Heard], failed: Alerts) -> None:
        """All devices once; `before`: as they were when this host started; `failed`: commands that did not do."""
        now_ms = self._bridge.clock.utc_ms()
        self._bridge.heartbeats(now_ms)
        devices = list(dict.fromkeys([*before, *self._bridge.presences.devices]))
        for count, device in enumerate(devices, 1):
            self._look(device, before.get(device) or Heard(), failed.get(device) or {}, now_ms)
            if count % TOGETHER == 0:
                await asyncio.sleep(0)

    def moved(self, devices: set[str]) -> None:
        """They have another tenant or site: all that is to be told of them is told anew."""
        for device in devices:
            self._told.pop(device, None)
        for under in [under for under in self._firing if under.split("/")[3] in devices]:
            del self._firing[under]

    def _look(self, device: str, before: Heard, failed: dict[str, dict[str, Any]], now_ms: int) -> None:
        origin = self._reader.origin_of(device)
        known = self._bridge.presences.devices.get(device)
        presence = states.presence(known, before, now_ms, self._silent_ms)
        sensors = states.silent_sensors(self._latest.devices.get(device), presence["presence"], now_ms, self._silent_ms)
        state = states.message(origin, presence, sensors, self._reader.firmware.get(device))
        # When it was heard last changes all the time, and is told when something else does.
        told = tuple(repr(value) for key, value in state.items() if key != "heard_at")
        if self._told.get(device) != told:
            self._told[device] = told
            self._shelf.put(of(origin, STATE), forms.to_json(state | {"published_at": moment(now_ms)}))
        heard_ms = before.heard_ms if before.elsewhere or known is None else known.heard_ms
        firing = states.alerts(state, now_ms, heard_ms, self._silent_ms) | failed
        self._alert(of(origin, "alert"), state, firing, now_ms)

    def _alert(self, under: str, state: dict[str, Any], firing: dict[str, dict[str, Any]], now_ms: int) -> None:
        if not firing and under not in self._firing:
            return
        known = self._firing.setdefault(under, {})
        whose = {key: state[key] for key in ("tenant", "site", "device")}
        for id in [id for id in firing if id not in known]:
            form = {
                **whose,
                "alert": id,
                "state": FIRING,
                **firing[id],
                "fired_at": moment(now_ms),
                "resolved_at": None,
            }
            known[id] = form
            self._shelf.put(f"{under}/{id}", forms.to_json(form))
            self._note("alert-firing", state["device"], f"{id}: {firing[id]['detail']}")
        for id in [id for id in known if id not in firing]:
            form = known.pop(id) | {"state": RESOLVED, "resolved_at": moment(now_ms)}
            self._shelf.pass_by(f"{under}/{id}", forms.to_json(form))
            self._note("alert-resolved", state["device"], id)
        if not known:
            del self._firing[under]

    def _restore(self) -> None:
        """The alerts of the last host: what fired may have ended since, what was resolved is to be cleared."""
        for topic, payload in self._shelf.standing("/alert/").items():
            form = msgspec.json.decode(payload)
            if form["state"] == FIRING:
                under, _, id = topic.rpartition("/")
                self._firing.setdefault(under, {})[id] = form
            else:
                self._shelf.pass_by(topic, payload)
