"""The board itself: its supply voltage, its watchdog, the life of its processor.

Owns when the process starts, ends and starts again, and why; knows nothing of what the firmware does. Simulated: a
reset or a power cut is SIGKILL, so nothing of RAM survives and nothing is tidied up, as on a real chip.
"""

import asyncio
import contextlib
import struct
from pathlib import Path

from . import processor
from . import wires as op
from .cable import Cable
from .hardware import Hardware
from .processor import Image
from .wires import Wires

POWER_ON, RESET, WATCHDOG = 1, 2, 3  # machine.PWRON_RESET, HARD_RESET (what machine.reset() leaves), WDT_RESET
CRASH_PAUSE_S = 1.0  # a firmware that ended by itself would sit at the prompt; here it is started again, ...
LONGEST_PAUSE_S = 30.0  # ... later each time, as long as it does not live for a minute
GOOD_LIFE_S = 60.0
PATIENCE = 4  # times the watchdog's time before it bites: a process may be starved of its processor, a chip is not
STOP_S = 20.0  # longest wait for flushing and draining; the firmware's own limit is shorter


class Board:
    """`hardware` carries out bus operations; `unique_id` is what the chip says of itself."""

    def __init__(self, folder: Path, image: Image, unique_id: bytes, cable: Cable, lock_fd: int) -> None:
        self.folder = folder
        self.starts = self.resets = self.watchdog_bites = self.crashes = 0
        self.network = True
        self.pid: int | None = None
        self._image = image
        self._unique_id = unique_id
        self._cable = cable
        self._lock_fd = lock_fd
        self._hardware: Hardware | None = None
        self._wires: Wires | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._cause = POWER_ON
        self._power = asyncio.Event()
        self._power.set()
        self._stopping = asyncio.Event()
        self._killed = False  # by the world, on purpose
        self._watchdog: asyncio.TimerHandle | None = None
        self._watchdog_s = 0.0

    def surround(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def fire(self, pin: int, level: int, times: int) -> None:
        """Delivers interrupts."""
        if self._wires:
            self._wires.edges(pin, level, times)

    def edges_taken(self) -> bool:
        return self._wires is None or self._wires.edges_taken

    @property
    def powered(self) -> bool:
        return self._power.is_set()

    async def run(self) -> int:
        """Powers the board until it has been told to stop; the exit status of its last process."""
        loop, pause_s = asyncio.get_running_loop(), CRASH_PAUSE_S
        while True:
            await self._power.wait()
            if self._stopping.is_set():
                return 0
            began_s = loop.time()
            status = await self._life()
            if self._stopping.is_set() and not self._killed:
                return status
            if not self._killed:
                self.crashes += 1
                self._cause = RESET
                print(f"the firmware ended with status {status}; see {self.folder / 'board.log'}", flush=True)
                pause_s = CRASH_PAUSE_S if loop.time() - began_s > GOOD_LIFE_S else pause_s
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                    return status
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def stop(self) -> None:
        """Stop sampling, flush, drain, end; killed when that takes too long."""
        self._stopping.set()
        if self._wires:
            self._wires.stop()
            asyncio.get_running_loop().call_later(STOP_S, self._kill)
        else:
            self._power.set()

    def reset(self, cause: int = POWER_ON) -> None:
        """SIGKILL; it starts again with this cause unless the power is off."""
        self._cause = cause
        self._killed = not self._stopping.is_set()
        self._kill()

    def power(self, on: bool) -> None:
        if on and not self.powered:
            assert self._hardware is not None
            self._hardware.power_on()
            self._power.set()
        elif not on and self.powered:
            self._power.clear()
            self.reset(POWER_ON)

    def operate(self, code: int, payload: bytes) -> bytes:
        """An operation from the wires: the processor's own here, everything else on the buses."""
        if code == op.FEED:
            self._feed(payload)
        elif code == op.RESET:
            self.resets += 1
            self.reset(RESET)
        elif code == op.CAUSE:
            return bytes((self._cause,))
        elif code == op.IDENTITY:
            return self._unique_id
        elif code == op.NETWORK:
            return bytes((self.network,))
        elif code == op.NOTE:
            self._note(payload.decode())
        else:
            assert self._hardware is not None
            return self._hardware.operate(code, payload)
        return b""

    async def _life(self) -> int:
        """From power or reset to the end of the process."""
        assert self._hardware is not None
        self._killed = False
        self._hardware.forget_board()
        self._process, ends = await processor.start(self._image, self.folder, self._lock_fd)
        self.pid = self._process.pid
        self.starts += 1
        self._wires = Wires(ends.wires, self.operate)
        self._cable.board_on(ends.uart)
        try:
            return await self._process.wait()
        finally:
            self._kill()
            self.pid = self._process = None
            if self._watchdog:
                self._watchdog.cancel()
            self._wires.close()
            self._wires = None
            await self._cable.board_off()

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()

    def _feed(self, payload: bytes) -> None:
        if payload:
            self._watchdog_s = PATIENCE * struct.unpack(">I", payload)[0] / 1000
        if self._watchdog:
            self._watchdog.cancel()
        loop = asyncio.get_running_loop()
        self._watchdog = loop.call_later(self._watchdog_s, self._bite)

    def _bite(self) -> None:
        self.watchdog_bites += 1
        self.reset(WATCHDOG)

    def _note(self, text: str) -> None:
        """`channel=count`: what the board's flash says of a meter, told by start.py."""
        assert self._hardware is not None
        name, _, count = text.partition("=")
        if name in self._hardware.meters:
            self._hardware.meters[name].board_started(int(count))
