"""A SIM card, simulated: it remembers wrong PINs, whatever becomes of the modem around it."""

TRIES = 3


class Card:
    """`pin`: what it asks for after power-on, None where it does not; `tries`: left before it asks for its PUK."""

    def __init__(self, number: str = "", pin: str | None = None) -> None:
        self.number = number
        self.pin = pin
        self.tries = TRIES

    def enter(self, pin: str) -> bool:
        """Whether it opens; a right one gives all tries back."""
        if self.tries and pin == self.pin:
            self.tries = TRIES
            return True
        self.tries = max(0, self.tries - 1)
        return False
