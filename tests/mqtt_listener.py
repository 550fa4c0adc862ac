"""An independent program at a broker: paho as anybody uses it, plain msgpack, nothing of Meuse."""

from typing import Any

import msgpack
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

MAC_BYTES = 8


class Listener:
    """Keeps every message on the boards' topics, in order; paho runs in its own thread."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.listens = False
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener")
        client.reconnect_delay_set(1, 1)
        client.on_message = lambda c, u, message: self.heard.append((message.topic, message.payload))
        client.on_subscribe = lambda *_: setattr(self, "listens", True)
        client.on_connect = lambda *_: client.subscribe("meuse-link/#")
        client.connect("127.0.0.1", port)
        client.loop_start()

    def say(self, topic: str, payload: bytes) -> paho.MQTTMessageInfo:
        """Publishes with QoS 1; the answer's is_published() tells of the broker's PUBACK."""
        return self._client.publish(topic, payload, qos=1)

    def arrays(self, topic: str) -> list[list[Any]]:
        """What was said on a topic, as any msgpack library reads it: one array per message, then 8 bytes of MAC.

        A host that knows no stream yet asks for HELLO without one.
        """
        found = []
        for where, payload in self.heard.copy():
            if where == topic and payload:
                unpacker = msgpack.Unpacker(raw=True)
                unpacker.feed(payload)
                found.append(unpacker.unpack())
                assert len(payload) - unpacker.tell() in (0, MAC_BYTES), payload.hex()
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
