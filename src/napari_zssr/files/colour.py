"""Turning stored samples into grey or RGB: palettes, inks, luma and chroma, L*a*b*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]
YCBCR_COEFFICIENTS = (0.299, 0.587, 0.114)
# White of ICC profiles (D50), and from it to linear sRGB, adapted after Bradford.
_WHITE = (0.96422, 1.0, 0.82521)
_XYZ_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def inverted(pixels: Samples, bits: int) -> Samples:
    """Exchange black and white of integers.

    Parameters
    ----------
    pixels : ndarray of int
        Unsigned or signed.
    bits : int
        Bits that an unsigned value uses, at most those of its type.
    """
    most = -1 if pixels.dtype.kind == "i" else 2**bits - 1
    turned: Samples = np.subtract(most, pixels, dtype=pixels.dtype)
    return turned


def rgb_from_cmyk(inks: Samples) -> Samples:
    """Convert inks to RGB without colour management: each ink takes away its light.

    Parameters
    ----------
    inks : ndarray of uint8 or uint16
        C, M, Y and K along the last axis, 0 for no ink.
    """
    most = np.iinfo(inks.dtype).max
    light = most - inks.astype(np.float32)
    return _whole(light[..., :3] * light[..., 3:] / most, inks.dtype)


def rgb_from_ycbcr(
    pixels: Samples,
    coefficients: Sequence[float] = YCBCR_COEFFICIENTS,
    reference: Sequence[float] | None = None,
) -> Samples:
    """Convert luma and chroma to RGB.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16
        Y, Cb and Cr along the last axis.
    coefficients : sequence of float
        Share of red, green and blue in the luma.
    reference : sequence of float, optional
        Black and white of Y, Cb and Cr (``ReferenceBlackWhite``); the full range
        unless given.
    """
    most = np.iinfo(pixels.dtype).max
    middle = (most + 1) // 2
    ends = reference or (0, most, middle, most, middle, most)
    black, white = (np.array(ends[n::2], dtype=np.float32) for n in (0, 1))
    coded = np.array([most, most - middle, most - middle], dtype=np.float32)
    luma, blue, red = np.moveaxis((pixels - black) * coded / (white - black), -1, 0)
    of_red, of_green, of_blue = coefficients
    r = luma + red * (2 - 2 * of_red)
    b = luma + blue * (2 - 2 * of_blue)
    g = (luma - of_blue * b - of_red * r) / of_green
    return _whole(np.stack([r, g, b], axis=-1), pixels.dtype)


def rgb_from_lab(pixels: Samples, *, signed: bool) -> Samples:
    """Convert CIE L*a*b* (D50) to sRGB.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16
        L*, a* and b* along the last axis.
    signed : bool
        a* and b* are two's complement (CIELab); else they have an offset (ICCLab).
    """
    bits = 8 * pixels.dtype.itemsize
    step, middle = 2 ** (bits - 8), 2 ** (bits - 1)
    most = np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32)
    brightest = most if signed or bits == 8 else 255 * step
    chroma = values[..., 1:]
    chroma = (chroma + middle) % 2**bits - middle if signed else chroma - middle
    lightness = values[..., 0] * (100 / brightest)
    linear = _xyz_from_lab(lightness, chroma / step) @ _XYZ_TO_SRGB.T.astype(np.float32)
    return _whole(_srgb_curve(linear) * most, pixels.dtype)


def _xyz_from_lab(lightness: Samples, chroma: Samples) -> Samples:
    y = (lightness + 16) / 116
    cubed = np.stack([y + chroma[..., 0] / 500, y, y - chroma[..., 1] / 200], axis=-1)
    edge = 6 / 29
    ratios = np.where(cubed > edge, cubed**3, 3 * edge**2 * (cubed - 4 / 29))
    return ratios * np.array(_WHITE, dtype=np.float32)


def _srgb_curve(linear: Samples) -> Samples:
    light = np.clip(linear, 0, 1)
    return np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )


def table_colours(table: Samples) -> Samples:
    """Entries of a ``ColorMap`` as 8-bit RGB, one row for each index.

    Parameters
    ----------
    table : ndarray
        Shape (3, n): red, green and blue of 16 bits. Some programs write 8 bits.
    """
    entries = np.asarray(table, dtype=np.uint16)
    return (entries if entries.max() <= 255 else entries >> 8).T.astype(np.uint8)


def ramp_colour(colours: Samples) -> tuple[int, int, int] | None:
    """Colour to which a table rises evenly from black; None if it does not.

    Parameters
    ----------
    colours : ndarray of uint8
        Shape (n, 3).
    """
    last = colours[-1]
    even = np.linspace(0, 1, len(colours))[:, None] * last
    if not last.any() or np.abs(colours - even).max() > 1:
        return None
    red, green, blue = (int(value) for value in last)
    return red, green, blue


def is_smooth(colours: Samples, step: int = 16) -> bool:
    """Whether neighbouring entries of a table are alike, its two ends aside.

    Indices into such a table are intensities in false colours, as of ImageJ's "Fire"
    or "HiLo"; the order of the colours of a quantised picture is arbitrary.
    """
    inner = colours[1:-1].astype(np.int16)
    return len(inner) > 1 and bool(np.abs(np.diff(inner, axis=0)).max() <= step)


def oriented(pixels: Samples, orientation: int, y: int, x: int) -> Samples:
    """Turn a picture upright.

    Parameters
    ----------
    pixels : ndarray
    orientation : int
        1 to 8, as in TIFF and EXIF.
    y, x : int
        Number of the axes of rows and columns.
    """
    if swaps_sides(orientation):
        pixels = pixels.swapaxes(y, x)
    if orientation in {3, 4, 7, 8}:
        pixels = np.flip(pixels, y)
    return np.flip(pixels, x) if orientation in {2, 3, 6, 7} else pixels


def swaps_sides(orientation: int) -> bool:
    """Whether rows become columns."""
    return orientation in {5, 6, 7, 8}


def _whole(values: Samples, dtype: np.dtype[Any]) -> Samples:
    """Round to integers of a type, kept within its range."""
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
