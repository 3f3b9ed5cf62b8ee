"""Published sets' files are written by those who read them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "datasets" / "benchmarks"))
