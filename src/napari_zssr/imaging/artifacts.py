"""JPEG blocks: found in pixels that were once a JPEG, and done again to other images.

A JPEG holds the cosine transform of blocks of 8 x 8 pixels, rounded to multiples of a
step for each frequency. Pixels read from it still lie near those multiples, whatever
file they went to since (Fan and de Queiroz, IEEE Trans. Image Process. 12, 2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
# Steps of 8 x 8 frequencies, row by row; of the colour differences, too, where they
# were stored at full size; empty without JPEG.
Steps = tuple[float, ...]

BLOCK = 8
LUMA = (0.299, 0.587, 0.114)
# Luma, blue and red difference (JFIF 1.02).
COLOURS = (LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
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
# All tables rise alike; drawings of few grey values have multiples without a table.
MAX_SPREAD = 0.5
MAX_BLOCKS = 5_000
GRID_PX = 512


def jpeg_steps(pixels: NDArray[Any]) -> Steps:
    """Steps to which the blocks of an image were rounded.

    Parameters
    ----------
    pixels : ndarray, shape (C, Y, X)
        Grey or RGB, in the image's own dtype.

    Returns
    -------
    tuple of float
        In grey values: 64 of the luma, then 64 of the colour differences if those were
        stored at full size. Empty where the image was no JPEG, one of about the
        highest quality, or is not of 8 bits.
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
            found = luma if chroma is None else np.concatenate([luma, chroma])
            return tuple(float(step) for step in found.ravel())
    return ()


def as_jpeg(image: Tensor, steps: Steps) -> Tensor:
    """Round the blocks of an image as a JPEG of these steps would.

    Parameters
    ----------
    image : Tensor, shape (C, Y, X)
        Of three channels the luma is rounded, and the colour differences: without
        steps of their own at half the size, as most programs do.
    steps : tuple of float
        As `jpeg_steps` returns them, in units of the image.

    Returns
    -------
    Tensor, shape (C, Y, X)
    """
    import torch

    given = torch.tensor(steps, device=image.device, dtype=image.dtype)
    table, chroma_table = given[: BLOCK**2], given[BLOCK**2 :]
    if len(image) == 1:
        return _rounded(image, table)
    turn = torch.tensor(COLOURS, device=image.device, dtype=image.dtype)
    colours = torch.einsum("dc,cyx->dyx", turn, image)
    luma = _rounded(colours[:1], table)
    if len(chroma_table):
        chroma = _both_rounded(colours[1:], chroma_table)
    else:
        chroma = _halved(colours[1:], table)
    stored = torch.cat([luma, chroma])
    made: Tensor = torch.einsum("cd,dyx->cyx", torch.linalg.inv(turn), stored)
    return made


def _halved(chroma: Tensor, table: Tensor) -> Tensor:
    """Colour differences (2, Y, X) rounded at half the size, as the luma's steps."""
    import torch

    standard = table.new_tensor(STANDARD_CHROMA).flatten()
    standard *= (table / table.new_tensor(STANDARD).flatten()).median()
    half = torch.nn.functional.avg_pool2d(chroma, 2, ceil_mode=True)
    half = _both_rounded(half, standard)[None]
    full = torch.nn.functional.interpolate(half, scale_factor=2, mode="bilinear")[0]
    return full[:, : chroma.shape[1], : chroma.shape[2]]


def _both_rounded(chroma: Tensor, table: Tensor) -> Tensor:
    import torch

    return torch.cat([_rounded(plane[None], table) for plane in chroma])


def _rounded(plane: Tensor, table: Tensor) -> Tensor:
    """Plane (1, Y, X) with the blocks' frequencies rounded to multiples."""
    import torch

    _, height, width = plane.shape
    room = (0, -width % BLOCK, 0, -height % BLOCK)
    padded = torch.nn.functional.pad(plane, room, mode="replicate")[0]
    rows, columns = (size // BLOCK for size in padded.shape)
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).transpose(1, 2)
    turn = torch.as_tensor(_cosines()).to(plane.device, plane.dtype)
    steps = table.reshape(BLOCK, BLOCK)
    coded = (turn @ blocks @ turn.T / steps).round() * steps
    made: Tensor = (turn.T @ coded @ turn).transpose(1, 2).reshape(1, *padded.shape)
    return made[:, :height, :width]


@cache
def _cosines() -> Array:
    """Orthonormal cosine transform of 8 values, as a matrix."""
    matrix: Array = fft.dct(np.eye(BLOCK), axis=0, norm="ortho")
    return matrix


def _colour(pixels: NDArray[Any], number: int = 0) -> Array:
    """Luma, or a colour difference, of grey or RGB."""
    weights = np.array(COLOURS[number] if len(pixels) == 3 else (1.0,))
    plane: Array = np.tensordot(weights, pixels.astype(np.float64), axes=1)
    return plane


def _grid(pixels: NDArray[Any]) -> tuple[int, int]:
    """Where the first whole block begins (Y, X): its borders are steeper than others.

    Of an image that was cut out of a larger one, it is not the first pixel.
    """
    middle = [
        slice(start, start + GRID_PX)
        for size in pixels.shape[1:]
        for start in [max(0, size - GRID_PX) // (2 * BLOCK) * BLOCK]
    ]
    plane = _colour(pixels[:, middle[0], middle[1]])
    places = []
    for axis in (0, 1):
        jumps = np.abs(np.diff(plane, 2, axis=axis)).mean(axis=1 - axis)
        steep = jumps[: len(jumps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(axis=0)
        # Of a border between pixels k and k + 1, both curvatures k and k - 1 tell.
        both = steep + np.roll(steep, 1)
        places.append((int(both.argmax()) + 1) % BLOCK)
    return places[0], places[1]


def _coefficients(pixels: NDArray[Any], colour: int) -> Array:
    """Cosine transform of blocks, shape (blocks, 8, 8); no blocks of grey's colour."""
    if colour and len(pixels) == 1:
        return np.empty((0, BLOCK, BLOCK))
    rows, columns = (size // BLOCK for size in pixels.shape[1:])
    thin = max(1, int(np.ceil(rows * columns / MAX_BLOCKS)))
    cut = pixels[:, : rows * BLOCK, : columns * BLOCK]
    bands = cut.reshape(len(cut), rows, BLOCK, -1)[:, ::thin]
    plane = _colour(bands.reshape(len(cut), -1, columns * BLOCK), colour)
    blocks = plane.reshape(-1, BLOCK, columns, BLOCK).swapaxes(1, 2)
    values: Array = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    return values.reshape(-1, BLOCK, BLOCK)


def _steps(values: Array, table: tuple[tuple[int, ...], ...]) -> Array | None:
    """Steps of all frequencies, where enough of them show one; like `table`, scaled."""
    found = np.zeros((BLOCK, BLOCK))
    tested = 0
    for y, x in np.ndindex(BLOCK, BLOCK):
        # A coefficient of order 0 is the mean, which has another origin.
        if 0 < y + x < BLOCK:
            step = _one_step(values[:, y, x])
            tested += step is not None
            found[y, x] = step or 0
    known = found > 0
    if known.sum() < max(LEAST_FREQUENCIES, tested / 2):
        return None
    standard = np.array(table, dtype=np.float64)
    ratios = np.log(found[known] / standard[known])
    middle = np.median(ratios)
    if np.median(np.abs(ratios - middle)) > MAX_SPREAD:
        return None
    steps: Array = np.where(known, found, np.maximum(1, standard * np.exp(middle)))
    return steps


def _one_step(values: Array) -> int | None:
    """Largest step of which values are multiples: 0 for none, None without values."""
    sizes = np.sort(np.abs(values))
    least = max(LEAST_VALUES, LEAST_SHARE * len(sizes))
    coherence = []
    for step in STEP_RANGE:
        # Those that were rounded to 0 say nothing, those between multiples a lot.
        large = sizes[np.searchsorted(sizes, max(step / 4, ROUNDING)) :]
        if len(large) < least:
            break
        coherence.append(float(np.cos(2 * np.pi * large / step).mean()))
    if not coherence:
        return None
    found = np.flatnonzero(np.array(coherence) > COHERENT)
    if len(found) == 0:
        return 0
    # The step's neighbours are coherent too, and so are its divisors.
    steps = STEP_RANGE[: len(coherence)]
    near = (steps >= 0.7 * steps[found[-1]]) & (steps <= steps[found[-1]])
    return int(steps[near][np.argmax(np.array(coherence)[near])])


PARTS = 4
SMALLEST_PX = 64
# Pixels of each line that are looked at, about and at least, of a large plane.
LOOKED_AT = 512
# Mean correlation of the four parts' offsets, against the mean of both neighbours and
# against the median of three lines: nothing but stripes had both on scikit-image's
# pictures, confocal captures and microscopes' TIFFs, at full size and halved.
ALIKE, ALIKE_MEDIAN = 0.5, 0.1
WIDTH = 7
# Offsets' standard deviation as a fraction of the range. What is stronger, or mostly
# of one period, is rather a specimen, such as a grid.
WEAKEST, STRONGEST = 0.001, 0.03
ONE_PERIOD = 0.3
# Lines that the offsets are spread over at least: a horizon, or the edge of a cover
# slip, lies on three.
FEWEST_LINES = 8


def without_stripes(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Take the offsets of rows and columns out, where there are any.

    Parameters
    ----------
    image : ndarray, shape (C, Y, X)
        Normalised intensities.

    Returns
    -------
    tuple of (ndarray, float)
        The image itself, and 0, where it has no stripes; else one without them, and
        the largest standard deviation of the offsets in one direction.
    """
    found = [
        (channel, axis, offsets)
        for channel, plane in enumerate(image)
        for axis in (0, 1)
        if (offsets := line_offsets(plane, axis)) is not None
    ]
    if not found:
        return image, 0.0
    clean = image.copy()
    for channel, axis, offsets in found:
        clean[channel] -= np.expand_dims(offsets.astype(np.float32), 1 - axis)
    return clean, max(float(offsets.std()) for _, _, offsets in found)


def line_offsets(plane: NDArray[Any], axis: int) -> Array | None:
    """Offsets of the rows (axis 0) or columns (axis 1) of a plane.

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
        Normalised intensities.
    axis : int

    Returns
    -------
    ndarray, shape (Y,) or (X,), or None
        Against the lines around; None where there are no stripes.
    """
    if min(plane.shape) < SMALLEST_PX:
        return None
    lines = np.asarray(plane if axis == 1 else plane.T)
    thin = max(1, len(lines) // LOOKED_AT)
    lines = lines[::thin].astype(np.float64)
    neighbours = ndimage.correlate1d(lines, (0.5, 0.0, 0.5), axis=1, mode="mirror")
    if _agreement(lines - neighbours) < ALIKE:
        return None
    if _agreement(lines - _middle(lines, 3)) < ALIKE_MEDIAN:
        return None
    offsets: Array = np.median(lines - _middle(lines, WIDTH), axis=0)
    if not WEAKEST <= offsets.std() <= STRONGEST or _one_period(offsets) > ONE_PERIOD:
        return None
    return offsets if _lines(offsets) >= FEWEST_LINES else None


def _middle(lines: Array, width: int) -> Array:
    """Median over neighbouring lines."""
    middle: Array = ndimage.median_filter(lines, size=(1, width), mode="mirror")
    return middle


def _lines(offsets: Array) -> float:
    """Number of lines of one size that would have the same second and fourth moment."""
    return float((offsets**2).sum() ** 2 / (offsets**4).sum())


def _one_period(offsets: Array) -> float:
    """Share of the offsets' power that has one period, or nearly that one."""
    power = np.abs(np.fft.rfft(offsets - offsets.mean())) ** 2
    return float(np.convolve(power, np.ones(3), mode="valid").max() / power.sum())


def _agreement(residual: Array) -> float:
    """Mean correlation of the lines' offsets in four parts of the plane."""
    # The outermost lines have neighbours on one side only.
    parts = np.array_split(residual[:, 2:-2], PARTS)
    offsets = np.array([np.median(part, axis=0) for part in parts])
    offsets -= offsets.mean(axis=1, keepdims=True)
    size = np.sqrt((offsets**2).sum(axis=1))
    if size.min() <= 0:
        return 0.0
    unit = offsets / size[:, None]
    alike = unit @ unit.T
    return float(alike[np.triu_indices(PARTS, 1)].mean())


# Share of neighbouring pixels that are equal, of those that are no background.
EQUAL = 0.9
LEAST_PAIRS = 32
# Side of the middle part of a plane that is looked at.
WINDOW_PX = 384


def is_piecewise_constant(planes: Sequence[NDArray[Any]]) -> bool:
    """Whether nearly all neighbouring pixels of the objects are equal.

    Parameters
    ----------
    planes : sequence of ndarray, shape (Y, X)
        Some planes of a channel; of large ones the middle counts. Their most frequent
        value there is background.

    Returns
    -------
    bool
        False for real numbers, and where there are hardly any objects.
    """
    if planes[0].dtype.kind not in "iu":
        return False
    equal = pairs = 0
    for plane in map(_central_window, planes):
        values, counts = np.unique(plane, return_counts=True)
        objects = plane != values[counts.argmax()]
        for axis in (0, 1):
            first, second = _neighbours(plane, axis)
            inside = np.logical_and(*_neighbours(objects, axis))
            pairs += int(inside.sum())
            equal += int((inside & (first == second)).sum())
    return pairs >= LEAST_PAIRS and equal >= EQUAL * pairs


def _central_window(plane: NDArray[Any]) -> NDArray[Any]:
    rows, columns = (
        slice(max(0, (size - WINDOW_PX) // 2), (size + WINDOW_PX) // 2)
        for size in plane.shape
    )
    return plane[rows, columns]


def _neighbours(plane: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All pixels but the last along an axis, and the ones after them."""
    along = plane if axis == 0 else plane.T
    return along[:-1], along[1:]
