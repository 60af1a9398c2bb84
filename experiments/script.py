"""How every script of this folder is run as a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from i2fet.errors import I2fetError


def run(main: Callable[[], None]) -> None:
    """Run a script; a user's error is told in one sentence, with exit code 2."""
    try:
        main()
    except I2fetError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2)
