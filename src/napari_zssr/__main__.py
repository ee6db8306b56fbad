"""``python -m napari_zssr``: the command line."""

import sys

from napari_zssr.cli import main

if __name__ == "__main__":
    sys.exit(main())
