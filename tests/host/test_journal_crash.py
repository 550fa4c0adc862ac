"""kill -9 between any two statements: what was acknowledged is stored, nothing twice, sets and records agree."""

import subprocess
import sys
from pathlib import Path

from meuse.journal.batch import Batch
from meuse.journal.database import FILE_NAME, open_reader
from meuse.journal.writer import Writer
from meuse_protocol.received import RangeSet

from tests.host import crashing_writer
from tests.host.crashing_writer import BATCHES, ROWS, STREAM, batch

SCRIPT = Path(crashing_writer.__file__)
MANY = 1_000_000


def run(journal: Path, statements: int) -> list[str]:
    """What the writer printed before it died."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(journal), str(statements)], stdout=subprocess.PIPE)
    return done.stdout.decode().split()


def consistent(journal: Path, acknowledged: int) -> int:
    """Checks the file; returns how many batches it holds."""
    db = open_reader(journal)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    seqs = [seq for (seq,) in db.execute("SELECT seq FROM records ORDER BY seq")]
    sets = db.execute("SELECT received, gapped FROM streams").fetchall()
    gaps = db.execute("SELECT count(*) FROM gaps").fetchone()[0]
    db.close()
    batches = len(seqs) // ROWS
    assert acknowledged <= batches <= acknowledged + 1
    assert seqs == [row.seq for number in range(batches) for row in batch(number).rows]
    assert gaps == batches
    if batches:
        ((received, gapped),) = sets
        assert [n for a, b in RangeSet.from_bytes(received).ranges() for n in range(a, b + 1)] == seqs
        assert RangeSet.from_bytes(gapped).ranges() == [(n * 10 + 1, n * 10 + 4) for n in range(batches)]
    return batches


def test_killed_in_front_of_every_statement(tmp_path: Path) -> None:
    *_, end, left = run(tmp_path / "whole.sqlite", MANY)
    assert end == "end"
    statements = MANY - int(left)
    assert statements > 8 * BATCHES  # a commit is many statements; every one is a place to die
    cut_short = 0
    for number in range(1, statements + 1):
        journal = tmp_path / f"{number}.sqlite"
        acknowledged = len(run(journal, number))
        assert acknowledged < BATCHES
        stored = consistent(journal, acknowledged)
        cut_short += stored == acknowledged
        writer = Writer(journal, 2)  # started again: what came before comes again, and the rest
        for again in range(BATCHES):
            writer.commit(batch(again))
        writer.close()
        assert consistent(journal, BATCHES) == BATCHES
    assert cut_short > BATCHES


def test_the_test_can_fail(tmp_path: Path) -> None:
    """Acknowledging before the commit would be noticed."""
    writer = Writer(tmp_path / FILE_NAME, 1)
    writer.commit(Batch(bindings=batch(0).bindings))
    writer.close()
    try:
        consistent(tmp_path / FILE_NAME, 1)
    except AssertionError:
        return
    raise AssertionError(f"stream {STREAM:x} has no records, and nobody noticed")
