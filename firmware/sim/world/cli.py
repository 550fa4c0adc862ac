"""The command line of a virtual board: arguments in, one world played, exit status out (0 done, 1 failed, 2 usage)."""

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from . import deploy, scenario
from .mobile import Mobile
from .patch import Patch
from .processor import Image, heap_bytes
from .world import InUse, Setting, World, lock

FIRMWARE = Path(__file__).resolve().parents[2]
FLASH_BLOCKS = 256  # 1 MB, what a 4 MB ESP32 or a Pico leaves for files, in blocks of 4096 bytes
PARENT_LOOK_S = 0.5
EXAMPLE = """example:
  python firmware/sim/virtual_board.py --scenario firmware/sim/scenarios/stove.toml \\
      --dir data/boards/stove --device stove-1

The board's serial port is then data/boards/stove/tty; what it was told by its sensors is in served.jsonl.
"""


class Problem(Exception):
    """Something the person at the keyboard can put right."""


def arguments() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="Plays the world around one virtual board and runs the real firmware in it (simulated).",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--scenario", type=Path, required=True, help="TOML file, see firmware/sim/scenarios")
    p.add_argument("--dir", type=Path, required=True, help="the board's folder: flash, serial port, logs")
    p.add_argument("--device", required=True, help="device id, as provisioned on the host")
    p.add_argument("--host", default="127.0.0.1:7878", help="host:port that TCP and UDP links lead to")
    p.add_argument("--links", default="", help="such as serial,tcp,udp: instead of the product's own")
    p.add_argument("--wire", type=Path, metavar="TTY", help="another virtual board's port, wired to this one's UART 2")
    p.add_argument("--key", type=Path, help="file of the device's key")
    p.add_argument("--speed", type=Fraction, help="world's seconds per real second (the scenario's)")
    p.add_argument("--heap", type=heap_bytes, help="the board's heap, such as 96k (the scenario's)")
    p.add_argument("--micropython", help="interpreter (MICROPYTHON, or the one beside this Python)")
    p.add_argument("--path", help="MICROPYPATH of a module of one's own")
    p.add_argument("--parent", type=int, metavar="PID", help="stop when this process, which started it, is gone")
    p.add_argument("--module", default="start", help="first module to run; tests bring their own")
    p.add_argument("arguments", nargs="*", help="arguments of a module of one's own")
    return p


def micropython(named: str | None) -> str:
    """The interpreter: as named, from the environment, beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("micropython")
    found = named or os.environ.get("MICROPYTHON") or (str(beside) if beside.exists() else None)
    path = shutil.which(found or "micropython")
    if path is None:
        raise Problem(
            f"no MicroPython interpreter ({found or 'micropython'}): run `make setup`, "
            "or name one with MICROPYTHON=path"
        )
    return path


def play(options: argparse.Namespace) -> int:
    played = scenario.read(options.scenario)
    interpreter = micropython(options.micropython)
    folder = options.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lock_fd = lock(folder)
    if options.module == "start":
        links = tuple(filter(None, options.links.split(",")))
        pace = max(int(options.speed or played.speed), 1)
        board = deploy.Board(played.product, options.device, options.host, options.key, links, pace)
        path, rom = deploy.firmware(FIRMWARE)
        flash = folder / "flash.bin"
        deploy.files(board, flash, folder / "deploy", FIRMWARE)
        words = (str(folder / "deploy"), str(flash), str(FLASH_BLOCKS))
    else:
        path, rom, words = options.path, None, tuple(options.arguments)
    kinds = {link.partition(":")[0] for link in options.links.split(",")}
    modem, patch = Mobile(folder, options.host, kinds), Patch(options.wire)
    heap = options.heap or played.heap_bytes
    image = Image(interpreter, heap, path, options.module, words, played.uart, rom, modem.ports + patch.ports)
    setting = Setting(folder, options.device, image, options.speed or played.speed)

    async def run() -> int:
        world = World(played, setting, lock_fd, modem, patch)
        if "lora" in kinds:
            world.put_on_air()
        watching = asyncio.create_task(_orphaned(options.parent, world.stop)) if options.parent else None
        try:
            return await world.run()
        finally:
            if watching:
                watching.cancel()

    return asyncio.run(run())


async def _orphaned(parent: int, stop: Callable[[], None]) -> None:
    """Calls `stop` once the process that started this one is gone (killed, so it could not say so)."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_LOOK_S)
    stop()


def main(words: list[str]) -> int:
    options = arguments().parse_args(words)
    try:
        return 1 if play(options) else 0
    except (scenario.ScenarioError, InUse, Problem, deploy.DeployError) as e:
        print(f"virtual board {options.device}: {e}", file=sys.stderr)
        return 1
