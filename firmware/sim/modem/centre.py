"""An SMS centre that joins simulated modems: takes SMS-SUBMIT, gives SMS-DELIVER (3GPP TS 23.040, 9.2.2), keeps copies.

It stores what cannot be delivered and forwards it when the receiver is back; tests may make it lose or double some.
"""

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .modem import Modem

KEPT_MAX = 100


class Centre:
    """`loss`, `double`: chances, of a generator with a seed."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self._modems: list[Modem] = []
        self._waiting: list[tuple[str, str, int]] = []
        self.loss = self.double = 0.0
        self.submitted: list[tuple[str, str, bytes]] = []  # from, to, user data

    def here(self, modem: "Modem") -> None:
        """It can be reached (again)."""
        if modem not in self._modems:
            self._modems.append(modem)
        waiting, self._waiting = self._waiting, []
        for to, pdu, size in waiting:
            self._forward(to, pdu, size)

    def submit(self, sender: str, pdu: str) -> int | None:
        """An SMS-SUBMIT in hexadecimal, with the centre's address in front -> its reference, None for what is none."""
        try:
            octets = bytes.fromhex(pdu)
            tpdu = octets[1 + octets[0] :]
            if tpdu[0] & 3 != 1:
                return None
            digits = tpdu[2]
            end = 4 + (digits + 1) // 2
            to = number(tpdu[3], tpdu[4:end], digits)
            validity = {0: 0, 2: 1}[tpdu[0] >> 3 & 3]
            dcs = tpdu[end + 1]
            data = tpdu[end + 2 + validity :]
            if data[0] != len(data) - 1 or data[0] > 140:
                return None
        except (ValueError, IndexError, KeyError):
            return None
        self.submitted.append((sender, to, data[1:]))
        self.send(sender, to, data[1:], dcs)
        return len(self.submitted) & 255

    def send(self, sender: str, to: str, data: bytes, dcs: int = 4) -> None:
        """A message from anybody."""
        stamp = bytes.fromhex("62112421000000")  # 2026-11-24 12:00, digits swapped
        tpdu = bytes([0x04]) + address(sender) + bytes([0, dcs]) + stamp + bytes([len(data)]) + data
        for _ in range(2 if self._rng.random() < self.double else 1):
            if self._rng.random() >= self.loss:
                self._forward(to, "00" + tpdu.hex().upper(), len(tpdu))

    def _forward(self, to: str, pdu: str, size: int) -> None:
        for modem in self._modems:
            if modem.card and modem.card.number == to and modem.deliver(pdu, size):
                return
        self._waiting = [*self._waiting, (to, pdu, size)][-KEPT_MAX:]


def address(text: str) -> bytes:
    """An address field, 23.040, 9.1.2.5."""
    digits = text.lstrip("+")
    padded = digits + "F" * (len(digits) % 2)
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    return bytes([len(digits), 0x91 if text.startswith("+") else 0x81]) + bytes.fromhex(swapped)


def number(kind: int, octets: bytes, digits: int) -> str:
    swapped = "".join(f"{o & 15:x}{o >> 4:x}" for o in octets)[:digits]
    return ("+" if kind == 0x91 else "") + swapped
