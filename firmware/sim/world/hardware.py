"""The board's surroundings put together: builds the parts of a scenario and carries out bus operations on them.

Owns which operation goes to which bus; the watchdog, the supply and the cable belong to the board (board.py).
"""

import errno
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from . import wires as op
from .buses import I2cBus, I2cDevice, OneWireLine, Pins, SpiBus, SpiDevice
from .channel import Channel, Source
from .clock import WorldClock
from .devices.ads1115 import Ads1115, Loop
from .devices.contactor import Contactor
from .devices.ds18b20 import Ds18b20
from .devices.max31855 import Max31855
from .devices.pulse import Meter, PulseContact
from .devices.stove import Coils, Stove, Turns
from .devices.switch import Switch
from .faults import Faults
from .scenario import ChannelSpec, DeviceSpec, LoopSpec, Scenario
from .served import Served
from .wires import BusError


class Parts:
    """Makes models from what a scenario says of them."""

    def __init__(self, scenario: Scenario, clock: WorldClock, served: Served, faults: Faults) -> None:
        self._source: Source | None = scenario.trace
        self._clock = clock
        self._served = served
        self._faults = faults

    def fault(self, target: str) -> Callable[[str], bool]:
        return partial(self._faults.active, target)

    def channel(self, spec: ChannelSpec | None) -> Channel:
        assert spec is not None, "the scenario gives each of these parts a channel"
        assert self._source is not None, "a scenario without a trace has physics"
        return Channel(spec.name, spec.column, spec.decimals, self._source, self._clock, self._served)

    def stove(self, spec: DeviceSpec, pins: Pins, mains: Callable[[], bool]) -> Stove:
        """The physics from which all channels have their values."""
        now_s = self._clock.scenario_s()
        made = Stove(Coils(*spec.pins), pins.outputs.get, self.fault(spec.name), now_s, mains)
        self._source = made
        return made

    def ds18b20(self, spec: DeviceSpec) -> Ds18b20:
        return Ds18b20(spec.rom, self.channel(spec.channel), self.fault(spec.name))

    def max31855(self, spec: DeviceSpec) -> Max31855:
        channel = self.channel(spec.channel)
        return Max31855(spec.pins[0], channel, spec.junction, self.fault(spec.name))

    def ads1115(self, spec: DeviceSpec) -> Ads1115:
        loops = {loop.ain: self._loop(loop) for loop in spec.loops}
        return Ads1115(spec.address, loops, self._clock, self.fault(spec.name))

    def _loop(self, spec: LoopSpec) -> Loop:
        channel = self.channel(spec.channel)
        fault = self.fault(spec.channel.name)
        return Loop(channel, spec.at_4ma, spec.at_20ma, spec.shunt_ohm, fault)

    def switch(self, spec: DeviceSpec) -> Switch:
        channel = self.channel(spec.channel)
        return Switch(list(spec.pins), channel, spec.closed_low, self.fault(spec.name))

    def contactor(self, spec: DeviceSpec) -> Contactor:
        return Contactor(spec.pins[0], spec.pins[1], spec.closed_low, self.fault(spec.name))

    def pulse(self, spec: DeviceSpec) -> PulseContact:
        assert spec.channel is not None, "the scenario gives a meter its channel"
        names = (spec.channel.name, spec.channel.decimals)
        meter = Meter(*names, spec.per_pulse, spec.index, spec.rates)
        if isinstance(self._source, Stove):
            meter = Turns(*names, spec.per_pulse, spec.index, spec.rates, self._source)
        return PulseContact(spec.pins[0], meter, self._clock, self._served, self.fault(spec.name))


class Hardware:
    """`fire(pin, level, times)` delivers interrupts to the board: after these edges the pin is at that level."""

    def __init__(
        self,
        devices: tuple[DeviceSpec, ...],
        parts: Parts,
        fire: Callable[[int, int, int], None],
        mains: Callable[[], bool] = lambda: True,
    ) -> None:
        self.pins = Pins(fire)
        self.stove: Stove | None = None
        for spec in devices:
            if spec.model == "stove":
                self.stove = parts.stove(spec, self.pins, mains)
        self.meters: dict[str, PulseContact] = {}
        self._forgetful: list[Ds18b20 | Ads1115] = []
        lines: dict[int, list[Ds18b20]] = defaultdict(list)
        i2c: dict[int, list[I2cDevice]] = defaultdict(list)
        spi: dict[int, list[SpiDevice]] = defaultdict(list)
        for spec in devices:
            if spec.model == "ds18b20":
                lines[spec.line].append(parts.ds18b20(spec))
            elif spec.model == "ads1115":
                i2c[spec.line].append(parts.ads1115(spec))
            elif spec.model == "max31855":
                spi[spec.line].append(parts.max31855(spec))
            elif spec.model == "switch":
                parts.switch(spec).attach(self.pins)
            elif spec.model == "contactor":
                parts.contactor(spec).attach(self.pins)
            elif spec.model == "pulse":
                meter = parts.pulse(spec)
                meter.attach(self.pins)
                self.meters[meter.meter.channel] = meter
        self._forgetful += [part for line in lines.values() for part in line]
        self._lines = {pin: OneWireLine(line) for pin, line in lines.items()}
        self._i2c = {number: I2cBus(bus) for number, bus in i2c.items()}
        self._spi = {number: SpiBus(bus, self.pins) for number, bus in spi.items()}

    def add_spi(self, number: int, device: SpiDevice) -> None:
        """A part on an SPI bus of its own."""
        self._spi[number] = SpiBus([device], self.pins)

    def forget_board(self) -> None:
        """The board lost its supply or was reset."""
        self.pins.forget_board()
        for meter in self.meters.values():
            meter.board_stopped()

    def power_on(self) -> None:
        """The supply of board and sensors came back."""
        for part in self._forgetful:
            part.power_on()

    def operate(self, code: int, payload: bytes) -> bytes:
        """One bus operation, as firmware/sim/micropython/wires.py numbers them; BusError as a real port fails."""
        if code not in self._OPERATIONS:
            raise BusError(errno.EINVAL)
        return self._OPERATIONS[code](self, payload)

    def _pin_mode(self, p: bytes) -> bytes:
        self.pins.mode(p[0], p[1], p[2])
        return b""

    def _pin_read(self, p: bytes) -> bytes:
        return bytes((self.pins.read(p[0], bool(p[1])),))

    def _pin_write(self, p: bytes) -> bytes:
        self.pins.write(p[0], p[1])
        return b""

    def _pin_irq(self, p: bytes) -> bytes:
        self.pins.arm(p[0], p[1])
        return b""

    def _i2c_write(self, p: bytes) -> bytes:
        return bytes((self._bus(p[0]).write(p[1], p[2:]),))

    def _i2c_read(self, p: bytes) -> bytes:
        return self._bus(p[0]).read(p[1], p[2])

    def _spi_exchange(self, p: bytes) -> bytes:
        bus = self._spi.get(p[0])
        return bus.exchange(p[1:]) if bus else b"\xff" * (len(p) - 1)

    def _ow_reset(self, p: bytes) -> bytes:
        return bytes((self._line(p[0]).reset(),))

    def _ow_read(self, p: bytes) -> bytes:
        return bytes((self._line(p[0]).read(p[1]),))

    def _ow_write(self, p: bytes) -> bytes:
        self._line(p[0]).write(p[1], p[2])
        return b""

    def _bus(self, number: int) -> I2cBus:
        return self._i2c.get(number) or I2cBus([])

    def _line(self, pin: int) -> OneWireLine:
        return self._lines.get(pin) or OneWireLine([])

    _OPERATIONS: dict[int, Callable[["Hardware", bytes], bytes]] = {  # noqa: RUF012 (never changed)
        op.PIN_MODE: _pin_mode,
        op.PIN_READ: _pin_read,
        op.PIN_WRITE: _pin_write,
        op.PIN_IRQ: _pin_irq,
        op.I2C_WRITE: _i2c_write,
        op.I2C_READ: _i2c_read,
        op.EXCHANGE: _spi_exchange,
        op.OW_RESET: _ow_reset,
        op.OW_READ: _ow_read,
        op.OW_WRITE: _ow_write,
    }
