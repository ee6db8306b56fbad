"""JPEG blocks, stripes, and labels: artifacts found in pixels, removed or repeated.

A JPEG holds the cosine transform of blocks of 8 x 8 pixels, rounded to multiples of a
step for each frequency. Pixels read from it still lie near those multiples, even if
they were saved in another format since (Fan and de Queiroz, IEEE Trans. Image Process.
12, 2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_zssr.imaging.resample import Array

if TYPE_CHECKING:
    from torch import Tensor

# Steps of 8 x 8 frequencies, row by row, then those of the colour differences if they
# were stored at full size; empty without JPEG.
Steps = tuple[float, ...]

BLOCK = 8
# Luma, blue and red difference (JFIF 1.02).
COLOURS = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
# Steps of quality 50 (ITU-T T.81, annex K.1), for frequencies without a sample.
STANDARD = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
STANDARD_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Below a step of 3 grey values, rounding to 8 bits hides the multiples.
STEP_RANGE = np.arange(3, 100)
# Mean cosine of the phase from which values count as multiples of a step.
COHERENT = 0.6
# About the largest coefficient that rounding to 8 bits makes of 0.
ROUNDING = 1.2
LEAST_VALUES, LEAST_SHARE = 12, 0.002
LEAST_FREQUENCIES = 5
# Largest deviation from a scaled standard table; drawings of few grey values have
# multiples without such a table.
MAX_SPREAD = 0.5
MAX_BLOCKS = 5_000
GRID_PX = 512
# Parts of a plane in which stripes must agree.
PARTS = 4
SMALLEST_PX = 64
# Pixels of each line that are evaluated, about and at least, in a large plane.
LINE_PX = 512
# Mean correlation of the parts' offsets, against the mean of both neighbours and
# against the median of three lines: nothing but stripes had both on scikit-image's
# pictures, confocal captures and microscopes' TIFFs, at full size and halved.
CORRELATED, CORRELATED_MEDIAN = 0.5, 0.1
WIDTH = 7
# Standard deviation of the offsets as a fraction of the range. Stronger ones, or mostly
# of one period, are rather a specimen, such as a grid.
WEAKEST, STRONGEST = 0.001, 0.03
ONE_PERIOD = 0.3
# Fewest lines that the offsets are spread over: a horizon, or the edge of a cover slip,
# lies on three.
FEWEST_LINES = 8
# Least share of equal neighbouring pixels, of those that are not background.
EQUAL = 0.9
LEAST_PAIRS = 32
# Side of the middle part of a plane that is evaluated for labels.
WINDOW_PX = 384


def jpeg_steps(pixels: NDArray[Any]) -> Steps:
    """Steps to which the blocks of an image (C, Y, X), grey or RGB, were rounded.

    In grey values: 64 of the luma, then 64 of the colour differences if those were
    stored at full size. Empty if the image was no JPEG, one of about the highest
    quality, or is not of 8 bits.
    """
    if pixels.dtype != np.uint8 or len(pixels) not in (1, 3):
        return ()
    if min(pixels.shape[1:]) < 4 * BLOCK:
        return ()
    for top, left in dict.fromkeys(((0, 0), _grid(pixels))):
        cut = pixels[:, top:, left:]
        luma = _steps(_coefficients(cut, 0), STANDARD)
        if luma is not None:
            # Halved colour lies on no multiples any more once it is enlarged.
            chroma = _steps(_coefficients(cut, 1), STANDARD_CHROMA)
            steps = luma if chroma is None else np.concatenate([luma, chroma])
            return tuple(float(step) for step in steps.ravel())
    return ()


def as_jpeg(image: Tensor, steps: Steps) -> Tensor:
    """Round the blocks of an image (C, Y, X) as a JPEG of these steps would.

    Steps are those of `jpeg_steps` in units of the image. Of three channels the luma
    and the colour differences are rounded; the latter, without steps of their own, at
    half the size, as most programs do.
    """
    import torch

    given = torch.tensor(steps, device=image.device, dtype=image.dtype)
    table, chroma_table = given[: BLOCK**2], given[BLOCK**2 :]
    if len(image) == 1:
        return _rounded(image, table)
    to_ycc = torch.tensor(COLOURS, device=image.device, dtype=image.dtype)
    colours = torch.einsum("dc,cyx->dyx", to_ycc, image)
    luma = _rounded(colours[:1], table)
    if len(chroma_table):
        chroma = _rounded(colours[1:], chroma_table)
    else:
        chroma = _halved(colours[1:], table)
    stored = torch.cat([luma, chroma])
    return torch.einsum("cd,dyx->cyx", torch.linalg.inv(to_ycc), stored)


def _halved(chroma: Tensor, table: Tensor) -> Tensor:
    """Colour differences (2, Y, X) rounded at half the size, by standard steps."""
    import torch

    standard = table.new_tensor(STANDARD_CHROMA).flatten()
    standard *= (table / table.new_tensor(STANDARD).flatten()).median()
    half = torch.nn.functional.avg_pool2d(chroma, 2, ceil_mode=True)
    half = _rounded(half, standard)[None]
    full = torch.nn.functional.interpolate(half, scale_factor=2, mode="bilinear")[0]
    return full[:, : chroma.shape[1], : chroma.shape[2]]


def _rounded(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (C, Y, X) with the frequencies of their blocks rounded to multiples."""
    import torch

    _, height, width = planes.shape
    padding = (0, -width % BLOCK, 0, -height % BLOCK)
    dct = torch.as_tensor(_dct_matrix()).to(planes.device, planes.dtype)
    steps = table.reshape(BLOCK, BLOCK)
    rounded = []
    for padded in torch.nn.functional.pad(planes, padding, mode="replicate"):
        rows, columns = (size // BLOCK for size in padded.shape)
        blocks = padded.reshape(rows, BLOCK, columns, BLOCK).transpose(1, 2)
        coded = (dct @ blocks @ dct.T / steps).round() * steps
        decoded = (dct.T @ coded @ dct).transpose(1, 2).reshape(padded.shape)
        rounded.append(decoded[:height, :width])
    return torch.stack(rounded)


@cache
def _dct_matrix() -> Array:
    """Orthonormal cosine transform of 8 values."""
    return np.asarray(fft.dct(np.eye(BLOCK), axis=0, norm="ortho"))


def _colour(pixels: NDArray[Any], number: int) -> Array:
    """Luma, or a colour difference, of grey or RGB."""
    weights = np.array(COLOURS[number] if len(pixels) == 3 else (1.0,))
    return np.tensordot(weights, pixels.astype(np.float64), axes=1)


def _grid(pixels: NDArray[Any]) -> tuple[int, int]:
    """First pixel (Y, X) of a block, found by the steeper slopes at its borders.

    It is not the image's own first pixel if this was cut out of a larger one.
    """
    rows, columns = (
        slice(start, start + GRID_PX)
        for size in pixels.shape[1:]
        for start in [max(0, size - GRID_PX) // (2 * BLOCK) * BLOCK]
    )
    plane = _colour(pixels[:, rows, columns], 0)
    first = []
    for axis in (0, 1):
        jumps = np.abs(np.diff(plane, 2, axis=axis)).mean(axis=1 - axis)
        steep = jumps[: len(jumps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=0)
        # A border between pixels k and k + 1 shows in the curvatures at k - 1 and k.
        both = steep + np.roll(steep, 1)
        first.append((int(both.argmax()) + 1) % BLOCK)
    return first[0], first[1]


def _coefficients(pixels: NDArray[Any], colour: int) -> Array:
    """Cosine transform of blocks, (blocks, 8, 8); no blocks for the colour of grey."""
    if colour and len(pixels) == 1:
        return np.empty((0, BLOCK, BLOCK))
    rows, columns = (size // BLOCK for size in pixels.shape[1:])
    thinning = max(1, math.ceil(rows * columns / MAX_BLOCKS))
    cut = pixels[:, : rows * BLOCK, : columns * BLOCK]
    bands = cut.reshape(len(cut), rows, BLOCK, -1)[:, ::thinning]
    plane = _colour(bands.reshape(len(cut), -1, columns * BLOCK), colour)
    blocks = plane.reshape(-1, BLOCK, columns, BLOCK).swapaxes(1, 2)
    values = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    return np.asarray(values.reshape(-1, BLOCK, BLOCK))


def _steps(values: Array, table: tuple[tuple[int, ...], ...]) -> Array | None:
    """Steps of all frequencies by the scaled table, if enough of them show one."""
    measured = np.zeros((BLOCK, BLOCK))
    tested = 0
    for y, x in np.ndindex(BLOCK, BLOCK):
        # A coefficient of order 0 is the mean, which has another origin.
        if 0 < y + x < BLOCK:
            step = _step(values[:, y, x])
            tested += step is not None
            measured[y, x] = step or 0
    known = measured > 0
    if known.sum() < max(LEAST_FREQUENCIES, tested / 2):
        return None
    standard = np.array(table, dtype=np.float64)
    ratios = np.log(measured[known] / standard[known])
    middle = np.median(ratios)
    if np.median(np.abs(ratios - middle)) > MAX_SPREAD:
        return None
    return np.where(known, measured, np.maximum(1, standard * np.exp(middle)))


def _step(values: Array) -> int | None:
    """Largest step that divides the values: 0 if there is none, None without values."""
    sizes = np.sort(np.abs(values))
    least = max(LEAST_VALUES, LEAST_SHARE * len(sizes))
    coherence = []
    for step in STEP_RANGE:
        # Values rounded to 0 are uninformative, those between multiples decisive.
        large = sizes[np.searchsorted(sizes, max(step / 4, ROUNDING)) :]
        if len(large) < least:
            break
        coherence.append(float(np.cos(2 * np.pi * large / step).mean()))
    if not coherence:
        return None
    coherent = np.flatnonzero(np.array(coherence) > COHERENT)
    if len(coherent) == 0:
        return 0
    # The step's neighbours are coherent too, and so are its divisors.
    steps = STEP_RANGE[: len(coherence)]
    near = (steps >= 0.7 * steps[coherent[-1]]) & (steps <= steps[coherent[-1]])
    return int(steps[near][np.argmax(np.array(coherence)[near])])


def without_stripes(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Subtract the offsets of rows and columns of a normalised image (C, Y, X).

    Returns the result and the largest standard deviation of the offsets in one
    direction; the image itself and 0 if it has no stripes.
    """
    offsets = {
        (channel, axis): lines
        for channel, plane in enumerate(image)
        for axis in (0, 1)
        if (lines := line_offsets(plane, axis)) is not None
    }
    if not offsets:
        return image, 0.0
    clean = image.copy()
    for (channel, axis), lines in offsets.items():
        clean[channel] -= np.expand_dims(lines.astype(np.float32), 1 - axis)
    return clean, max(float(lines.std()) for lines in offsets.values())


def line_offsets(plane: NDArray[Any], axis: int) -> Array | None:
    """Offsets of the rows (axis 0) or columns (axis 1) of a normalised plane (Y, X).

    Relative to the neighbouring lines; None if there are no stripes.
    """
    if min(plane.shape) < SMALLEST_PX:
        return None
    lines = np.asarray(plane if axis == 1 else plane.T)
    lines = lines[:: max(1, len(lines) // LINE_PX)].astype(np.float64)
    neighbours = ndimage.correlate1d(lines, (0.5, 0.0, 0.5), axis=1, mode="mirror")
    if _correlation(lines - neighbours) < CORRELATED:
        return None
    if _correlation(lines - _median(lines, 3)) < CORRELATED_MEDIAN:
        return None
    offsets: Array = np.median(lines - _median(lines, WIDTH), axis=0)
    if not WEAKEST <= offsets.std() <= STRONGEST:
        return None
    power = np.abs(np.fft.rfft(offsets - offsets.mean())) ** 2
    # Share of the power that has one period, or nearly that one.
    one_period = np.convolve(power, np.ones(3), mode="valid").max() / power.sum()
    if one_period > ONE_PERIOD:
        return None
    # Number of lines of one size that would have the same second and fourth moment.
    lines_used = (offsets**2).sum() ** 2 / (offsets**4).sum()
    return offsets if lines_used >= FEWEST_LINES else None


def _median(lines: Array, width: int) -> Array:
    """Median over neighbouring lines."""
    return np.asarray(ndimage.median_filter(lines, size=(1, width), mode="mirror"))


def _correlation(residual: Array) -> float:
    """Mean correlation of the lines' offsets in four parts of the plane."""
    # The outermost lines have neighbours on one side only.
    parts = np.array_split(residual[:, 2:-2], PARTS)
    offsets = np.array([np.median(part, axis=0) for part in parts])
    offsets -= offsets.mean(axis=1, keepdims=True)
    size = np.sqrt((offsets**2).sum(axis=1))
    if size.min() <= 0:
        return 0.0
    unit = offsets / size[:, None]
    return float((unit @ unit.T)[np.triu_indices(PARTS, 1)].mean())


def is_piecewise_constant(planes: Sequence[NDArray[Any]]) -> bool:
    """Whether nearly all neighbouring pixels of the objects are equal, as in labels.

    Of large planes (Y, X) of the channel the middle counts; its most frequent value is
    background. False for real numbers, and if there are hardly any objects.
    """
    if planes[0].dtype.kind not in "iu":
        return False
    equal = pairs = 0
    for plane in planes:
        rows, columns = (
            slice(max(0, (size - WINDOW_PX) // 2), (size + WINDOW_PX) // 2)
            for size in plane.shape
        )
        middle = plane[rows, columns]
        values, counts = np.unique(middle, return_counts=True)
        for pixels in (middle, middle.T):
            objects = pixels != values[counts.argmax()]
            inside = objects[:-1] & objects[1:]
            pairs += int(inside.sum())
            equal += int((inside & (pixels[:-1] == pixels[1:])).sum())
    return pairs >= LEAST_PAIRS and equal >= EQUAL * pairs
