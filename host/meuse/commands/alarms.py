"""Commands that people should hear of: carried out, and then not measured in time. Reads only.

Such an alert is over when the same op, or a `safe` that somebody asks for, is done on that board later, and at the
latest when the command is forgotten (`journal.keep_days`).
"""

from typing import Any

from meuse.commands.table import ID
from meuse.journal.sql import Database
from meuse.topics.names import moment

Alerts = dict[str, dict[str, dict[str, Any]]]
"""device -> alert id -> what is wrong."""


def firing(db: Database) -> Alerts:
    """All that fire now."""
    found: Alerts = {}
    rows = db.execute(
        "SELECT id, device, op, coalesce((SELECT detail FROM command_states s WHERE s.command = c.id"
        " ORDER BY s.id DESC LIMIT 1), ''), started_ms FROM commands c"
        " WHERE state = 'failed' AND done_when IS NOT NULL AND started_ms IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM commands later WHERE later.device = c.device AND later.number > c.number"
        " AND later.state = 'done' AND later.follows IS NULL AND later.op IN (c.op, 'safe'))"
    )
    for id, device, op, detail, started_ms in rows:
        if ID.fullmatch(id):
            wrong = {"since": moment(started_ms), "detail": f"{op}: {detail}"}
            found.setdefault(device, {})[f"command-{id}"] = wrong
    return found
