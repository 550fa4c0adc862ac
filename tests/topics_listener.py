"""A backend at a broker: paho as anybody uses it, plain JSON, the schemas of docs/asyncapi.yaml; nothing of Meuse."""

import json
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import msgpack
import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

DOCUMENT = yaml.safe_load((Path(__file__).resolve().parent.parent / "docs/asyncapi.yaml").read_text())


@dataclass(frozen=True)
class Heard:
    topic: str
    payload: bytes
    retained: bool  # it stood there when the subscription began

    @cached_property
    def form(self) -> dict[str, Any]:
        found: dict[str, Any] = msgpack.unpackb(self.payload) if "/raw/" in self.topic else json.loads(self.payload)
        return found

    @cached_property
    def kind(self) -> str:
        """The part of the topic that says what it is: `telemetry`, `alert/...`, `_host/state`."""
        return self.topic.removeprefix("meuse/") if "/_host/" in self.topic else self.topic.split("/", 4)[-1]


class Listener:
    """Keeps every message under `topics`, in order; paho runs in its own thread."""

    def __init__(self, port: int, *topics: str, user: str = "", password: str = "") -> None:
        self.heard: list[Heard] = []
        self.listens = False
        self.refused = False
        self.turned_away = False
        client_id = f"backend-{secrets.token_hex(4)}"
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if user:
            client.username_pw_set(user, password)
        client.reconnect_delay_set(1, 1)
        client.on_message = self._message
        client.on_subscribe = self._subscribed
        self._topics = topics or ("meuse/#",)
        client.on_connect = self._connected
        client.on_disconnect = lambda *_: setattr(self, "listens", False)
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _connected(self, client: paho.Client, userdata: object, flags: object, code: Any, *_: object) -> None:
        self.turned_away = code.is_failure
        if not self.turned_away:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, message.payload, message.retain))

    def _subscribed(self, client: object, userdata: object, mid: int, codes: list[Any], *_: object) -> None:
        self.refused = any(code.is_failure for code in codes)
        self.listens = not self.refused

    def say(self, topic: str, payload: bytes) -> paho.MQTTMessageInfo:
        return self._client.publish(topic, payload, qos=1)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """What came under the last parts of a topic, such as `telemetry`; cleared ones left out."""
        return [heard.form for heard in self.heard.copy() if heard.kind in kinds and heard.payload]

    def readings(self, *kinds: str) -> list[tuple[str, int, int]]:
        """(device, seq, row) of every reading in telemetry and backfill, as they came."""
        forms = self.of(*(kinds or ("telemetry", "backfill")))
        return [(form["device"], form["seq"], row["row"]) for form in forms for row in form["rows"]]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def channel_of(topic: str) -> str:
    """The channel of the document whose address this topic has; exactly one may."""
    found = []
    for name, channel in DOCUMENT["channels"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", channel["address"])
        if re.fullmatch(pattern, topic):
            found.append(name)
    assert len(found) == 1, (topic, found)
    return found[0]


def validate(heard: list[Heard]) -> dict[str, int]:
    """Every message against the document -> how many of each channel."""
    counts: dict[str, int] = {}
    for message in heard:
        channel = channel_of(message.topic)
        counts[channel] = counts.get(channel, 0) + 1
        if not message.payload:
            assert channel in ("alert", "discovery"), f"{message.topic} is empty"
            continue
        (reference,) = DOCUMENT["channels"][channel]["messages"].values()
        payload = DOCUMENT["components"]["messages"][reference["$ref"].rpartition("/")[2]]["payload"]
        VALIDATORS.setdefault(channel, validator(payload)).validate(message.form)
    return counts


def validator(schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    """AsyncAPI's schemas are a superset of draft 7."""
    return jsonschema.Draft7Validator({**schema, "components": DOCUMENT["components"]})


VALIDATORS: dict[str, jsonschema.Draft7Validator] = {}
