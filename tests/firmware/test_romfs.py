"""MicroPython itself is the judge of the image: it mounts it and runs what lies in it."""

import subprocess
from pathlib import Path, PurePosixPath

import romfs

MOUNT = "import vfs, sys, os; f = open('{}', 'rb'); vfs.mount(vfs.VfsRom(f.read()), '/rom'); f.close(); "


def run(micropython: str, image: Path, code: str) -> str:
    command = [micropython, "-X", "heapsize=512k", "-c", MOUNT.format(image) + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_files_and_folders_are_there_whole(micropython: str, tmp_path: Path) -> None:
    long = bytes(range(256)) * 100
    path = tmp_path / "image"
    files = {"a/b/long": long, "short": b"x", "a/e": b""}
    path.write_bytes(romfs.image({PurePosixPath(name): content for name, content in files.items()}))
    code = "print(sorted(os.listdir('/rom')), sorted(os.listdir('/rom/a')))"
    assert run(micropython, path, code) == "['a', 'short'] ['b', 'e']\n"
    code = "f = open('/rom/a/b/long', 'rb'); print(f.read() == bytes(range(256)) * 100); f.close()"
    assert run(micropython, path, code) == "True\n"


def test_modules_run_where_they_lie(root: Path, micropython: str, tmp_path: Path) -> None:
    import build

    build.build(tmp_path)
    (tmp_path / "image").write_bytes(romfs.image(romfs.read([tmp_path / "mpy"])))
    code = "sys.path[:] = ['/rom']; from meuse_protocol.framing import frame; print(frame(b'123').hex())"
    assert run(micropython, tmp_path / "image", code).startswith("08313233")
