"""Runs every test_* function of the named modules beside it, on MicroPython; prints what passed."""

import gc
import sys

here = __file__.rsplit("/", 1)[0]
root = here + "/../../.."
sys.path[:0] = [here, root + "/firmware/sim/micropython", root + "/firmware", root + "/protocol"]

ran = 0
for name in sys.argv[1:]:
    module = __import__(name)
    for case in sorted(dir(module)):
        if case.startswith("test_"):
            gc.collect()
            try:
                getattr(module, case)()
            except BaseException:
                print("FAILED", name, case)
                raise
            ran += 1
print(ran, "passed")
