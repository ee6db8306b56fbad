"""A blur in numbers, for people. Without Qt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.kernel import FineKernel

Array = NDArray[np.float64]
Pair = tuple[float, float]

FWHM = 2 * math.sqrt(2 * math.log(2))
# Weights below this share of the strongest are left out of the picture.
FAINT = 0.01
SAMPLES = 20
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
    wide, narrow = half_widths(kernel)
    shape = picture(kernel).shape
    told = [f"FWHM {_pair(wide, narrow)}{_spread(kernel)} px"]
    y, x = kernel.fine_um
    if y is not None and x is not None:
        angle = math.radians(kernel.angle_deg)
        along = math.hypot(math.cos(angle) * y, math.sin(angle) * x)
        across = math.hypot(math.sin(angle) * y, math.cos(angle) * x)
        told.append(f"= {_pair(wide * along, narrow * across)} um")
    told.append(f"Picture {shape[0]} x {shape[1]} px of result")
    if y is not None and x is not None:
        told.append(f"= {shape[0] * y:.2g} x {shape[1] * x:.2g} um")
    return told


def in_short(kernel: FineKernel) -> str:
    """Width of a kernel in a few words."""
    if kernel.spec.kind == "bicubic":
        return "bicubic was taken"
    wide, narrow = half_widths(kernel)
    return f"FWHM {_pair(wide, narrow)} px"


def half_widths(kernel: FineKernel) -> Pair:
    """Full widths at half maximum along the principal axes, fine pixels."""
    if kernel.spec.kind == "gaussian" and kernel.widths_px is not None:
        large, small = kernel.widths_px
        return FWHM * large, FWHM * small
    angle = math.radians(kernel.angle_deg)
    weights = kernel.array
    along = _half_width(weights, (math.cos(angle), math.sin(angle)))
    return along, _half_width(weights, (-math.sin(angle), math.cos(angle)))


def _half_width(weights: Array, direction: Pair) -> float:
    """Where the profile through the middle falls to half of what it is there."""
    middle = [size // 2 for size in weights.shape]
    steps = np.arange(SAMPLES * (max(weights.shape) // 2 + 2)) / SAMPLES
    places = [m + steps * d for m, d in zip(middle, direction, strict=True)]
    sampled: Any = ndimage.map_coordinates(weights, places, order=3, mode="constant")
    below = np.flatnonzero(sampled < sampled[0] / 2)
    if not len(below) or below[0] == 0:
        return 0.0
    n = int(below[0])
    part = (sampled[n - 1] - sampled[0] / 2) / (sampled[n - 1] - sampled[n])
    return 2 * (n - 1 + float(part)) / SAMPLES


def _spread(kernel: FineKernel) -> str:
    if kernel.spread_px is None:
        return ""
    return f" +- {FWHM * max(kernel.spread_px):.1g}"


def _pair(one: float, other: float) -> str:
    if abs(one - other) <= ALIKE * max(one, other):
        return f"{one:.2g}"
    return f"{one:.2g} x {other:.2g}"
