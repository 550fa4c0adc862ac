"""Names of the topics, and times as all messages write them."""

from datetime import UTC, datetime
from typing import Final

from meuse.catalog import Origin

ROOT: Final = "meuse"

# No tenant can be called so: what concerns the host itself.
HOST: Final = f"{ROOT}/_host"
HOST_STATE: Final = f"{HOST}/state"

LATEST: Final = "latest"
STATE: Final = "state"
EVENT: Final = "event"
TELEMETRY: Final = "telemetry"
BACKFILL: Final = "backfill"
RAW: Final = "raw"
COMMAND: Final = "command"


def of(origin: Origin, what: str) -> str:
    """`meuse/<tenant>/<site>/<device>/<what>`."""
    return f"{ROOT}/{origin.tenant}/{origin.site}/{origin.device}/{what}"


def moment(ms: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    when = datetime.fromtimestamp(ms // 1_000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03}Z"


def milliseconds(text: str) -> int:
    """The inverse of `moment`."""
    when = datetime.fromisoformat(text)
    return int(when.replace(microsecond=0).timestamp()) * 1_000 + when.microsecond // 1_000
