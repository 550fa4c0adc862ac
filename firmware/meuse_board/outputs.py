"""First thing at boot, before anything that takes time or could fail: what the board drives goes to its safe state.

Knows nothing of commands: see commands.py.
"""


def make_safe(outputs: list, pin) -> list:
    """Opens each output at its safe level (`safe`: 0 or 1, 0 if not said) without a glitch between; `pin`: machine.Pin.

    Works through the whole list: one bad entry must not leave the others undriven. Returns the names that failed.
    """
    failed = []
    for output in outputs:
        try:
            pin(output["pin"], pin.OUT, value=output.get("safe", 0))
        except Exception:
            failed.append(output.get("name", "?"))
    return failed
