"""The store in a real PostgreSQL: what it says is what `meuse query` says, each row once, whatever comes twice."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from meuse import delivery
from meuse.config import read_settings
from meuse.delivery import Delivery
from meuse.errors import ConfigError
from meuse.postgres import Address
from meuse.store.connection import StoreError
from meuse.store.table import NUL
from meuse.store.writer import Store
from meuse_protocol import messages
from meuse_protocol.schema import Schema

from tests.host.hosts import events, key_of, running
from tests.host.journals import NOON_MS, Journal, schema_record, single_record
from tests.host.light_board import until
from tests.host.readings_board import ReadingsBoard
from tests.host.rivers import River
from tests.host.stores import good, rows, truths
from tests.host.truths import stored
from tests.postgres import Postgres


def deliveries(river: River, most: int) -> list[Delivery]:
    """Everything in the river's journal, in pieces of at most so many records."""
    found = []
    after = 0
    db = river.journal.reader()
    try:
        while (piece := delivery.take(db, after, most)).records:
            found.append(piece)
            after = piece.records[-1].id
    finally:
        db.close()
    return found


def test_the_store_says_value_for_value_what_a_query_says(tmp_path: Path, postgres: Postgres) -> None:
    river = River(tmp_path, 1)
    river.flow(300)
    river.settle(len(river.owed))
    url = postgres.database().url
    store = Store(Address(url), lambda: river.now_ms)
    for piece in deliveries(river, 20):
        store.write(piece)
    store.close()
    assert truths(url) == stored(tmp_path)
    assert rows(url, "SELECT count(*) FROM meuse_waiting") == [(0,)]


def test_what_comes_again_in_whatever_pieces_changes_nothing(tmp_path: Path, postgres: Postgres) -> None:
    """As after a crash between the store's commit and the reader's: by another process, in other pieces."""
    river = River(tmp_path, 2)
    river.flow(150)
    url = postgres.database().url
    first = Store(Address(url), lambda: river.now_ms)
    for piece in deliveries(river, 7):
        first.write(piece)
    first.close()
    before = truths(url)
    waiting = rows(url, "SELECT stream, seq, why FROM meuse_waiting ORDER BY stream, seq")
    assert waiting, "this seed leaves nothing to wait"
    again = Store(Address(url), lambda: river.now_ms)
    assert sum(again.write(piece) for piece in deliveries(river, 40)) == 0
    assert truths(url) == before
    assert rows(url, "SELECT stream, seq, why FROM meuse_waiting ORDER BY stream, seq") == waiting
    river.settle(len(river.owed))
    for piece in deliveries(river, 1_000):
        again.write(piece)
    again.close()
    assert truths(url) == stored(tmp_path)


def test_what_waits_is_not_shown_and_goes_as_it_stands_after_a_week(tmp_path: Path, postgres: Postgres) -> None:
    river = River(tmp_path, 3)
    river.flow(60)
    unsettled = {(row.stream, row.seq) for owed in river.owed for row in owed.before}
    assert unsettled
    url = postgres.database().url
    now = NOW(river.now_ms)
    store = Store(Address(url), now)
    for piece in deliveries(river, 50):
        store.write(piece)
    sure = [row for row in stored(tmp_path) if (row.stream, row.seq) not in unsettled]
    assert truths(url) == sure
    now.ms += 8 * 86_400_000
    store.sweep()
    store.close()
    late = [row for row in truths(url) if (row.stream, row.seq) in unsettled]
    assert {(row.stream, row.seq) for row in late} == unsettled
    assert {row.quality for row in late if row.channel is None} <= {"unknown_schema"}
    assert {row.time_quality for row in late if row.channel is not None} == {"approximate"}
    assert rows(url, "SELECT count(*) FROM meuse_waiting") == [(0,)]


class NOW:
    """A clock that a test moves."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


TEXTS = ['"', "\\.", ",", "\\N", "", " ", "a\nb\r\nc", "x\0y", "é\u2603\U0001f300", "NULL", "\\x41"]
NOTES = Schema(1, "notes", 1_000, [("note", "", 0, 0)])


def test_text_comes_through_unchanged_but_for_nul(tmp_path: Path, postgres: Postgres) -> None:
    journal = Journal(tmp_path)
    journal.store(schema_record(journal.seq(), NOTES))
    for number, text in enumerate(TEXTS):
        journal.store(single_record(journal.seq(), 1, NOON_MS // 1_000 + number, [text]))
    journal.store(messages.record(messages.BLOB, journal.seq(), 1, b"x"))  # no reading at all
    db = journal.reader()
    url = postgres.database().url
    store = Store(Address(url), lambda: NOON_MS)
    store.write(delivery.take(db, 0))
    store.close()
    db.close()
    found = [text for (text,) in rows(url, "SELECT text FROM readings WHERE channel = 'note' ORDER BY seq")]
    assert found == [text.replace("\0", NUL) for text in TEXTS]
    assert rows(url, "SELECT channel, unit, measured_at, quality FROM readings WHERE channel IS NULL") == [
        (None, None, None, "raw")
    ]


def test_two_writers_at_once_make_no_double_and_no_deadlock(tmp_path: Path, postgres: Postgres) -> None:
    """As when a worker that was taken for dead comes back."""
    river = River(tmp_path, 5)
    river.flow(200)
    river.settle(len(river.owed))
    url = postgres.database().url
    pieces = deliveries(river, 10)

    def write_all() -> None:
        store = Store(Address(url), lambda: river.now_ms)
        for piece in pieces:
            store.write(piece)
        store.close()

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(write_all) for _ in range(3)]:
            done.result()
    assert truths(url) == stored(tmp_path)


def test_a_server_killed_at_any_moment_has_each_row_once(tmp_path: Path) -> None:
    """Every piece is written again until its answer comes, as a reader does whose cursor stays."""
    chance = random.Random(11)
    river = River(tmp_path, 4)
    river.flow(80)
    river.settle(len(river.owed))
    server = Postgres()
    try:
        url = server.start().database().url
        store = Store(Address(url), lambda: river.now_ms)
        pieces = deliveries(river, 2)
        failures = 0

        def write() -> None:
            nonlocal failures
            for piece in pieces:
                while True:
                    try:
                        store.write(piece)
                        break
                    except StoreError:
                        failures += 1
                        time.sleep(0.02)

        with ThreadPoolExecutor(1) as thread:
            writing = thread.submit(write)
            for _ in range(3):
                time.sleep(chance.uniform(0.1, 0.5))
                server.kill()
                server.start()
            writing.result()
        store.close()
        assert failures
        assert truths(url) == stored(tmp_path)
    finally:
        server.remove()


def test_a_host_writes_to_a_store_that_comes_and_goes(tmp_path: Path) -> None:
    """The server is killed in the middle and started again; the host is stopped and goes on where it was."""

    async def scene(server: Postgres, url: str) -> None:
        key = key_of(tmp_path / "data", "stove-1")
        board = ReadingsBoard("stove-1", key)
        board.begin()
        made = 0

        for _ in range(2):
            async with running(tmp_path / "data", store={"url": url}) as host:
                await board.connect(host.tcp[0].address)
                for _ in range(20):
                    board.measure()
                await board.drained()
                made += 20
                await until(lambda made=made: good(url) == made, "the store has everything")
                server.kill()
                for _ in range(20):
                    board.measure()
                await board.drained()  # a store that is away holds up no board
                made += 20
                await until(lambda: host.store is not None and host.store.trouble, "the host notices")
                await asyncio.to_thread(server.start)
                await until(lambda: host.store is not None and not host.store.trouble, "the host is back at it")
                await until(lambda made=made: good(url) == made, "the store has everything again")
                board.unplug()
        said = stored(tmp_path / "data")
        assert truths(url) == said
        assert len(said) >= made
        kinds = events(tmp_path / "data")
        assert kinds.count("store-failed") == kinds.count("store-recovered") == 2

    server = Postgres()
    try:
        server.start()
        asyncio.run(scene(server, server.database().url))
    finally:
        server.remove()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a@b/c",
        "postgresql://a",
        "postgresql://b/c",
        "postgresql://a:geheim@b/c",
        "postgresql://a@b:port/c",
        "postgresql://a@b/c?sslmode=prefer",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings({"store": {"url": url}}, "test")
    assert "store.url" in refused.value.message and "geheim" not in str(refused.value)


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        Address("postgresql://a@b/c", str(path)).password()
    path.chmod(0o600)
    assert Address("postgresql://a@b/c", str(path)).password() == "geheim"
