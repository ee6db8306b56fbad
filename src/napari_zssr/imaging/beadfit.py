"""A Gaussian fitted to one bead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_zssr.imaging.optics import FWHM

Array = NDArray[np.float64]

# Full widths at half maximum on either side of the centre that are fitted.
FITTED = 2.0
LEAST_PX = 2
# Share of the variance, noise apart, that a bead's Gaussian leaves unexplained at most.
WORST_FIT = 0.5
NARROWEST_PX = 0.5
SMOOTHED_PX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A bead as a Gaussian.

    Attributes
    ----------
    center, widths : tuple of float
        Place and full widths at half maximum, pixels, along all axes.
    height, ground : float
        Brightness above the background, and the background.
    """

    center: tuple[float, ...]
    widths: tuple[float, ...]
    height: float
    ground: float


def rough_widths(
    data: NDArray[Any], place: tuple[int, ...], ground: float
) -> tuple[float, ...]:
    """Full widths at half maximum of a bead along all axes, pixels."""
    found = []
    for axis in range(data.ndim):
        index: list[Any] = [slice(max(0, p - 1), p + 2) for p in place]
        index[axis] = slice(None)
        across = tuple(a for a in range(data.ndim) if a != axis)
        line = data[tuple(index)].mean(axis=across, dtype=np.float64) - ground
        line = ndimage.gaussian_filter1d(line, SMOOTHED_PX)
        found.append(_width_at_half(line, place[axis]))
    return tuple(found)


def psf_fwhm_um(
    psf: Array, spacing_um: tuple[float, float]
) -> tuple[float, float] | None:
    """Full widths at half maximum of a PSF in focus along (Y, X), um.

    Parameters
    ----------
    psf : ndarray, shape (Y, X)
        Without background.
    spacing_um : tuple of float
        Its pixel (Y, X), um.

    Returns
    -------
    tuple of float or None
        None where no Gaussian fits.
    """
    y, x = np.unravel_index(int(np.argmax(psf)), psf.shape)
    place = (int(y), int(x))
    spot = fitted_spot(psf, place, rough_widths(psf, place, 0.0))
    if spot is None:
        return None
    return spot.widths[0] * spacing_um[0], spot.widths[1] * spacing_um[1]


def fitted_spot(
    data: NDArray[Any], place: tuple[int, ...], widths: tuple[float, ...]
) -> Spot | None:
    """Gaussian, along the axes, on an even background.

    Parameters
    ----------
    data : ndarray, shape ([Z, ]Y, X)
    place : tuple of int
        The brightest voxel.
    widths : tuple of float
        Full widths at half maximum to begin with, pixels.

    Returns
    -------
    Spot or None
        None where nothing fits: what is there is no bead.
    """
    part = tuple(
        slice(max(0, p - r), min(n, p + r + 1))
        for p, r, n in zip(place, _reach(widths), data.shape, strict=True)
    )
    values = data[part].astype(np.float64)
    grid: Array = np.asarray(np.mgrid[part], np.float64).reshape(data.ndim, -1)
    if min(values.shape) < 3 or np.ptp(values) == 0:
        return None
    low, high = float(np.quantile(values, 0.1)), float(values.max())
    scale = (values.ravel() - low) / (high - low)
    first = np.concatenate([[0, 1], place, np.log(widths)])
    fit = optimize.least_squares(lambda p: _model(p, grid) - scale, first)
    count = data.ndim
    center, found = fit.x[2 : 2 + count], np.exp(fit.x[2 + count :])
    left = _unexplained(scale.reshape(values.shape), _model(fit.x, grid))
    moved = np.abs(center - place) > np.maximum(widths, LEAST_PX)
    odd = (found < NARROWEST_PX) | (found > 3 * np.array(widths))
    if not fit.success or moved.any() or odd.any() or left > WORST_FIT or fit.x[1] <= 0:
        return None
    return Spot(
        center=tuple(float(c) for c in center),
        widths=tuple(float(w) for w in found),
        height=float(fit.x[1] * (high - low)),
        ground=float(low + fit.x[0] * (high - low)),
    )


def _unexplained(values: Array, model: Array) -> float:
    """Variance that is left beside white noise, as a share of the model's."""
    rest = values - model.reshape(values.shape)
    noise = 0.5 * float(np.mean(np.diff(rest, axis=-1) ** 2))
    return max(0.0, float(rest.var()) - noise) / max(float(model.var()), 1e-12)


def _reach(widths: tuple[float, ...]) -> list[int]:
    return [max(LEAST_PX, math.ceil(FITTED * w)) for w in widths]


def _model(parameters: Array, grid: Array) -> Array:
    """Background, height, centre and the logarithms of the widths."""
    count = len(grid)
    center = parameters[2 : 2 + count, None]
    sigma = np.exp(parameters[2 + count :, None]) / FWHM
    square = (((grid - center) / sigma) ** 2).sum(axis=0)
    model: Array = parameters[0] + parameters[1] * np.exp(-square / 2)
    return model


def _width_at_half(line: Array, middle: int) -> float:
    """Distance between the places left and right where a line falls to half."""
    half = line[middle] / 2
    reach = []
    for side in (line[middle::-1], line[middle:]):
        below = np.flatnonzero(side < half)
        if below.size and half > 0:
            last = int(below[0])
            reach.append(
                last - 1 + (side[last - 1] - half) / (side[last - 1] - side[last])
            )
    # One side may be beyond the border.
    total = sum(reach) * (2 / len(reach)) if reach else len(line) / 4
    # The smoothing widened it.
    return max(1.0, math.sqrt(max(0.0, total**2 - (FWHM * SMOOTHED_PX) ** 2)))
