"""What stands in for a driver that could not be made. Loaded by boards whose settings and wiring do not fit."""


class Missing:
    """The device does not answer."""

    def start(self, now: int) -> int:
        return 0

    def read(self, now: int) -> list:
        return [-1]
