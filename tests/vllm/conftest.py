"""The tests of vLLM use the models of the unit and the families' tests, and where there is one a
pretrained model."""

import os
import sys
from pathlib import Path

for name in ("unit", "families", "real"):
    sys.path.insert(0, str(Path(__file__).parents[1] / name))
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GB, of which these models need little
