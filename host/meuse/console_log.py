"""Text that boards print beside their frames: one bounded log per device, or per port until known.

Two files per device, `<name>.log` and `<name>.log.1`, each half of the bound. Knows no protocol.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = "console"

# One line of a console is a screen's width; what is longer is noise on the line.
MAX_LINE_BYTES = 512

# A port may bring noise for ever, under any name: as many logs as a host has devices.
MAX_LOGS = 1_000


class ConsoleLogs:
    """Appends lines; a full or broken disk is counted and never stops a link."""

    def __init__(self, folder: Path, keep_bytes: int) -> None:
        self._folder = folder
        self._half = keep_bytes // 2
        self._sizes: dict[str, int] = {}
        self.lines = 0
        self.dropped = 0

    def line(self, name: str, at_ms: int, text: bytes) -> None:
        """Append one line under `name`, a device id or a link's name; `at_ms` is UTC."""
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".-") or "port"
        printable = text[:MAX_LINE_BYTES].decode("ascii", "replace")
        printable = "".join(c if c.isprintable() else " " for c in printable)
        entry = f"{_stamp(at_ms)} {printable}\n".encode()
        try:
            self._append(name, entry)
            self.lines += 1
        except OSError as error:
            if not self.dropped:
                log.warning("console log of %s: %s; its text is dropped", name, error)
            self.dropped += 1

    def _append(self, name: str, entry: bytes) -> None:
        path = self._folder / f"{name}.log"
        size = self._sizes.get(name)
        if size is None:
            if len(self._sizes) >= MAX_LOGS:
                raise OSError("too many console logs")
            self._folder.mkdir(parents=True, exist_ok=True)
            size = path.stat().st_size if path.exists() else 0
        if size and size + len(entry) > self._half:
            path.replace(path.with_suffix(".log.1"))
            size = 0
        with path.open("ab") as file:
            file.write(entry)
        self._sizes[name] = size + len(entry)


def _stamp(at_ms: int) -> str:

    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
