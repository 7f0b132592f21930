"""``python -m ci_plugin`` is the command ``stagepin``."""

import sys

from ci_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
