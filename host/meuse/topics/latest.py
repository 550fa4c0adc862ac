"""The newest value of every channel, by measured time, not by arrival; survives a restart as the message that stands.

Grows with the devices and their channels (64 at most each), not with readings.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from meuse.catalog import Origin
from meuse.decode import Block
from meuse.topics import forms
from meuse.topics.names import LATEST, milliseconds, moment, of


@dataclass(slots=True)
class Channel:
    """One channel's newest row. `since_ms`: measured time from which on it has this quality, as far as was seen."""

    measured_ms: int
    received_ms: int
    shown: dict[str, Any]
    since_ms: int
    interval_ms: int = 0  # from the row that was newest before

    @property
    def quality(self) -> str:
        return str(self.shown["quality"])


@dataclass(slots=True)
class Device:
    """All channels of one device."""

    origin: Origin
    channels: dict[str, Channel] = field(default_factory=dict)


class Latest:
    """`take` every block, in whatever order; `message` is what stands under `latest`."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}

    def take(self, block: Block, origin: Origin) -> bool:
        """Whether anything newer was in it."""
        newest = forms.newest_row(block)
        if newest is None:
            return False
        row, measured_ms = newest
        known = self.devices.setdefault(origin.device, Device(origin))
        known.origin = origin
        stored = block.stored
        news = False
        for column, (channel, unit, _, _) in enumerate(block.channels):
            before = known.channels.get(channel)
            if before is not None and (measured_ms, stored.received_ms) < (before.measured_ms, before.received_ms):
                continue
            value, quality = forms.value_at(block, column, row)
            shown = {
                "value": value,
                "unit": unit,
                "quality": quality,
                "measured_at": moment(measured_ms),
                "time_quality": forms.time_quality(block, row),
                "received_at": moment(stored.received_ms),
                "stream": stored.stream,
                "seq": stored.seq,
                "row": row,
            }
            same = before is not None and before.quality == quality
            since_ms = before.since_ms if before is not None and same else measured_ms
            interval_ms = measured_ms - before.measured_ms if before is not None else 0
            known.channels[channel] = Channel(measured_ms, stored.received_ms, shown, since_ms, interval_ms)
            news = True
        return news

    def message(self, device: str, now_ms: int) -> tuple[str, bytes]:
        """(topic, payload); ages count up to now."""
        known = self.devices[device]
        origin = known.origin
        form = {
            "tenant": origin.tenant,
            "site": origin.site,
            "device": device,
            "published_at": moment(now_ms),
            "channels": {
                name: each.shown | {"age_ms": max(0, now_ms - each.measured_ms), "quality_since": moment(each.since_ms)}
                for name, each in known.channels.items()
            },
        }
        return of(origin, LATEST), forms.to_json(form)

    def restore(self, payload: bytes) -> None:
        """Take in a message that stood there before a restart."""
        form = msgspec.json.decode(payload)
        origin = Origin(form["device"], form["tenant"], form["site"])
        known = self.devices.setdefault(origin.device, Device(origin))
        for name, shown in form["channels"].items():
            del shown["age_ms"]
            since_ms = milliseconds(shown.pop("quality_since"))
            measured_ms = milliseconds(shown["measured_at"])
            known.channels[name] = Channel(measured_ms, milliseconds(shown["received_at"]), shown, since_ms)
