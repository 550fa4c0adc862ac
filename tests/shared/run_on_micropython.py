"""Runs every `test_*` function of the named files; works on MicroPython and on CPython.

    micropython -X heapsize=96k tests/shared/run_on_micropython.py tests/shared/test_cobs.py
"""

import gc
import sys

here = __file__.rsplit("/", 1)[0]
sys.path[:0] = [here, here + "/../../protocol", here + "/../../firmware"]

ran = 0
for path in sys.argv[1:]:
    module = __import__(path.rsplit("/", 1)[-1][:-3])
    for name in sorted(dir(module)):
        if name.startswith("test_"):
            gc.collect()
            try:
                getattr(module, name)()
            except BaseException:
                print("FAILED", path, name)
                raise
            ran += 1
print(ran, "passed")
