"""A simulated BG95: BG95&BG77&BG600L Series TCP/IP Application Note, buffer access mode."""

from typing import Any

from .modem import Modem


class Bg95(Modem):
    boots = ("APP RDY",)

    def handlers(self) -> dict[str, Any]:
        return super().handlers() | {
            "+QPINC": self._tries,
            "+QICSGP": self._ok,
            "+QIACT": self._activate,
            "+QIDEACT": self._deactivate,
            "+QIOPEN": self._open,
            "+QISEND": self._send,
            "+QIRD": self._read_out,
            "+QICLOSE": self._close,
        }

    def says_lost(self) -> str:
        return '+QIURC: "closed",0' if self.net else '+QIURC: "pdpdeact",1'

    def says_arrived(self) -> str:
        return '+QIURC: "recv",0'

    async def _tries(self, _: list[str]) -> str:
        if not self.card:
            return self.fault(10)
        self.line.say(f'+QPINC: "SC",{self.card.tries},10')
        return "OK"

    async def _activate(self, _: list[str]) -> str:
        if self._attached or not self.usable:
            return "ERROR"
        self._attached = True
        return "OK"

    async def _deactivate(self, _: list[str]) -> str:
        self._hang_up()
        self._attached = False
        return "OK"

    async def _open(self, given: list[str]) -> str:
        if self._writer:
            self.line.say("OK")
            self.line.say("+QIOPEN: 0,563")  # socket identity has been used
            return ""
        self.line.say("OK")
        connected = await self.dial(given[3], given[4])
        self.line.say(f"+QIOPEN: 0,{0 if connected else 566}")  # socket connect failed
        return ""

    async def _send(self, given: list[str]) -> str:
        if not self._writer:
            return "ERROR"
        data = await self.line.payload(int(given[1]))
        return "SEND OK" if self.send(data) else "SEND FAIL"

    async def _read_out(self, given: list[str]) -> str:
        if not self._writer and not self._received:
            return "ERROR"
        data = bytes(self._received[: int(given[1])])
        del self._received[: len(data)]
        tail = b"%b\r\n" % data if data else b""
        self.line.write(b"\r\n+QIRD: %d\r\n%b" % (len(data), tail))
        return "OK"

    async def _close(self, _: list[str]) -> str:
        self._hang_up()
        return "OK"
