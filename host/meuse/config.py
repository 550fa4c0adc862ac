"""`meuse.toml`: read (strict.py), and what goes together; settings.py says what may be set.

Knows nothing of what the settings are used for.
"""

import dataclasses
import difflib
import re
import secrets
import tomllib
import urllib.parse
from pathlib import Path
from typing import Any

from meuse import strict
from meuse.cluster.stream import GROUPS, TOPICS
from meuse.errors import ConfigError
from meuse.keys import DEVICE_ID
from meuse.settings import (
    BleSettings,
    BrokerAddress,
    BrokerSettings,
    ClusterSettings,
    JournalSettings,
    LorawanSettings,
    MqttLinkSettings,
    MqttSettings,
    Rs485Settings,
    SerialSettings,
    Settings,
    SmsSettings,
    StoreSettings,
    UpstreamAddress,
    UpstreamSettings,
)

DEFAULT_FILE = "meuse.toml"

LINK_KINDS = ("serial", "rs485", "tcp", "tls", "file")

APPLICATION = re.compile(r"[A-Za-z0-9-]{0,64}")

# Links on which only a key tells who speaks, and why.
UNTRUSTED = {
    "udp": "anybody can invent the address of a datagram",
    "mqtt": "whoever may publish at the broker may say anything",
    "lorawan": "whoever may publish at the broker may say anything",
    "http": "whoever reaches the host may send a request",
    "ble": "Bluetooth is open to whoever is near",
    "sms": "a sender's number can be forged",
}


def load(path: Path | None) -> Settings:
    """Read `path`, or meuse.toml here if there is one, or take the defaults; raises ConfigError."""
    if path is None:
        path = Path(DEFAULT_FILE)
        if not path.exists():
            return Settings()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}: {why}", "name another with --config") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", "correct that line") from error
    return read_settings(table, str(path))


def load_with(
    config: Path | None,
    data: Path | None = None,
    tcp: list[str] | None = None,
    serial: list[str] | None = None,
    udp: list[str] | None = None,
) -> Settings:
    """The file's settings with what a command line says instead; raises ConfigError."""
    found = load(config)
    if data is not None:
        found = dataclasses.replace(found, host=dataclasses.replace(found.host, data=str(data)))
    if tcp:
        for address in tcp:
            parse_address(address, "--tcp")
        found = dataclasses.replace(found, tcp=dataclasses.replace(found.tcp, listen=tcp))
    if udp:
        for address in udp:
            parse_address(address, "--udp")
        found = dataclasses.replace(found, udp=dataclasses.replace(found.udp, listen=udp))
    if serial:
        ports = [SerialSettings(port=port) for port in serial]
        found = dataclasses.replace(found, serial=ports)
    _check_twice(found, "the command line")
    return found


def read_settings(table: dict[str, Any], name: str) -> Settings:
    """Check a parsed file strictly; every ConfigError names the key path."""
    settings: Settings = strict.read(Settings, table, name)
    if not settings.host.data.strip():
        raise ConfigError(f"{name}: host.data is empty", 'name a folder, such as data = "data"')
    _check_twice(settings, name)
    for number, port in enumerate(settings.serial):
        if not port.port:
            raise ConfigError(f"{name}: serial[{number}].port is missing", "name a path, a glob or usb:SERIAL")
    for number, wire in enumerate(settings.rs485):
        _check_rs485(wire, f"{name}: rs485[{number}]")
    for address in settings.tcp.listen:
        parse_address(address, f"{name}: tcp.listen")
    for address in settings.udp.listen:
        parse_address(address, f"{name}: udp.listen")
    _check_mqtt(settings.mqtt, f"{name}: mqtt")
    _check_database(settings.store, f"{name}: store")
    _check_cluster(settings.cluster, f"{name}: cluster")
    if settings.cluster.servers and TOPICS in settings.cluster.groups:
        _check_topics_group(settings, f"{name}: cluster.groups")
    for number, broker in enumerate(settings.mqtt_link):
        _check_mqtt_link(broker, settings.mqtt, f"{name}: mqtt_link[{number}]")
    if settings.access.nats:
        _check_nats(settings, f"{name}: access.nats")
    if settings.lorawan != LorawanSettings():
        _check_broker(settings.lorawan, f"{name}: lorawan")
    if not APPLICATION.fullmatch(settings.lorawan.application):
        raise ConfigError(f"{name}: lorawan.application is no id", "copy it from ChirpStack, or leave it out for all")
    for address in settings.http.listen:
        parse_address(address, f"{name}: http.listen")
    _check_database(settings.journal, f"{name}: journal")
    for address in settings.api.listen:
        parse_address(address, f"{name}: api.listen")
    _check_tls(settings, name)
    if "ble" in table:
        _check_ble(settings.ble, f"{name}: ble", bool({"devices", "service"} & table["ble"].keys()))
    _check_sms(settings.sms, f"{name}: sms")
    _check_upstream(settings.upstream, f"{name}: upstream")
    if settings.upstream.url and (settings.mqtt.commands or settings.api.listen):
        where = "mqtt.commands" if settings.mqtt.commands else "api.listen"
        raise ConfigError(f"{name}: {where}: commands come from the host upstream", "ask there, and leave it out here")
    if settings.upstream.url and settings.journal.url:
        raise ConfigError(f"{name}: upstream.url: hosts that share a journal need none", "leave one of them out")
    for link in settings.trust.links:
        kind = link.partition(":")[0]
        if kind in UNTRUSTED:
            raise ConfigError(
                f"{name}: trust.links: {link!r} cannot be trusted: {UNTRUSTED[kind]}",
                "give every device there a key, and leave it out here",
            )
        if kind not in LINK_KINDS:
            near = difflib.get_close_matches(link, LINK_KINDS, n=1)
            kinds = ", ".join(LINK_KINDS)
            advice = f"did you mean {near[0]!r}?" if near else f"{kinds}, or one link such as serial:/dev/ttyUSB0"
            raise ConfigError(f"{name}: trust.links: {link!r} is no link", advice)
    return settings


def _check_twice(settings: Settings, name: str) -> None:
    """One address cannot be listened on twice, one port not opened twice."""
    ways = ("tcp", "tls", "http", "api", "udp")
    named = [(f"{way}.listen", address) for way in ways for address in getattr(settings, way).listen]
    named += [("serial.port", port.port) for port in settings.serial]
    named += [("rs485.port", wire.port) for wire in settings.rs485]
    named.append(("sms.port", settings.sms.port))
    named.append(("upstream.url", settings.upstream.url.removeprefix("serial:")))
    seen: dict[tuple[bool, str], str] = {}
    for where, what in named:
        key = (where == "udp.listen", what)  # datagrams have ports of their own
        if what and key in seen and not what.endswith(":0"):  # then the system chooses, each time another
            raise ConfigError(f"{name}: {where} and {seen[key]} both name {what}", "leave one of them out")
        seen[key] = where


def _check_tls(settings: Settings, name: str) -> None:
    for address in settings.tls.listen:
        parse_address(address, f"{name}: tls.listen")
    for key in ("cert", "key") if settings.tls.listen else ():
        if not getattr(settings.tls, key):
            raise ConfigError(f"{name}: tls.{key} is missing", "name a PEM file, or listen = [] for no TLS")
    if "tls" in settings.trust.links and not settings.tls.client_ca:
        raise ConfigError(f"{name}: trust.links: anybody may connect with TLS", "name who signs boards: tls.client_ca")


def _check_sms(sms: SmsSettings, where: str) -> None:
    if not sms.port:
        return
    if not sms.numbers:
        raise ConfigError(f"{where}.numbers is missing", 'list the boards\' numbers, such as ["+31612345678"]')
    for key, numbers in (("numbers", sms.numbers), ("smsc", [sms.smsc] if sms.smsc else [])):
        for number in numbers:
            if not re.fullmatch(r"\+\d{5,15}", number):
                raise ConfigError(f"{where}.{key}: {number!r} is no number", 'for example "+31612345678"')
    if sms.pin and not re.fullmatch(r"\d{4,8}", sms.pin):
        raise ConfigError(f"{where}.pin has 4 to 8 digits", "leave it out for a SIM that asks for none")


def _check_upstream(upstream: UpstreamSettings, where: str) -> None:
    if upstream == UpstreamSettings():
        return
    kind = parse_upstream(upstream.url, f"{where}.url").kind
    if not DEVICE_ID.fullmatch(upstream.name):
        advice = 'how that host shall know this one, such as name = "edge-1"'
        raise ConfigError(f"{where}.name = {upstream.name!r} is no device id", advice)
    if (upstream.ca or upstream.cert or upstream.key) and kind != "tls":
        raise ConfigError(f"{where}: certificates are of use with TLS only", "write tls://HOST:PORT")
    if upstream.key and not upstream.cert:
        raise ConfigError(f"{where}.cert is missing", "name the certificate that belongs to key")


def _check_rs485(wire: Rs485Settings, where: str) -> None:
    if not wire.port:
        raise ConfigError(f"{where}.port is missing", "name a path or usb:SERIAL")
    if any(letter in wire.port for letter in "*?["):
        raise ConfigError(f"{where}.port = {wire.port!r} may be several ports", "a wire has one master: name one port")
    try:
        poll_ms = parse_duration(wire.poll)
    except ValueError:
        poll_ms = 0
    if not 100 <= poll_ms <= 60_000:
        raise ConfigError(f"{where}.poll = {wire.poll!r} is no time from 100ms to 1min", 'for example poll = "5s"')


def _check_ble(ble: BleSettings, where: str, asked: bool) -> None:
    """`asked`: whether the section says for whom it is, be it for nobody."""
    if not asked:
        raise ConfigError(f"{where} names no board", 'write devices = ["stove-1"], or service = true for all')
    if ble.devices and ble.service:
        raise ConfigError(f"{where}.devices: service = true takes every board", "leave one of them out")
    for number, device in enumerate(ble.devices):
        if not device.strip() or device in ble.devices[:number]:
            raise ConfigError(f"{where}.devices[{number}] = {device!r} is no board, or twice there", "name each once")


def _check_database(found: JournalSettings | StoreSettings, where: str) -> None:
    advice = "such as postgresql://meuse@db.example.org/meuse"
    if not found.url:
        for key in ("password_file", "ca"):
            if getattr(found, key):
                raise ConfigError(f"{where}.{key} is of use with a url only", f"name one, {advice}")
        return
    try:
        parts = urllib.parse.urlsplit(found.url)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{where}.url is no address of a database", advice) from None
    if parts.password:
        raise ConfigError(f"{where}.url: a password is a secret", "write it into a file, and name that: password_file")
    if parts.scheme != "postgresql" or not parts.username or not parts.path.strip("/"):
        raise ConfigError(f"{where}.url is no address of a database", advice)
    if parts.query not in ("", "sslmode=verify-full", "sslmode=disable"):
        raise ConfigError(f"{where}.url: only sslmode may follow, verify-full or disable", "leave the rest out")


def _check_mqtt(mqtt: MqttSettings, where: str) -> None:
    if mqtt.embedded and mqtt.url:
        raise ConfigError(f"{where}: both url and embedded are given", "leave one of them out")
    if mqtt.url:
        _check_broker(mqtt, where)
    if (mqtt.commands_user or mqtt.commands_password_file) and not (mqtt.commands and mqtt.url):
        raise ConfigError(f"{where}.commands_user: is for commands = true and a url", "leave it out")
    if mqtt.commands_password_file and not mqtt.commands_user:
        raise ConfigError(f"{where}.commands_password_file: whose password is it?", "name commands_user")
    if mqtt.commands and not mqtt.wanted:
        raise ConfigError(f"{where}.commands: there is no broker", "name one with url, or set embedded = true")
    parse_address(mqtt.listen, f"{where}.listen")
    for key in ("live_within", "silent_after"):
        try:
            ms = parse_duration(getattr(mqtt, key))
        except ValueError:
            ms = 0
        if not 1_000 <= ms <= 604_800_000:
            raise ConfigError(f"{where}.{key} = {getattr(mqtt, key)!r} is no time from 1s to 168h", 'such as "5min"')
    if mqtt.discovery and any(letter in mqtt.discovery for letter in "#+ /"):
        raise ConfigError(f"{where}.discovery = {mqtt.discovery!r} is no first part of a topic", 'use "homeassistant"')


def _check_cluster(cluster: ClusterSettings, where: str) -> None:
    for server in cluster.servers:
        try:
            parts = urllib.parse.urlsplit(server)
            good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if good and cluster.password_file and (not parts.username or parts.password):
            advice = "write nats://USER@HOST:PORT, and the password into the file that password_file names"
            raise ConfigError(f"{where}.password_file: servers name no user, or a password", advice)
        if not good:  # without saying it: it may hold a password
            raise ConfigError(f"{where}.servers: not the address of a NATS server", "for example nats://10.0.0.1:4222")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", cluster.name):
        raise ConfigError(f"{where}.name = {cluster.name!r} is no name", "small letters, digits and -, such as meuse")
    for group in cluster.groups:
        if group not in GROUPS or cluster.groups.count(group) > 1:
            raise ConfigError(f"{where}.groups: {group!r} is no group, or named twice", f"of {', '.join(GROUPS)}")
    if not cluster.groups:
        raise ConfigError(f"{where}.groups names nobody to distribute to", 'such as ["store"], or leave it out')


def _check_topics_group(settings: Settings, where: str) -> None:
    """Its workers reach the broker by themselves, and find in the journal what a batch does not say."""
    if not settings.mqtt.url:
        advice = "name one in [mqtt] url; the embedded one belongs to its host"
        raise ConfigError(f"{where}: workers that publish topics need a broker", advice)
    if not settings.journal.url:
        advice = 'name its database in [journal] url, or leave "topics" out'
        raise ConfigError(f"{where}: workers that publish topics need a journal that they can reach", advice)


def _check_mqtt_link(link: MqttLinkSettings, mqtt: MqttSettings, where: str) -> None:
    if not link.embedded:
        _check_broker(link, where)
    elif link.url:
        raise ConfigError(f"{where}: both url and embedded are given", "leave one of them out")
    elif not mqtt.embedded:
        raise ConfigError(f"{where}.embedded: there is no broker of our own", "write [mqtt] embedded = true")


def _check_nats(settings: Settings, where: str) -> None:
    if settings.mqtt.embedded:
        raise ConfigError(f"{where}: the broker of our own asks by itself", "leave one of them out")
    for server in settings.access.nats:
        try:
            parts = urllib.parse.urlsplit(server)
            good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if not good or parts.username or parts.path.strip("/"):
            advice = "such as nats://127.0.0.1:4222, without a user; or a list of those of a cluster"
            raise ConfigError(f"{where} is no address of a nats-server", advice)


def parse_duration(text: str) -> int:
    """'100ms', '5s', '10min' or '2h' in ms; ValueError for anything else."""
    for unit, ms in (("ms", 1), ("min", 60_000), ("s", 1_000), ("h", 3_600_000)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * ms
    raise ValueError(text)


def parse_address(text: str, where: str) -> tuple[str, int]:
    """'HOST:PORT' or '[IPv6]:PORT' as (host, port); port 0 lets the system choose."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{where}: {text!r} is not HOST:PORT", "for example 127.0.0.1:7878")
    return host.strip("[]"), int(port)


def parse_upstream(url: str, where: str) -> UpstreamAddress:
    """'tcp://HOST:PORT', 'tls://HOST:PORT' or 'serial:PATH'."""
    kind, _, rest = url.partition(":")
    if kind == "serial" and rest and not rest.startswith("//"):
        return UpstreamAddress(kind, rest, 0)
    if kind not in ("tcp", "tls") or not rest.startswith("//"):
        raise ConfigError(f"{where} = {url!r} is no address of a host", "tcp://HOST:7878, tls://HOST:7879, serial:PATH")
    return UpstreamAddress(kind, *parse_address(rest[2:].rstrip("/"), where))


def parse_broker(url: str, where: str) -> BrokerAddress:
    """'mqtt://USER:PASSWORD@HOST:PORT' or mqtts://; all but the host may be missing. No error shows the password."""
    advice = "for example mqtt://meuse@broker.local:1883, or mqtts:// for TLS"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{where} is no address of a broker", advice) from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(f"{where} is no address of a broker", advice)
    user, password = urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")
    tls = parts.scheme == "mqtts"
    client_id = f"meuse-host-{secrets.token_hex(4)}"  # two with one id would push each other out
    return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls, user, password, client_id)


def _check_broker(link: BrokerSettings, where: str) -> None:
    if not link.url:
        raise ConfigError(f"{where}.url is missing", "name a broker, such as mqtt://broker.local:1883")
    broker = parse_broker(link.url, f"{where}.url")
    if link.password_file and broker.password:
        raise ConfigError(f"{where}.password_file: the url has a password already", "leave one of them out")
    if (link.password_file or broker.password) and not broker.user:
        raise ConfigError(f"{where}.url names no user", "write mqtt://USER@HOST")
    if (link.ca or link.cert or link.key) and not broker.tls:
        raise ConfigError(f"{where}: certificates are of use with TLS only", "write mqtts://")
    if link.key and not link.cert:
        raise ConfigError(f"{where}.cert is missing", "name the certificate that belongs to key")
