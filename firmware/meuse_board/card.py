"""The slot of a memory card, by `machine.SDCard`, which not every port has; loaded only by a link that names a slot.

Not run here: no simulated board has such a slot.
"""

import machine
import vfs


class Card:
    """`settings`: `slot`, the pins sck, mosi, miso and cs by number, and the `folder` where the card appears."""

    def __init__(self, settings: dict):
        self._settings = settings
        self._card = None

    def mount(self) -> None:
        """OSError while there is no card, or none that works."""
        settings = self._settings
        pins = {k: machine.Pin(settings[k]) for k in ("sck", "mosi", "miso", "cs") if k in settings}
        self._card = machine.SDCard(slot=settings["slot"], **pins)
        vfs.mount(self._card, settings["folder"])

    def unmount(self) -> None:
        """Gives the slot back, whatever state mount() left it in."""
        try:
            vfs.umount(self._settings["folder"])
        finally:
            if self._card:
                self._card.deinit()
                self._card = None
