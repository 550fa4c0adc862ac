"""`meuse import`: what a file holds is in the journal once, whatever became of the file and however often it comes."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from meuse.captured import packets_in
from meuse.config import read_settings
from meuse.importing import Imported, import_file, opened, problems
from meuse.keys import FOLDER, KeyStore
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.carried import packet_of
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.messages import BLOB

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.test_cli import typed
from tests.shared.memory_log import MemoryLog

STREAM = 0x9C3F21AA
LINK = pytest.mark.link(
    "file", board="light board on the shared protocol", wire="files, cut at every byte", host="meuse import"
)


class Card:
    """What a board writes: HELLO, then every record of its log."""

    def __init__(self, device: str, key: bytes | None, records: int = 12, stream: int = STREAM) -> None:
        self.log = MemoryLog(stream)
        self.endpoint = BoardEndpoint(device, stream, key, self.log)
        self.nonce = 0
        self.add(records)

    def add(self, records: int) -> None:
        for number in range(records):
            self.log.append(BLOB, 1, None, b"record %d\0\xff" % number)

    def packets(self, first: int = 1) -> list[bytes]:
        self.nonce += 1
        found = [packet_of(self.endpoint, self.log, seq) for seq in range(first, self.log.next_seq())]
        return [self.endpoint.hello(1024, self.nonce), *(e2e for e2e in found if e2e is not None)]

    def content(self, first: int = 1) -> bytes:
        return b"\0" + b"".join(map(frame, self.packets(first)))


def settings(data: Path, **tables: object) -> object:
    return read_settings({"host": {"data": str(data)}, **tables}, "test")


async def taken(data: Path, content: bytes, **tables: object) -> Imported:
    """Imports one file with a host of its own."""
    path = data.parent / "carried.frames"
    path.write_bytes(content)
    async with opened(settings(data, **tables)) as door:  # type: ignore[arg-type]
        return await import_file(path, data, door)


@LINK
def test_cut_at_every_byte_all_whole_frames_are_stored_and_nothing_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 6)
    content = card.content()
    ends = [at for at, byte in enumerate(content) if at and not byte]  # of HELLO, record 1, 2 ...
    path = tmp_path / "cut.frames"

    async def scene() -> None:
        async with opened(settings(data)) as door:  # type: ignore[arg-type]
            for cut in range(len(content) + 1):
                path.write_bytes(content[:cut])
                done = await import_file(path, data, door)
                whole = sum(end < cut for end in ends)
                assert problems(done, data) == []
                assert done.damaged == done.cut == (cut > 1 and content[cut - 1] != 0)
                assert len(stored(data, STREAM)) == max(0, whole - 1), cut
                assert sum(part.new + part.known for part in done.parts) == max(0, whole - 1)

    asyncio.run(scene())
    assert stored(data, STREAM) == card.log.created


@LINK
def test_the_acknowledgement_carried_back_lets_the_board_forget(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 2000)
    done = asyncio.run(taken(data, card.content()))
    assert [(part.device, part.new, part.known) for part in done.parts] == [("stove-1", 2000, 0)]
    deframer = Deframer(1024, text=False)
    deframer.feed(done.acks)
    kind, e2e = deframer.next()
    assert kind == FRAME and deframer.next() is None
    card.endpoint.receive(e2e, 0)
    assert card.log.oldest() == 2001
    assert card.endpoint.counters == {}, "a board without a link takes it"


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 700)
    content = card.content()

    def everything() -> list[object]:
        tables = ("records", "gaps", "streams", "events", "devices")
        return [ask(data, f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables]

    first = asyncio.run(taken(data, content))
    before = everything()
    again = asyncio.run(taken(data, content))
    assert everything() == before
    assert [(part.new, part.known) for part in again.parts] == [(0, 700)]
    assert again.acks == first.acks


def test_an_older_file_after_a_newer_one_fills_what_was_missing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 10)
    older = card.content()
    card.add(10)
    newer = card.content(first=11)
    for content, new in ((newer, 10), (older, 10), (older, 0)):
        done = asyncio.run(taken(data, content))
        assert [part.new for part in done.parts] == [new]
        assert problems(done, data) == []
    assert stored(data, STREAM) == card.log.created
    assert "hello-stale" not in events(data)


def test_beside_a_running_host_it_goes_through_that(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 1500)
    path = tmp_path / "carried.frames"
    path.write_bytes(card.content())

    async def scene() -> None:
        async with running(data) as host:
            done = await asyncio.to_thread(typed, tmp_path, "import", str(path))
            assert done.returncode == 0, done.stderr
            assert host.commits.committed == 1500
        async with running(data, tcp={"listen": []}):
            done = await asyncio.to_thread(typed, tmp_path, "import", str(path))
            assert done.returncode == 3
            assert "stop it, import, and start it again" in done.stderr

    asyncio.run(scene())
    assert stored(data, STREAM) == card.log.created


def test_a_wrong_key_an_unknown_device_and_one_without_key_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key_of(data, "stove-1")
    cases = (
        (Card("stove-1", bytes(32)), "stove-1: it was written with another key"),
        (Card("nobody-1", bytes(32)), "nobody-1: its device is not known here"),
        (Card("free-1", None), "free-1: its device is not known here"),
        (Card("stove-1", None), "stove-1: it was written with another key"),
    )
    for card, why in cases:
        done = asyncio.run(taken(data, card.content()))
        (problem,) = problems(done, data)
        assert why in problem.message
        assert done.acks == b"" and stored(data, STREAM) == {}


def test_a_device_without_key_is_taken_where_files_are_trusted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("free-1", None)
    done = asyncio.run(taken(data, card.content(), trust={"links": ["file"]}))
    assert problems(done, data) == []
    assert stored(data, STREAM) == card.log.created


def test_forged_records_in_a_sound_file_are_refused_and_the_others_stored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 40)
    packets = card.packets()
    for at in range(5, 35):
        packets[at] = packets[at][:-1] + bytes((packets[at][-1] ^ 1,))
    done = asyncio.run(taken(data, b"".join(map(frame, packets))))
    (part,) = done.parts
    assert (part.new, part.refused) == (10, 30)
    assert "damaged or forged" in problems(done, data)[0].message
    assert sorted(stored(data, STREAM)) == [1, 2, 3, 4, *range(35, 41)]


def test_two_boards_on_one_card(tmp_path: Path) -> None:
    data = tmp_path / "data"
    cards = [Card(name, key_of(data, name), 5, STREAM + at) for at, name in enumerate(("a-1", "b-1"))]
    done = asyncio.run(taken(data, b"".join(card.content() for card in cards)))
    assert [(part.device, part.new) for part in done.parts] == [("a-1", 5), ("b-1", 5)]
    deframer = Deframer(1024, text=False)
    deframer.feed(done.acks)
    while (item := deframer.next()) is not None:
        for card in cards:
            card.endpoint.receive(item[1], 0)
    assert [card.log.oldest() for card in cards] == [6, 6]


def test_every_form_a_capture_has_gives_the_same_packets() -> None:
    card = Card("stove-1", bytes(32), 5)
    packets = card.packets()
    raw = b"".join(b"\0" + frame(e2e) for e2e in packets)
    lines = [":" + frame(e2e).hex() for e2e in packets]
    console = "meuse> export\r\n6 records follow\r\n" + "\r\n".join(lines) + "\r\nthat is all\r\nmeuse> "
    wrapped = "\r\n".join(line[at : at + 80] for line in lines for at in range(0, len(line), 80))
    forms = {
        "raw": raw,
        "with a boot loader's words": b"ets Jun  8 2016\r\n" + raw,
        "hexadecimal": raw.hex(" ").encode(),
        "console": console.encode(),
        "copied out of a window": b"$ screen\n" + wrapped.encode() + b"\n",
        "cut behind the last digit": console.encode()[: console.index("\r\nthat")],
    }
    for name, content in forms.items():
        found = packets_in(content)
        assert (found.packets, found.damaged, found.cut) == (packets, 0, False), name
    assert packets_in(raw.hex().encode()[:-1]).packets == packets[:-1]
    torn = packets_in(console.encode()[: console.index(lines[-1]) + 30])
    assert (torn.packets, torn.damaged, torn.cut) == (packets[:-1], 1, True)


def test_the_command_line_says_what_it_did(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 30)
    path = tmp_path / "card.frames"
    content = card.content()
    for cut, new in ((len(content) - 1, 29), (len(content), 1), (len(content), 0)):
        path.write_bytes(content[:cut])
        done = typed(tmp_path, "import", "card.frames")
        assert done.returncode == 0, done.stderr
        head, row, *rest = done.stdout.splitlines()
        assert head.split() == ["file", "device", "stream", "new", "already", "there", "refused", "damaged"]
        there = 30 - new if cut == len(content) else 0
        cells = ["card.frames", "stove-1", f"{STREAM:08x}", str(new), str(there), "0", str(int(new == 29))]
        assert row.split() == cells
        assert ("ends in the middle of a frame" in rest[0]) == (new == 29)
        assert rest[-1] == "acknowledgements: card.frames.ack"
    (tmp_path / "card.frames.ack").unlink()
    assert typed(tmp_path, "import", "card.frames", "--ack", "one.ack").returncode == 0
    assert (tmp_path / "one.ack").stat().st_size > 20
    assert not (tmp_path / "card.frames.ack").exists()
    devices = typed(tmp_path, "devices").stdout
    assert "stove-1" in devices and " 30 " in devices


def test_what_is_no_capture_is_named(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(os.urandom(20_000) + b"\0" * 10)
    (tmp_path / "words.txt").write_text("Dear all,\nno frames here.\n")
    for name in ("photo.jpg", "words.txt"):
        done = typed(tmp_path, "import", name)
        assert done.returncode == 1
        assert f"{name} holds no frames of a board" in done.stderr
    done = typed(tmp_path, "import", "missing.frames")
    assert done.returncode == 2 and "there is no file missing.frames" in done.stderr


def test_a_card_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 3)
    (tmp_path / "card.frames").write_bytes(card.content())
    (tmp_path / "card.frames.ack").mkdir()
    done: subprocess.CompletedProcess[str] = typed(tmp_path, "import", "card.frames")
    assert done.returncode == 1
    assert "all is stored, but card.frames.ack cannot be written" in done.stderr
    assert len(stored(data, STREAM)) == 3


def test_keys_that_changed_are_tried_both(tmp_path: Path) -> None:
    data = tmp_path / "data"
    card = Card("stove-1", key_of(data, "stove-1"), 3)
    KeyStore(data / FOLDER).rotate("stove-1")
    done = asyncio.run(taken(data, card.content()))
    deframer = Deframer(1024, text=False)
    deframer.feed(done.acks)
    card.endpoint.receive(deframer.next()[1], 0)
    assert card.log.oldest() == 4, "acknowledged under the key that the board has"
