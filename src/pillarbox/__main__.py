"""``python -m pillarbox`` is the command ``pillarbox``."""

import sys

from pillarbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
