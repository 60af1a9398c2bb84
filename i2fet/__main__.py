"""`python -m i2fet`, the same as the `i2fet` command."""

import sys

from i2fet.cli import main

sys.exit(main())
