"""A board on a LoRaWAN network, and the network: its events and commands as ChirpStack v4 documents them.

Simulated: radio, gateway and network server (class A: a downlink follows an uplink, at most one, if there is one).
Real: the broker, the board's endpoint with a log in memory. The board's time is virtual: it may speak once in a slot.
"""

import base64
import json
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import paho.mqtt.client as paho
from meuse.links.lorawan import Device, LorawanLink
from meuse_protocol import messages
from meuse_protocol.rare_answers import RareEndpoint
from paho.mqtt.enums import CallbackAPIVersion

from tests.host.light_board import until
from tests.shared.memory_log import MemoryLog

APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
SLOT_MS = 10_000
WINDOW_MS = 1_100  # from an uplink to its downlink
PORT = 77


def event(eui: str, count: int, data: bytes, **other: Any) -> dict[str, Any]:
    """The example of ChirpStack's documentation ("Event types", up) with this device and payload."""
    found: dict[str, Any] = {
        "deduplicationId": str(secrets.token_hex(16)),
        "time": "2022-07-18T09:34:15.775023242+00:00",
        "deviceInfo": {
            "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
            "tenantName": "ChirpStack",
            "applicationId": APPLICATION,
            "applicationName": "Test application",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
            "deviceProfileName": "Test device-profile",
            "deviceName": "Test device",
            "devEui": eui,
            "tags": {"key": "value"},
        },
        "devAddr": "00189440",
        "dr": 1,
        "fCnt": count,
        "fPort": PORT,
        "data": base64.b64encode(data).decode(),
        "rxInfo": [
            {
                "gatewayId": "0016c001f153a14c",
                "uplinkId": 4217106255,
                "rssi": -36,
                "snr": 10.5,
                "context": "E3OWOQ==",
                "metadata": {"region_name": "eu868", "region_common_name": "EU868"},
            }
        ],
        "txInfo": {
            "frequency": 867100000,
            "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 11, "codeRate": "CR_4_5"}},
        },
    }
    return {key: value for key, value in (found | other).items() if value not in (0, None)}  # as Protobuf's JSON


class Network:
    """The network server at one broker. paho runs in its own thread."""

    def __init__(self, port: int) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.queue: dict[str, list[bytes]] = {}
        self.before = 0  # commands of a host that is gone
        self.settled: Callable[[], Awaitable[None]]  # of the host: what came is stored
        self.listens = False
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id="chirpstack")
        client.on_message = self._command
        client.on_subscribe = lambda *_: setattr(self, "listens", True)
        client.on_connect = lambda *_: client.subscribe("application/+/device/+/command/+", 1)
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _command(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        command = json.loads(message.payload)
        eui = message.topic.split("/")[3]
        assert message.topic == f"application/{APPLICATION}/device/{eui}/command/down"
        assert command["devEui"] == eui
        assert command["fPort"] == PORT and command["confirmed"] is False
        self.queue.setdefault(eui, []).append(base64.b64decode(command["data"], validate=True))
        self.commands.append((eui, command))

    def say(self, eui: str, payload: bytes) -> paho.MQTTMessageInfo:
        return self._client.publish(f"application/{APPLICATION}/device/{eui}/event/up", payload, qos=1)

    async def up(self, eui: str, payload: bytes) -> None:
        info = self.say(eui, payload)
        await until(info.is_published, "the broker has the uplink")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class LorawanBoard:
    """One device that says one packet in a slot of its own time, and hears at most one. lose: each way, by the seed."""

    def __init__(self, device: str, eui: str, key: bytes, mtu: int, lose: float = 0.0, seed: int = 1) -> None:
        self.device = device
        self.eui = eui
        self.mtu = mtu
        self.log = MemoryLog(secrets.randbits(31) | 1 << 31)
        self.endpoint = RareEndpoint(device, self.log.stream, key, self.log, window=16, mac_bytes=4)
        self.now_ms = 0
        self.uplinks = self.downlinks = 0
        self._random = random.Random(seed)
        self._lose = lose
        self.endpoint.link_up(0, mtu, self._random.getrandbits(32), True)

    def add(self, count: int, size: int) -> None:
        for _ in range(count):
            text = self._random.randbytes(size)
            self.endpoint.record_added(self.log.append(messages.BLOB, 1, None, text))

    @property
    def drained(self) -> bool:
        return self.log.oldest() == self.log.next_seq()

    async def slot(self, network: Network, link: LorawanLink) -> None:
        """The next chance to speak, and what comes of it."""
        self.now_ms += SLOT_MS
        e2e = self.endpoint.next_pdu(self.now_ms)
        if e2e is None:  # nothing, until a timer of its own
            self.now_ms = max(self.now_ms, (self.endpoint.deadline() or 0) - SLOT_MS)
            return
        assert len(e2e) <= self.mtu
        self.uplinks += 1
        if self._random.random() < self._lose:
            return
        heard, sent = link.uplinks, link.downlinks
        await network.up(self.eui, json.dumps(event(self.eui, self.uplinks, e2e)).encode())
        await until(lambda: link.uplinks > heard, "the host has the uplink")
        await network.settled()
        device = link.peers[self.eui]
        assert isinstance(device, Device)
        await until(lambda: device.may_answer or link.downlinks > sent, "the host may answer")
        await until(lambda: len(network.commands) - network.before == link.downlinks, "the network has the downlink")
        self.now_ms += WINDOW_MS
        waiting = network.queue.get(self.eui)
        if waiting:
            down = waiting.pop(0)
            self.downlinks += 1
            assert len(down) <= self.mtu
            if self._random.random() >= self._lose:
                self.endpoint.receive(down, self.now_ms)
                while self.endpoint.next_event() is not None:
                    pass

    async def drain(self, network: Network, link: LorawanLink, slots: int) -> None:
        for _ in range(slots):
            if self.drained:
                return
            await self.slot(network, link)
        raise AssertionError(f"{self.log.oldest()} of {self.log.next_seq()}, {self.endpoint.state}")


