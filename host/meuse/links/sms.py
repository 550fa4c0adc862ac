"""SMS: a modem on a serial port of the host; one wire for each phone number that boards have.

A message is one packet. Strangers' numbers are ignored and counted. Nobody is sent more messages than came from there,
and no more than so many a day in all: who answers for money answers when asked. A modem that is away is said once.
"""

import asyncio
import logging
import termios
from collections import deque
from collections.abc import Callable

import serial
from meuse_protocol.errors import MeuseError
from meuse_protocol.messages import ACK, NEED, WELCOME, head

from meuse.links import Opened, Receiver
from meuse.links.at import STARTED, AtPort, ModemLost, Refused
from meuse.links.serial import matching
from meuse.settings import SmsSettings
from meuse.sms_pdu import DATA_BYTES, delivered, submit

log = logging.getLogger(__name__)

KIND = "sms"
ANSWERS = (ACK, WELCOME, NEED)  # what a message is worth; a board asks for nothing else here
CREDIT_MAX = 2  # answers that may still be given to one number
WAITING_MAX = 64
DAY_S = 86_400.0
SEND_S = 120.0  # 3GPP gives no limit; networks take up to a minute
CHECK_S = 60.0  # is the modem still there?
AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0)
PIN_TRIES = 3  # that a SIM grants while nobody has failed
TRIES = (("AT+SPIC", "+SPIC: "), ('AT+QPINC="SC"', '+QPINC: "SC",'))  # SIMCom, Quectel


class SmsLink:
    """Keeps one modem; a receiver for every number that was heard."""

    def __init__(self, settings: SmsSettings, opened: Opened, count: Callable[[str], None]) -> None:
        self._settings = settings
        self._opened = opened
        self._count = count
        self._numbers = frozenset(settings.numbers)
        self.boards: dict[str, _Number] = {}
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._port: AtPort | None = None
        self._message_next = False
        self._tried_pin = False
        self._day_s = -DAY_S
        self.today = 0  # messages sent
        self._away = ""  # why, as it was said
        self._listening = True
        self._keeping: asyncio.Task[None] | None = None
        self.ready = False

    async def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name="sms")

    def stop_listening(self) -> None:
        """Nobody new; answers still go."""
        self._listening = False

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for board in list(self.boards.values()):
            self.drop(board)

    # -- the modem

    async def _keep(self) -> None:
        attempt = 0
        while True:
            try:
                await self._serve()
            except (ModemLost, Refused, OSError, ValueError, serial.SerialException, termios.error) as error:
                attempt = 0 if self.ready else attempt + 1
                self.ready = False
                self._say_away(str(error))
            await asyncio.sleep(AGAIN_S[min(attempt, len(AGAIN_S) - 1)])

    async def _serve(self) -> None:
        """One stay at the modem; ends by an error only."""
        paths = await asyncio.to_thread(matching, self._settings.port)
        if not paths:
            raise ModemLost("the port is not there")
        self._message_next = False
        self._port = AtPort(paths[0], self._settings.baud, self._heard)
        try:
            await self._prepare(self._port)
            self.ready = True
            self._away = ""
            log.info("sms %s: the modem is ready", self._settings.port)
            while True:
                await self._send_waiting(self._port)
                await self._port.listen(CHECK_S)
                if not self._waiting:
                    await self._port.ask("AT")
        finally:
            self._port.close()
            self._port = None

    async def _prepare(self, port: AtPort) -> None:
        await port.answers()
        await port.ask("ATE0")
        await port.ask("AT+CMEE=1")
        try:
            await self._unlock(port)
        except Refused as refused:
            raise ModemLost(f"the SIM is not there, or not ready ({refused})") from None
        await port.ask("AT+CMGF=0")
        if self._settings.smsc:
            await port.ask(f'AT+CSCA="{self._settings.smsc}",145')
        await port.ask("AT+CNMI=2,2,0,0,0")  # what comes is passed on at once

    async def _unlock(self, port: AtPort) -> None:
        state = _value(await port.ask("AT+CPIN?"), "+CPIN: ")
        if state == "READY":
            return
        if state != "SIM PIN" or not self._settings.pin:
            raise ModemLost(f"the SIM asks for {state}")
        if await self._tries(port) < PIN_TRIES:
            raise ModemLost("wrong PIN, not tried again lest the SIM be locked; correct sms.pin, enter it in a phone")
        self._tried_pin = True
        try:
            await port.ask(f'AT+CPIN="{self._settings.pin}"')
        except Refused:
            raise ModemLost("wrong PIN") from None
        self._tried_pin = False

    async def _tries(self, port: AtPort) -> int:
        """How often the PIN may be tried; where no modem can tell all of them, once."""
        for command, prefix in TRIES:
            try:
                return int(_value(await port.ask(command), prefix).split(",")[0])
            except (Refused, ValueError):
                continue
        return 0 if self._tried_pin else PIN_TRIES

    def _say_away(self, why: str) -> None:
        if why != self._away:
            self._away = why
            log.warning("sms %s: %s; trying again", self._settings.port, why)

    # -- what comes

    def _heard(self, line: str) -> None:
        if self._message_next:
            self._message_next = False
            self._take(line)
        elif line.startswith("+CMT:"):
            self._message_next = True
        elif line in STARTED:
            raise ModemLost("the modem has started again")

    def _take(self, line: str) -> None:
        found = delivered(line)
        if found is None:
            self._count("sms_no_packet")
            return
        number, packet = found
        if number not in self._numbers:
            self._count("sms_strangers")
            return
        board = self.boards.get(number) or self._new(number)
        if board is None or board.held or board.receiver is None:
            self._count("sms_held")  # it comes again
            return
        self._count("sms_received")
        board.credit = min(board.credit + 1, CREDIT_MAX)
        board.receiver.receive(packet)

    def _new(self, number: str) -> "_Number | None":
        if not self._listening:
            return None
        board = self.boards[number] = _Number(self, number)
        board.receiver = self._opened(f"{KIND}:{number}", KIND, board)
        if board.receiver is None:
            self.drop(board)
        return board

    def drop(self, board: "_Number") -> None:
        self.boards.pop(board.number, None)
        receiver, board.receiver = board.receiver, None
        if receiver is not None:
            receiver.lost()

    # -- what goes

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < WAITING_MAX

    def write(self, board: "_Number", packet: bytes) -> None:
        if len(packet) > DATA_BYTES or not _worth(packet) or board.credit == 0:
            self._count("sms_unsent")
        elif not self._allowed():
            self._count("sms_over_the_day")
        else:
            board.credit -= 1
            self._waiting.append((board.number, packet))
            if self._port is not None:
                self._port.wake()

    def _allowed(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._day_s >= DAY_S:
            self._day_s, self.today = now_s, 0
        if self.today >= self._settings.per_day:
            return False
        self.today += 1
        return True

    async def _send_waiting(self, port: AtPort) -> None:
        while self._waiting:
            full = not self.has_room
            number, packet = self._waiting.popleft()
            for board in list(self.boards.values()) if full else ():
                if board.receiver is not None:
                    board.receiver.writable()
            pdu, size = submit(number, packet)
            try:
                await port.ask(f"AT+CMGS={size}", SEND_S, pdu)
                self._count("sms_sent")
            except Refused:
                self._count("sms_refused")  # the board sends its alarm again, and is answered again


def _value(lines: list[str], prefix: str) -> str:
    """What follows `prefix`; "" when no line has it."""
    return next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "")


def _worth(packet: bytes) -> bool:
    try:
        return head(packet)[0] in ANSWERS
    except MeuseError:
        return False


class _Number:
    """One phone number: a Wire towards the session."""

    packets = True

    def __init__(self, link: SmsLink, number: str) -> None:
        self._link = link
        self.number = number
        self.credit = 0  # answers it may get
        self.held = False
        self.receiver: Receiver | None = None

    @property
    def writable(self) -> bool:
        return self._link.has_room

    def write(self, data: bytes) -> None:
        self._link.write(self, data)

    def hold(self, held: bool) -> None:
        self.held = held

    def close(self) -> None:
        self._link.drop(self)
