"""NOR flash as a block device for littlefs, in RAM or on a file; power may fail at any operation.

Owns: blocks of 4096 bytes, NOR rules (a program clears bits, an erase sets a block to 0xff),
counters of what wears a chip, and the cut: of operation `cut_at` only a part happens, and from then
on nothing is read or written any more (EIO). Knows nothing of files or records. Costs a virtual
board's heap half a kilobyte, so nothing here holds a whole block except around a cut.

    flash = FileFlash("flash.bin", 64)      # or RamFlash(64)
    mount(flash, "/flash")                  # formats a new one, mounts an old one
"""

import os

import vfs

BLOCK_BYTES = 4096
READ, PROGRAM, ERASE = 0, 1, 2
CLEAN, HALF, RANDOM = 0, 1, 2  # how a cut operation ends: not begun, half done, random bits done
EIO = -5
ERASED = b"\xff" * 256


def torn(old, new, mode, random):
    """What the cells hold when power fails while `old` becomes `new`; `random(n)` gives n bytes."""
    size = len(old)
    if mode == CLEAN:
        return bytes(old)
    if mode == HALF:
        return bytes(new[: size // 2]) + bytes(old[size // 2 :])
    noise = int.from_bytes(random(size), "big")
    before, after = int.from_bytes(old, "big"), int.from_bytes(new, "big")
    # Each bit that had to change has changed or not; the others stay.
    return (before ^ ((before ^ after) & noise)).to_bytes(size, "big")


class Flash:
    """The rules; a subclass gives `_read(address, buffer)` and `_write(address, data)`.

    before(kind, block, offset, data): called before each operation (data is None for an erase).
    after(kind, block, offset, size): called when the operation is complete in the cells.
    fail(kind, block): may return an errno to answer with in place of the operation.
    """

    def __init__(self, blocks):
        self.blocks = blocks
        self.operations = self.programs = self.erases = self.programmed_bytes = self.reads = 0
        self.before = self.after = self.fail = None
        self.cut_at = None  # number of the operation (from 1) in which power fails
        self.cut_mode = CLEAN
        self.random = os.urandom
        self.dead = False  # no power: every access gives EIO

    def readblocks(self, block, buffer, offset=0):
        error = self.fail and self.fail(READ, block)
        if error or self.dead:
            return -error if error else EIO
        self.reads += 1
        self._read(block * BLOCK_BYTES + offset, buffer)

    def writeblocks(self, block, data, offset=None):
        if offset is None:  # the plain protocol erases by itself (FAT)
            for i in range(len(data) // BLOCK_BYTES):
                error = self._operate(ERASE, block + i, 0, None)
                if error:
                    return error
            offset = 0
        return self._operate(PROGRAM, block, offset, data)

    def ioctl(self, request, argument):
        if request == 4:
            return self.blocks
        if request == 5:
            return BLOCK_BYTES
        if request == 6:
            return self._operate(ERASE, argument, 0, None) or 0
        return EIO if self.dead else 0

    def _operate(self, kind, block, offset, data):
        """One program or erase; None when done, a negative errno when not."""
        if self.dead:
            return EIO
        if self.before:
            self.before(kind, block, offset, data)
        error = self.fail and self.fail(kind, block)
        if error:
            return -error
        self.operations += 1
        address = block * BLOCK_BYTES + offset
        if self.operations == self.cut_at:
            self.dead = True
            old, new = self.change(kind, address, data)
            self._write(address, torn(old, new, self.cut_mode, self.random))
            return EIO
        if kind == ERASE:
            self.erases += 1
            for at in range(address, address + BLOCK_BYTES, len(ERASED)):
                self._write(at, ERASED)
        else:
            self.programs += 1
            self.programmed_bytes += len(data)
            self._write(address, self.change(kind, address, data)[1])
        if self.after:
            self.after(kind, block, offset, BLOCK_BYTES if kind == ERASE else len(data))

    def change(self, kind, address, data):
        """The cells before and after the operation, as two byte strings of the same length."""
        old = bytearray(BLOCK_BYTES if kind == ERASE else len(data))
        self._read(address, old)
        if kind == ERASE:
            return old, b"\xff" * BLOCK_BYTES
        both = int.from_bytes(old, "big") & int.from_bytes(data, "big")
        return old, both.to_bytes(len(old), "big")


class RamFlash(Flash):
    """A chip in RAM; `cells` is all of it, so a copy of a chip is a copy of its cells."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.cells = bytearray(ERASED * (blocks * BLOCK_BYTES // len(ERASED)))

    def _read(self, address, buffer):
        buffer[:] = memoryview(self.cells)[address : address + len(buffer)]

    def _write(self, address, data):
        self.cells[address : address + len(data)] = data


class FileFlash(Flash):
    """A chip in a file, made when missing.

    A program is one write of the operating system, so that what a killed process had programmed is
    there when it is started again; an erase is several, so that a kill may leave one half done.
    """

    def __init__(self, path, blocks):
        super().__init__(blocks)
        size = blocks * BLOCK_BYTES
        try:
            found = os.stat(path)[6]
        except OSError:
            found = 0
        if found != size:
            if found:
                raise ValueError("{}: {} bytes are not {} blocks".format(path, found, blocks))
            with open(path + ".new", "wb") as f:
                for _ in range(size // len(ERASED)):
                    f.write(ERASED)
            os.rename(path + ".new", path)
        self._file = open(path, "r+b")

    def _read(self, address, buffer):
        self._file.seek(address)
        self._file.readinto(buffer)

    def _write(self, address, data):
        self._file.seek(address)
        self._file.write(data)

    def close(self):
        self._file.close()


def mount(flash, path, program_bytes=32):
    """Mounts littlefs at `path`; formats a chip that was never written.

    program_bytes: 32 as ESP32 mounts it, 256 as RP2040 does. A chip that is not empty and cannot be
    mounted is an OSError: nothing here wipes data.
    """
    if _blank(flash):
        vfs.VfsLfs2.mkfs(flash, readsize=32, progsize=program_bytes)
    vfs.mount(vfs.VfsLfs2(flash, readsize=32, progsize=program_bytes), path)


def _blank(flash):
    """Whether both blocks in which littlefs keeps its root are erased."""
    piece = bytearray(len(ERASED))
    for at in range(0, 2 * BLOCK_BYTES, len(piece)):
        flash.readblocks(at // BLOCK_BYTES, piece, at % BLOCK_BYTES)
        if piece != ERASED:
            return False
    return True
