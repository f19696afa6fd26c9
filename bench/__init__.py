"""Benchmarks, and what is known of the GPU kernels; only in the repository, not in the package."""

import sys
from pathlib import Path

# last: where sjd2 is installed that one counts, in a bare checkout its source
sys.path.append(str(Path(__file__).resolve().parent.parent / "python"))
