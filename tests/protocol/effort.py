"""How long the searching tests search: MEUSE_EXAMPLES times as long, from another place each time.

The default, 1, is the same search on every run. MEUSE_RECORDS is how many records the loss goals of
the simulated line are measured on; a nightly run takes 1,000,000, and 100,000 on each pair of links. MEUSE_SEED names
what chance does to those.
"""

import os

EXAMPLES = int(os.environ.get("MEUSE_EXAMPLES", "1"))
RECORDS = int(os.environ.get("MEUSE_RECORDS", "24000"))
SEED = os.environ.get("MEUSE_SEED", "1")
