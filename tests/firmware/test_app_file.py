"""The application on real MicroPython with a card and no network: what a person carries away, and what comes back."""

import contextlib
import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.host_endpoint import GapFound, HostEndpoint, Record
from meuse_protocol.messages import HELLO, head

from .peer import DEFAULT, Board

ROOT = Path(__file__).resolve().parents[2]
FAT = ROOT / "tests/firmware/bench_board/fat.py"
KILOBYTES = 150  # 136,192 bytes for files


class CardBoard(Board):
    """A board whose first link is a card; its cable is a console. `keyed`: it has a key."""

    def __init__(self, root: Path, path: str, micropython: str, **link: object) -> None:
        settings: dict[str, Any] = copy.deepcopy(DEFAULT)
        settings["groups"][0]["max_age_ms"] = 50  # a record for every row
        self.card = root / "card"
        settings["links"].insert(0, {"kind": "file", "folder": str(self.card), "every_ms": 300, **link})
        super().__init__(root, path, micropython, settings)
        self.memory.key = bytes(range(32))
        (root / "key").write_bytes(self.memory.key)

    def frames_of(self, folder: Path) -> list[tuple[str, list[bytes]]]:
        """The files on a card, by name, and the whole packets in each."""
        return [(path.name, packets(path.read_bytes())) for path in sorted(folder.glob("*.frames"))]

    def seqs(self, folder: Path | None = None) -> list[int]:
        """Numbers of all records on a card, in order of the files."""
        found = [head(e2e)[2] for _, e2es in self.frames_of(folder or self.card) for e2e in e2es]
        return [seq for seq in found if seq is not None]

    def carry(self, folder: Path | None = None) -> bytes:
        """Stores what is on a card -> acknowledgements to carry back."""
        host = HostEndpoint(self.memory)
        for _, e2es in self.frames_of(folder or self.card):
            for e2e in e2es:
                host.receive(e2e, 0)
                while (event := host.next_event()) is not None:
                    if isinstance(event, Record):
                        self.memory.records[event.state.stream, event.seq] = event.record
                        host.stored(event.state.stream, [event.seq], 0)
                    elif isinstance(event, GapFound):
                        self.memory.gaps.append((event.first, event.last, event.reason))
                        host.gap_stored(event.state.stream, event.first, event.last, 0)
        assert not host.counters.keys() - {"duplicate", "hello_stale"}, host.counters
        replies = []
        while (e2e := host.next_pdu(1000)) is not None:
            replies.append(frame(e2e))
        return b"".join(replies)


def packets(data: bytes) -> list[bytes]:
    deframer = Deframer(2048, False)
    deframer.feed(data)
    items = []
    while (item := deframer.next()) is not None:
        assert item[0] == FRAME, item
        items.append(item[1])
    return items


class FatCard:
    """A memory card with a real FAT, made and read by MicroPython; `out` and `back` are a person's hand."""

    def __init__(self, micropython: str, slot: Path, name: str, pictures: int = 0) -> None:
        """`pictures`: bytes of something else that is on it already."""
        self._micropython = micropython
        self._slot = slot
        self._pocket = slot.with_name(name)
        self._run("make", self._pocket, KILOBYTES)
        if pictures:
            (slot.parent / "PICTURES").write_bytes(bytes(pictures))
            self._run("put", self._pocket, slot.parent / "PICTURES")

    def _run(self, *words: object) -> None:
        subprocess.run([self._micropython, str(FAT), *map(str, words)], check=True)

    def back(self) -> None:
        self._pocket.rename(self._slot)

    def out(self) -> None:
        self._slot.rename(self._pocket)

    def read(self) -> Path:
        folder = self._pocket.with_suffix(".files")
        folder.mkdir(exist_ok=True)
        self._run("read", self._pocket, folder)
        return folder


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[CardBoard]:
    with contextlib.closing(CardBoard(tmp_path, bench_path, micropython, max_bytes=512)) as board:
        board.card.mkdir()
        yield board


@pytest.fixture
def slot(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[CardBoard]:
    """A board that mounts what is in its slot."""
    with contextlib.closing(CardBoard(tmp_path, bench_path, micropython, slot=1, folder="/card")) as board:
        yield board


@pytest.mark.link("file", board="MicroPython, unix build", wire="folder as card", host="shared protocol")
def test_every_record_is_on_the_card_once_though_no_answer_comes(board: CardBoard) -> None:
    board.start()
    board.until(lambda: len(board.seqs()) >= 30, 30)
    files = board.frames_of(board.card)
    assert len(files) >= 3, "files are bounded"
    assert all(head(e2es[0])[0] == HELLO for _, e2es in files), "each file says whose it is"
    assert board.seqs() == list(range(1, len(board.seqs()) + 1))
    board.carry()
    assert board.memory.gaps == []
    assert set(board.memory.values(0)) == {215}


@pytest.mark.link("file", board="MicroPython, unix build", wire="folder as card", host="shared protocol")
def test_acknowledgements_brought_back_let_the_board_forget(board: CardBoard) -> None:
    board.start()
    board.until(lambda: len(board.seqs()) >= 20, 30)
    stranger = frame(bytes.fromhex("92 20 ce 80 00 00 01 05"))
    answer = board.carry()
    (state,) = board.memory.streams.values()
    (board.card / "noise.ack").write_bytes(b"\0no frames\xff\0" + stranger)
    (board.card / "a.ack").write_bytes(answer)
    board.until(lambda: not list(board.card.glob("*.ack")), 30)
    text = board.ask("status", "memory")
    waiting = int(text.split(" records wait")[0].split()[-1])
    (upto,) = [int(t.split()[-1]) for t in text.splitlines() if "next is number" in t]
    assert upto - waiting == state.cum > 20
    board.until(lambda: len(board.seqs()) > state.cum + 5, 30)
    assert len(board.seqs()) == len(set(board.seqs())), "goes on where it was"


def test_after_a_power_cut_the_card_goes_on_and_names_what_was_lost(board: CardBoard) -> None:
    board.start()
    board.until(lambda: len(board.seqs()) >= 20, 30)
    board.kill()
    before = board.seqs()
    board.start()
    board.until(lambda: len(board.seqs()) >= len(before) + 20, 30)
    again = [seq for seq in set(board.seqs()) if board.seqs().count(seq) > 1]
    assert again == [], "the card itself knows how far it is"
    board.carry()
    (state,) = board.memory.streams.values()
    assert state.cum > len(before) + 20, "nothing is missing without a word"
    for seq in before:
        assert (state.stream, seq) in board.memory.records, "the card has what the flash had not yet"


def test_the_console_exports_the_backlog(board: CardBoard) -> None:
    board.start()
    board.until(lambda: len(board.seqs()) >= 20, 30)
    text = board.ask("export", "that is all")
    lines = [bytes.fromhex(line[1:]) for line in text.splitlines() if line.startswith(":")]
    e2es = packets(b"".join(lines))
    assert head(e2es[0])[0] == HELLO
    assert [head(e2e)[2] for e2e in e2es[1:]] == list(range(1, len(e2es)))
    assert len(e2es) > 20


@pytest.mark.link("file", board="MicroPython, unix build", wire="FAT on a simulated card", host="shared protocol")
def test_cards_come_and_go_and_one_is_full(slot: CardBoard, micropython: str) -> None:
    image = slot.folder / "card.img"
    small = FatCard(micropython, image, "small", pictures=134_000)
    large = FatCard(micropython, image, "large")
    slot.start()
    assert "NO CARD" in slot.ask("links", "console only")
    small.back()
    slot.until(lambda: "CARD FULL" in slot.ask("links", "console only"), 60)
    small.out()
    first = slot.seqs(small.read())
    assert first and first == list(range(1, len(first) + 1)), "what fits is whole and in order"
    slot.until(lambda: "NO CARD" in slot.ask("links", "console only"), 60)
    large.back()
    slot.until(lambda: "records written" in slot.ask("links", "console only"), 60)
    slot.until(lambda: " 0 not on the card" in slot.ask("links", "console only"), 60)
    large.out()
    second = slot.seqs(large.read())
    assert second == list(range(1, len(second) + 1)) and len(second) > len(first), "an empty card gets all that waits"


@pytest.mark.link("file", board="MicroPython, unix build", wire="folder as card", host="shared protocol")
def test_beside_a_cable_the_card_gets_the_rest(bench_path: str, micropython: str, tmp_path: Path) -> None:
    with contextlib.closing(CardBoard(tmp_path, bench_path, micropython)) as board:
        settings = copy.deepcopy(DEFAULT)
        settings["links"].append({"kind": "file", "folder": str(board.card), "every_ms": 300})
        board.deploy(settings)
        board.card.mkdir()
        board.start()
        board.until(lambda: len(board.memory.values(0)) >= 20)
        board.listening = False
        board.until(lambda: len(board.seqs()) >= 20, 30)
        (state,) = board.memory.streams.values()
        before = state.cum
        (board.card / "back.ack").write_bytes(board.carry())
        assert state.cum > before
        board.until(lambda: not list(board.card.glob("*.ack")), 30)
        board.listening = True
        board.plug()
        board.until(lambda: state.cum == state.next_seq and len(board.memory.values(0)) >= 60, 40)
        assert board.stop() == 0
        assert board.memory.gaps == []
        assert board.memory.values(0) == board.served("flue"), "every reading once, by the one way or the other"
        assert len(board.seqs()) == len(set(board.seqs()))
