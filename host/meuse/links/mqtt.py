"""MQTT: boards behind a broker. Reads meuse-link/+/+/up, answers on the .../down of the topic a packet came from.

One session per topic. Who speaks there is what HELLO's MAC says, not what the topic says.
"""

import re
from collections.abc import Iterable

from meuse_protocol.messages import NEED, NEED_HELLO, record, splice

from meuse.links import Opened
from meuse.links.broker_link import BrokerLink, Peer
from meuse.settings import BrokerAddress, MqttLinkSettings

KIND = "mqtt"
TOPICS = "meuse-link/+/+/up"
TOPIC = re.compile(r"meuse-link/([a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31})/up")

# Needs no MAC (protocol/README.md, "MAC"): all that it brings about is a HELLO.
WHO_IS_THERE = splice(record(NEED, NEED_HELLO), 0)

# A board asks for the time every 15 minutes: after two of them missed it is not there.
IDLE_S = 2_000.0


class MqttLink(BrokerLink):
    """Subscribed at one broker; a session is called TENANT/DEVICE, as the topic is."""

    kind = KIND
    peer_class = Peer

    def __init__(
        self, settings: MqttLinkSettings, opened: Opened, boards: Iterable[str], embedded: BrokerAddress | None = None
    ) -> None:
        """boards: TENANT/DEVICE of those that are known. embedded: the host's own broker, instead of a url."""
        super().__init__(settings, "mqtt_link", TOPICS, opened, settings.max_devices, IDLE_S, embedded)
        self._max_called = settings.max_devices
        self._called = set(boards)  # whom to call: these, and who was heard
        self.foreign = 0  # messages on topics no board has

    def connected(self) -> None:
        """Ask who is there: a board that found nobody for long looks only every five minutes."""
        for name in self._called:
            self.publish(f"meuse-link/{name}/down", WHO_IS_THERE)

    def message(self, topic: str, payload: bytes) -> None:
        found = TOPIC.fullmatch(topic)
        if found is None:
            self.foreign += 1
        elif not payload:  # a board's last will
            if found[1] in self.peers:
                self.drop(self.peers[found[1]])
        else:
            peer = self.heard(found[1])
            if peer is not None and len(self._called) < self._max_called:
                self._called.add(peer.name)
            if peer is not None and peer.receiver is not None:
                peer.receiver.receive(payload)

    def answer(self, peer: Peer, data: bytes) -> None:
        self.publish(f"meuse-link/{peer.name}/down", data)
