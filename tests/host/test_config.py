"""Settings: strict, with advice; and the document lists exactly what there is."""

import dataclasses
import re
import tomllib
import typing
from pathlib import Path

import pytest
from meuse import config
from meuse.config import load, load_with, parse_address, parse_broker, read_settings
from meuse.errors import ConfigError
from meuse.settings import Settings

BROKER_URL = "for example mqtt://meuse@broker.local:1883, or mqtts:// for TLS"
NO_PIN = "leave it out for a SIM that asks for none"
UNTRUSTED = "trust.links: {!r} cannot be trusted: anybody can invent the address of a datagram"
BAD = [
    ({"tpc": {}}, "tpc is not a setting", "did you mean tcp?"),
    ({"tcp": {"listn": []}}, "tcp.listn is not a setting", "did you mean tcp.listen?"),
    ({"tcp": {"zzz": 1}}, "tcp.zzz is not a setting", "known here: listen, max_connections"),
    ({"tcp": []}, "tcp must be a table", "write [tcp]"),
    ({"tcp": {"listen": "127.0.0.1:1"}}, "tcp.listen must be a list", "write tcp.listen = [...]"),
    ({"tcp": {"listen": [7878]}}, "tcp.listen[0] must be a text in quotes, not 7878", ""),
    ({"tcp": {"listen": ["here"]}}, "tcp.listen: 'here' is not HOST:PORT", "for example 127.0.0.1:7878"),
    ({"host": {"data": " "}}, "host.data is empty", 'name a folder, such as data = "data"'),
    (
        {"tcp": {"listen": ["a:1", "a:1"]}},
        "tcp.listen and tcp.listen both name a:1",
        "leave one of them out",
    ),
    (
        {"serial": [{"port": "/dev/a"}], "rs485": [{"port": "/dev/a"}]},
        "rs485.port and serial.port both name /dev/a",
        "leave one of them out",
    ),
    (
        {"serial": [{"port": "x"}], "sms": {"port": "x", "numbers": ["+31612345678"]}},
        "sms.port and serial.port both name x",
        "leave one of them out",
    ),
    ({"sms": {"port": "x"}}, "sms.numbers is missing", "list the boards' numbers, such as [\"+31612345678\"]"),
    ({"sms": {"port": "x", "numbers": ["0612"]}}, "sms.numbers: '0612' is no number", 'for example "+31612345678"'),
    ({"sms": {"port": "x", "numbers": ["+31612345678"], "pin": "12"}}, "sms.pin has 4 to 8 digits", NO_PIN),
    (
        {"trust": {"links": ["sms"]}},
        "trust.links: 'sms' cannot be trusted: a sender's number can be forged",
        "give every device there a key, and leave it out here",
    ),
    ({"udp": {"listen": ["7878"]}}, "udp.listen: '7878' is not HOST:PORT", "for example 127.0.0.1:7878"),
    ({"udp": {"max_peers": 0}}, "udp.max_peers = 0 is outside 1 to 1000000", ""),
    ({"trust": {"links": ["udp"]}}, UNTRUSTED.format("udp"), "give every device there a key, and leave it out here"),
    (
        {"trust": {"links": ["udp:10.0.0.2"]}},
        UNTRUSTED.format("udp:10.0.0.2"),
        "give every device there a key, and leave it out here",
    ),
    ({"tcp": {"max_connections": 0}}, "tcp.max_connections = 0 is outside 1 to 60000", ""),
    ({"serial": [{}]}, "serial[0].port is missing", "name a path, a glob or usb:SERIAL"),
    ({"serial": [{"port": "a", "boud": 9}]}, "serial[0].boud is not a setting", "did you mean serial[0].baud?"),
    ({"serial": {"port": "a"}}, "serial must be a list", "write [[serial]]"),
    ({"mqtt_link": [{}]}, "mqtt_link[0].url is missing", "name a broker, such as mqtt://broker.local:1883"),
    ({"mqtt_link": [{"url": "http://a"}]}, "mqtt_link[0].url is no address of a broker", BROKER_URL),
    ({"mqtt_link": [{"url": "mqtt://me:se/cret@a"}]}, "mqtt_link[0].url is no address of a broker", BROKER_URL),
    (
        {"mqtt_link": [{"url": "mqtt://me:pw@a", "password_file": "f"}]},
        "mqtt_link[0].password_file: the url has a password already",
        "leave one of them out",
    ),
    (
        {"mqtt_link": [{"url": "mqtt://a", "password_file": "f"}]},
        "mqtt_link[0].url names no user",
        "write mqtt://USER@HOST",
    ),
    (
        {"mqtt_link": [{"url": "mqtt://a", "ca": "f"}]},
        "mqtt_link[0]: certificates are of use with TLS only",
        "write mqtts://",
    ),
    (
        {"mqtt_link": [{"url": "mqtts://a", "key": "f"}]},
        "mqtt_link[0].cert is missing",
        "name the certificate that belongs to key",
    ),
    (
        {"trust": {"links": ["mqtt"]}},
        "trust.links: 'mqtt' cannot be trusted: whoever may publish at the broker may say anything",
        "give every device there a key, and leave it out here",
    ),
    ({"ble": {}}, "ble names no board", 'write devices = ["stove-1"], or service = true for all'),
    (
        {"ble": {"devices": ["a"], "service": True}},
        "ble.devices: service = true takes every board",
        "leave one of them out",
    ),
    (
        {"ble": {"devices": ["a", "a"]}},
        "ble.devices[1] = 'a' is no board, or twice there",
        "name each once",
    ),
    (
        {"ble": {"service": True}, "trust": {"links": ["ble"]}},
        "trust.links: 'ble' cannot be trusted: Bluetooth is open to whoever is near",
        "give every device there a key, and leave it out here",
    ),
    (
        {"trust": {"links": ["http:10.0.0.2"]}},
        "trust.links: 'http:10.0.0.2' cannot be trusted: whoever reaches the host may send a request",
        "give every device there a key, and leave it out here",
    ),
    ({"trust": {"links": ["seriel"]}}, "trust.links: 'seriel' is no link", "did you mean 'serial'?"),
    (
        {"trust": {"links": ["tls"]}, "tls": {"listen": ["127.0.0.1:1"], "cert": "a", "key": "b"}},
        "trust.links: anybody may connect with TLS",
        "name who signs boards: tls.client_ca",
    ),
    (
        {"tls": {"listen": ["127.0.0.1:1"], "cert": "a"}},
        "tls.key is missing",
        "name a PEM file, or listen = [] for no TLS",
    ),
    ({"http": {"listen": ["8080"]}}, "http.listen: '8080' is not HOST:PORT", "for example 127.0.0.1:7878"),
    ({"rs485": [{}]}, "rs485[0].port is missing", "name a path or usb:SERIAL"),
    (
        {"rs485": [{"port": "/dev/ttyU*"}]},
        "rs485[0].port = '/dev/ttyU*' may be several ports",
        "a wire has one master: name one port",
    ),
    (
        {"rs485": [{"port": "a", "poll": "5m"}]},
        "rs485[0].poll = '5m' is no time from 100ms to 1min",
        'for example poll = "5s"',
    ),
    ({"rs485": [{"port": "a", "boards": 128}]}, "rs485[0].boards = 128 is outside 1 to 127", ""),
    (
        {"journal": {"url": "mysql://a@b/c"}},
        "journal.url is no address of a database",
        "such as postgresql://meuse@db.example.org/meuse",
    ),
    (
        {"journal": {"url": "postgresql://db/meuse"}},
        "journal.url is no address of a database",
        "such as postgresql://meuse@db.example.org/meuse",
    ),
    (
        {"journal": {"url": "postgresql://a:secret@db/meuse"}},
        "journal.url: a password is a secret",
        "write it into a file, and name that: password_file",
    ),
    (
        {"journal": {"url": "postgresql://a@db/meuse?sslmode=require"}},
        "journal.url: only sslmode may follow, verify-full or disable",
        "leave the rest out",
    ),
    ({"journal": {"ca": "ca.pem"}}, "journal.ca is of use with a url only", "name one, such as postgresql://meuse@db.example.org/meuse"),
    ({"journal": {"keep_days": True}}, "journal.keep_days must be a whole number, not True", ""),
    ({"host": {"log": "inf"}}, "host.log = 'inf' is not allowed", "did you mean 'info'?"),
]


@pytest.mark.parametrize(("table", "message", "advice"), BAD)
def test_a_mistake_is_named_by_its_path(table: dict[str, object], message: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(table, "meuse.toml")
    assert caught.value.message == f"meuse.toml: {message}"
    assert caught.value.advice == advice


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "meuse.toml"
    path.write_text('[tcp]\nlisten = ["127.0.0.1:1"\nmax_connections = 3\n')
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 3"):
        load(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "other.toml")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None) == Settings()
    (tmp_path / "meuse.toml").write_text("[journal]\nkeep_days = 3\n")
    assert load(None).journal.keep_days == 3


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "meuse.toml"
    path.write_text('[host]\ndata = "there"\nlog = "error"\n[[serial]]\nport = "a"\n')
    found = load_with(path, Path("here"), ["[::1]:1"], ["b", "c"])
    assert (found.host.data, found.host.log, found.tcp.listen) == ("here", "error", ["[::1]:1"])
    assert [port.port for port in found.serial] == ["b", "c"]
    assert parse_address("[::1]:1", "") == ("::1", 1)
    with pytest.raises(ConfigError, match="--tcp"):
        load_with(path, None, ["nowhere"])
    assert load_with(path, udp=["[::1]:1"]).udp.listen == ["[::1]:1"]
    with pytest.raises(ConfigError, match="--udp"):
        load_with(path, udp=["nowhere"])


# Tables of which there may be several, [[like.this]]; without one there is none.
LISTED = {"serial": config.SerialSettings, "rs485": config.Rs485Settings, "mqtt_link": config.MqttLinkSettings}


def settings() -> dict[str, object]:
    """Every setting by its path, with its default."""
    found = {}
    hints = typing.get_type_hints(Settings)
    for table in dataclasses.fields(Settings):
        kind = LISTED.get(table.name, hints[table.name])
        for field in dataclasses.fields(kind):
            found[f"{table.name}.{field.name}"] = getattr(kind(), field.name)
    return found


def test_the_document_lists_every_setting_with_its_default(root: Path) -> None:
    text = (root / "docs/configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| (.+?) \|", text, re.MULTILINE))
    assert sorted(rows) == sorted(settings())
    for path, default in settings().items():
        told = rows[path]
        needed = path in ("serial.port", "rs485.port", "mqtt_link.url")
        assert told == "none" if needed else tomllib.loads(f"x = {told.strip('`')}")["x"] == default, path


def test_the_example_in_the_document_uses_every_setting_and_is_accepted(root: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (root / "docs/configuration.md").read_text(), re.DOTALL)
    table = tomllib.loads(example)
    found = read_settings(table, "example")
    assert dataclasses.replace(found, serial=[], rs485=[], mqtt_link=[]) == Settings()  # it shows the defaults
    used = {f"{name}.{key}" for name, keys in table.items() if name not in LISTED for key in keys}
    used |= {f"{name}.{key}" for name in LISTED for one in table[name] for key in one}
    assert used == set(settings())


def test_the_address_of_a_broker() -> None:
    found = parse_broker("mqtts://meuse:p%40ss@broker.local", "here")
    assert found[:5] == ("broker.local", 8883, True, "meuse", "p@ss")
    assert parse_broker("mqtt://[::1]:99", "here")[:5] == ("::1", 99, False, "", "")
    assert parse_broker("mqtt://a", "here").client_id != parse_broker("mqtt://a", "here").client_id
