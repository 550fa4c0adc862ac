"""How this program was called, so that advice can be typed as it stands."""

import shlex
import shutil
import sys
from pathlib import Path


def meuse(arguments: str) -> str:
    """`meuse ARGUMENTS`, with the path of the command where it is not on the user's own."""
    called = sys.argv[0]
    by_path = Path(called).name == "meuse" and not shutil.which("meuse")
    return f"{shlex.quote(called) if by_path else 'meuse'} {arguments}"
