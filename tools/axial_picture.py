"""Picture of the page on isotropic stacks: ``python -m tools.axial_picture STACK PNG``.

The stack is thinned by averaging pairs of slices, and made isotropic again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile

from napari_zssr import upscale
from napari_zssr.imaging.resample import imresize
from napari_zssr.stack.picture import Row, side_by_side

# Slices that are used, and the row of the section.
SLICES, ROW = slice(20, 116), 44


def main(stack: Path, target: Path) -> None:
    """Draw a lateral plane and a section: as recorded, cubic, learned."""
    pixels = tifffile.imread(stack)[SLICES].astype(np.float32)
    thinned = (pixels[::2] + pixels[1::2]) / 2
    learned = upscale(thinned, axes="ZYX", factor=1, factor_z=2, device="cpu")
    section = thinned[:, ROW]
    panels = (
        thinned[len(thinned) // 2],
        np.repeat(section, 2, axis=0),
        imresize(section, (2.0, 1.0)),
        learned[:, ROW],
    )
    titles = ("XY", "XZ, slices", "XZ, cubic", "XZ, learned")
    side_by_side([Row(label="Nuclei", panels=panels)], titles).save(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
