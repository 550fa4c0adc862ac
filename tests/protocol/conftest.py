"""What the tests here share: the helpers of the tests for both runtimes, and how long to search.

MEUSE_EXAMPLES=20 searches twenty times as long, from another place each time; the default is the
same search on every run.
"""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

EXAMPLES = int(os.environ.get("MEUSE_EXAMPLES", "1"))
settings.register_profile(
    "meuse",
    max_examples=100 * EXAMPLES,
    derandomize=EXAMPLES == 1,
    database=None,
    deadline=None,
    print_blob=True,
)
settings.load_profile("meuse")
