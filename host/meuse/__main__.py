"""`python -m meuse` is `meuse`."""

from meuse.cli import main

main()
