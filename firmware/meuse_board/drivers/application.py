"""What the product's own application tells (applied.py): its state, a cause, a level. Whole numbers, exp as it says."""

told = {}  # channel -> value
NOT_READY = [-5]


class Driver:
    def __init__(self, bus, settings: dict, kept):
        self._name = settings["name"]

    def start(self, now_ms: int) -> int:
        return 0

    def read(self, now_ms: int):
        return told.get(self._name, NOT_READY)
