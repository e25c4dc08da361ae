"""The tests of exports use the small models of the unit and the families' tests, and where there is
one a pretrained model."""

import sys
from pathlib import Path

for name in ("unit", "families", "real"):
    sys.path.insert(0, str(Path(__file__).parents[1] / name))
