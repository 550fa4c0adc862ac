"""All the ways in: every link that the settings ask for, started in one order and closed together."""

import logging
from collections.abc import Callable

from starlette.applications import Starlette

from meuse.api.commands import CommandsApi
from meuse.bridge import Bridge
from meuse.bus_session import Bus
from meuse.config import parse_address, parse_duration
from meuse.descriptors import Shares
from meuse.journal.commit import CommitQueue
from meuse.links import Link, tls
from meuse.links.ble import BleLink, load_bleak
from meuse.links.http import HttpLink
from meuse.links.lorawan import LorawanLink
from meuse.links.mqtt import MqttLink
from meuse.links.rs485 import Rs485Link
from meuse.links.serial import SerialLink
from meuse.links.sms import SmsLink
from meuse.links.tcp import TcpLink
from meuse.links.udp import UdpLink
from meuse.settings import BrokerAddress, Settings
from meuse.web import WebServer

log = logging.getLogger(__name__)


class Listening:
    """boards: TENANT/DEVICE of each with a key. own_broker: of this host, where it has one; api: for backends."""

    def __init__(
        self,
        settings: Settings,
        bridge: Bridge,
        commits: CommitQueue,
        boards: Callable[[], list[str]],
        own_broker: BrokerAddress | None,
        api: CommandsApi | None,
    ) -> None:
        self._settings = settings
        self._bridge = bridge
        self._commits = commits
        self._boards = boards
        self._own_broker = own_broker
        self._api = api
        self.links: list[Link] = []
        self.tcp: list[TcpLink] = []
        self.tls: list[TcpLink] = []
        self.web: list[WebServer] = []
        self.udp: list[UdpLink] = []
        self.api: list[WebServer] = []
        self.requests: HttpLink | None = None

    async def start(self) -> None:
        """All of them; raises HostError when one cannot."""
        self._shares = Shares(self._settings)
        if self._shares.short:
            log.warning("%s: raise `ulimit -n`, or set max_connections", self._shares.short)
        await self._start_tcp()
        await self._start_tls()
        await self._start_http()
        await self._start_api()
        await self._start_udp()
        for port in self._settings.serial:
            await self._start_link(SerialLink(port.port, port.baud, self._bridge.opened))
        for table in self._settings.mqtt_link:
            own = self._own_broker if table.embedded else None
            await self._start_link(MqttLink(table, self._bridge.opened, self._boards(), own))
        if self._settings.sms.port:
            await self._start_link(SmsLink(self._settings.sms, self._bridge.opened, self._bridge.count))
        if self._settings.lorawan.url:
            lorawan, bridge = self._settings.lorawan, self._bridge
            await self._start_link(LorawanLink(lorawan, bridge.opened, bridge.turned_away, bridge.count))
        for wire in self._settings.rs485:
            bus = Bus(wire.baud, wire.boards, parse_duration(wire.poll), wire.latency_ms)
            await self._start_link(Rs485Link(wire.port, bus, self._bridge.opened_bus))
        if self._settings.ble.devices or self._settings.ble.service:
            await self._start_link(BleLink(self._settings.ble, self._bridge.opened, load_bleak(), self._bridge.count))

    def stop_listening(self) -> None:
        """No new connections; the open ones stay."""
        for link in self.links:
            link.stop_listening()

    async def close(self) -> None:
        """Close every connection."""
        for link in self.links:
            await link.close()
        if self.requests is not None:
            self.requests.close()

    async def _start_link(self, link: Link) -> None:
        self.links.append(link)
        await link.start()

    async def _start_tcp(self) -> None:
        tcp = self._settings.tcp
        if not tcp.listen:
            return
        for address in tcp.listen:
            name, port = parse_address(address, "tcp.listen")
            most = self._shares.of(tcp.max_connections)
            link = TcpLink(name, port, self._bridge.opened, most, self._bridge.count)
            await self._start_link(link)
            self.tcp.append(link)
            log.info("listening on %s", link.address)

    async def _start_tls(self) -> None:
        found = self._settings.tls
        if not found.listen:
            return
        context = tls.load(found)
        if wrong := tls.out_of_date(found):
            log.warning("tls: the certificate %s: boards with a clock will refuse it", wrong)
        most = self._shares.of(found.max_connections)
        for address in found.listen:
            handshakes = tls.Handshakes(context, self._handshake_failed)
            name, port = parse_address(address, "tls.listen")
            link = TcpLink(name, port, self._bridge.opened, most, self._bridge.count, handshakes)
            await self._start_link(link)
            self.tls.append(link)
            log.info("listening on %s with TLS", link.address)

    async def _start_http(self) -> None:
        found = self._settings.http
        if not found.listen:
            return
        self.requests = HttpLink(self._bridge.opened, self._bridge.has_key, self._commits.settled)
        app = Starlette(routes=[*self.requests.routes])
        most = self._shares.of(found.max_connections)
        for address in found.listen:
            server = WebServer(*parse_address(address, "http.listen"), app, most)
            await self._start_link(server)
            self.web.append(server)
            log.info("listening on http://%s", server.address)

    async def _start_api(self) -> None:
        found = self._settings.api
        if self._api is None:
            return
        app = Starlette(routes=[*self._api.routes])
        for address in found.listen:
            server = WebServer(
                *parse_address(address, "api.listen"), app, self._shares.of(found.max_connections), "api.listen"
            )
            await self._start_link(server)
            self.api.append(server)
            log.info("listening on http://%s for backends", server.address)

    def _handshake_failed(self, peer: str, why: str) -> None:
        self._bridge.turned_away(f"{tls.KIND}:{peer}", "tls_handshake", why)

    async def _start_udp(self) -> None:
        for address in self._settings.udp.listen:
            name, port = parse_address(address, "udp.listen")
            link = UdpLink(name, port, self._bridge.opened, self._settings.udp.max_peers, self._bridge.count)
            await self._start_link(link)
            self.udp.append(link)
            log.info("listening on %s for datagrams", link.address)
