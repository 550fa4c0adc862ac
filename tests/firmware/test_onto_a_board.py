"""The way onto a board as firmware/README.md tells it, up to the cable: the commands run as they stand there, and what
they make starts. `mpremote` needs a board and is left out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from meuse.keys import FOLDER, KeyStore

from .desk import Desk, Port
from .virtual import ROOT, VirtualBoard

SECTION = re.compile(r"## Onto a board\n.*?```sh\n(.*?)```", re.DOTALL)


def commands() -> list[str]:
    found = SECTION.search((ROOT / "firmware/README.md").read_text())
    assert found
    return found[1].replace("\\\n", " ").splitlines()


def test_what_the_commands_make_is_a_board_that_the_host_knows(tmp_path: Path, board_path: str) -> None:
    for name in (".venv", "Makefile", "firmware", "protocol", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    ran = [line for line in commands() if not line.startswith("mpremote")]
    assert len(ran) == 4
    (tmp_path / "build").mkdir()
    for line in ran:
        if line != "make build":  # into the repository's own folder, as for every virtual board; see test_build.py
            subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True)
    made = {word for line in commands() if line.startswith("mpremote fs cp") for word in line.split()[3:-1]}
    assert made == {"build/config.msgpack", "build/secret.bin", "firmware/main.py"}
    assert all((tmp_path / name).is_file() for name in made)
    keys = KeyStore(tmp_path / "data" / FOLDER).keys("stove-1")
    assert keys and len(keys) == 1, "the host finds it, and finds it well kept"
    words = ["--scenario", str(ROOT / "firmware/sim/scenarios/stove.toml"), "--heap", "256k", "--module", "first"]
    words += ["--path", board_path, str(tmp_path / "flash.bin"), str(tmp_path / "build/config.msgpack")]
    with VirtualBoard(tmp_path / "board", "stove-1", *words, str(tmp_path / "build/secret.bin")) as board:
        desk = Desk("stove-1", Port(board.folder / "tty"), keys[0])
        desk.until(lambda: desk.rows("flue_temp") >= 1, "readings under the key")
        desk.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "stove-1"], "one needs the other"),
        (["--secret", "s"], "one needs the other"),
        (["--key", "k"], "one needs the other"),
        (["--device", "Stove 1", "--secret", "s"], "is not a device id"),
        (["--device", "stove-1", "--secret", "s", "--key", "nowhere"], "nowhere: no key"),
        (["--device", "stove-1", "--secret", "s", "--key", "short"], "64 hexadecimal digits"),
    ],
)
def test_a_board_without_a_right_name_or_key_is_not_made(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "short").write_text("00ff\n")
    command = [sys.executable, str(ROOT / "firmware/product.py")]
    command += [str(ROOT / "firmware/products/stove.toml"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and said in done.stderr
    assert not (tmp_path / "s").exists()
