"""The journal in a real PostgreSQL: the same promises as in a file, and several hosts at once."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meuse import catalog
from meuse.errors import ConfigError, JournalError
from meuse.journal import postgres as connections
from meuse.journal.batch import Batch, Binding, Event, Gap, Row, Twin
from meuse.journal.postgres_tables import STEPS
from meuse.journal.postgres_writer import PostgresWriter
from meuse.journal.shared import PostgresJournal
from meuse.journal.writer import EVENTS_KEPT
from meuse.postgres import Address, errors
from meuse.query.follow import Follower
from meuse.query.selection import Selection
from meuse.topics.reader import Reader
from meuse_protocol.received import RangeSet

from tests.brokers import authority
from tests.postgres import Postgres, TlsFront

A, B = 0x80000001, 0x80000002
DAY_MS = 86_400_000


@pytest.fixture
def address(postgres: Postgres) -> Address:
    return postgres.database()


def row(stream: int, seq: int, record: bytes = b"", at_ms: int = 1) -> Row:
    return Row(stream, seq, 4, at_ms, "tcp", record or b"%d" % seq)


def bound(address: Address) -> PostgresWriter:
    writer = PostgresWriter(address, 1)
    writer.commit(Batch(bindings=[Binding(A, "a-1", 1, 1), Binding(B, "b-1", 1, 1)]))
    return writer


def look(address: Address, sql: str, *arguments: object) -> list[Any]:
    db = connections.open_reader(address)
    try:
        return db.execute(sql, arguments).fetchall()
    finally:
        db.close()


def sets_of(address: Address, stream: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    ((received, gapped),) = look(address, "SELECT received, gapped FROM streams WHERE stream = ?", stream)
    return RangeSet.from_bytes(received).ranges(), RangeSet.from_bytes(gapped).ranges()


def test_records_and_received_set_are_one_transaction(address: Address) -> None:
    writer = bound(address)
    assert writer.commit(Batch(rows=[row(A, 1), row(B, 7), row(A, 2)])).conflicts == []
    writer.close()
    assert sets_of(address, A) == ([(1, 2)], [])
    assert sets_of(address, B) == ([(7, 7)], [])
    stored = look(address, "SELECT stream, seq, type, received_ms, link, record FROM records ORDER BY id")
    assert stored == [row(A, 1), row(B, 7), row(A, 2)]


def test_a_record_that_comes_again_is_stored_once_and_compared(address: Address) -> None:
    writer = bound(address)
    writer.commit(Batch(rows=[row(A, 1, b"first")]))
    assert writer.commit(Batch(rows=[row(A, 1, b"first"), row(A, 2)])).conflicts == []
    assert writer.commit(Batch(rows=[row(A, 1, b"other")])).conflicts == [(A, 1)]
    assert writer.commit(Batch(twins=[Twin(A, 1, b"other")])).conflicts == [(A, 1)]
    assert writer.commit(Batch(twins=[Twin(A, 1, b"first")])).conflicts == []
    writer.close()
    assert look(address, "SELECT seq, record FROM records ORDER BY seq") == [(1, b"first"), (2, b"2")]


def test_a_gap_never_overrides_a_record_and_a_late_record_leaves_the_gap(address: Address) -> None:
    writer = bound(address)
    writer.commit(Batch(rows=[row(A, 3)]))
    writer.commit(Batch(gaps=[Gap(A, 1, 5, 1, "board", 2)]))
    assert sets_of(address, A) == ([(3, 3)], [(1, 2), (4, 5)])
    writer.commit(Batch(rows=[row(A, 4)]))
    writer.close()
    assert sets_of(address, A) == ([(3, 4)], [(1, 2), (5, 5)])


def test_a_failed_transaction_leaves_nothing_and_the_batch_may_be_tried_again(address: Address) -> None:
    writer = bound(address)
    bad = Batch(rows=[row(A, 2), row(A, 3)._replace(record=None)])  # type: ignore[arg-type]
    with pytest.raises(errors()):
        writer.commit(bad)
    writer.commit(Batch(rows=[row(A, 1)]))
    assert sets_of(address, A) == ([(1, 1)], [])
    writer.commit(Batch(rows=bad.rows[:1]))
    writer.close()
    assert sets_of(address, A) == ([(1, 2)], [])


def test_purge_waits_for_every_reader_and_the_received_set_stays(address: Address) -> None:
    async def scene() -> None:
        journal = await PostgresJournal.open(address, 1)
        binding = Binding(A, "a-1", 1, 1)
        await journal.commit(Batch([row(A, n, at_ms=n * DAY_MS) for n in range(1, 11)], [binding]))

        async def passed(**positions: int) -> int:
            for reader, to_id in positions.items():
                await journal.write(lambda db, reader=reader, to_id=to_id: catalog.move_cursor(db, reader, to_id, 1))
            return await journal.purge(6 * DAY_MS, ("lake", "catalog"))

        assert await passed(catalog=10) == 0
        assert await passed(lake=3) == 3
        assert await passed(lake=10, other=4) == 1
        assert await passed(other=10) == 1
        assert (await journal.commit(Batch([row(A, 1, b"again")]))).conflicts == []
        left = await journal.read(lambda db: db.execute("SELECT seq FROM records ORDER BY seq").fetchall())
        assert left == [(n,) for n in range(6, 11)]
        await journal.close()
        with pytest.raises(JournalError):
            await journal.read(lambda db: None)

    asyncio.run(scene())
    assert sets_of(address, A) == ([(1, 10)], [])


def test_events_are_bounded(address: Address) -> None:
    writer = bound(address)
    for n in range(3):
        writer.commit(Batch(events=[Event(n, None, "noise", "")] * (EVENTS_KEPT // 2)))
    writer.close()
    assert look(address, "SELECT count(*), min(at_ms) FROM events") == [(EVENTS_KEPT, 1)]


def test_a_text_with_a_nul_character_stops_no_commit(address: Address) -> None:
    writer = bound(address)
    writer.commit(Batch(events=[Event(1, "a-1", "said", "a\0b")], rows=[row(A, 1, b"\0")]))
    writer.close()
    assert look(address, "SELECT detail FROM events") == [("a␀b",)]
    assert look(address, "SELECT record FROM records") == [(b"\0",)]


def test_a_journal_of_a_newer_program_is_left_alone(address: Address) -> None:
    writer = bound(address)
    writer.transaction(lambda db: db.execute("INSERT INTO journal_version VALUES(?)", (len(STEPS) + 1,)))
    writer.close()
    with pytest.raises(JournalError, match="newer"):
        PostgresWriter(address, 1)
    with pytest.raises(JournalError, match="newer"):
        connections.open_reader(address)


# -- several hosts


class Slow:
    """A host whose transaction takes ids and then does not end, until told."""

    def __init__(self, writer: PostgresWriter, batch: Batch) -> None:
        self._inside, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(writer, batch))
        self._thread.start()
        assert self._inside.wait(60)

    def _run(self, writer: PostgresWriter, batch: Batch) -> None:
        def work(db: Any) -> None:
            writer._write(db, batch, set())
            self._inside.set()
            assert self._go.wait(60)

        writer.transaction(work)

    def end(self) -> None:
        self._go.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def follow(address: Address) -> Callable[[], list[int]]:
    """A reader that goes on from the last id it saw -> the seqs of what is new."""
    db = connections.open_reader(address)
    position = 0

    def more() -> list[int]:
        nonlocal position
        found = db.execute("SELECT id, seq FROM records WHERE id > ? ORDER BY id", (position,)).fetchall()
        position = max([position, *(one for one, _ in found)])
        return [seq for _, seq in found]

    more.close = db.close  # type: ignore[attr-defined]
    return more


def slow_one_after_a_faster(address: Address) -> list[int]:
    """Seqs that a reader saw who looked in between and afterwards: 1 was given the lower id, and committed last."""
    slow, fast = bound(address), PostgresWriter(address, 1)
    more = follow(address)
    waiting = Slow(slow, Batch(rows=[row(A, 1)], events=[Event(1, None, "slow", "")]))
    fast.commit(Batch(rows=[row(B, 2)], events=[Event(2, None, "fast", "")]))
    seen = more()
    fast.commit(Batch(rows=[row(B, 3)]))
    seen += more()
    waiting.end()
    seen += more()
    for one in (slow, fast, more):
        one.close()  # type: ignore[union-attr]
    return seen


def test_a_slow_transaction_that_commits_after_a_faster_later_one_is_skipped_by_no_reader(address: Address) -> None:
    assert slow_one_after_a_faster(address) == [1, 2, 3]
    assert look(address, "SELECT kind FROM events ORDER BY id") == [("slow",), ("fast",)]


def test_without_the_horizon_it_would_be_skipped(address: Address) -> None:
    """The same scene with a view of all that is committed: what the horizon is for."""
    bound(address).close()
    writer = connections.open_writer(address)
    writer.execute("CREATE OR REPLACE VIEW records AS SELECT * FROM journal_records")
    writer.close()
    assert slow_one_after_a_faster(address) == [2, 3]


def test_no_reader_of_the_host_skips_it(address: Address) -> None:
    """`meuse tail`, topics and the catalog, each by its own cursor."""
    slow, fast = bound(address), PostgresWriter(address, 1)
    db = connections.open_reader(address)
    follower, reader = Follower(db, Selection(), 0), Reader("j", DAY_MS, False)
    waiting = Slow(slow, Batch(rows=[row(A, 1)], gaps=[Gap(A, 9, 9, 1, "board", 1)]))
    fast.commit(Batch(rows=[row(B, 2)], gaps=[Gap(B, 9, 9, 1, "board", 1)], events=[Event(1, None, "x", "")]))
    for _ in follower.rows():
        pass
    assert follower.position == 0
    assert not reader.live(db, 0, 1).taken and not reader.gaps(db, 0) and not reader.events(db, 0)
    assert catalog.find(db).last_id == 0
    waiting.end()
    assert [one.id for one in reader.live(db, 0, 1).taken] == [1, 2]
    assert len(reader.gaps(db, 0)) == 2 and len(reader.events(db, 0)) == 1
    assert catalog.find(db).last_id == 2
    for one in (db, slow, fast):
        one.close()


def test_two_hosts_that_write_one_stream_store_each_record_once_and_learn_of_the_other(address: Address) -> None:
    one, two = bound(address), PostgresWriter(address, 1)
    one.commit(Batch(rows=[row(A, 1), row(A, 2)]))
    learned = two.commit(Batch(rows=[row(A, 2), row(A, 3)], bindings=[Binding(A, "a-1", 5, 1, new=False)])).learned
    assert [(known.stream, RangeSet.from_bytes(known.received).ranges()) for known in learned] == [(A, [(1, 3)])]
    (known,) = one.commit(Batch(rows=[row(A, 3, b"other"), row(A, 5)])).learned
    assert RangeSet.from_bytes(known.received).ranges() == [(1, 3), (5, 5)] and known.device == "a-1"
    assert one.commit(Batch(rows=[row(A, 6)])).learned == ()
    for writer in (one, two):
        writer.close()
    assert sets_of(address, A)[0] == [(1, 3), (5, 6)]
    assert look(address, "SELECT seq FROM records ORDER BY seq") == [(1,), (2,), (3,), (5,), (6,)]


def test_what_one_host_misses_another_may_have(address: Address) -> None:
    """The first host has slept through 2 to 9; the board says that it has forgotten them: no gap."""
    one, two = bound(address), PostgresWriter(address, 1)
    two.commit(Batch(rows=[row(A, seq) for seq in range(1, 10)]))
    one.commit(Batch(gaps=[Gap(A, 2, 9, 5, "host", 1)], rows=[row(A, 10)]))
    assert look(address, "SELECT count(*) FROM gaps") == [(0,)]
    one.commit(Batch(gaps=[Gap(A, 9, 12, 5, "host", 1)]))
    assert sets_of(address, A) == ([(1, 10)], [(11, 12)])
    for writer in (one, two):
        writer.close()


def test_a_stream_that_is_new_to_one_host_only_closes_nothing(address: Address) -> None:
    one, two = PostgresWriter(address, 1), PostgresWriter(address, 1)
    one.commit(Batch(bindings=[Binding(A, "a-1", 1, 1)]))
    one.commit(Batch(bindings=[Binding(B, "a-1", 2, 1)]))  # a new log: the first one is over
    two.commit(Batch(bindings=[Binding(A, "a-1", 3, 1)]))  # an old HELLO, replayed to a host that never heard it
    assert look(address, "SELECT stream, closed_ms FROM streams ORDER BY stream") == [(A, 2), (B, None)]
    for writer in (one, two):
        writer.close()


def test_one_stream_number_of_two_devices_stays_with_the_first(address: Address) -> None:
    one, two = bound(address), PostgresWriter(address, 1)
    outcome = two.commit(Batch(rows=[row(A, 1)], bindings=[Binding(A, "z-9", 1, 1)]))
    assert [known.device for known in outcome.learned] == ["a-1"]
    assert look(address, "SELECT count(*) FROM records") == [(0,)]
    for writer in (one, two):
        writer.close()


def test_hosts_in_each_others_way_store_everything_once(address: Address) -> None:
    """Three hosts, the same records of eight boards in other orders, and boards that take new streams meanwhile."""
    streams = [0x90000000 + number for number in range(8)]
    first = PostgresWriter(address, 1)
    first.commit(Batch(bindings=[Binding(stream, f"d-{stream % 3}", 1, 1, new=False) for stream in streams]))
    failures: list[BaseException] = []

    def host(number: int) -> None:
        writer = PostgresWriter(address, 1)
        try:
            for seq in range(1, 31):
                turned = streams[number:] + streams[:number]
                extra = Binding(0xA0000000 + number * 100 + seq, f"d-{seq % 3}", seq, 1)
                writer.commit(Batch(rows=[row(stream, seq) for stream in turned], bindings=[extra]))
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()

    threads = [threading.Thread(target=host, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    first.close()
    assert failures == []
    assert look(address, "SELECT count(*) FROM records") == [(240,)]
    assert all(sets_of(address, stream)[0] == [(1, 30)] for stream in streams)


def test_a_host_sees_what_another_commits(address: Address) -> None:
    async def scene() -> None:
        one, two = await PostgresJournal.open(address, 1), await PostgresJournal.open(address, 1)
        grown = asyncio.Event()
        two.grown.append(grown.set)
        await one.commit(Batch([row(A, 1)], [Binding(A, "a-1", 1, 1)]))
        async with asyncio.timeout(60):
            while two.last_id == 0:
                grown.clear()
                await grown.wait()
        assert two.last_id == 1
        await one.close()
        await two.close()

    asyncio.run(scene())


# -- trouble


def test_a_server_that_was_killed_costs_nothing_that_was_committed() -> None:
    """kill -9 of all of PostgreSQL: an error in words, no reader nor writer to be started again."""
    server = Postgres()

    async def scene() -> None:
        address = await asyncio.to_thread(server.database)
        journal = await PostgresJournal.open(address, 1)
        await journal.commit(Batch([row(A, 1)], [Binding(A, "a-1", 1, 1)]))
        server.kill()
        with pytest.raises(JournalError, match="does not answer") as failed:
            await journal.commit(Batch([row(A, 2)]))
        assert "start PostgreSQL" in failed.value.advice
        with pytest.raises(JournalError):
            await journal.read(lambda db: None)
        await asyncio.to_thread(server.start)
        await journal.commit(Batch([row(A, 1), row(A, 2)]))
        assert await journal.read(lambda db: db.execute("SELECT seq FROM records ORDER BY seq").fetchall()) == [
            (1,),
            (2,),
        ]
        await journal.close()

    try:
        server.start()
        asyncio.run(scene())
    finally:
        server.remove()


def test_over_tls_the_server_is_known_by_its_certificate_and_we_by_a_password(
    tmp_path: Path, postgres: Postgres
) -> None:
    tls, password = authority(tmp_path / "tls"), tmp_path / "password"
    password.write_text("let me in\n")
    password.chmod(0o600)
    postgres.sql("CREATE ROLE host LOGIN PASSWORD 'let me in'")
    postgres.sql("CREATE DATABASE of_host OWNER host")
    postgres.ask_for_password("host")
    front = TlsFront(tls / "broker.pem", tls / "broker.key", postgres.port)
    try:
        url = f"postgresql://host@localhost:{front.port}/of_host"
        secure, ca = url + "?sslmode=verify-full", str(tls / "ca.pem")
        PostgresWriter(Address(secure, str(password), ca), 1).close()
        other = authority(tmp_path / "other") / "ca.pem"
        refused = {
            Address(secure, str(password), str(other)): "CERTIFICATE_VERIFY_FAILED",
            Address(secure, "", ca): "refuses us",
            Address(url, str(password)): "does not answer",  # without TLS
        }
        for address, message in refused.items():
            with pytest.raises(JournalError, match=message):
                connections.open_writer(address)
        password.write_text("wrong")
        with pytest.raises(JournalError, match="refuses us") as wrong:
            connections.open_writer(Address(secure, str(password), ca))
        assert "journal.password_file" in wrong.value.advice and "wrong" not in wrong.value.message
        password.chmod(0o644)
        with pytest.raises(ConfigError, match="others may read"):
            connections.open_writer(Address(secure, str(password), ca))
    finally:
        front.close()


def test_errors_come_in_words_with_advice(postgres: Postgres, address: Address) -> None:
    bound(address).close()
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'x'")
    cases = {
        postgres.url("nowhere"): ("does not exist", "createdb"),
        address.url.replace(str(postgres.port), "1"): ("does not answer", "start PostgreSQL"),
        address.url.replace("meuse@", "nobody@"): ("refuses us", "journal.password_file"),
        address.url.replace("meuse@", "reader@"): ("permission denied", "owner"),
    }
    for url, (message, advice) in cases.items():
        with pytest.raises(JournalError, match=message) as wrong:
            asyncio.run(PostgresJournal.open(Address(url), 1))
        assert advice in wrong.value.advice, url
    with pytest.raises(JournalError, match="no journal"):
        connections.open_reader(postgres.database())
