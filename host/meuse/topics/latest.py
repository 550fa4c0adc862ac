"""The newest value of every channel, by measured time, not by arrival; survives a restart as the message that stands.

Grows with the devices and their channels (64 at most each), not with readings.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from meuse import dating
from meuse.catalog import Origin
from meuse.decode import Block
from meuse.topics import forms
from meuse.topics.forms import Timed
from meuse.topics.names import LATEST, milliseconds, moment, of


@dataclass(slots=True)
class Channel:
    """One channel's newest element. `since_ms`: measured time from which on it has this quality, as far as was seen."""

    element: object  # as on the wire, or a value that was restored
    exp10: int
    unit: str
    quality: str
    measured_ms: int
    time_quality: str
    received_ms: int
    stream: int
    seq: int
    row: int
    since_ms: int
    interval_ms: int  # from the row that was newest before

    def newer_than(self, measured_ms: int, stream: int, seq: int) -> bool:
        """Whatever came first; of two measured at once the later record counts."""
        if self.stream == stream:
            return (self.measured_ms, self.seq) > (measured_ms, seq)
        return self.measured_ms > measured_ms

    def shown(self, now_ms: int) -> dict[str, Any]:
        """As it stands in the message."""
        return {
            "value": forms.value_of(self.element, self.exp10),
            "unit": self.unit,
            "quality": self.quality,
            "quality_since": moment(self.since_ms),
            "measured_at": moment(self.measured_ms),
            "time_quality": self.time_quality,
            "age_ms": max(0, now_ms - self.measured_ms),
            "received_at": moment(self.received_ms),
            "stream": self.stream,
            "seq": self.seq,
            "row": self.row,
        }


@dataclass(slots=True)
class Device:
    """All channels of one device."""

    origin: Origin
    channels: dict[str, Channel] = field(default_factory=dict)


class Latest:
    """`take` every block, in whatever order; `message` is what stands under `latest`."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}

    def take(self, block: Block, when: Timed, origin: Origin) -> bool:
        """Whether anything newer was in it, or its device is elsewhere by now."""
        if when.newest is None:
            return False
        row, measured_ms, stored = when.newest, when.newest_ms, block.stored
        known = self.devices.setdefault(origin.device, Device(origin))
        news = known.origin != origin
        known.origin = origin
        time_quality = dating.TIME_QUALITIES[when.codes[row]]
        for (channel, unit, exp10, _), column in zip(block.channels, block.columns, strict=True):
            before = known.channels.get(channel)
            if before is not None and before.newer_than(measured_ms, stored.stream, stored.seq):
                continue
            quality = forms.quality_of(column[row])
            since_ms = before.since_ms if before is not None and before.quality == quality else measured_ms
            known.channels[channel] = Channel(
                column[row],
                exp10,
                unit,
                quality,
                measured_ms,
                time_quality,
                stored.received_ms,
                stored.stream,
                stored.seq,
                row,
                since_ms,
                measured_ms - before.measured_ms if before is not None else 0,
            )
            news = True
        return news

    def move(self, origin: Origin) -> bool:
        """Its device belongs there now -> whether it has values that stood elsewhere."""
        known = self.devices.get(origin.device)
        if known is None or known.origin == origin:
            return False
        known.origin = origin
        return True

    def message(self, device: str, now_ms: int) -> tuple[str, bytes]:
        """(topic, payload); ages count up to now."""
        known = self.devices[device]
        origin = known.origin
        form = {
            "tenant": origin.tenant,
            "site": origin.site,
            "device": device,
            "published_at": moment(now_ms),
            "channels": {name: each.shown(now_ms) for name, each in known.channels.items()},
        }
        return of(origin, LATEST), forms.to_json(form)

    def restore(self, payload: bytes) -> None:
        """Take in a message that stood there before a restart."""
        form = msgspec.json.decode(payload)
        origin = Origin(form["device"], form["tenant"], form["site"])
        known = self.devices.setdefault(origin.device, Device(origin))
        for name, shown in form["channels"].items():
            known.channels[name] = Channel(
                shown["value"],
                0,
                shown["unit"],
                shown["quality"],
                milliseconds(shown["measured_at"]),
                shown["time_quality"],
                milliseconds(shown["received_at"]),
                shown["stream"],
                shown["seq"],
                shown["row"],
                milliseconds(shown["quality_since"]),
                0,
            )
