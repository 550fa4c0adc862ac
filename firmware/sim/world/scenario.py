"""A scenario: which parts hang on which wires of the board, which column of a trace each one feels, what breaks when.

Owns the TOML file's form (docs: firmware/sim/README.md) and its strict validation; builds nothing. Paths in a
scenario are relative to its file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .devices import stove
from .faults import Fault
from .processor import heap_bytes
from .tables import ScenarioError, Table, load
from .trace import Trace

__all__ = ["ChannelSpec", "DeviceSpec", "LoopSpec", "Scenario", "ScenarioError", "read"]

FAULT_KINDS = {
    "ds18b20": ("missing", "checksum", "power-on", "stuck"),
    "max31855": ("open", "short-gnd", "short-vcc", "missing", "stuck", "hot"),
    "ads1115": ("missing", "stuck"),
    "loop": ("low", "open"),
    "switch": ("stuck",),
    "contactor": ("stuck",),
    "pulse": ("bounce", "stuck"),
    "stove": stove.FAULTS,
}
MODELS = ("ds18b20", "max31855", "ads1115", "switch", "contactor", "pulse", "stove")
Columns = Mapping[str, object]
NEVER_S = 10**12  # a fault without a window is switched by hand only


@dataclass(frozen=True)
class ChannelSpec:
    """`name` on the board, `column` of the trace, `decimals` as the board states it."""

    name: str
    column: str
    decimals: int


@dataclass(frozen=True)
class LoopSpec:
    """A 4-20 mA transmitter on input `ain` of a converter."""

    ain: int
    channel: ChannelSpec
    at_4ma: Fraction
    at_20ma: Fraction
    shunt_ohm: int


@dataclass(frozen=True)
class DeviceSpec:
    """One part. `line`: pin of a 1-Wire line or number of an I2C or SPI bus; what a model has not is empty."""

    name: str
    model: str
    line: int = 0
    pins: tuple[int, ...] = ()
    address: int = 0
    rom: bytes = b""
    channel: ChannelSpec | None = None
    loops: tuple[LoopSpec, ...] = ()
    junction: Fraction = Fraction(25)
    closed_low: bool = True
    rates: tuple[Fraction, ...] = ()
    per_pulse: Fraction = Fraction(1)
    index: Fraction = Fraction(0)


@dataclass(frozen=True)
class Scenario:
    name: str
    product: Path
    trace: Trace | None  # None: a device is a model of the physics
    start_s: int
    speed: Fraction
    heap_bytes: int
    uart: int
    baud: int
    devices: tuple[DeviceSpec, ...]
    faults: tuple[Fault, ...]


def read(path: Path) -> Scenario:
    """The scenario in this file; ScenarioError when anything in it is not as it must be."""
    table = load(path)
    tables = table.tables("device")
    physics = any(t.has("model", "stove") for t in tables)
    trace = None if physics else _trace(table, path.parent)
    columns = trace.columns if trace else dict.fromkeys(stove.COLUMNS)
    devices = tuple(_device(t, columns) for t in tables)
    if not devices:
        raise table.error("a scenario has at least one [[device]]")
    targets = _targets(devices, table)
    scenario = Scenario(
        name=table.text("name"),
        product=(path.parent / table.text("product")).resolve(),
        trace=trace,
        start_s=table.integer("start_s", 0, trace.length_s if trace else 0, 0),
        speed=table.number("speed", 60),
        heap_bytes=_heap(table),
        uart=table.integer("uart", 0, 9, 1),
        baud=table.integer("baud", 300, 4_000_000, 115_200),
        devices=devices,
        faults=tuple(_fault(t, targets) for t in table.tables("fault")),
    )
    if scenario.speed <= 0:
        raise table.error("`speed` is more than 0")
    table.done()
    return scenario


def _trace(t: Table, folder: Path) -> Trace:
    path = folder / t.text("trace")
    try:
        return Trace(path)
    except (OSError, ValueError) as e:
        raise t.error(f"`trace` {path} cannot be read: {e}") from None


def _heap(t: Table) -> int:
    try:
        return heap_bytes(t.text("heap", "96k"))
    except ValueError as e:
        raise t.error(f"`heap`: {e}") from None


def _device(t: Table, columns: Columns) -> DeviceSpec:
    model = t.text("model", choices=MODELS)
    name = t.text("name", model)
    t.where += f" ({name})"
    spec = _READERS[model](t, name, columns)
    t.done()
    return spec


def _channel(t: Table, columns: Columns) -> ChannelSpec:
    name = t.text("channel")
    column = t.text("column", name)
    if column not in columns:
        raise t.error(f"the trace has no column `{column}`; it has {', '.join(columns)}")
    return ChannelSpec(name, column, t.integer("decimals", 0, 9))


def _ds18b20(t: Table, name: str, columns: Columns) -> DeviceSpec:
    code = t.text("rom")
    try:
        rom = bytes.fromhex(code)
    except ValueError:
        raise t.error(f"`rom` is 16 hexadecimal digits, not {code!r}") from None
    line = t.integer("line", 0, 255)
    return DeviceSpec(name, "ds18b20", line=line, rom=rom, channel=_channel(t, columns))


def _max31855(t: Table, name: str, columns: Columns) -> DeviceSpec:
    return DeviceSpec(
        name,
        "max31855",
        line=t.integer("spi", 0, 9),
        pins=(t.integer("cs", 0, 255),),
        channel=_channel(t, columns),
        junction=t.number("junction", 25),
    )


def _ads1115(t: Table, name: str, columns: Columns) -> DeviceSpec:
    loops = []
    for i in t.tables("input"):
        loop = LoopSpec(
            ain=i.integer("ain", 0, 3),
            channel=_channel(i, columns),
            at_4ma=i.number("at_4ma"),
            at_20ma=i.number("at_20ma"),
            shunt_ohm=i.integer("shunt_ohm", 1, 1000, 100),
        )
        if loop.at_4ma == loop.at_20ma:
            raise i.error("`at_4ma` and `at_20ma` are two different values")
        i.done()
        loops.append(loop)
    if len({loop.ain for loop in loops}) != len(loops):
        raise t.error("two inputs have the same `ain`")
    address = t.integer("address", 0x48, 0x4B)
    return DeviceSpec(name, "ads1115", line=t.integer("i2c", 0, 9), address=address, loops=tuple(loops))


def _switch(t: Table, name: str, columns: Columns) -> DeviceSpec:
    return DeviceSpec(
        name,
        "switch",
        pins=tuple(t.integers("pins", 0, 255)),
        channel=_channel(t, columns),
        closed_low=t.flag("closed_low", True),
    )


def _contactor(t: Table, name: str, columns: Columns) -> DeviceSpec:
    pins = (t.integer("coil", 0, 255), t.integer("contact", 0, 255))
    return DeviceSpec(name, "contactor", pins=pins, closed_low=t.flag("closed_low", True))


def _pulse(t: Table, name: str, columns: Columns) -> DeviceSpec:
    column = t.text("column", "")
    rates = [] if column else t.integers("per_hour", 0, 100_000)
    if column and column not in columns:
        raise t.error(f"the physics has no column `{column}`; it has {', '.join(columns)}")
    if not column and len(rates) != 24:
        raise t.error(f"`per_hour` has 24 rates, one for each hour of the day, not {len(rates)}")
    return DeviceSpec(
        name,
        "pulse",
        pins=(t.integer("pin", 0, 255),),
        channel=ChannelSpec(t.text("channel"), column, t.integer("decimals", 0, 9)),
        rates=tuple(Fraction(rate) for rate in rates),
        per_pulse=t.number("per_pulse", 1),
        index=t.number("index", 0),
    )


def _stove(t: Table, name: str, columns: Columns) -> DeviceSpec:
    """`pins` of the spec: igniter, fan, auger."""
    pins = tuple(t.integer(key, 0, 255) for key in ("igniter", "fan", "auger"))
    return DeviceSpec(name, "stove", pins=pins)


_READERS = {
    "ds18b20": _ds18b20,
    "max31855": _max31855,
    "ads1115": _ads1115,
    "switch": _switch,
    "contactor": _contactor,
    "pulse": _pulse,
    "stove": _stove,
}


def _targets(devices: tuple[DeviceSpec, ...], table: Table) -> dict[str, tuple[str, ...]]:
    """What may break, and how: devices by name, 4-20 mA transmitters by channel."""
    pairs = [(d.name, FAULT_KINDS[d.model]) for d in devices]
    pairs += [(i.channel.name, FAULT_KINDS["loop"]) for d in devices for i in d.loops]
    if len({name for name, _ in pairs}) != len(pairs):
        names = ", ".join(name for name, _ in pairs)
        raise table.error(f"devices and 4-20 mA channels need names of their own: {names}")
    return dict(pairs)


def _fault(t: Table, targets: dict[str, tuple[str, ...]]) -> Fault:
    target = t.text("target", choices=tuple(targets))
    kind = t.text("kind", choices=targets[target])
    fault = Fault(
        name=t.text("name", f"{target}-{kind}"),
        target=target,
        kind=kind,
        from_s=float(t.number("from_s", NEVER_S)),
        to_s=float(t.number("to_s", NEVER_S)),
    )
    t.done()
    return fault
