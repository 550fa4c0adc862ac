"""Compiles a product file (docs/products.md) into what a board reads at boot, and a board's identity.

Owns the product's meaning: defaults, grouping of channels by schedule, scaling of thresholds to the whole
numbers that a board counts in. What a key may be is product_keys.py's business. Refuses to know how files
reach a board.

    python firmware/product.py firmware/products/stove.toml [--out config.msgpack] [--host 10.0.0.2:7878]
"""

import argparse
import importlib
import re
import sys
from binascii import crc32
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples"
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT.parent / "protocol")]

from meuse_protocol.msgpack import pack, put  # noqa: E402
from product_keys import (  # noqa: E402
    BATCH,
    BUSES,
    CHANNEL,
    DRIVERS,
    HEALTH,
    LOG,
    OP_KINDS,
    OUTPUT,
    OWN_OPS,
    PRODUCT,
    Key,
    ProductError,
    Settings,
    Table,
    default_of,
    load,
    stated,
    whole,
)
from product_links import (  # noqa: E402
    link_of,
    refuse_relay_without_way_up,
    refuse_two_networks,
    share_modem,
    usual_link,
)

COUNTER, STATE = 1, 2
FLAGS = {"pulse": COUNTER, "digital": STATE, "application": STATE}
IN_UNIT = ("deadband", "low", "high", "hysteresis", "per_pulse", "index")  # scaled like values
MAX_SEGMENTS = 24  # FlashLog's own
MAX_CHANNELS = 64  # of one schema
RADIO = {"kind": "spi", "id": 2, "sck": 81, "mosi": 82, "miso": 83}  # of a virtual board
NAMES = {"alarm_low": "low", "alarm_high": "high", "alarm_hysteresis": "hysteresis"}



def compile_product(
    path: Path, host: str | None = None, links: Sequence[str] = (), keyed: bool = True, pace: int = 1
) -> bytes:
    """The content of /config.msgpack. `host` (name:port) stands in for that of TCP and UDP links; `links`: kinds that
    stand in for the product's own; `keyed`: the board has a key; `pace`: so many times faster than the board's clock
    lives what its application controls, if that is simulated.

    ProductError names the file, the key path and the way out.
    """
    made = settings(path, host, links, keyed)
    if pace != 1 and "application" in made:
        made["application"]["pace"] = pace
    return stored(packed(made))


def secret(device: str, key: bytes | None) -> bytes:
    """The content of /secret.bin: the device id and its 32 bytes of key, None for a board without."""
    return stored(pack([device, key]))


def stored(payload: bytes) -> bytes:
    """A file as meuse_board/stored.py reads it."""
    return pack([1, crc32(payload), payload])


def packed(value: Any) -> bytes:
    """msgpack with maps, which the wire has not; keys sorted, so that equal settings are equal bytes."""
    out = bytearray()
    _put(out, value)
    return bytes(out)


def _put(out: bytearray, value: Any) -> None:
    if isinstance(value, dict):
        out += b"\xde" + len(value).to_bytes(2, "big")
        for name in sorted(value):
            put(out, name)
            _put(out, value[name])
    elif isinstance(value, list):
        out += b"\xdc" + len(value).to_bytes(2, "big")
        for item in value:
            _put(out, item)
    else:
        put(out, value)


def settings(path: Path, host: str | None = None, links: Sequence[str] = (), keyed: bool = True) -> Settings:
    """What the board gets, before it is packed; meuse_board/app.py documents the form."""
    table = load(path)
    if links:
        table.replace("links", [usual_link(kind, host or "127.0.0.1:7878", links) for kind in links])
        if "lora" in {kind.partition(":")[0] for kind in links}:
            table.add("buses", "radio", RADIO)
    out: Settings = table.take(PRODUCT)
    period_ms = out.pop("period_ms", None)
    platform = out.pop("platform", None)
    out["buses"] = {name: _of_kind(t, BUSES) for name, t in table.tables("buses")}
    channels = [_channel(name, t, out["buses"], period_ms) for name, t in table.tables("channels")]
    if not channels:
        raise table.error("channels", "a product measures something: add [channels.NAME]")
    batch = _unusual(table.table("batch").take(BATCH), BATCH)
    out["groups"] = _groups(channels, batch, table)
    out["log"] = _log(table.table("log"))
    out["health_ms"] = table.table("health").take(HEALTH)["period_ms"]
    out["links"] = [link_of(t, host, path.parent, keyed, platform) for t in table.array("links")]
    out["links"].sort(key=lambda link: link["kind"] in ("file", "sms"))  # whoever answers carries the readings
    if not out["links"]:
        raise table.error("links", "readings need a way out: add [[links]]")
    refuse_relay_without_way_up(out["links"], table)
    out["outputs"] = [t.take(OUTPUT) for t in table.array("outputs")]
    ops = [_op(name, t, out) for name, t in table.tables("ops")]
    if ops:
        out["ops"] = ops
    _join_application(table, out)
    table.done()
    for i, link in enumerate(out["links"]):
        if link["kind"] == "lora" and out["buses"].get(link["bus"], {}).get("kind") != "spi":
            raise table.error(f"links.{i}.bus", f"add [buses.{link['bus']}] with kind = \"spi\" and its pins")
    _refuse_shared_pins(channels, out, table)
    refuse_two_networks(out["links"], table)
    share_modem(out["links"], table)
    return out


def _of_kind(t: Table, kinds: dict[str, dict[str, Any]]) -> Settings:
    kind = t.choice("kind", tuple(kinds))
    return {"kind": kind, **t.take(kinds[kind])}


def _join_application(table: Table, out: Settings) -> None:
    """Whether program and product mean the same channels, outputs and ops; the program itself says which it needs."""
    told = {c["name"] for group in out["groups"] for c in group["channels"] if c["driver"] == "application"}
    asked = {op["name"] for op in out.get("ops", ()) if op["kind"] == "application"}
    if not table.has("application"):
        for name in told:
            raise table.error(f"channels.{name}.driver", "there is no [application] that could tell it")
        for name in asked:
            raise table.error(f"ops.{name}.kind", "there is no [application] that could carry it out")
        return
    t = table.table("application")
    name = t.choice("name", tuple(sorted(p.parent.name for p in EXAMPLES.glob("*/application.py"))))
    program = importlib.import_module(f"examples.{name}.application").Application
    ranges = {key: Key(whole(low, high)) for key, (low, high) in program.settings.items()}
    out["application"] = {"name": name, **t.take(ranges)}
    out.setdefault("ops", [])  # what such a board loads goes by this key
    measured = {c["name"] for group in out["groups"] for c in group["channels"]} - told
    outputs = {output["name"] for output in out["outputs"]}
    for key, needed, there in (
        ("channels", set(program.needs), measured),
        ("channels", set(program.channels), told),
        ("outputs", set(program.outputs), outputs),
    ):
        for missing in sorted(needed - there):
            raise table.error(f"{key}.{missing}", f"is missing: application {name} needs it")
    for kind, unknown in (("channels", told - set(program.channels)), ("ops", asked - set(program.ops))):
        for one in sorted(unknown):
            raise table.error(f"{kind}.{one}", f"application {name} knows nothing of it")
    for op in out.get("ops", ()):
        if op["kind"] == "output":
            raise table.error(f"ops.{op['name']}.kind", "the application drives the outputs, nobody else")


def _op(name: str, t: Table, out: Settings) -> Settings:
    """One thing that the host may ask of the board."""
    kind = t.choice("kind", tuple(OP_KINDS))
    op: Settings = {"name": name, "kind": kind, **t.take(OP_KINDS[kind])}
    if name in OWN_OPS:
        raise t.error("kind", f"{name!r} is an op that every board has; give it another name")
    if kind == "output" and op["output"] not in [output["name"] for output in out["outputs"]]:
        raise t.error("output", f"there is no output {op['output']!r}: add it under [[outputs]]")
    if ("low" in op) != ("high" in op):
        raise t.error("high" if "low" in op else "low", "is missing: both or none")
    if "low" in op and op["low"] > op["high"]:
        raise t.error("high", "is less than low")
    channels = [c["name"] for group in out["groups"] for c in group["channels"]]
    for condition in op.get("if", []):
        if condition[0] not in channels:
            raise t.error("if", f"there is no channel {condition[0]!r}")
    return op


def _channel(name: str, t: Table, buses: Settings, period_ms: int | None) -> Settings:
    """One channel as a driver and the sampler read it, with the group's keys still in it."""
    driver = t.choice("driver", tuple(DRIVERS))
    keys, bus_kind, slowest_ms = DRIVERS[driver]
    taken = t.take({**CHANNEL, **keys})
    exp = -taken.pop("decimals")
    out: Settings = {"name": name, "unit": taken.pop("unit"), "exp": exp, "driver": driver}
    if driver in FLAGS:
        out["flags"] = FLAGS[driver]
    if bus_kind:
        out["bus"] = t.choice(
            "bus", tuple(n for n, b in buses.items() if b["kind"] == bus_kind), bus_kind
        )
    own = {k: v for k, v in taken.items() if k in IN_UNIT or v != default_of(keys, k)}
    for key, value in own.items():
        key = NAMES.get(key, key)
        out[key] = _scaled(t, key, value, exp) if key in IN_UNIT else value
    out.setdefault("period_ms", period_ms)
    if out["period_ms"] is None:
        raise t.error("period", "is missing, here and at the top")
    if out["period_ms"] < slowest_ms:
        raise t.error("period", f"a {driver} takes {slowest_ms} ms for one reading")
    if driver == "digital" and exp:
        raise t.error("decimals", "contacts have none")
    if out.get("at_4ma", 0) == out.get("at_20ma", 1):
        raise t.error("at_20ma", "must differ from at_4ma")
    t.done()
    return out


def _scaled(t: Table, key: str, value: Fraction, exp: int) -> int:
    number = value * 10**-exp
    if number.denominator != 1:
        raise t.error(key, f"{stated(value)} has more decimals than the channel's {-exp}")
    return int(number)


def _groups(channels: list[Settings], batch: Settings, table: Table) -> list[Settings]:
    """Channels with one schedule become one group: one row, one time stamp, one schema."""
    groups: dict[tuple[Any, ...], Settings] = {}
    for c in channels:
        period_ms, on_change, quiet_ms = (
            c.pop("period_ms"),
            c.pop("report") == "change",
            c.pop("quiet_ms"),
        )
        key = (period_ms, on_change, quiet_ms if on_change else 0)
        if key not in groups:
            how = "change" if on_change else "every"
            name = f"{how}_{_duration(period_ms)}"
            if any(g["name"] == name for g in groups.values()):
                name += f"_{_duration(quiet_ms)}"
            group = {"name": name, "period_ms": period_ms, "tick_ms": _tick_ms(period_ms), **batch}
            if on_change:
                group.update(on_change=True, quiet_ms=quiet_ms)
            groups[key] = {**group, "channels": []}
        if not on_change:
            c.pop("deadband")
        groups[key]["channels"].append(c)
    for group in groups.values():
        if len(group["channels"]) > MAX_CHANNELS:
            raise table.error(
                "channels", f"{group['name']}: at most {MAX_CHANNELS} share a schedule"
            )
    return list(groups.values())


def _tick_ms(period_ms: int) -> int:
    """The coarsest tick that times of this period fall on."""
    return next(tick for tick in (1000, 100, 10, 1) if period_ms % tick == 0)


def _duration(ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def _log(t: Table) -> Settings:
    out = t.take(LOG)
    segments = out.pop("max_bytes") // out["segment_bytes"]
    if segments < 3:
        raise t.error("max_bytes", "holds at least three segments")
    if segments > 256:
        raise t.error("segment_bytes", "is too small: at most 256 segments, each costs RAM")
    if out["flush_bytes"] > out["segment_bytes"]:
        raise t.error("flush_bytes", "is at most segment_bytes")
    out = _unusual(out, LOG)
    return out if segments == MAX_SEGMENTS else {**out, "max_segments": segments}


def _unusual(values: Settings, keys: dict[str, Key]) -> Settings:
    """Without what the board takes anyway: each key costs its heap."""
    return {k: v for k, v in values.items() if v != default_of(keys, k)}


def _refuse_shared_pins(channels: list[Settings], out: Settings, table: Table) -> None:
    """Two users of one pin, port or converter input: a wiring mistake that only shows as wrong readings."""
    users: dict[Any, str] = {}

    def use(what: Any, who: str, how: str) -> None:
        if what in users:
            raise table.error(who, f"{how} is already used by {users[what]}")
        users[what] = who

    for name, bus in out["buses"].items():
        for key in ("pin", "scl", "sda", "sck", "mosi", "miso"):
            if key in bus:
                use(bus[key], f"buses.{name}.{key}", f"pin {bus[key]}")
        if "id" in bus:
            use((bus["kind"], bus["id"]), f"buses.{name}.id", f"{bus['kind']} {bus['id']}")
    for output in out["outputs"]:
        use(output["pin"], f"outputs.{output['name']}", f"pin {output['pin']}")
    for i, link in enumerate(out["links"]):
        for key in ("tx", "rx", "de", "power_key", "sck", "mosi", "miso", "cs"):
            if key in link:
                use(link[key], f"links.{i}.{key}", f"pin {link[key]}")
        if "uart" in link:
            use(("uart", link["uart"]), f"links.{i}.uart", f"uart {link['uart']}")
    for c in channels:
        who = f"channels.{c['name']}"
        for key in ("pin", "cs"):
            if key in c:
                use(c[key], f"{who}.{key}", f"pin {c[key]}")
        for pin in c.get("pins", ()):
            use(pin, f"{who}.pins", f"pin {pin}")
        if c["driver"] == "ads1115":
            address = c.get("address", DRIVERS["ads1115"][0]["address"].default)
            use(
                (c["bus"], address, c["input"]),
                who,
                f"input {c['input']} of converter {address}",
            )
        if c["driver"] == "ds18b20":
            alone = "a sensor without rom must be alone on its wire; the wire"
            others = [o for o in channels if o.get("bus") == c["bus"]]
            if len(others) > 1 and "rom" not in c:
                raise table.error(who + ".rom", f"{alone} {c['bus']} has {len(others)}")


def _device(name: str) -> str:
    """As the host takes it: part of topics and of file names."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise ProductError(f"{name!r} is not a device id: use 1 to 32 of a-z, 0-9 and -, not - first")
    return name


def _key(path: Path | None) -> bytes | None:
    """The current key of the host's file, which is its first line."""
    if path is None:
        return None
    try:
        key = bytes.fromhex(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError) as e:
        raise ProductError(f"{path}: no key: {e}") from None
    if len(key) != 32:
        raise ProductError(f"{path}: a key has 64 hexadecimal digits in a line")
    return key


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Checks a product file, or compiles it.",
        epilog="example: python firmware/product.py firmware/products/stove.toml --out config.msgpack",
    )
    parser.add_argument("product", type=Path)
    parser.add_argument("--out", type=Path, help="where the compiled configuration goes")
    parser.add_argument("--host", help="name:port that TCP and UDP links lead to")
    parser.add_argument("--device", help="this board's id; with --secret")
    parser.add_argument("--key", type=Path, help="the host's file of its key; without one it has none")
    parser.add_argument("--secret", type=Path, help="where id and key go, as the board wants them")
    options = parser.parse_args(words)
    if bool(options.device) != bool(options.secret) or (options.key and not options.device):
        parser.error("--device says who a board is, --secret where that goes: one needs the other, and --key both")
    try:
        keyed = not options.device or options.key is not None
        data = compile_product(options.product, options.host, keyed=keyed)
        identity = secret(_device(options.device), _key(options.key)) if options.device else b""
    except ProductError as e:
        print(e, file=sys.stderr)
        return 1
    if options.out:
        options.out.write_bytes(data)
    if options.secret:
        options.secret.touch(mode=0o600)
        options.secret.write_bytes(identity)
    where = options.out or "not written; say --out FILE"
    print(f"{options.product}: right, {len(data)} bytes, {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
