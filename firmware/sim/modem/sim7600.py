"""A simulated SIM7600: SIM7500_SIM7600 Series TCPIP Application Note, data read by AT+CIPRXGET."""

import asyncio
from typing import Any

from .modem import Modem


class Sim7600(Modem):
    boots = ("RDY",)

    def handlers(self) -> dict[str, Any]:
        return super().handlers() | {
            "+SPIC": self._tries,
            "+CIPRXGET": self._get,
            "+NETOPEN": self._net_open,
            "+NETCLOSE": self._net_close,
            "+CIPOPEN": self._open,
            "+CIPSEND": self._send,
            "+CIPCLOSE": self._close,
        }

    def says_lost(self) -> str:
        return "+IPCLOSE: 0,1" if self.net else "+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY"

    def says_arrived(self) -> str:
        return "+CIPRXGET: 1,0"

    async def _tries(self, _: list[str]) -> str:
        if not self.card:
            return self.fault(10)
        self.line.say(f"+SPIC: {self.card.tries},3,10,10")
        return "OK"

    async def _net_open(self, _: list[str]) -> str:
        if self._attached:
            self.line.say("+IP ERROR: Network is already opened")
            return "ERROR"
        self.line.say("OK")
        await asyncio.sleep(self.delay_s)
        self._attached = self.usable
        self.line.say(f"+NETOPEN: {0 if self._attached else 1}")
        return ""

    async def _net_close(self, _: list[str]) -> str:
        if not self._attached:
            self.line.say("+IP ERROR: Network not opened")
            return "ERROR"
        self._hang_up()
        self._attached = False
        self.line.say("OK")
        self.line.say("+NETCLOSE: 0")
        return ""

    async def _open(self, given: list[str]) -> str:
        if self._writer:
            self.line.say("+CIPOPEN: 0,4")
            return "ERROR"
        self.line.say("OK")
        connected = await self.dial(given[2], given[3])
        self.line.say(f"+CIPOPEN: 0,{0 if connected else 10}")
        return ""

    async def _send(self, given: list[str]) -> str:
        if not self._writer:
            self.line.say("+CIPERROR: 4")
            return "ERROR"
        data = await self.line.payload(int(given[1]))
        sent = len(data) if self.send(data) else -1
        self.line.say("OK")
        self.line.say(f"+CIPSEND: 0,{len(data)},{sent}")
        return ""

    async def _get(self, given: list[str]) -> str:
        if len(given) == 1:
            return "OK"
        if not self._received:
            self.line.say("+IP ERROR: No data")
            return "ERROR"
        data = bytes(self._received[: int(given[2])])
        del self._received[: len(data)]
        self.line.write(b"\r\n+CIPRXGET: 2,0,%d,%d\r\n%b\r\n" % (len(data), len(self._received), data))
        return "OK"

    async def _close(self, _: list[str]) -> str:
        if not self._writer:
            self.line.say("+CIPCLOSE: 0,4")
            return "ERROR"
        self._hang_up()
        self.line.say("OK")
        self.line.say("+CIPCLOSE: 0,0")
        return ""
