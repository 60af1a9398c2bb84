"""The `i2fet` command. The only package that knows all others."""

import os

# OpenMP threads that spin long for each other stall on busy cores: five times as long a step.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from i2fet.cli.entry import main, run

__all__ = ["main", "run"]
