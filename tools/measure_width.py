"""Measure what a kernel of the wrong width costs.

``python -m tools.measure_width [PRESET]``. Crops of scikit-image's pictures are blurred
by a Gaussian of 1.2 pixels and reduced by 2, then enlarged with kernels of several
widths and with the estimated one. Prints how much nearer to the crop they come than
bicubic interpolation does, in dB of PSNR: mean and worst picture.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import color, data, util

from napari_zssr import upscale
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec

PICTURES = (
    *("camera", "coins", "moon", "page", "brick", "grass", "cell", "coffee"),
    *("astronaut", "chelsea"),
)
SIDE = 256
CUT = 8
TRUE = "gaussian:1.2"
KERNELS = (
    *("bicubic", "gaussian:0.6", "gaussian:0.9", TRUE, "gaussian:1.5"),
    *("gaussian:1.8", "estimate"),
)


def picture(name: str) -> NDArray[np.float64]:
    """A crop (Y, X), 0 to 1, of even sides."""
    as_float: Any = util.img_as_float
    image = as_float(getattr(data, name)())
    grey = color.rgb2gray(image) if image.ndim == 3 else image
    y, x = (max(0, (n - SIDE) // 2) for n in grey.shape)
    crop = grey[y : y + SIDE, x : x + SIDE]
    height, width = (n // 2 * 2 for n in crop.shape)
    return np.asarray(crop[:height, :width], dtype=np.float64)


def psnr(image: NDArray[np.floating], truth: NDArray[np.float64]) -> float:
    """Decibels, borders left out, of a truth from 0 to 1."""
    error = (image - truth)[CUT:-CUT, CUT:-CUT]
    return float(-10 * np.log10(np.mean(error**2)))


def main(preset: str = "instant") -> None:
    """Measure and print."""
    gains: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    for name in PICTURES:
        truth = picture(name)
        son = degrade_array(truth, KernelSpec.parse(TRUE), (2, 2)).astype(np.float32)
        plain = psnr(imresize(son, (2.0, 2.0)), truth)
        for kernel in KERNELS:
            made = upscale(
                son, preset, axes="YX", kernel=kernel, noise="off", always=True
            )
            gains[kernel].append(psnr(made, truth) - plain)
    lines = ["| kernel | mean | worst |\n", "| --- | --- | --- |\n"]
    for kernel, found in gains.items():
        lines.append(f"| {kernel} | {np.mean(found):+.2f} | {min(found):+.2f} |\n")
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
