"""Runs the engine on one generated plane and prints its peak memory as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_zssr.benchmark.job import enlarge
from napari_zssr.benchmark.promises import texture
from napari_zssr.config import Config

PIECE_PX = 512


def plane(size: int) -> NDArray[np.uint16]:
    """Plane (size, size) of repeated texture with photon noise, made in pieces."""
    pattern = texture(PIECE_PX)
    draw = np.random.default_rng(0)
    image = np.empty((size, size), dtype=np.uint16)
    for y in range(0, size, PIECE_PX):
        for x in range(0, size, PIECE_PX):
            piece = image[y : y + PIECE_PX, x : x + PIECE_PX]
            piece[:] = draw.poisson(pattern[: piece.shape[0], : piece.shape[1]])
    return image


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Raises
    ------
    SystemExit
        The system does not tell.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's, this peak does not begin with the parent's.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise SystemExit("peak memory is not known on this system") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(argv: list[str]) -> None:
    """Arguments: side in pixels, settings as JSON."""
    image = plane(int(argv[0]))
    before = peak_bytes()
    run = enlarge(image, Config.from_dict(json.loads(argv[1])))
    measured = {"before_bytes": before, "peak_bytes": peak_bytes()}
    sys.stdout.write(json.dumps({**measured, "seconds": run.seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
