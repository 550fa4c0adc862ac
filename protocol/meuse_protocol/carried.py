"""Records that a person carries to the host in a file: there no window waits for anybody, and nothing goes again."""

from .board_endpoint import BoardEndpoint
from .messages import splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Log


def packet_of(endpoint: BoardEndpoint, log: "Log", seq: int) -> "bytes | None":
    """A record of the log as a packet under the full stream id; None when it is gone."""
    body = log.get(seq)
    return splice(endpoint._signed(body), endpoint.stream) if body else None
