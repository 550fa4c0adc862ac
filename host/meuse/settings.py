"""Every setting of `meuse.toml`, its default and its bounds, as dataclasses; config.py reads and checks them.

docs/configuration.md lists the same ones. Without a file the defaults hold.
"""

import typing
from dataclasses import dataclass, field

from meuse.strict import about

# Nobody asked for this address when a host's `tcp.listen` is this very list.
DEFAULT_LISTEN = ["127.0.0.1:7878"]


@dataclass(frozen=True)
class HostSettings:
    data: str = field(default="data", metadata=about("folder for journal, lake, keys and console logs"))
    log: str = field(
        default="info",
        metadata=about("how much to say on standard error", choices=("debug", "info", "warning", "error")),
    )


@dataclass(frozen=True)
class TcpSettings:
    listen: list[str] = field(
        default_factory=lambda: DEFAULT_LISTEN,
        metadata=about("addresses to listen on, HOST:PORT; [] listens nowhere"),
    )
    max_connections: int = field(
        default=10_000,
        metadata=about("more are closed at once (4 kB each while idle)", low=1, high=60_000),
    )


@dataclass(frozen=True)
class TlsSettings:
    listen: list[str] = field(
        default_factory=list,
        metadata=about("addresses to listen on with TLS, HOST:PORT"),
    )
    cert: str = field(default="", metadata=about("PEM file: the host's certificate, and those between it and the CA"))
    key: str = field(default="", metadata=about("PEM file: the certificate's key, without password"))
    client_ca: str = field(default="", metadata=about("PEM file: who signs boards' certificates; empty: none needed"))
    max_connections: int = field(
        default=1_000,
        metadata=about("more are closed at once (300 kB each)", low=1, high=60_000),
    )


@dataclass(frozen=True)
class HttpSettings:
    listen: list[str] = field(
        default_factory=list,
        metadata=about("addresses to listen on for requests, HOST:PORT"),
    )
    max_connections: int = field(
        default=1_000,
        metadata=about("more are answered with 503", low=1, high=60_000),
    )


@dataclass(frozen=True)
class ApiSettings:
    listen: list[str] = field(
        default_factory=list,
        metadata=about("addresses to listen on for backends, HOST:PORT; without TLS"),
    )
    max_connections: int = field(
        default=200,
        metadata=about("more are answered with 503", low=1, high=60_000),
    )


@dataclass(frozen=True)
class UdpSettings:
    listen: list[str] = field(
        default_factory=list,
        metadata=about("addresses to listen on for datagrams, HOST:PORT; devices need keys there"),
    )
    max_peers: int = field(
        default=10_000,
        metadata=about("addresses remembered on each; then the one silent longest makes way", low=1, high=1_000_000),
    )


@dataclass(frozen=True)
class SerialSettings:
    port: str = field(default="", metadata=about("path, glob (/dev/serial/by-id/*) or usb:SERIALNUMBER"))
    baud: int = field(default=115_200, metadata=about("bits per second", low=300, high=12_000_000))


@dataclass(frozen=True)
class BrokerSettings:
    url: str = field(default="", metadata=about("broker that boards use, mqtt://USER:PASSWORD@HOST:PORT or mqtts://"))
    password_file: str = field(default="", metadata=about("file that holds the password, instead of the address"))
    ca: str = field(default="", metadata=about("certificates to check an mqtts broker by; default: the system's"))
    cert: str = field(default="", metadata=about("our own certificate, where the broker asks for one"))
    key: str = field(default="", metadata=about("its key, where it is not in the same file"))


@dataclass(frozen=True)
class MqttLinkSettings(BrokerSettings):
    embedded: bool = field(default=False, metadata=about("boards use the host's own broker (mqtt.embedded), not a url"))
    max_devices: int = field(
        default=10_000,
        metadata=about("topics at a time; then the one silent longest makes way", low=1, high=60_000),
    )


@dataclass(frozen=True)
class BleSettings:
    devices: list[str] = field(
        default_factory=list, metadata=about("Bluetooth names (device ids) or addresses of boards to connect to")
    )
    service: bool = field(default=False, metadata=about("connect to every board that is near, instead of devices"))
    max_devices: int = field(
        default=7, metadata=about("connections at a time, with service; adapters have few", low=1, high=64)
    )


@dataclass(frozen=True)
class MqttSettings(BrokerSettings):
    url: str = field(default="", metadata=about("broker for backends, mqtt://USER:PASSWORD@HOST:PORT or mqtts://"))
    embedded: bool = field(default=False, metadata=about("start a broker of our own, instead of naming one"))
    listen: str = field(
        default="127.0.0.1:0",
        metadata=about("where that broker listens, HOST:PORT; 0: a port found at the first start, and kept"),
    )
    live_within: str = field(default="5min", metadata=about("what is older than this goes to backfill"))
    silent_after: str = field(default="35min", metadata=about("who is not heard for so long is silent"))
    raw: bool = field(default=False, metadata=about("readings as msgpack as well, under raw/"))
    commands: bool = field(default=False, metadata=about("take commands from whoever may publish there"))
    commands_user: str = field(default="", metadata=about("who we are for commands, where one user has one connection"))
    commands_password_file: str = field(default="", metadata=about("file that holds that user's password"))
    discovery: str = field(
        default="", metadata=about('announce sensors to Home Assistant under this prefix, "homeassistant"; "": no')
    )

    @property
    def wanted(self) -> bool:
        return bool(self.url) or self.embedded


@dataclass(frozen=True)
class LorawanSettings(BrokerSettings):
    application: str = field(default="", metadata=about("ChirpStack's id of the application; empty: all of them"))
    f_port: int = field(default=77, metadata=about("the port our boards use; others are not read", low=1, high=223))
    max_devices: int = field(
        default=10_000,
        metadata=about("boards at a time; then the one silent longest makes way", low=1, high=60_000),
    )


class BrokerAddress(typing.NamedTuple):
    """Where a broker is, and who we are there."""

    host: str
    port: int
    tls: bool
    user: str
    password: str
    client_id: str


@dataclass(frozen=True)
class Rs485Settings:
    port: str = field(default="", metadata=about("path or usb:SERIALNUMBER of the adapter on the wire"))
    baud: int = field(default=19_200, metadata=about("bits per second, of all on the wire", low=1_200, high=1_000_000))
    boards: int = field(default=32, metadata=about("most boards on the wire", low=1, high=127))
    poll: str = field(default="5s", metadata=about('how often each board is asked, "100ms" to "1min"'))
    latency_ms: int = field(
        default=20, metadata=about("by how much the adapter may be late with what it received", low=0, high=1_000)
    )


@dataclass(frozen=True)
class SmsSettings:
    port: str = field(default="", metadata=about("path or usb:SERIALNUMBER of a modem for SMS; empty: none"))
    baud: int = field(default=115_200, metadata=about("bits per second", low=9_600, high=921_600))
    pin: str = field(default="", metadata=about("of its SIM; tried only while the SIM grants all three tries"))
    smsc: str = field(default="", metadata=about("number of the SMS centre, +DIGITS; empty: the SIM knows it"))
    numbers: list[str] = field(default_factory=list, metadata=about("of the boards' SIMs, +DIGITS; others are ignored"))
    per_day: int = field(default=100, metadata=about("most messages sent in a day", low=1, high=10_000))


@dataclass(frozen=True)
class UpstreamSettings:
    url: str = field(
        default="", metadata=about("a host that gets all that comes here: tcp://HOST:PORT, tls://, or serial:PATH")
    )
    name: str = field(default="", metadata=about("what that host knows this one as: a device id"))
    ca: str = field(default="", metadata=about("certificates to check a tls host by; default: the system's"))
    cert: str = field(default="", metadata=about("our own certificate, where that host asks for one"))
    key: str = field(default="", metadata=about("its key, where it is not in the same file"))
    baud: int = field(default=115_200, metadata=about("bits per second, of a serial line", low=300, high=12_000_000))


class UpstreamAddress(typing.NamedTuple):
    """kind: tcp, tls or serial; host: for serial the path of the port."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True)
class AccessSettings:
    nats: list[str] = field(
        default_factory=list,
        metadata=about("nats-servers of a cluster that ask this host who may come, nats://HOST:PORT", single=True),
    )
    mosquitto: str = field(
        default="", metadata=about("folder where files for Mosquitto are kept up to date, as `meuse access mosquitto`")
    )


@dataclass(frozen=True)
class TrustSettings:
    links: list[str] = field(
        default_factory=lambda: ["serial"],
        metadata=about("where devices without a key are accepted: serial, rs485, tcp, tls, file or one link's name"),
    )


@dataclass(frozen=True)
class JournalSettings:
    keep_days: int = field(
        default=7,
        metadata=about("records stay so long, and until every reader has passed them", low=1, high=3_650),
    )
    url: str = field(
        default="", metadata=about("PostgreSQL that several hosts share, postgresql://USER@HOST:PORT/DATABASE")
    )
    password_file: str = field(default="", metadata=about("file that holds its password; nobody else may read it"))
    ca: str = field(default="", metadata=about("certificates to check it by; without: the system's"))
    lake: bool = field(
        default=True, metadata=about("may write the lake; of several hosts those that see one lake folder")
    )


@dataclass(frozen=True)
class StoreSettings:
    url: str = field(
        default="",
        metadata=about("PostgreSQL to write readings to, postgresql://USER@HOST:PORT/DATABASE; empty: none"),
    )
    password_file: str = field(default="", metadata=about("file that holds its password; nobody else may read it"))
    ca: str = field(default="", metadata=about("certificates to check it by; without: the system's"))


@dataclass(frozen=True)
class ClusterSettings:
    servers: list[str] = field(
        default_factory=list,
        metadata=about("NATS servers to distribute records over, nats://USER:PASSWORD@HOST:PORT; empty: none"),
    )
    password_file: str = field(default="", metadata=about("file that holds the password of the user in the addresses"))
    groups: list[str] = field(
        default_factory=lambda: ["store"],
        metadata=about('who each batch goes to: workers that write to the "store", workers that publish "topics"'),
    )
    name: str = field(default="meuse", metadata=about("name of the stream, and first word of its subjects"))
    partitions: int = field(default=8, metadata=about("so many batches are worked on at a time", low=1, high=256))
    replicas: int = field(default=3, metadata=about("servers that keep each batch", low=1, high=5))
    max_bytes: int = field(
        default=1_073_741_824,
        metadata=about("what waits for workers; then the journal keeps the rest", low=1_048_576, high=1 << 40),
    )


@dataclass(frozen=True)
class ConsoleSettings:
    keep_bytes: int = field(
        default=262_144,
        metadata=about("text kept per device, in two files of half that size", low=8_192, high=1_073_741_824),
    )


@dataclass(frozen=True)
class Settings:
    """All of meuse.toml."""

    host: HostSettings = field(default_factory=HostSettings)
    tcp: TcpSettings = field(default_factory=TcpSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    udp: UdpSettings = field(default_factory=UdpSettings)
    serial: list[SerialSettings] = field(default_factory=list)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    mqtt_link: list[MqttLinkSettings] = field(default_factory=list)
    lorawan: LorawanSettings = field(default_factory=LorawanSettings)
    rs485: list[Rs485Settings] = field(default_factory=list)
    ble: BleSettings = field(default_factory=BleSettings)
    sms: SmsSettings = field(default_factory=SmsSettings)
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
