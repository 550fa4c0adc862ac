"""Documents cannot name what is not there: links, test files, make targets, and the commands of `meuse`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("*.md", "docs/*.md", "firmware/**/README.md", "protocol/README.md")
DOCUMENTS = sorted(path for pattern in FOLDERS for path in ROOT.glob(pattern))
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("name", NAMES)
def test_links_and_named_files_exist(name: str) -> None:
    path = ROOT / name
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target
    for target in re.findall(r"`((?:tests|docs|firmware|host|protocol)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)(?:^|`)make ([a-z]+)", (ROOT / name).read_text()):
        assert re.search(rf"(?m)^{target}:", makefile), target


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name: str) -> None:
    """Every `meuse COMMAND --option` in a document is a command with that option."""
    text = (ROOT / name).read_text()
    for command, rest in re.findall(r"(?m)(?:^|[`/ ])meuse ([a-z]+)((?: [^\n`]*)?)", text):
        if command in known():
            shown = help_of(command)
            for option in re.findall(r"(?<!\S)--[a-z]+", rest):
                assert option in shown, f"meuse {command} {option}"


def test_every_command_shows_an_example() -> None:
    assert known()
    for command in known():
        assert "xample" in help_of(command), command


HELP: dict[str, str] = {}


def help_of(*command: str) -> str:
    key = " ".join(command)
    if key not in HELP:
        meuse = Path(sys.executable).with_name("meuse")
        done = subprocess.run([str(meuse), *command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        HELP[key] = done.stdout
    return HELP[key]


def known() -> set[str]:
    listed = help_of().split("Commands:")[1]
    return set(re.findall(r"(?m)^  ([a-z]+) ", listed))
