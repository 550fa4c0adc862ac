"""Which links a virtual board can have instead of its own, what the host needs to hear them, and for the rest: why not.

Owns the words; the links themselves are made by firmware/product.py and firmware/sim.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from meuse.errors import ConfigError
from meuse.invocation import meuse

# The scenario whose board passes on what others send by LoRa or cable, and speaks TCP.
GATEWAY: Final = "weather"

# The port for requests, counted from that of TCP: 8080 beside 7878.
HTTP_BESIDE: Final = 202

# Kind -> what to write into the host's meuse.toml, beside what its command line says.
PLAYED: Final[dict[str, str]] = {
    "serial": "",
    "tcp": "",
    "udp": "",
    "cellular": "",  # the modem's connection is one more of TCP
    "mqtt": '[[mqtt_link]]\nurl = "mqtt://127.0.0.1"    # and a broker there',
    "http": '[http]\nlisten = ["{http}"]',
    "rs485": '[[rs485]]\nport = "{boards}/stove/tty"    # one for each board: these wires join nobody else',
    "lora": "",  # to a board with another radio, which passes on
    "relay": "",  # a cable to a board that passes on
    "sms": '[sms]\nport = "{boards}/stove/sms"\nnumbers = ["+31600000001"]',
}

# Kind -> what is in its place.
ELSEWHERE: Final[dict[str, str]] = {
    "tls": "it needs certificates: name them in a product file (docs/links.md, TLS)",
    "ble": "Bluetooth has no simulator outside the tests: take a board with a radio (docs/links.md, Bluetooth)",
    "lorawan": "there is no simulated network server: take a board and ChirpStack (docs/links.md, LoRaWAN)",
    "file": "a card is carried by hand: `meuse import` takes its files, the console's `export` writes them",
}


def check(kinds: Sequence[str]) -> None:
    """ConfigError for a link that a virtual board cannot have, with what to use instead."""
    for kind in kinds:
        if kind in ELSEWHERE:
            raise ConfigError(f"`meuse sim` does not play {kind!r}", ELSEWHERE[kind])
        if kind not in PLAYED:
            raise ConfigError(f"no link {kind!r}", f"there are: {', '.join(PLAYED)}")
    if len({"lora", "relay"} & set(kinds)) == 2:
        raise ConfigError("the gateway has one link for others", "take lora or relay")
    if list(kinds) == ["sms"]:
        raise ConfigError("SMS carries alarms only", "add a link for the readings: --links serial,sms")


def boards(names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The scenarios to play: those asked for, and the gateway where one is needed, which comes last."""
    way = {"lora", "relay"} & set(kinds)
    if not way:
        return list(names)
    others = [name for name in names if name != GATEWAY] or ["stove"]
    if "relay" in way and len(others) > 1:
        raise ConfigError("the gateway has one cable for others", f"name one board: sim {others[0]} --links relay")
    return [*others, GATEWAY]


def passes_on(name: str, kinds: Sequence[str]) -> bool:
    """Whether this board is the gateway of others."""
    return name == GATEWAY and bool({"lora", "relay"} & set(kinds))


def words(name: str, kinds: Sequence[str], wired: Path) -> list[str]:
    """What firmware/sim/virtual_board.py wants to hear; `wired`: port of the board that has a cable to the gateway."""
    if name == GATEWAY and "lora" in kinds:
        return ["--links", "lora:others,tcp"]
    if name == GATEWAY and "relay" in kinds:
        return ["--links", "serial:others,tcp", "--wire", str(wired)]
    return ["--links", ",".join("serial" if kind == "relay" else kind for kind in kinds)]


def next_steps(kinds: Sequence[str], data: Path, host: str) -> list[str]:
    """Lines that tell how to start the host beside these boards."""
    boards = data / "boards"
    name, _, port = host.rpartition(":")
    http = f"{name}:{int(port) + HTTP_BESIDE}"
    needs = [PLAYED[kind].format(boards=boards, http=http) for kind in kinds if PLAYED[kind]]
    words = f"run --data {data}"
    if not kinds or "serial" in kinds:
        words += f" --serial '{boards}/*/tty'"
    if {"tcp", "cellular", "lora", "relay"} & set(kinds):
        words += f" --tcp {host}"
    if "udp" in kinds:
        words += f" --udp {host}"
    lines = ["  next: " + meuse(words)]
    if needs:
        lines.append("  with in meuse.toml:")
        lines += ["    " + line for need in needs for line in need.splitlines()]
    return lines
