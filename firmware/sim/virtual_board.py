"""One virtual board: the real firmware on the real MicroPython, in a simulated world. `--help` shows an example.

Only the entry: what it does is in world/cli.py.
"""

import sys

from world.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
