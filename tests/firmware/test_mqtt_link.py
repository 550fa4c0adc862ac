"""The MQTT link on the real MicroPython: tests/firmware/link_board/mqtt_cases.py."""

import os
import subprocess
from pathlib import Path

from tests.ports import free_port


def test_cases_on_micropython(root: Path, micropython: str) -> None:
    cases = "tests/firmware/link_board/mqtt_cases.py"
    done = subprocess.run(
        [micropython, "-X", "heapsize=192k", "tests/shared/run_on_micropython.py", cases],
        cwd=root,
        env={**os.environ, "MICROPYPATH": f"{(root / cases).parent}:.frozen", "MEUSE_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) >= 10, done.stdout
