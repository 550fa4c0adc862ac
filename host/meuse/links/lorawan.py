"""LoRaWAN: boards behind a ChirpStack v4 network server, by the JSON of its MQTT integration.

Source: ChirpStack documentation, "Integrations: MQTT" and "Event types", `up`; fields whose value is zero are left out.
An uplink's payload is one packet of the protocol. One session per DevEUI; who speaks there is what the MAC says.

A downlink can only follow an uplink, and takes air time of a gateway that hears nobody meanwhile: at most one goes for
each uplink, a moment after it came, so that its ACK speaks of what it brought. ChirpStack waits 100 ms for that
(`get_downlink_data_delay`); what comes later it keeps for the next uplink.
"""

import asyncio
import base64
import binascii
import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from meuse.links import Opened
from meuse.links.broker_link import BrokerLink, Peer
from meuse.settings import LorawanSettings

KIND = "lorawan"
TOPIC = re.compile(r"application/([A-Za-z0-9-]{1,64})/device/([0-9a-f]{16})/event/up")

# Storing takes a few ms; well within ChirpStack's 100.
ANSWER_S = 0.05

# Who has not proved who it is gets an answer so often, whatever it sends.
STRANGER_EACH_S = 600.0

# Whoever says nothing for two days and a bit is gone: some boards speak once a day.
IDLE_S = 50 * 3600.0

# Uplinks remembered of each device: a broker may deliver one again, later than the next ones.
SEEN = 16

LONGEST_BYTES = 255
TOO_SLOW = "US915 DR0 carries 11 bytes and no packet: let the board, and ADR in its device profile, begin at DR1"


class Uplink(NamedTuple):
    """What an event says. once: no other uplink has it."""

    port: int
    data: bytes
    once: tuple[str, int, str]
    too_slow: bool


class Device(Peer):
    """A board by its DevEUI. may_answer: an uplink came, and nothing was sent since."""

    __slots__ = ("answered_s", "application", "may_answer", "seen", "told_slow")

    def __init__(self, link: BrokerLink, name: str) -> None:
        super().__init__(link, name)
        self.application = ""
        self.may_answer = False
        self.told_slow = False
        self.answered_s = -STRANGER_EACH_S
        self.seen: deque[tuple[str, int, str]] = deque(maxlen=SEEN)

    @property
    def writable(self) -> bool:
        return self.may_answer and super().writable


class LorawanLink(BrokerLink):
    """Subscribed to the uplinks of one application, or of all. `turned_away(name, counter, detail)` tells people."""

    kind = KIND
    peer_class = Device

    def __init__(
        self,
        settings: LorawanSettings,
        opened: Opened,
        turned_away: Callable[[str, str, str], None],
        count: Callable[[str], None],
    ) -> None:
        topics = f"application/{settings.application or '+'}/device/+/event/up"
        super().__init__(settings, "lorawan", topics, opened, settings.max_devices, IDLE_S)
        self._port = settings.f_port
        self._turned_away = turned_away
        self._count = count
        self.uplinks = 0  # that came to a session
        self.downlinks = 0

    def message(self, topic: str, payload: bytes) -> None:
        found = TOPIC.fullmatch(topic)
        uplink = read(payload, found[2]) if found else None
        if found is None or uplink is None:
            self._count("lorawan_malformed")
        elif uplink.port != self._port:
            self._count("lorawan_other_port")
        else:
            device = self.heard(found[2])
            if isinstance(device, Device) and device.receiver is not None:
                self._take(device, found[1], uplink)

    def _take(self, device: Device, application: str, uplink: Uplink) -> None:
        assert device.receiver is not None
        if uplink.once in device.seen:
            self._count("lorawan_repeated")
            return
        device.seen.append(uplink.once)
        if uplink.too_slow:
            self._too_slow(device)
            return
        device.application = application
        device.may_answer = False
        self.uplinks += 1
        device.receiver.receive(uplink.data)
        asyncio.get_running_loop().call_later(ANSWER_S, self._answerable, device)

    def _too_slow(self, device: Device) -> None:
        self._count("lorawan_too_slow")
        if not device.told_slow:
            device.told_slow = True
            self._turned_away(f"{KIND}:{self.address}/{device.name}", "lorawan_refused", TOO_SLOW)

    def _answerable(self, device: Device) -> None:
        """What the uplink brought is stored by now, or will be soon."""
        if device.receiver is None:
            return
        now_s = asyncio.get_running_loop().time()
        if device.receiver.stranger and now_s - device.answered_s < STRANGER_EACH_S:
            return
        device.may_answer = True
        device.receiver.writable()

    def answer(self, peer: Peer, data: bytes) -> None:
        assert isinstance(peer, Device)
        peer.may_answer = False
        peer.answered_s = asyncio.get_running_loop().time()
        self.downlinks += 1
        text = base64.b64encode(data).decode()
        command = {"devEui": peer.name, "confirmed": False, "fPort": self._port, "data": text}
        topic = f"application/{peer.application}/device/{peer.name}/command/down"
        self.publish(topic, json.dumps(command).encode())


def read(payload: bytes, eui: str) -> Uplink | None:
    """An event of the device that the topic names; None for anything else."""
    try:
        event = json.loads(payload)
        info = _of(event, "deviceInfo", dict)
        once = (_of(event, "devAddr", str), _of(event, "fCnt", int), _of(event, "deduplicationId", str))
        data = base64.b64decode(_of(event, "data", str), validate=True)
        if _of(info, "devEui", str) != eui or not 0 < len(data) <= LONGEST_BYTES:
            return None
        too_slow = _region(event).startswith("us915") and _of(event, "dr", int) == 0
        return Uplink(_of(event, "fPort", int), data, once, too_slow)
    except (ValueError, RecursionError, binascii.Error):
        return None


def _of(table: Any, key: str, kind: type) -> Any:
    """The value, or that of its kind which Protobuf leaves out; ValueError if it is of another."""
    if type(table) is not dict:
        raise ValueError("no table")
    value = table.get(key, kind())
    if type(value) is not kind:
        raise ValueError(key)
    return value


def _region(event: Any) -> str:
    """The name of the region whose gateway heard it first, '' where nobody says."""
    gateways = _of(event, "rxInfo", list)
    metadata = _of(gateways[0], "metadata", dict) if gateways else {}
    name: str = _of(metadata, "region_common_name", str) or _of(metadata, "region_name", str)
    return name.lower()
