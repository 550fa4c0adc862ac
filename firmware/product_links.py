"""A product's links, as the board gets them: what each kind needs beside its keys, and what does not go together.

What a key may be is product_keys.py's business.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from certificates import der
from meuse_board.links.airtime import air_ms, usual_bytes
from product_keys import (
    FOR_OTHERS,
    HAVE_PPP,
    LINKS,
    MODEM,
    NEED_A_KEY,
    OVER_PPP,
    SEVERAL,
    USUAL_COST,
    Settings,
    Table,
    default_of,
)

WIRED = ("file", "rs485", "lora", "lorawan", "sms")  # kinds that meuse_board/wiring.py has to join
LONGEST_MS = 5_000  # a LoRa packet: a longer one meets others, and waits for half an hour's share
EU_DUTY = (  # kHz, kHz, per mille: ERC recommendation 70-03, annex 1, bands h1.3 to h1.7
    (863_000, 868_000, 1),
    (868_000, 868_600, 10),
    (868_700, 869_200, 1),
    (869_400, 869_650, 100),
    (869_700, 870_000, 10),
)
HTTP_BESIDE = 202  # 8080 beside the host's 7878
MODEM_UART = 2  # of a virtual board: its modem, or the cable to another board
SMS_NUMBER = "+31600000002"  # of the modem beside it that is the host's


def usual_link(kind: str, host: str, links: Sequence[str]) -> Settings:
    """A link of this kind, beside these, to a host on the usual ports; what a virtual board has at its sockets.

    Such as lora:others are for other boards to speak on.
    """
    kind, _, carries = kind.partition(":")
    name, _, port = host.rpartition(":")
    modem: Settings = {"uart": MODEM_UART, "family": "sim7600"}
    where: dict[str, Settings] = {
        "serial": {"uart": MODEM_UART if carries else 1, "carries": "all"},
        "lora": {"bus": "radio", "cs": 80, "frequency": Fraction(869_525, 1000), "duty": 10, "carries": "all"},
        "rs485": {"uart": 1},
        "tcp": {"host": name, "port": int(port)},
        "udp": {"host": name, "port": int(port)},
        "http": {"host": name, "port": int(port) + HTTP_BESIDE, "poll": "1s"},
        "mqtt": {"host": name},
        "cellular": {**modem, "apn": "iot.example", "host": name, "port": int(port), "carries": "all"},
        "sms": {**({} if "cellular" in links else modem), "number": SMS_NUMBER, "after": "3s"},
    }
    return {"kind": kind, **where.get(kind, {}), **({"carries": carries} if carries else {})}


def link_of(t: Table, host: str | None, folder: Path, keyed: bool, platform: str | None) -> Settings:
    kind = t.choice("kind", tuple(LINKS))
    if kind in NEED_A_KEY and not keyed:
        raise t.error("kind", f"{kind!r} needs a key, and this board has none: give it one")
    link: Settings = {"kind": kind, **t.take({**LINKS[kind], **SEVERAL})}
    if not link["sealed"]:
        del link["sealed"]
    special = link.keys() & {"carries", "budget_kb", "sealed", "keep_alive_ms"} or kind in WIRED
    if special and "cost" not in link:
        link["cost"] = USUAL_COST[kind]  # the board looks for what is special where it finds a cost
    _for_others(t, kind, link, keyed)
    _secure(t, link, folder)
    if link.get("max_pdu", 0) == LINKS[link["kind"]]["max_pdu"].default:
        del link["max_pdu"]
    if link["kind"] == "serial":
        link["kind"] = "uart"
    elif host and link["kind"] in ("tcp", "udp"):
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            raise t.error("host", f"{host!r} is not name:port")
        link.update(host=name, port=int(port))
    if "host" not in link and link["kind"] in ("tcp", "udp", "http"):
        raise t.error("host", "is missing: where does this link lead?")
    if link["kind"] == "http":
        _complete_http(t, link)
    elif link["kind"] == "mqtt":
        _complete_mqtt(t, link)
    elif link["kind"] == "cellular":
        _complete_cellular(t, link, platform)
    elif link["kind"] == "lora":
        _complete_lora(t, link)
    elif link["kind"] == "lorawan":
        _unnamed(link)
        link["mac_bytes"] = 4  # the network checks integrity, too
    return link


def share_modem(links: list[Settings], table: Table) -> None:
    """An SMS link without a modem of its own has that of the cellular link; alone it would carry no readings."""
    modem = next((link for link in links if link["kind"] in ("cellular", "ppp")), None)
    for i, link in enumerate(links):
        if link["kind"] not in ("cellular", "ppp", "sms"):
            continue
        if link["kind"] == "sms" and "uart" not in link and modem:
            link.update({key: modem[key] for key in MODEM if key in modem})
        for key in ("uart", "family"):
            if key not in link:
                raise table.error(f"links.{i}.{key}", "is missing: which modem, and where?")
    if all(link["kind"] == "sms" for link in links):
        raise table.error("links", "SMS carries alarms only: add another link for the readings")


def _for_others(t: Table, kind: str, link: Settings, keyed: bool) -> None:
    """A link on which other boards speak, to be passed on."""
    if link.get("carries") != "others":
        for key in ("buffer_bytes", "rate_bytes"):
            if key in link:
                raise t.error(key, 'says nothing without carries = "others"')
        return
    if not keyed:
        raise t.error("carries", "no host believes a relay without a key, and this board has none: give it one")
    if kind not in FOR_OTHERS:
        able = " or ".join(name for name in FOR_OTHERS if name in LINKS)
        raise t.error("carries", f"no other board can speak to this one by {kind!r}; by {able} it can")
    if kind == "serial" and "uart" not in link:
        raise t.error("uart", "is missing: to which port is the other board wired?")
    for key in ("budget_kb", "sealed"):
        if key in link:
            raise t.error(key.removesuffix("_kb"), "is for this board's own records, and here are those of others")


def refuse_relay_without_way_up(links: list[Settings], table: Table) -> None:
    """Only over what carries all of this board's own records go those of others."""
    if any(link.get("carries") == "others" for link in links) and not any(
        link["kind"] not in ("file", "rs485", "sms") and link.get("carries", "all") == "all" for link in links
    ):
        raise table.error("links", "what others send needs a way up: add one that carries all, not file, rs485 or sms")


def _complete_lora(t: Table, link: Settings) -> None:
    size = link.get("max_pdu", usual_bytes(link["sf"]))
    takes_ms = air_ms(size, link["sf"], link["bandwidth_khz"], link["coding"])
    if takes_ms > LONGEST_MS:
        raise t.error("max_pdu", f"{size} bytes are {takes_ms} ms on the air, more than {LONGEST_MS}: take less")
    for low_khz, high_khz, permille in EU_DUTY:
        if low_khz <= link["frequency_khz"] <= high_khz and link["duty_permille"] > permille:
            band = f"from {low_khz / 1000:.3f} to {high_khz / 1000:.3f} MHz Europe allows {permille / 10:g} %"
            raise t.error("duty", band)
    _unnamed(link)


def _unnamed(link: Settings) -> None:
    """Takes out what the board takes anyway."""
    for name, key in LINKS[link["kind"]].items():
        if key.default is not None and link.get(key.name or name) == key.default:
            del link[key.name or name]


def _complete_cellular(t: Table, link: Settings, platform: str | None) -> None:
    """By the modem's own TCP, or as a network of the board's: for the board these are two kinds of link."""
    if link.pop("via") == "modem":
        for key in OVER_PPP:
            if key in link:
                raise t.error(key, 'says nothing without via = "ppp": the modem\'s own connection is plain TCP')
        link.setdefault("port", 7878)
        return
    if platform is None:
        raise t.error("via", 'PPP is not on every board: add platform = "esp32" at the top of the file, if it is one')
    if platform not in HAVE_PPP:
        which = f"MicroPython for {platform} has no network.PPP in its usual images"
        raise t.error("via", f"{which}: leave it out, the modem's own TCP needs none")
    link["kind"] = "ppp"
    if link.get("over") == "mqtt":
        _complete_mqtt(t, link)
        return
    link.pop("over", None)
    for key in ("tenant", "user", "user_password"):
        if key in link:
            raise t.error(key, 'says nothing without over = "mqtt"')
    link.setdefault("port", 7878)


def refuse_two_networks(links: list[Settings], table: Table) -> None:
    """MicroPython's ports have one default route, and a call takes it."""
    for i, link in enumerate(links):
        if link["kind"] in ("tcp", "udp", "mqtt", "http") and any(other["kind"] == "ppp" for other in links):
            words = "would go through the modem too while a call is up: leave out via, or this link"
            raise table.error(f"links.{i}.kind", f"{link['kind']!r} {words}")


def _complete_mqtt(t: Table, link: Settings) -> None:
    link.setdefault("port", 8883 if link.get("tls") else 1883)
    if "user_password" in link and "user" not in link:
        raise t.error("user", "is missing: whose password is it?")


def _complete_http(t: Table, link: Settings) -> None:
    link.setdefault("port", 443 if link.get("tls") else 80)
    if "proxy" in link and link.get("tls"):
        raise t.error("proxy", "reads what it passes on: with tls = true there is none")
    for key in ("poll_ms", "body_bytes"):
        if link[key] == default_of(LINKS["http"], key):
            del link[key]


def _secure(t: Table, link: Settings, folder: Path) -> None:
    """Files of certificates and keys become their bytes: a board has no other way to get them."""
    given = [key for key in ("ca", "cert", "client_key", "server_name", "clock") if key in link]
    if not link.get("tls"):
        link.pop("tls", None)
        if given:
            raise t.error(given[0], "says nothing without tls = true")
        return
    if "ca" not in link:
        raise t.error("ca", "is missing: which certificate, or whose, does the board believe?")
    if ("cert" in link) != ("client_key" in link):
        raise t.error("client_key" if "cert" in link else "cert", "is missing: both or none")
    for key in ("ca", "cert", "client_key"):
        if key in link:
            try:
                link[key] = der((folder / link[key]).read_bytes(), key == "client_key")
            except OSError as e:
                raise t.error(key, f"{folder / link[key]}: {e.strerror}") from None
            except ValueError as e:
                raise t.error(key, f"{folder / link[key]} {e}") from None
