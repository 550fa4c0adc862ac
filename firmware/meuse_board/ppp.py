"""A cellular modem as a network: dialled with AT commands, then its UART belongs to the port's own network.PPP.

Owns the call: dialling, handing over the UART, hanging up, dialling again; SIM, registration and what is tried when
something fails are modem.py's. Refuses to know what travels. To links it is what hardware.py is: network(),
name_server(), clock_at_least().

While a call is up the port's PPP reads the UART and nothing else does: a modem that says NO CARRIER is not heard, and a
call that died without a goodbye is noticed by whoever gets nothing through it.

Sources: 3GPP TS 27.007, 10.2.1.1 (ATD*99***<cid>#); SIM7500_SIM7600 Series AT Command Manual (ATD, +++, ATH); BG96
PPP Application Note V1.0 (BG95's own was not at hand): data mode, 1 s of silence before and after +++; MicroPython,
class PPP.
"""

from .at import number
from .modem import ALL_RUNGS, LOOK_MS, NETWORK_MS, Modem, in_words

NEGOTIATE_MS = 30_000  # LCP and IPCP, each asked again every 3 s
CLOSE_MS = 7000  # lwIP asks the peer to terminate twice, 3 s apart
GUARD_MS = 1200
WATCH_MS = 500
CLOSED = 1  # of PPP.status(): inactive or idle, of errors less than 0


class Line(Modem):
    """settings: those of Modem, and apn. `up`: IP flows."""

    _ppp = None
    _calling = False  # the UART is the port's

    def open(self) -> None:
        """OSError in words where the port has no PPP."""
        if self._ppp:
            return
        try:
            from network import PPP
        except ImportError:
            raise OSError("this port of MicroPython has no network.PPP: leave out via")
        super().open()
        self._ppp = PPP(self.pollable)

    def close(self) -> None:
        """Says goodbye where a call is up; nobody waits for the answer."""
        if self._calling:
            self._ppp.disconnect()

    def good(self) -> None:
        """Something came through: earlier failures are of no account."""
        self._rung = 0
        self._backoff.reset()

    def step(self, now: int) -> None:
        if not self._calling:
            super().step(now)
            return
        self._now = now
        if now >= self._until_ms or (self.up and not self._ppp.isconnected()):
            self._until_ms = now + next(self._script)
        self.due_ms = self._until_ms

    # -- what a link wants of the hardware

    def network(self, settings: dict) -> bool:
        return self.up

    def name_server(self):
        """(address, port) as the network named it, None where it named none."""
        address = self._ppp.ifconfig()[3]
        return None if address == "0.0.0.0" else (address, 53)

    def clock_at_least(self, day) -> None:
        self._hardware.clock_at_least(day)

    # -- the script

    def _wake(self):
        """A board that was reset, or a goodbye that nobody heard, leaves the modem in a call."""
        yield GUARD_MS
        self._at.type(b"+++")
        yield GUARD_MS
        yield from self._ask("ATH", 1000, fails=True)
        yield from super()._wake()

    def _serve(self):
        while True:
            now = self._now
            if self.message is not None:
                yield from self._submit()
            elif not self.signal:
                yield from self._ask("AT+CSQ", then="+CSQ: ")
                self.signal = in_words(number(self._at.answer))
            elif self.host and now >= self._dial_ms:
                yield from self._call()
            else:
                yield max(1, min(LOOK_MS, self._dial_ms - now))

    def _call(self):
        """One call, from dialling to the end."""
        if self._rung % ALL_RUNGS >= 2:
            yield from self._ask("AT+CGACT=0,1", NETWORK_MS, fails=True)
        yield from self._ask('AT+CGDCONT=1,"IP","%s"' % self._settings["apn"])
        if self.message is not None:  # it need not wait for a network that may not answer
            yield from self._submit()
        code = yield from self._ask("ATD*99***1#", NETWORK_MS, fails=True)
        self._silent(code)
        if code.startswith(b"CONNECT"):
            self._at.forget()
            yield from self._hand_over()
        else:
            self.problem = "no data: is the APN right? (%s)" % code.decode()
        self.signal = ""
        self._redial()

    def _hand_over(self):
        """The UART is the port's until the call is over."""
        ppp = self._ppp
        self._calling = True
        try:
            ppp.connect()
            until = self._now + NEGOTIATE_MS
            while not ppp.isconnected() and self._now < until and ppp.status() >= 0:
                yield WATCH_MS
            self.problem = "the modem and this board do not agree on PPP"
            if ppp.isconnected():
                self.up = True
                self.connects += 1
                self.problem = None
                while ppp.isconnected() and not self._gone and self.message is None:
                    yield WATCH_MS
                self.problem = self.problem or "the call has ended"
            self.up = self._gone = False
            ppp.disconnect()
            until = self._now + CLOSE_MS
            while ppp.status() > CLOSED and self._now < until:
                yield WATCH_MS
        except OSError as problem:
            self.problem = "PPP: %s" % problem
        self.up = self._calling = False
        yield from self._wake()  # which leaves data mode where the modem has not
