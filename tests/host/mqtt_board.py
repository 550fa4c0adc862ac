"""A light board behind a broker: paho as any program would use it, the shared protocol, a log in memory."""

import asyncio
import secrets

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.host.light_board import LightBoard, now_ms


class MqttBoard(LightBoard):
    """Speaks on the topics of `name` (TENANT/DEVICE), which need not be its own. paho runs in its own thread."""

    def connect_to(self, port: int, name: str | None = None) -> None:
        self.topic = f"meuse-link/{name or 'default/' + self.device}"
        loop = asyncio.get_running_loop()
        own_id = f"{self.device}-{secrets.token_hex(4)}"
        self.client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id=own_id)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe(self.topic + "/down", 1)
        client.on_subscribe = lambda *_: loop.call_soon_threadsafe(self._up)
        client.on_message = lambda c, u, message: loop.call_soon_threadsafe(self._message, message.payload)
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _up(self) -> None:
        self._fd = 0  # plugged in; nothing is written to it
        self.endpoint.link_down(now_ms())
        self.endpoint.link_up(now_ms(), 1024, secrets.randbits(32), False)
        self._pump()

    def _message(self, payload: bytes) -> None:
        if not self.plugged:
            return
        self.received += len(payload)
        self.endpoint.receive(payload, now_ms())
        while (event := self.endpoint.next_event()) is not None:
            self.events.append(event)
        self._pump()

    def _pump(self) -> None:
        if not self.plugged:
            return
        while (e2e := self.endpoint.next_pdu(now_ms())) is not None:
            self.client.publish(self.topic + "/up", e2e, qos=1)
        self._rearm()

    def _rearm(self) -> None:
        deadline = self.endpoint.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay_s = max(deadline - now_ms(), 1) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._pump)

    def unplug(self) -> None:
        self._fd = -1
        self.endpoint.link_down(now_ms())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.client.disconnect()
        self.client.loop_stop()
