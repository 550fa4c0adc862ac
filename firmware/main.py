"""/main.py of a board; the firmware itself lies in its ROM file system (firmware/README.md)."""

from meuse_board.main import run

run()
