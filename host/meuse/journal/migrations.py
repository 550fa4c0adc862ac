"""The journal's tables, as a list of steps forward; PRAGMA user_version says how many were taken.

A step is never edited once released: a change is a new step. Which module owns which table stands
beside it; nobody else writes to it.
"""

import sqlite3

from meuse.errors import JournalError

STEPS: tuple[str, ...] = (
    """
    -- identity of this journal: journal_id (random hex), created_ms
    CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

    -- identity.py; keys live in files, never here
    CREATE TABLE devices(
        device TEXT PRIMARY KEY, tenant TEXT NOT NULL, site TEXT NOT NULL,
        created_ms INTEGER NOT NULL) WITHOUT ROWID;

    -- journal/writer.py: the sets are written in the transaction that inserts their records
    CREATE TABLE streams(
        stream INTEGER PRIMARY KEY, device TEXT NOT NULL, bound_ms INTEGER NOT NULL,
        closed_ms INTEGER, next_seq INTEGER NOT NULL,
        received BLOB NOT NULL, gapped BLOB NOT NULL);
    CREATE INDEX streams_of_device ON streams(device);
    CREATE TABLE records(
        id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
        type INTEGER NOT NULL, received_ms INTEGER NOT NULL, link TEXT, record BLOB NOT NULL,
        UNIQUE(stream, seq));
    CREATE TABLE gaps(
        stream INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
        reason INTEGER NOT NULL, source TEXT NOT NULL, recorded_ms INTEGER NOT NULL,
        UNIQUE(stream, first_seq, last_seq, reason));
    CREATE TABLE events(
        id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, device TEXT,
        kind TEXT NOT NULL, detail TEXT NOT NULL);

    -- every reader of the journal moves its own cursor; a record is kept until all have passed it
    CREATE TABLE cursors(
        reader TEXT PRIMARY KEY, position INTEGER NOT NULL, updated_ms INTEGER NOT NULL)
        WITHOUT ROWID;

    -- status.py: what other processes may know of the running host; rewritten every few seconds
    CREATE TABLE device_status(
        device TEXT PRIMARY KEY, link TEXT NOT NULL, online INTEGER NOT NULL,
        since_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, backlog INTEGER NOT NULL,
        ack_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE host_status(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

    -- the catalog and the lake: filled from records by their cursor
    CREATE TABLE schemas(
        stream INTEGER, sid INTEGER, seq INTEGER, name TEXT, tick_ms INTEGER, channels BLOB,
        PRIMARY KEY(stream, sid)) WITHOUT ROWID;
    CREATE TABLE boots(
        stream INTEGER, boot INTEGER, cause INTEGER, firmware TEXT, seq INTEGER,
        received_ms INTEGER, PRIMARY KEY(stream, boot)) WITHOUT ROWID;
    CREATE TABLE anchors(
        stream INTEGER, seq INTEGER, boot INTEGER, uptime_ms INTEGER, utc_ms INTEGER,
        err_ms INTEGER, PRIMARY KEY(stream, seq)) WITHOUT ROWID;
    CREATE TABLE parked(
        record_id INTEGER PRIMARY KEY, why TEXT NOT NULL, since_ms INTEGER NOT NULL, file TEXT);
    CREATE TABLE lake_files(
        name TEXT PRIMARY KEY, first_id INTEGER NOT NULL, last_id INTEGER NOT NULL,
        state TEXT NOT NULL, made_ms INTEGER NOT NULL, rows INTEGER, bytes INTEGER,
        min_ms INTEGER, max_ms INTEGER, undated INTEGER) WITHOUT ROWID;
    """,
    """
    -- topics/progress.py: how far publishing has come, and the retained messages as they stand
    CREATE TABLE topics_progress(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE topics_retained(topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    -- commands/table.py: any process may ask, the host alone moves them on
    CREATE TABLE commands(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, device TEXT NOT NULL,
        op TEXT NOT NULL, arg TEXT NOT NULL, asked_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
        done_when TEXT, within_ms INTEGER, confirmed INTEGER NOT NULL, follows TEXT,
        state TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0,
        stream INTEGER, cid INTEGER, boot INTEGER, uptime_ms INTEGER, since_id INTEGER,
        answer TEXT, prepared_ms INTEGER, started_ms INTEGER);
    CREATE INDEX commands_open ON commands(number) WHERE NOT settled;
    CREATE UNIQUE INDEX commands_cid ON commands(stream, cid);
    CREATE TABLE command_states(
        id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, at_ms INTEGER NOT NULL,
        state TEXT NOT NULL, detail TEXT NOT NULL);
    CREATE INDEX states_of_command ON command_states(command);
    -- ids are never used twice, also when old commands are gone
    CREATE TABLE command_cids(stream INTEGER PRIMARY KEY, next_cid INTEGER NOT NULL);
    """,
    """
    -- commands/table.py: what a state rests on, as JSON (the board's answer, what was measured); commands/alarms.py
    ALTER TABLE command_states ADD COLUMN facts TEXT;
    INSERT INTO command_cids VALUES(0, 1);  -- of no stream: whoever notes a state has this row until it commits
    CREATE INDEX commands_failed ON commands(device, op) WHERE state = 'failed' AND done_when IS NOT NULL;
    """,
    """
    -- topics/progress.py: records that workers leave to the host that leads, until that has written them down
    CREATE TABLE topics_left(id INTEGER PRIMARY KEY AUTOINCREMENT, first_id INTEGER NOT NULL, ids BLOB NOT NULL);
    """,
)


def newer(version: int) -> JournalError:
    """What to say of a journal that another program has brought beyond these steps."""
    return JournalError(
        f"this journal was written by a newer Meuse (version {version}, here {len(STEPS)})",
        "use the newer program, or another --data folder",
    )


def migrate(db: sqlite3.Connection) -> None:
    """Bring the tables to this version, one transaction per step; refuses a newer journal."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise newer(version)
    for number in range(version, len(STEPS)):
        # One script, so that a crash leaves either the step before or the step after.
        db.executescript(f"BEGIN IMMEDIATE; {STEPS[number]}; PRAGMA user_version = {number + 1}; COMMIT;")
