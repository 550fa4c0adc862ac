"""A board that no network reaches, end to end: its card, a person, `meuse import`, the card back in the board."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse.keys import FOLDER, KeyStore

from tests.end_to_end.river import MEUSE, ROOT, rows
from tests.firmware.virtual import VirtualBoard, wait_for

LINK = """kind = "file"
folder = "{card}"
every = "1s"
"""


class Scene:
    """A stove with a card and nobody at its cable; `data` is the host's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.card = folder / "card"
        self.card.mkdir()
        keys = KeyStore(self.data / FOLDER)
        keys.provision("stove-1")
        found = keys.keys("stove-1")
        assert found
        (folder / "key").write_bytes(found[0])
        text = (ROOT / "firmware/products/stove.toml").read_text()
        text = text.replace("max_rows = 60", "max_rows = 1").replace('kind = "serial"', LINK.format(card=self.card))
        text = text.replace("uart = 1\nbaud = 115200\ntx = 33\nrx = 32\n", "")
        (folder / "product.toml").write_text(text)
        scenario = (ROOT / "firmware/sim/scenarios/stove.toml").read_text()
        scenario = scenario.replace("../../products/stove.toml", str(folder / "product.toml"))
        (folder / "stove.toml").write_text(scenario.replace("../../../tests/traces", str(ROOT / "tests/traces")))
        words = ("--scenario", str(folder / "stove.toml"), "--key", str(folder / "key"))
        self.board = VirtualBoard(folder / "board", "stove-1", *words)

    def imported(self, *files: Path) -> tuple[int, int, str]:
        """(new, already there, all that was said)"""
        words = [MEUSE, "import", "--data", str(self.data), *map(str, files)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        table = [line.split() for line in done.stdout.splitlines() if line.split()[1:2] == ["stove-1"]]
        return sum(int(row[3]) for row in table), sum(int(row[4]) for row in table), done.stdout

    def files(self) -> list[Path]:
        return sorted(self.card.glob("*.frames"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    with scene.board:
        yield scene


@pytest.mark.link(
    "file", board="virtual stove, MicroPython, unix build", wire="folder as card", host="meuse import"
)
def test_readings_are_carried_and_the_acknowledgement_is_carried_back(scene: Scene) -> None:
    wait_for(lambda: scene.files() and scene.files()[0].stat().st_size > 700, "a card", 60)
    new, there, said = scene.imported(*scene.files())
    assert new >= 5 and there == 0, said
    assert scene.imported(*scene.files())[0] <= 20, "what the board wrote meanwhile, at most"

    table = rows("--data", str(scene.data), "--device", "stove-1")
    told = [float(r["value"]) for r in table if r["channel"] == "flue_temp" and r["value"]]
    served = [line["value"] for line in scene.board.served() if line["channel"] == "flue_temp"]
    assert len(told) >= 2 and told == served[: len(told)], "value for value, none twice"

    wait_for(lambda: not list(scene.card.glob("*.ack")), "the board takes its acknowledgements", 40)
    for path in scene.card.iterdir():
        path.unlink()  # an empty card gets all that the board still has
    wait_for(scene.files, "a new file", 40)
    wait_for(lambda: scene.files()[-1].stat().st_size > 200, "records in it", 60)
    seqs = [int(path.name.split("-")[3].split(".")[0]) for path in scene.files()]
    assert min(seqs) > new, "what was acknowledged is forgotten"
    assert scene.imported(*scene.files())[0] > 0


def test_cuts_through_the_command_line_cost_what_was_cut(scene: Scene) -> None:
    wait_for(lambda: scene.files() and scene.files()[0].stat().st_size > 500, "a card", 60)
    scene.board.kill()
    content = scene.files()[0].read_bytes()
    frames = [at for at, byte in enumerate(content) if at and not byte]
    cut = scene.folder / "cut.frames"
    known = 0
    for at in (0, 1, frames[0] - 1, frames[0] + 1, frames[1] + 7, frames[-1], frames[-1] + 1):
        cut.write_bytes(content[:at])
        new, there, said = scene.imported(cut)
        whole = max(0, sum(end < at for end in frames) - 1)
        assert (new, there) == (whole - known, known), said
        known = whole
    assert known == len(frames) - 1
