"""Make the pictures of the generated images from which a start is learned.

``python -m tools.gallery`` writes a contact sheet a family to ``docs/images/``: a row a
kind, all of fixed seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training import microscope, photographs

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIDE = 144
ACROSS = 6
GAP = 3
LABEL = 18
SHADE = 3
SEED = 2

Kind = Callable[[np.random.Generator, int], NDArray[np.float32]]


def kinds() -> dict[str, dict[str, Kind]]:
    """Families of kinds; an image is (side, side) or (3, side, side), from 0 to 1."""
    return {
        "photographs": dict(photographs.KINDS),
        "microscope": dict(microscope.KINDS),
    }


def row(name: str, kind: Kind) -> NDArray[np.uint8]:
    """Images of one kind side by side below its name, (Y, X, 3)."""
    width = ACROSS * (SIDE + GAP) - GAP
    label = Image.new("RGB", (width, LABEL), "white")
    font = ImageFont.load_default(13)
    ImageDraw.Draw(label).text((1, 1), name, "black", font)
    made = np.full((LABEL + SIDE + GAP, width, 3), 255, dtype=np.uint8)
    made[:LABEL] = np.asarray(label)
    for column in range(ACROSS):
        image = kind(np.random.default_rng((SEED, column)), SIDE)
        seen = np.rint(255 * image).astype(np.uint8)
        left = column * (SIDE + GAP)
        made[LABEL : LABEL + SIDE, left : left + SIDE] = (
            seen[..., None] if seen.ndim == 2 else seen.transpose(1, 2, 0)
        )
    return made


def main(folder: Path = IMAGES) -> None:
    """Write every family's sheet."""
    for family, found in kinds().items():
        page = np.concatenate([row(name, kind) for name, kind in found.items()])[:-GAP]
        if (page == page[..., :1]).all():
            page = page[..., 0]
        # Fewer shades, for the size of the file.
        sheet = Image.fromarray(page // SHADE * SHADE)
        sheet.save(folder / f"gallery_{family}.png", optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
