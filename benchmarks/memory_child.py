"""Runs the engine on one generated plane and prints its peak memory as JSON.

The plane is held in memory as a whole, or read from a file and its result written to
one band by band.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.job import enlarge
from benchmarks.promises import texture
from napari_zssr.config import Config
from napari_zssr.io.read import read
from napari_zssr.progress import drain
from napari_zssr.stack.image import planes, to_cyx
from napari_zssr.stack.plane import (
    ChannelSetup,
    PlaneInput,
    intensity_maps,
    upscale_plane_steps,
)
from napari_zssr.stack.prepare import make_plan

PIECE_PX = 512


def plane(size: int) -> NDArray[np.uint16]:
    """Plane (size, size) of repeated texture with photon noise, made in pieces."""
    image = np.empty((size, size), dtype=np.uint16)
    for number, rows in enumerate(_rows(size)):
        image[number * PIECE_PX :][: len(rows)] = rows
    return image


def _rows(size: int) -> Iterator[NDArray[np.uint16]]:
    """The plane in consecutive pieces."""
    pattern = texture(PIECE_PX)
    draw = np.random.default_rng(0)
    for y in range(0, size, PIECE_PX):
        rows = np.empty((min(PIECE_PX, size - y), size), dtype=np.uint16)
        for x in range(0, size, PIECE_PX):
            piece = rows[:, x : x + PIECE_PX]
            piece[:] = draw.poisson(pattern[: piece.shape[0], : piece.shape[1]])
        yield rows


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
    """Arguments: side in pixels, settings as JSON, and ``disk`` to hold neither."""
    size, config = int(argv[0]), Config.from_dict(json.loads(argv[1]))
    if argv[2:] == ["disk"]:
        measured = from_disk_to_disk(size, config)
    else:
        image = plane(size)
        before = peak_bytes()
        measured = {"before_bytes": before, "seconds": enlarge(image, config).seconds}
    measured["peak_bytes"] = peak_bytes()
    sys.stdout.write(json.dumps(measured) + "\n")


def from_disk_to_disk(size: int, config: Config) -> dict[str, float]:
    """Enlarge a plane that lies in a TIFF, and write the rows of the result to a file.

    Parameters
    ----------
    size : int
        Side in pixels.
    config : Config

    Returns
    -------
    dict
        ``before_bytes``, ``planned_bytes``, ``scratch_bytes`` and ``seconds``.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_plane(folder / "plane.tif", size)
        before, started = peak_bytes(), time.perf_counter()
        stack = read(folder / "plane.tif", lazy=True, axes="YX")
        plan = make_plan(stack, config, to_disk=True)
        (plane_index,) = listed = planes(stack.axes, stack.data.shape)
        mapping = intensity_maps(stack.data, stack.axes, listed)[0]
        work = PlaneInput(
            pixels=to_cyx(stack.data[plane_index.index], stack.axes),
            plane_index=plane_index,
            channel=ChannelSetup(number=0, config=config, mapping=mapping),
            scratch=folder,
        )
        made = drain(upscale_plane_steps(work, plan))
        with made, (folder / "result").open("wb") as file:
            for band in made.bands():
                file.write(band.data)
        return {
            "before_bytes": before,
            "planned_bytes": plan.memory_bytes,
            "scratch_bytes": plan.scratch_bytes,
            "seconds": time.perf_counter() - started,
        }


def _write_plane(path: Path, size: int) -> None:
    tifffile.imwrite(path, shape=(size, size), dtype=np.uint16, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.series[0].dataoffset
    assert offset is not None
    with path.open("r+b") as file:
        file.seek(offset)
        for rows in _rows(size):
            file.write(rows.data)


if __name__ == "__main__":
    main(sys.argv[1:])
