"""A blur in numbers, for people. Without Qt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.optics import FWHM

Array = NDArray[np.float64]

# Weights below this share of the strongest are left out of the picture.
FAINT = 0.01
# Widths that differ by less are told as one.
ALIKE = 0.03


def picture(kernel: FineKernel) -> Array:
    """The middle of a kernel that can be seen, shape (odd, odd)."""
    weights = kernel.array
    strong = np.abs(weights) > FAINT * np.abs(weights).max()
    parts = []
    for axis in (0, 1):
        middle = weights.shape[axis] // 2
        far = np.abs(np.flatnonzero(strong.any(axis=1 - axis)) - middle).max()
        reach = min(middle, max(1, int(far)))
        parts.append(slice(middle - reach, middle + reach + 1))
    return weights[tuple(parts)]


def lines(kernel: FineKernel) -> list[str]:
    """Width and size of a kernel: in pixels of the result, and in um where known."""
    shape = picture(kernel).shape
    told = [f"FWHM {_pair(*kernel.fwhm_px)}{_spread(kernel)} px"]
    if kernel.fwhm_um is not None:
        told.append(f"= {_pair(*kernel.fwhm_um)} um")
    told.append(f"Picture {shape[0]} x {shape[1]} px of result")
    y, x = kernel.fine_um
    if y is not None and x is not None:
        told.append(f"= {shape[0] * y:.2g} x {shape[1] * x:.2g} um")
    return told


def in_short(kernel: FineKernel) -> str:
    """Width of a kernel in a few words."""
    if kernel.spec.kind == "bicubic":
        return "bicubic was taken"
    return f"FWHM {_pair(*kernel.fwhm_px)} px"


def _spread(kernel: FineKernel) -> str:
    if kernel.spread_px is None:
        return ""
    return f" +- {FWHM * max(kernel.spread_px):.1g}"


def _pair(one: float, other: float) -> str:
    if abs(one - other) <= ALIKE * max(one, other):
        return f"{one:.2g}"
    return f"{one:.2g} x {other:.2g}"
