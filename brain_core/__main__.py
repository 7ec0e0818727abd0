"""`python -m brain_core` is `brain`."""

import sys

from brain_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
