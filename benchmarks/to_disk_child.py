"""Enlarges one file into another, in a process that can be measured or killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from napari_zssr.config import Config
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.io.read import read
from napari_zssr.progress import drain


def main(argv: list[str]) -> None:
    """Arguments: source, target, settings as JSON."""
    source, target = Path(argv[0]), Path(argv[1])
    config = Config.from_dict(json.loads(argv[2]))
    stack = read(source, lazy=True)
    drain(upscale_to_disk_steps(stack, config, target, threads=1))


if __name__ == "__main__":
    main(sys.argv[1:])
