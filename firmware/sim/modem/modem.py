"""A simulated modem: power, SIM, registration, one TCP connection that is real, short messages; commands of 27.007.

What differs between vendors is in sim7600.py and bg95.py, a call with PPP in data_mode.py. Faults are for tests to
set: `silent`, `busy`, `delay_s`, `net`, reboot(), `card`, `polite`.
"""

import asyncio
import contextlib
from typing import Any

from .card import Card
from .centre import Centre
from .data_mode import Call
from .line import Line

NO_SIM, SIM_PIN_NEEDED, SIM_PUK_NEEDED, WRONG_PIN = 10, 11, 12, 16  # 3GPP TS 27.007, 9.2.1
BUFFER_BYTES = 8192  # received and not read yet; more is left to TCP


class Modem:
    """`fd`: its end of the serial line. `hosts`: where a (name, port) really is; nobody else can be reached."""

    boots = ("RDY",)

    def __init__(self, fd: int, card: Card | None, centre: Centre | None = None) -> None:
        self.line = Line(fd)
        self.card = card
        self.centre = centre
        self.net = True
        self.registers = True  # the network takes this SIM
        self.silent = False  # hung: hears, and says nothing, until it is switched off and on
        self.busy = 0  # commands that are answered by ERROR
        self.delay_s = 0.0
        self.boot_s = 0.05
        self.rssi = 17
        self.guard_s = 1.0  # of silence around +++
        self.polite = True  # a network that is lost ends a call in order
        self.commands: list[str] = []
        self.connects = self.reboots = self.calls = self.escapes = 0
        self.hosts: dict[tuple[str, int], tuple[str, int]] = {}
        self.on_command: Any = None  # called with each command before it is answered
        self._unlocked = False
        self._attached = False
        self._error_numbers = False
        self.delivers = False  # short messages go to the serial line
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._received = bytearray()
        self._call: Call | None = None
        self._held = False  # a call is up, and commands are taken
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- power

    def switch_on(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def switch_off(self) -> None:
        """What it knows is gone; the card and the world are not."""
        self.line.on = False
        if self._running and self._running is not asyncio.current_task():
            self._running.cancel()
            await asyncio.wait([self._running])
        self._hang_up()
        self._unlocked = self._attached = self._error_numbers = self.delivers = self.silent = False

    async def reboot(self) -> None:
        """Wherever it was: in the middle of a command, of a payload, of a reply."""
        self.reboots += 1
        await self.switch_off()
        self.switch_on()

    async def close(self) -> None:
        await self.switch_off()
        self.line.close()

    async def _run(self) -> None:
        self.line.reset()
        await asyncio.sleep(self.boot_s)
        self.line.on = True
        for word in self.boots:
            self.line.say(word)
        if self.card:
            self.line.say("+CPIN: " + self._state())
        if self.centre:
            self.centre.here(self)
        while True:
            if self._call and not self._held:
                await self._carry(self._call)
            else:
                await self._obey(await self.line.command())

    # -- what the world does

    def lose_network(self) -> None:
        """The radio is gone; the connection goes with it, and the modem says so."""
        self.net = False
        if self._call:
            if self.polite:
                self._call.goodbye()
            self._hang_up()
            self.line.say("NO CARRIER")
        elif self._writer:
            self._hang_up()
            self.line.say(self.says_lost())
        self._attached = False

    def find_network(self) -> None:
        self.net = True
        if self.centre:
            self.centre.here(self)

    def deliver(self, pdu: str, size: int) -> bool:
        """A short message from the centre -> whether it could be delivered."""
        if not (self.line.on and self.net and self.registers and self.card and self.delivers):
            return False
        self.line.write(f"\r\n+CMT: ,{size}\r\n{pdu}\r\n".encode())
        return True

    # -- commands

    async def _obey(self, command: str) -> None:
        self.commands.append(command)
        if self.on_command:
            self.on_command(command)
        await asyncio.sleep(self.delay_s)
        if self.silent:
            return
        if self.busy:
            self.busy -= 1
            self.line.say("ERROR")
            return
        name, _, given = command[2:].partition("=")
        handler = self.handlers().get(name.upper())
        result = await handler(self._arguments(given)) if handler else "ERROR"
        if result:
            self.line.say(result)

    def handlers(self) -> dict[str, Any]:
        return {
            "": self._ok,
            "E0": self._echo_off,
            "+CMEE": self._cmee,
            "+CPIN?": self._ask_pin,
            "+CPIN": self._enter_pin,
            "+CSQ": self._signal,
            "+CREG?": lambda _: self._registration("CREG"),
            "+CGREG?": lambda _: self._registration("CGREG"),
            "+CEREG?": lambda _: self._registration("CEREG"),
            "+CFUN": self._function,
            "+CMGF": self._ok,
            "+CNMI": self._indications,
            "+CMGS": self._submit,
            "+CSCA": self._ok,
            "+CGDCONT": self._ok,
            "+CGACT": self._ok,
            "D*99***1#": self._dial_up,
            "O": self._back_to_data,
            "H": self._hang_up_call,
        }

    @staticmethod
    def _arguments(given: str) -> list[str]:
        return [one.strip('"') for one in given.split(",")]

    async def _ok(self, _: list[str]) -> str:
        return "OK"

    async def _echo_off(self, _: list[str]) -> str:
        self.line.echo = False
        return "OK"

    async def _cmee(self, given: list[str]) -> str:
        self._error_numbers = given[0] == "1"
        return "OK"

    def fault(self, number: int) -> str:
        return f"+CME ERROR: {number}" if self._error_numbers else "ERROR"

    def _state(self) -> str:
        card = self.card
        if card and card.pin and not card.tries:
            return "SIM PUK"
        return "READY" if not card or not card.pin or self._unlocked else "SIM PIN"

    async def _ask_pin(self, _: list[str]) -> str:
        if not self.card:
            return self.fault(NO_SIM)
        self.line.say("+CPIN: " + self._state())
        return "OK"

    async def _enter_pin(self, given: list[str]) -> str:
        if not self.card:
            return self.fault(NO_SIM)
        if self.card.enter(given[0]):
            self._unlocked = True
            self.line.say("OK")
            self.line.say("+CPIN: READY")
            return ""
        return self.fault(WRONG_PIN if self.card.tries else SIM_PUK_NEEDED)

    @property
    def usable(self) -> bool:
        """The card is open and the network has taken it."""
        return bool(self.card) and self._state() == "READY" and self.net and self.registers

    async def _registration(self, name: str) -> str:
        denied = self.net and not self.registers
        self.line.say(f"+{name}: 0,{1 if self.usable else 3 if denied else 2}")
        return "OK"

    async def _signal(self, _: list[str]) -> str:
        self.line.say(f"+CSQ: {self.rssi if self.net else 99},99")
        return "OK"

    async def _function(self, given: list[str]) -> str:
        self.line.say("OK")
        if given == ["1", "1"]:
            task = asyncio.create_task(self.reboot())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ""

    async def _indications(self, given: list[str]) -> str:
        self.delivers = given[1] == "2"
        if self.centre:
            self.centre.here(self)
        return "OK"

    async def _submit(self, _: list[str]) -> str:
        pdu = await self.line.message()
        if pdu is None:
            return "OK"
        if not (self.usable and self.centre and self.card):
            return "+CMS ERROR: 331"  # no network service
        reference = self.centre.submit(self.card.number, pdu.decode())
        if reference is None:
            return "+CMS ERROR: 304"  # invalid PDU mode parameter
        self.line.say(f"+CMGS: {reference}")
        return "OK"

    # -- a call: the line is the network's

    async def _dial_up(self, _: list[str]) -> str:
        if not self.usable:
            return "NO CARRIER"
        self.calls += 1
        self._call = Call(self.line.write, self._reach)
        return "CONNECT 115200"

    async def _back_to_data(self, _: list[str]) -> str:
        self._held = False
        return "CONNECT 115200" if self._call else "NO CARRIER"

    async def _hang_up_call(self, _: list[str]) -> str:
        self._hang_up()
        return "OK"

    async def _carry(self, call: Call) -> None:
        """Until the call is over, or +++ between two silences asks for commands."""
        clock = asyncio.get_running_loop()
        last_s = clock.time()
        while self._call is call and not call.over:
            data = await self.line.some()
            quiet = clock.time() - last_s >= self.guard_s
            if data == b"+++" and quiet and not (data := await self.line.some(self.guard_s)):
                self.escapes += 1
                self._held = True
                self.line.say("OK")
                return
            if data:
                last_s = clock.time()
                call.take(data)
        if self._call is call:
            self._hang_up()
            self.line.say("NO CARRIER")

    async def _reach(self, where: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        host, _, port = where.rpartition(":")
        found = self.hosts.get((host, int(port)))
        if found is None or not self.usable:
            return None
        try:
            streams = await asyncio.open_connection(*found)
        except OSError:
            return None
        self.connects += 1
        return streams

    # -- the connection

    @property
    def connected(self) -> bool:
        return self._writer is not None or bool(self._call and self._call.connected)

    def says_lost(self) -> str:
        """When a connection ends by itself."""
        raise NotImplementedError

    def says_arrived(self) -> str:
        raise NotImplementedError

    async def dial(self, host: str, port: str) -> bool:
        where = self.hosts.get((host, int(port)))
        if where is None or not self.usable or not self._attached:
            return False
        try:
            reader, self._writer = await asyncio.open_connection(*where)
        except OSError:
            return False
        self.connects += 1
        self._received.clear()
        self._reading = asyncio.create_task(self._read(reader))
        return True

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                quiet = not self._received
                self._received += data
                if quiet:
                    self.line.say(self.says_arrived())
                while len(self._received) > BUFFER_BYTES:
                    await asyncio.sleep(0.01)
        self._reading = None
        self._hang_up()
        self.line.say(self.says_lost())

    def send(self, data: bytes) -> bool:
        if not self._writer:
            return False
        self._writer.write(data)
        return True

    def _hang_up(self) -> None:
        if self._call:
            self._call.close()
            self._call = None
            self._held = False
            self.line.wake()
        if self._reading:
            self._reading.cancel()
            self._reading = None
        if self._writer:
            self._writer.close()
            self._writer = None
