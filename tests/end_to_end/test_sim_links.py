"""`meuse sim --links ... --fault ...` beside `meuse run`, as whoever wants to watch links change types it."""

import json
import signal
import subprocess
from pathlib import Path

from tests.end_to_end.river import MEUSE, ROOT, Host, meuse, rows
from tests.firmware.virtual import json_lines, wait_for


def test_three_links_under_two_faults_lose_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    host = Host(data, [str(data / "boards/stove/tty")])
    host.extra = ["--udp", f"127.0.0.1:{host.port}"]
    with host:
        words = ["sim", "stove", "--links", "serial,udp,tcp", "--fault", "cable", "--fault", "network", "--every", "6"]
        words += ["--data", str(data), "--host", f"127.0.0.1:{host.port}"]
        with (tmp_path / "sim.log").open("wb") as log:
            boards = subprocess.Popen([str(MEUSE), *words], stdout=log, stderr=log, cwd=ROOT)
        try:
            wait_for(lambda: len(used(data)) >= 3, "more than one link", 120)
            boards.send_signal(signal.SIGTERM)
            assert boards.wait(60) == 0, (tmp_path / "sim.log").read_text()
        finally:
            boards.kill()
            boards.wait()
        host.stop()
    text = (tmp_path / "sim.log").read_text()
    assert "fault: cable" in text and "fault: network" in text
    told = json_lines(data / "boards/stove/served.jsonl")
    served = [line["value"] for line in told if line["channel"] == "flue_temp"]
    stored = rows("--data", str(data), "--channel", "flue_temp")
    stored.sort(key=lambda row: (int(row["seq"]), int(row["row"])))
    assert [float(row["value"]) if row["value"] else None for row in stored] == served


def used(data: Path) -> list[str]:
    """Changes of the link so far, as the host sees them."""
    if not (data / "journal.sqlite").exists():
        return []
    sql = "SELECT detail FROM events WHERE kind = 'link-changed'"
    said = meuse("query", "--data", str(data), "--sql", sql, "--format", "jsonl")
    return [json.loads(line)["detail"] for line in said.splitlines()]
