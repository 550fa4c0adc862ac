"""What a board runs: safe outputs, a moment for `mpremote` to break in, then the application until the power goes.

/main.py on a board is `from meuse_board.main import run; run()`; the simulator calls run() with its own arguments.
"""

import os
import sys
import time

import machine

BREAK_IN_MS = 2000
CRASH_MS = 10_000  # between a crash and the reset: no loop that wears the flash, and time to break in
SLICE_MS = 500
CRASH_BYTES = 1000


def random_u32() -> int:
    return int.from_bytes(os.urandom(4), "big")


def run(root: str = "", break_in_ms: int = BREAK_IN_MS, also=(), ready=None, crash_ms: int = CRASH_MS) -> None:
    """`root`: where the board's files are; `also`: see App.run; ready(app) is called once, before the first reading."""
    from .config import Config
    from .outputs import make_safe

    config = Config(root + "/config.msgpack")
    unsafe = make_safe(config.value.get("outputs", ()), machine.Pin)
    undone = None
    try:
        undone = config.begin()
    except (OSError, MemoryError):
        pass  # a flash that refuses; the changes stay on trial
    if undone:
        unsafe = make_safe(config.value.get("outputs", ()), machine.Pin)
    config = None
    time.sleep_ms(break_in_ms)
    app = hardware = None
    try:
        from .app import App
        from .hardware import Hardware
        from .identity import identity
        from .loading import forget

        # Read again, now that the modules are loaded: keys they name cost no heap a second time.
        settings = Config(root + "/config.msgpack").value
        hardware = Hardware(settings.get("buses", {}))
        if "ops" in settings:
            from .commands import Commanded as App
        device, key = identity(root + "/secret.bin") or ("unnamed", None)
        app = App(settings, device, key, hardware, time, random_u32, root)
        settings = Config = make_safe = identity = None
        forget("config", "outputs", "identity", "log_boot")
        app.problems += ["output %s cannot be driven" % name for name in unsafe]
        if undone:
            app.problems.append("taken back, since nobody reached this board with the new value: " + undone)
        _report(app, root)
        if ready:
            ready(app)
        _interruptible(False)
        app.run(also)
    except Exception as problem:
        _interruptible(True)
        if app:
            _rescue(app)
        _note(root, problem)
        for _ in range(0, crash_ms, SLICE_MS):
            if hardware:
                hardware.feed(0)  # a watchdog that bites now would hide the crash
            time.sleep_ms(min(crash_ms, SLICE_MS))
        machine.reset()
    finally:
        _interruptible(True)


def _rescue(app) -> None:
    """After a crash: rows, totals and records to flash, as far as each of them still can."""
    for act in (app.batcher.close_all, app.kept.flush, app.log.flush):
        try:
            act()
        except Exception:
            pass  # whatever crashed may crash these; what is told is the first crash


def _interruptible(on: bool) -> None:
    """While frames flow, a byte 3 is a byte and not Ctrl-C."""
    import micropython

    if hasattr(micropython, "kbd_intr"):
        micropython.kbd_intr(3 if on else -1)


def _note(root: str, problem) -> None:
    """Keeps what ended this boot for the next one."""
    import io

    sys.print_exception(problem)
    try:
        text = io.StringIO()
        sys.print_exception(problem, text)
        with open(root + "/crash.txt", "w") as f:
            f.write(text.getvalue()[-CRASH_BYTES:])
    except (OSError, MemoryError):
        pass  # the flash may be why, or the heap


def _report(app, root: str) -> None:
    """Tells of the boot before; its note goes when the record is on flash."""
    try:
        with open(root + "/crash.txt") as f:
            text = f.read()
        app.report_crash(text)
        if app.log.flush():
            os.remove(root + "/crash.txt")
    except (OSError, MemoryError):
        pass  # the boot before ended well
