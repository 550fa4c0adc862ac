"""What a board does when a host asks for something again, or refuses something: months may pass without. Loaded then.

Events are those of meuse_protocol.reactions; of other kinds (a command to a board that takes none) nothing is done.
"""

from meuse_protocol.messages import ANCHOR, GAP, GAP_QUARANTINE, NEED_ANCHOR, NEED_SCHEMA, SCHEMA
from meuse_protocol.reactions import Needed, Refused

from .schemas import schema_of


def handle(app, event, now: int) -> None:
    if isinstance(event, Needed):
        if event.what == NEED_SCHEMA:
            for group in app._groups:
                if not event.items or group.sid in event.items:
                    app.append(SCHEMA, schema_of(group).to_body())
        elif event.what == NEED_ANCHOR and app.clock.offset_ms is not None:
            utc_ms = app.clock.utc_ms(now)
            app.append(ANCHOR, (now, utc_ms, app.clock.err_ms, app.clock.boot))
    elif isinstance(event, Refused):
        app.refused = event
        if event.seq:
            app.append(GAP, (event.seq, event.seq, GAP_QUARANTINE))
