"""JPEG blocks: found in pixels that were once a JPEG, and done again to other images.

A JPEG holds the cosine transform of blocks of 8 x 8 pixels, rounded to multiples of a
step for each frequency. Pixels read from it still lie near those multiples, whatever
file they went to since (Fan and de Queiroz, IEEE Trans. Image Process. 12, 2003).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

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
