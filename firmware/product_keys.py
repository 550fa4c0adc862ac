"""What may stand in a product file: every key, its type, its range, its default; and strict reading.

Owns the vocabulary and the words of its errors (key path, what is wrong, which key was perhaps meant).
Refuses to know what becomes of a value. Numbers with a point are read exactly, never as floats.
"""

import datetime
import difflib
import re
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from meuse_protocol.condition_text import condition_of
from meuse_protocol.errors import LocalError

Settings = dict[str, Any]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
DURATION = re.compile(r"(\d+) ?(ms|s|min|h|d)")
SIZE = re.compile(r"(\d+) ?([kM])B")
UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
DAY_MS = 86_400_000
LORAWAN = 0x34  # the sync word of public LoRaWAN networks

Reader = Callable[[Any], Any]  # gives the value, or raises ValueError that says what it must be


class ProductError(Exception):
    """A product that cannot be compiled; the message names the file, the key path and the way out."""


class Key:
    """One key of a table. `name`: what the value is called in the result; default None: left out."""

    def __init__(self, read: Reader, default: Any = None, name: str = "", required: bool = False):
        self.read = read
        self.default = default
        self.name = name
        self.required = required


class Table:
    """A table of the file; each key is taken once, `done()` refuses what nobody took."""

    def __init__(self, values: dict[str, Any], file: str, path: str):
        self._values = values
        self._file = file
        self._path = path
        self._known: set[str] = set()

    def error(self, key: str, what: str) -> ProductError:
        return ProductError(f"{self._file}: {self._path}{key}: {what}")

    def take(self, keys: dict[str, Key]) -> dict[str, Any]:
        """The values of these keys, checked, with defaults."""
        self._known.update(keys)
        out = {}
        for name, key in keys.items():
            if name in self._values:
                value = self._read(name, key.read)
            elif key.required:
                raise self.error(
                    name, "is missing" + self._hint(name, set(self._values) - self._known)
                )
            else:
                value = key.default
            if value is not None:
                out[key.name or name] = value
        return out

    def choice(self, key: str, choices: tuple[str, ...], what: str = "") -> str:
        """The value of a required key that names one of `choices`."""
        self._known.add(key)
        value = self._values.get(key)
        if value is None:
            raise self.error(key, "is missing" + self._hint(key, set(self._values) - self._known))
        if value not in choices:
            known = ", ".join(choices) or f"none is defined (add [buses.NAME] with kind = {what!r})"
            near = difflib.get_close_matches(str(value), choices, 1)
            raise self.error(
                key,
                f"{value!r} is not one of: {known}" + (f"; is {near[0]!r} meant?" if near else ""),
            )
        return str(value)

    def table(self, key: str) -> "Table":
        """A sub-table that is read at once; an empty one when it is missing."""
        self._known.add(key)
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"is a table, written [{self._path}{key}]")
        return Closed(value, self._file, f"{self._path}{key}.")

    def tables(self, key: str) -> list[tuple[str, "Table"]]:
        """The sub-tables [key.NAME], in the file's order."""
        self._known.add(key)
        values = self._values.get(key, {})
        if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
            raise self.error(key, f"is written [{key}.NAME]")
        for name in values:
            if not NAME.fullmatch(name):
                raise self.error(
                    f"{key}.{name}", "a name is a-z, 0-9, _ and -, at most 32 characters"
                )
        return [(n, Closed(v, self._file, f"{key}.{n}.")) for n, v in values.items()]

    def array(self, key: str) -> list["Table"]:
        """The tables [[key]]."""
        self._known.add(key)
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
            raise self.error(key, f"is written [[{key}]]")
        return [Closed(v, self._file, f"{key}.{i}.") for i, v in enumerate(values)]

    def has(self, key: str) -> bool:
        return key in self._values

    def replace(self, key: str, value: Any) -> None:
        """As if the file said so."""
        self._values[key] = value

    def add(self, key: str, name: str, value: dict[str, Any]) -> None:
        """As if the file had this table, too."""
        self._values.setdefault(key, {})[name] = dict(value)

    def done(self) -> None:
        for key in self._values:
            if key not in self._known:
                raise self.error(
                    key, "no such key" + (self._hint(key, self._known) or self._list())
                )

    def _list(self) -> str:
        return f"; known: {', '.join(sorted(self._known))}"

    def _read(self, name: str, read: Reader) -> Any:
        try:
            return read(self._values[name])
        except ValueError as e:
            raise self.error(name, f"{e}, not {stated(self._values[name])}") from None

    @staticmethod
    def _hint(key: str, names: set[str]) -> str:
        near = difflib.get_close_matches(key, sorted(names), 1)
        return f"; is `{near[0]}` meant?" if near else ""


class Closed(Table):
    """A table whose keys are all named by one take(), after the choice that decides which they are."""

    def take(self, keys: dict[str, Key]) -> dict[str, Any]:
        self._known.update({*keys, "bus"} if "driver" in self._known else keys)
        self.done()
        return super().take(keys)


def load(path: Path) -> Table:
    try:
        with path.open("rb") as f:
            return Table(tomllib.load(f, parse_float=Fraction), str(path), "")
    except FileNotFoundError:
        raise ProductError(f"{path}: no such file") from None
    except tomllib.TOMLDecodeError as e:
        raise ProductError(f"{path}: {e}") from None


def stated(value: Any) -> str:
    return str(float(value)) if isinstance(value, Fraction) else repr(value)


# -- what a value can be


def whole(low: int, high: int) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, Fraction) and value.denominator == 1:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"is a whole number from {low} to {high}")
        return value

    return read


def number(value: Any) -> Fraction:
    found = Fraction(value) if type(value) in (int, Fraction) else None
    if found is None or abs(found) > 10**9:
        raise ValueError("is a number")
    return found


def positive(value: Any) -> Fraction:
    found = number(value)
    if found < 0:
        raise ValueError("is not negative")
    return found


def duration(low_ms: int, high_ms: int) -> Reader:
    def read(value: Any) -> int:
        found = DURATION.fullmatch(value) if isinstance(value, str) else None
        ms = int(found[1]) * UNITS_MS[found[2]] if found else -1
        if not low_ms <= ms <= high_ms:
            raise ValueError(f'is a duration like "10s" or "5min", {low_ms} ms to {high_ms} ms')
        return ms

    return read


def kilobytes(value: Any) -> int:
    found = SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or not 1 <= int(found[1]) <= 1_000_000:
        raise ValueError('is an amount like "500 kB" or "20 MB", 1 kB at least')
    return int(found[1]) * (1000 if found[2] == "M" else 1)


def text(pattern: str, what: str) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"is {what}")
        return value

    return read


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is true or false")
    return value


def day(value: Any) -> list[int]:
    if type(value) is not datetime.date:
        raise ValueError("is a day, written like 2026-01-31 without quotes")
    return [value.year, value.month, value.day]


def pins(value: Any) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= 16:
        raise ValueError("is a list of 1 to 16 pins")
    return [pin(v) for v in value]


def one_of(*choices: Any) -> Reader:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or value not in choices:
            raise ValueError(f"is one of {', '.join(map(str, choices))}")
        return value

    return read


def megahertz(value: Any) -> int:
    found = number(value) * 1000
    if found.denominator != 1 or not 137_000 <= found <= 1_020_000:
        raise ValueError("is a frequency in MHz, 137 to 1020, with at most three decimals")
    return int(found)


def percent(value: Any) -> int:
    found = number(value) * 10
    if found.denominator != 1 or not 1 <= found <= 1000:
        raise ValueError("is a share in percent, 0.1 to 100")
    return int(found)


def network(value: Any) -> int:
    if value == LORAWAN:
        raise ValueError("is another number: 52 (0x34) is LoRaWAN's")
    return whole(0, 255)(value)


def lorawan_bytes(value: Any) -> int:
    if type(value) is int and value < 51:
        raise ValueError("is 51 to 242: US915 DR0 carries 11 bytes and no packet, let the modem begin at DR1")
    return whole(51, 242)(value)


def conditions(value: Any) -> list[Any]:
    """Of the form that travels: [[channel, comparison, number, exp10], ...]."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('is a condition like "flue_temp < 60", or a list of them')
    try:
        return [condition_of(text) for text in texts]
    except LocalError as e:
        raise ValueError(f'is a condition like "flue_temp < 60" ({e})') from None


pin = whole(0, 99)
anything = text(r".{1,64}", "a text of 1 to 64 characters")
level = one_of(0, 1)

# -- the keys

PRODUCT = {
    "product": Key(text(r"[a-z0-9][a-z0-9-]{0,31}", "a name of a-z, 0-9 and -"), required=True),
    "version": Key(text(r"[\w.+-]{1,16}", "a text of 1 to 16 characters"), "1"),
    "period": Key(duration(10, DAY_MS), name="period_ms"),
    "watchdog": Key(duration(1000, 3_600_000), name="watchdog_ms"),
    "platform": Key(one_of("esp32", "rp2", "unix")),  # MicroPython's sys.platform, "unix" for linux and darwin
}
HAVE_PPP = ("esp32",)  # platforms whose usual images have network.PPP
BATCH = {
    "max_rows": Key(whole(1, 1024), 60),
    "max_age": Key(duration(100, DAY_MS), 60_000, "max_age_ms"),
}
LOG = {
    "max_bytes": Key(whole(12_288, 1 << 30), 196_608),
    "segment_bytes": Key(whole(4096, 1 << 20), 8192),
    "flush_records": Key(whole(1, 1024), 32),
    "flush_bytes": Key(whole(256, 65_536), 2048),
    "flush_age": Key(duration(100, DAY_MS), 60_000, "flush_age_ms"),
}
HEALTH = {"period": Key(duration(0, DAY_MS), 60_000, "period_ms")}
OUTPUT = {
    "name": Key(text(NAME.pattern, "a name of a-z, 0-9, _ and -"), required=True),
    "pin": Key(pin, required=True),
    "safe": Key(level, 0),
}
OP_KINDS: dict[str, dict[str, Key]] = {  # what the host may ask for; `if`: a condition, or a list of them
    "output": {
        "output": Key(text(NAME.pattern, "the name of an output"), required=True),
        "lease": Key(duration(100, DAY_MS), 60_000, "lease_ms"),
        "if": Key(conditions),
        "dangerous": Key(flag),
    },
    "setting": {
        "setting": Key(text(r"[a-z0-9_.-]{1,128}", "a key path as `config get` shows it"), required=True),
        "low": Key(whole(-(10**9), 10**9), required=True),
        "high": Key(whole(-(10**9), 10**9), required=True),
        "if": Key(conditions),
        "dangerous": Key(flag),
    },
    "stats": {},
    "application": {  # what the product's own application takes; with `low` and `high` it has a `value`
        "low": Key(whole(-(10**9), 10**9)),
        "high": Key(whole(-(10**9), 10**9)),
        "if": Key(conditions),
        "dangerous": Key(flag),
    },
}
OWN_OPS = ("safe", "renew", "commit")  # every board with ops has these
BUSES = {
    "onewire": {"pin": Key(pin, required=True)},
    "i2c": {
        "id": Key(whole(0, 9), 0),
        "scl": Key(pin),
        "sda": Key(pin),
        "freq": Key(whole(10_000, 1_000_000)),
    },
    "spi": {
        "id": Key(whole(0, 9), 1),
        "sck": Key(pin),
        "mosi": Key(pin),
        "miso": Key(pin),
        "baudrate": Key(whole(10_000, 5_000_000)),
    },
}
TLS = {  # of links over TCP; files are named relative to the product's
    "tls": Key(flag, False),
    "ca": Key(anything),
    "cert": Key(anything),
    "client_key": Key(anything),
    "server_name": Key(anything),
    "clock": Key(day),
}
MODEM = {  # of links through one; those of SMS may be left to a cellular link
    "uart": Key(whole(0, 9)),
    "baud": Key(whole(9600, 921_600), 115_200),
    "tx": Key(pin),
    "rx": Key(pin),
    "power_key": Key(pin),
    "family": Key(one_of("sim7600", "bg95")),
    "sim_pin": Key(text(r"\d{4,8}", "a text of 4 to 8 digits")),
}
OVER_PPP = {  # what a cellular link can do where the board's own TCP goes through the modem
    "over": Key(one_of("tcp", "mqtt")),
    "tenant": Key(text(r"[a-z0-9][a-z0-9-]{0,31}", "a name of a-z, 0-9 and -")),
    "user": Key(anything),
    "user_password": Key(anything),
    **TLS,
}
LINKS = {
    "serial": {
        "uart": Key(whole(0, 9)),
        "baud": Key(whole(300, 4_000_000), 115_200),
        "tx": Key(pin),
        "rx": Key(pin),
        "max_pdu": Key(whole(64, 1024), 1024),
    },
    "file": {
        "folder": Key(text(r"/[\w./-]{1,200}", 'a folder such as "/sd"'), "/sd"),
        "every": Key(duration(1000, DAY_MS), 60_000, "every_ms"),
        "max_bytes": Key(whole(4096, 1 << 30), 1 << 20),
        "slot": Key(whole(0, 3)),
        "sck": Key(pin),
        "mosi": Key(pin),
        "miso": Key(pin),
        "cs": Key(pin),
        "max_pdu": Key(whole(64, 1024), 1024),
    },
    "rs485": {
        "uart": Key(whole(0, 9), required=True),
        "baud": Key(whole(1200, 1_000_000), 19_200),
        "tx": Key(pin),
        "rx": Key(pin),
        "de": Key(pin),
        "max_pdu": Key(whole(64, 1024), 256),
    },
    "tcp": {
        "host": Key(anything),
        "port": Key(whole(1, 65_535), 7878),
        "ssid": Key(text(r".{1,32}", "a text of 1 to 32 characters")),
        "password": Key(text(r".{8,63}", "a text of 8 to 63 characters")),
        "max_pdu": Key(whole(64, 1024), 1024),
        **TLS,
    },
    "http": {
        "host": Key(anything),
        "port": Key(whole(1, 65_535)),
        "proxy": Key(text(r"[^:\s]{1,64}:\d{1,5}", 'a text like "proxy.example:3128"')),
        "poll": Key(duration(1000, 600_000), 60_000, "poll_ms"),
        "body_bytes": Key(whole(2048, 32_768), 4096),
        "ssid": Key(text(r".{1,32}", "a text of 1 to 32 characters")),
        "password": Key(text(r".{8,63}", "a text of 8 to 63 characters")),
        "max_pdu": Key(whole(64, 1024), 1024),
        **TLS,
    },
    "udp": {
        "host": Key(anything),
        "port": Key(whole(1, 65_535), 7878),
        "ssid": Key(text(r".{1,32}", "a text of 1 to 32 characters")),
        "password": Key(text(r".{8,63}", "a text of 8 to 63 characters")),
        "max_pdu": Key(whole(64, 1200), 1200),
        "keep_alive": Key(duration(5000, 3_600_000), name="keep_alive_ms"),
    },
    "mqtt": {
        "host": Key(anything, required=True),
        "port": Key(whole(1, 65_535)),
        "tenant": Key(text(r"[a-z0-9][a-z0-9-]{0,31}", "a name of a-z, 0-9 and -")),
        "user": Key(anything),
        "user_password": Key(anything),
        "tls": Key(flag),
        "ca": Key(text(r".{1,255}", "the name of a file")),
        "ssid": Key(text(r".{1,32}", "a text of 1 to 32 characters")),
        "password": Key(text(r".{8,63}", "a text of 8 to 63 characters")),
        "max_pdu": Key(whole(64, 1024), 1024),
    },
    "ble": {"max_pdu": Key(whole(64, 1024), 237)},
    "cellular": {
        **MODEM,
        "apn": Key(text(r"[\w.-]{1,63}", "the name of an access point, as the SIM's seller tells it"), required=True),
        "host": Key(text(r"[\w.-]{1,64}", "a name or an IPv4 address"), required=True),
        "port": Key(whole(1, 65_535)),
        "max_pdu": Key(whole(64, 1024), 1024),
        "via": Key(one_of("modem", "ppp"), "modem"),
        **OVER_PPP,
    },
    "sms": {
        **MODEM,
        "number": Key(text(r"\+\d{5,15}", 'a number like "+31612345678"'), required=True),
        "after": Key(duration(1000, DAY_MS), 60_000, "after_ms"),
        "per_day": Key(whole(1, 1000), 20),
        "max_pdu": Key(whole(140, 140), 140),
    },
    "lora": {
        "bus": Key(text(NAME.pattern, "the name of a bus"), required=True),
        "cs": Key(pin, required=True),
        "frequency": Key(megahertz, 868_100, "frequency_khz"),
        "sf": Key(whole(7, 12), 7),
        "bandwidth": Key(one_of(125, 250), 125, "bandwidth_khz"),
        "coding": Key(whole(5, 8), 5),
        "power": Key(whole(2, 17), 14, "power_dbm"),
        "network": Key(network, 0x4D),
        "duty": Key(percent, 10, "duty_permille"),
        "max_pdu": Key(whole(51, 255)),
    },
    "lorawan": {
        "uart": Key(whole(0, 9), required=True),
        "baud": Key(whole(300, 4_000_000), 115_200),
        "tx": Key(pin),
        "rx": Key(pin),
        "f_port": Key(whole(1, 223), 77),
        "pause": Key(duration(1000, DAY_MS), 10_000, "pause_ms"),
        "max_pdu": Key(lorawan_bytes, 51),
    },
}
SEVERAL = {  # of every link
    "carries": Key(one_of("all", "alarms", "nothing", "others")),
    "cost": Key(whole(0, 100)),
    "budget": Key(kilobytes, name="budget_kb"),
    "sealed": Key(flag, False),
    "buffer_bytes": Key(whole(2048, 65_536)),  # of what other boards sent and the way up has no room for
    "rate_bytes": Key(whole(100, 1_000_000)),  # a second, of each of them
}
USUAL_COST = {  # the links' own
    "serial": 0,
    "rs485": 1,
    "ble": 5,
    "udp": 9,
    "tcp": 10,
    "mqtt": 20,
    "http": 30,
    "lora": 60,
    "lorawan": 70,
    "cellular": 80,
    "file": 90,
    "sms": 100,
}
FOR_OTHERS = ("serial", "lora")  # links at whose other end may be a board that speaks through this one
# No host believes a board without one there.
NEED_A_KEY = ("udp", "mqtt", "http", "ble", "lora", "lorawan", "cellular", "sms")
CHANNEL = {
    "unit": Key(text(r"[^\s]{0,16}", "a SenML unit of at most 16 characters"), required=True),
    "decimals": Key(whole(0, 9), 0),
    "period": Key(duration(10, DAY_MS), name="period_ms"),
    "report": Key(one_of("always", "change"), "always"),
    "quiet": Key(duration(1000, 7 * DAY_MS), 3_600_000, "quiet_ms"),
    "deadband": Key(positive, Fraction(0)),
    "alarm_low": Key(number),
    "alarm_high": Key(number),
    "alarm_hysteresis": Key(positive),
}
CONTACT = {"active": Key(level, 0), "pull_up": Key(flag, True)}
# driver -> its keys, the kind of its bus, the shortest time between two readings in ms
DRIVERS: dict[str, tuple[dict[str, Key], str, int]] = {
    "ds18b20": (
        {
            "rom": Key(text(r"[0-9a-fA-F]{16}", "16 hexadecimal digits")),
            "bits": Key(whole(9, 12), 12),
        },
        "onewire",
        800,
    ),
    "max31855": ({"cs": Key(pin, required=True)}, "spi", 100),
    "ads1115": (
        {
            "address": Key(whole(0x48, 0x4B), 0x48),
            "input": Key(whole(0, 3), required=True),
            "at_4ma": Key(whole(-(10**9), 10**9), required=True),
            "at_20ma": Key(whole(-(10**9), 10**9), required=True),
            "shunt_ohm": Key(whole(1, 1000), 100),
            "range_mv": Key(one_of(6144, 4096, 2048, 1024, 512, 256), 2048),
        },
        "i2c",
        50,
    ),
    "pulse": (
        {
            "pin": Key(pin, required=True),
            "per_pulse": Key(number, Fraction(1)),
            "index": Key(number, Fraction(0)),
            "debounce": Key(duration(0, 10_000), 10, "debounce_ms"),
            **CONTACT,
        },
        "",
        0,
    ),
    "digital": ({"pins": Key(pins, required=True), **CONTACT}, "", 0),
    "application": ({}, "", 0),
}


def default_of(keys: dict[str, Key], name: str) -> object:
    """The default of the key whose value is called `name`; None where there is no such key."""
    return next((k.default for n, k in keys.items() if (k.name or n) == name), None)
