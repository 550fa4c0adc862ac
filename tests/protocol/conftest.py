"""What the tests here share: the helpers of the tests for both runtimes, and how long to search."""

import sys
from pathlib import Path

from hypothesis import settings

from tests.protocol.effort import EXAMPLES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

settings.register_profile(
    "meuse",
    max_examples=100 * EXAMPLES,
    derandomize=EXAMPLES == 1,
    database=None,
    deadline=None,
    print_blob=True,
)
settings.load_profile("meuse")
