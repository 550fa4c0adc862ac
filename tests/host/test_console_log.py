"""Console logs: printable, stamped, bounded, and never in the way."""

from pathlib import Path

from meuse.console_log import MAX_LOGS, ConsoleLogs


def test_lines_are_stamped_and_printable(tmp_path: Path) -> None:
    logs = ConsoleLogs(tmp_path / "console", 8192)
    logs.line("stove-1", 1_763_899_200_123, b"door\x1b[31m open\xff")
    logs.line("serial:/dev/ttyUSB0", 0, b"?")
    assert (
        tmp_path / "console/stove-1.log"
    ).read_text() == "2025-11-23T12:00:00.123Z door [31m open\N{REPLACEMENT CHARACTER}\n"
    assert (tmp_path / "console/serial--dev-ttyUSB0.log").exists()


def test_a_name_never_leaves_the_folder(tmp_path: Path) -> None:
    logs = ConsoleLogs(tmp_path / "console", 8192)
    for name in ("../../etc/passwd", "..", "", "/", "a/b"):
        logs.line(name, 0, b"x")
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "console"}


def test_two_files_of_half_the_bound(tmp_path: Path) -> None:
    logs = ConsoleLogs(tmp_path, 8192)
    for n in range(1000):
        logs.line("a", 0, b"line %d" % n)
        sizes = [path.stat().st_size for path in tmp_path.iterdir()]
        assert len(sizes) <= 2 and max(sizes) <= 4096
    assert "line 999\n" in (tmp_path / "a.log").read_text()
    again = ConsoleLogs(tmp_path, 8192)  # a host started again knows the sizes
    for n in range(100):
        again.line("a", 0, b"again %d" % n)
    assert (tmp_path / "a.log").stat().st_size <= 4096


def test_a_full_or_missing_disk_is_counted_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logs = ConsoleLogs(tmp_path / "file" / "below", 8192)
    logs.line("a", 0, b"x")
    assert (logs.lines, logs.dropped) == (0, 1)


def test_noise_under_ever_new_names_is_bounded(tmp_path: Path) -> None:
    logs = ConsoleLogs(tmp_path, 8192)
    for n in range(MAX_LOGS + 5):
        logs.line(f"n{n}", 0, b"x")
    assert len([*tmp_path.iterdir()]) == MAX_LOGS
    assert logs.dropped == 5
