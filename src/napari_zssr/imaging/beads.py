"""The point spread function (PSF) of a microscope from an image of small beads.

Isolated beads are registered to a fraction of a pixel by a Gaussian fitted to each,
averaged, and freed of the background.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_zssr.errors import InputError
from napari_zssr.imaging.optics import FWHM, checked_spacing
from napari_zssr.imaging.resample import Array, Pair

# A voxel, and full widths at half maximum in pixels, along all axes.
Voxel = tuple[int, ...]
Widths = tuple[float, ...]

# Full widths at half maximum on either side of the centre that are fitted.
FITTED = 2.0
LEAST_PX = 2
# Largest share of the variance, noise apart, that a bead's Gaussian may leave.
WORST_FIT = 0.5
NARROWEST_PX = 0.5
SMOOTHED_PX = 1.0
# Least brightness of a bead: as a share of the brightest one ...
DIMMEST = 0.2
# ... and in standard deviations of the noise.
LEAST_CONTRAST = 8.0
MOST_BEADS = 200
# Number of the brightest points from which the usual width is measured.
MEASURED = 9
# Smoothing for detection, in full widths at half maximum.
SMOOTHED = 0.4
# Distances in full widths at half maximum: from a border, between isolated beads, and
# from a bead's centre to where its background begins and its picture ends.
BORDER = 1.0
ISOLATED = 3.0
REACH = (2.0, 2.75)
# A bead this much wider than usual is several beads, or none.
WIDEST = 1.25
# Pixels at the highest value that make a plateau.
PLATEAU = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A Gaussian fitted to a bead: centre, widths, height above the background."""

    center: tuple[float, ...]
    widths: Widths
    height: float
    background: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredPsf:
    """A PSF as measured.

    Attributes
    ----------
    array : (Z, Y, X) or (Y, X), odd, centred, not negative, sum 1
    spacing_um : voxel along the array's axes, um
    fwhm_um : full widths at half maximum along (Z, Y, X), um, median of the Gaussians
        fitted to the beads; None for Z if the image was a single plane
    beads : number of beads averaged
    sentence : the result, and which beads were left out for which reason
    """

    array: Array
    spacing_um: tuple[float, ...]
    fwhm_um: tuple[float | None, float, float]
    beads: int
    sentence: str

    @property
    def in_focus(self) -> Array:
        """The plane (Y, X) in focus, sum 1."""
        plane = self.array if self.array.ndim == 2 else self.array[len(self.array) // 2]
        return np.asarray(plane / plane.sum())


def measured_psf(
    image: NDArray[Any], spacing_um: tuple[float | None, ...] | None
) -> MeasuredPsf:
    """PSF from small bright beads on a dark ground, (Z, Y, X) or (Y, X).

    Raises `InputError` if the voxel size is not known, or no bead can be used.
    """
    data = np.asarray(image)
    if data.ndim not in (2, 3) or min(data.shape[-2:]) < 5:
        raise InputError(
            "A bead image needs axes (Z, Y, X) or (Y, X), but this one has shape "
            f"{data.shape}; give one channel and one time point."
        )
    if data.ndim == 3 and len(data) == 1:
        data = data[0]
    spacing = checked_spacing(spacing_um, data.ndim, of_beads=True)
    # Intensities need no more than float32.
    data = data.astype(np.float32)
    if not np.isfinite(data).all():
        raise InputError(
            "The bead image contains NaN or infinite pixels; remove them first."
        )
    peaks, widths = _detected_beads(data)
    dropped: Counter[str] = Counter()
    spots = _fitted_spots(data, peaks, widths, dropped)
    spots, saturated = _unsaturated(image, spots, dropped)
    spots = _of_usual_width(spots, dropped)
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items() if n)
    if not spots:
        raise InputError(
            f"No bead in the image can be used ({reasons or 'none found'}); give an "
            "image of small, well separated beads away from its borders."
        )
    array = _average(data, spots, peaks)
    middle = np.median([spot.widths for spot in spots], axis=0)
    fwhm = [float(w * s) for w, s in zip(middle, spacing, strict=True)]
    sizes = " × ".join(f"{w:.3f}" for w in fwhm)
    sentence = (
        f"PSF measured on {len(spots)} {'bead' if len(spots) == 1 else 'beads'}, "
        f"FWHM {sizes} µm ({'Z, Y, X' if len(fwhm) == 3 else 'Y, X'})"
    )
    if reasons:
        sentence += f"; left out: {reasons}"
    if saturated:
        sentence += "; all beads are saturated, so the true PSF is narrower"
    return MeasuredPsf(
        array=array,
        spacing_um=spacing,
        fwhm_um=(fwhm[0] if len(fwhm) == 3 else None, fwhm[-2], fwhm[-1]),
        beads=len(spots),
        sentence=sentence + ".",
    )


def psf_fwhm_um(psf: Array, spacing_um: Pair) -> Pair | None:
    """FWHM (Y, X) in um of a PSF without background, None if no Gaussian fits."""
    y, x = np.unravel_index(int(np.argmax(psf)), psf.shape)
    peak = (int(y), int(x))
    spot = _fitted_spot(psf, peak, _rough_widths(psf, peak, 0.0))
    if spot is None:
        return None
    return spot.widths[0] * spacing_um[0], spot.widths[1] * spacing_um[1]


def _detected_beads(data: NDArray[Any]) -> tuple[list[Voxel], Widths]:
    """Peaks of all that may be beads, brightest first, and about how wide beads are.

    Noise on a bead may look like a bead at first, so that detection is repeated with a
    smoothing that suits the width. Raises `InputError` if nothing stands out.
    """
    projection = (data.max(axis=0) if data.ndim == 3 else data).astype(np.float64)
    background = float(np.median(data))
    brightest = _bright_points(projection, SMOOTHED_PX)[:MEASURED]
    rough = [_rough_widths(data, _peak(data, p), background) for p in brightest]
    widths = tuple(float(w) for w in np.median(rough, axis=0))
    sigma = max(SMOOTHED_PX, SMOOTHED * min(widths[-2:]))
    return [_peak(data, p) for p in _bright_points(projection, sigma)], widths


def _bright_points(projection: Array, sigma_px: float) -> list[tuple[int, int]]:
    """Pixels that stand out from their neighbours and the noise, brightest first."""
    smooth = ndimage.gaussian_filter(projection, sigma_px)
    background = float(np.median(smooth))
    residual = projection - smooth
    noise = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    # The share of white noise that such a smoothing leaves.
    noise /= 2 * math.sqrt(math.pi) * sigma_px
    least = max(DIMMEST * (smooth.max() - background), LEAST_CONTRAST * noise)
    if smooth.max() <= background or smooth.max() - background < least:
        raise InputError(
            "No beads were found: nothing in the image stands out from its "
            "background; give an image of small bright beads on a dark background."
        )
    highest = smooth == ndimage.maximum_filter(smooth, size=3)
    points = np.argwhere(highest & (smooth >= background + least))
    order = np.argsort(-smooth[tuple(points.T)], kind="stable")[:MOST_BEADS]
    return [(int(y), int(x)) for y, x in points[order]]


def _peak(data: NDArray[Any], point: tuple[int, int]) -> Voxel:
    """The brightest voxel at a point (Y, X)."""
    if data.ndim == 2:
        return point
    y, x = point
    column = data[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(axis=(1, 2))
    return int(ndimage.gaussian_filter1d(column, SMOOTHED_PX).argmax()), y, x


def _rough_widths(data: NDArray[Any], peak: Voxel, background: float) -> Widths:
    """Full widths at half maximum of a bead along all axes, pixels."""
    widths = []
    for axis in range(data.ndim):
        index: list[Any] = [slice(max(0, p - 1), p + 2) for p in peak]
        index[axis] = slice(None)
        across = tuple(a for a in range(data.ndim) if a != axis)
        line = data[tuple(index)].mean(axis=across, dtype=np.float64) - background
        line = ndimage.gaussian_filter1d(line, SMOOTHED_PX)
        widths.append(_width_at_half(line, peak[axis]))
    return tuple(widths)


def _width_at_half(line: Array, middle: int) -> float:
    """Full width at half of the middle's height, before the line was smoothed."""
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
    return max(1.0, math.sqrt(max(0.0, total**2 - (FWHM * SMOOTHED_PX) ** 2)))


def _fitted_spots(
    data: NDArray[Any], peaks: list[Voxel], widths: Widths, dropped: Counter[str]
) -> list[Spot]:
    """Isolated beads; counts in `dropped` the others, by reason."""
    spots = []
    for peak in peaks:
        near = [_distance(peak, other, widths) for other in peaks if other != peak]
        if any(
            not BORDER * w <= p < n - BORDER * w
            for p, n, w in list(zip(peak, data.shape, widths, strict=True))[-2:]
        ) or (data.ndim == 3 and peak[0] in (0, len(data) - 1)):
            dropped["at the border"] += 1
        elif near and min(near) < ISOLATED:
            dropped["too close to another"] += 1
        elif (spot := _fitted_spot(data, peak, widths)) is None:
            dropped["not shaped like a bead"] += 1
        else:
            spots.append(spot)
    return spots


def _fitted_spot(data: NDArray[Any], peak: Voxel, widths: Widths) -> Spot | None:
    """Gaussian along the axes on an even background; None if it does not fit.

    Peak and widths are the initial values of the fit.
    """
    part = tuple(
        slice(max(0, p - r), min(n, p + r + 1))
        for p, w, n in zip(peak, widths, data.shape, strict=True)
        for r in [max(LEAST_PX, math.ceil(FITTED * w))]
    )
    values = data[part].astype(np.float64)
    grid: Array = np.asarray(np.mgrid[part], np.float64).reshape(data.ndim, -1)
    if min(values.shape) < 3 or np.ptp(values) == 0:
        return None
    low, high = float(np.quantile(values, 0.1)), float(values.max())
    scaled = (values.ravel() - low) / (high - low)
    initial = np.concatenate([[0, 1], peak, np.log(widths)])
    fit = optimize.least_squares(lambda p: _gaussian(p, grid) - scaled, initial)
    background, height, *rest = fit.x
    center, fitted = np.array(rest[: data.ndim]), np.exp(rest[data.ndim :])
    model = _gaussian(fit.x, grid)
    residual = scaled.reshape(values.shape) - model.reshape(values.shape)
    # Variance that is left beside white noise, as a share of the model's.
    noise = 0.5 * float(np.mean(np.diff(residual, axis=-1) ** 2))
    unexplained = max(0.0, float(residual.var()) - noise)
    if (
        not fit.success
        or (np.abs(center - peak) > np.maximum(widths, LEAST_PX)).any()
        or ((fitted < NARROWEST_PX) | (fitted > 3 * np.array(widths))).any()
        or unexplained / max(float(model.var()), 1e-12) > WORST_FIT
        or height <= 0
    ):
        return None
    return Spot(
        center=tuple(float(c) for c in center),
        widths=tuple(float(w) for w in fitted),
        height=float(height * (high - low)),
        background=float(low + background * (high - low)),
    )


def _gaussian(parameters: Array, grid: Array) -> Array:
    """Gaussian from background, height, centre and the logarithms of the widths."""
    count = len(grid)
    center = parameters[2 : 2 + count, None]
    sigma = np.exp(parameters[2 + count :, None]) / FWHM
    square = (((grid - center) / sigma) ** 2).sum(axis=0)
    return np.asarray(parameters[0] + parameters[1] * np.exp(-square / 2))


def _unsaturated(
    image: NDArray[Any], spots: list[Spot], dropped: Counter[str]
) -> tuple[list[Spot], bool]:
    """Beads without a plateau at the highest value; all of them if each has one."""
    image = np.squeeze(image)
    clear = [spot for spot in spots if not _has_plateau(image, spot, image.max())]
    if not clear:
        return spots, bool(spots)
    dropped["saturated"] += len(spots) - len(clear)
    return clear, False


def _has_plateau(image: NDArray[Any], spot: Spot, highest: Any) -> bool:
    part = tuple(
        slice(max(0, round(c - w)), round(c + w) + 1)
        for c, w in zip(spot.center, spot.widths, strict=True)
    )
    full = image.dtype.kind in "iu" and highest == np.iinfo(image.dtype).max
    return int((image[part] == highest).sum()) >= (1 if full else PLATEAU)


def _of_usual_width(spots: list[Spot], dropped: Counter[str]) -> list[Spot]:
    """Beads about as wide as the narrower ones: blends and clumps are wider."""
    if len(spots) < 2:
        return spots
    widths = np.array([spot.widths for spot in spots])
    usual = np.quantile(widths, 0.25 if len(spots) > 2 else 0.0, axis=0)
    same = (widths < WIDEST * usual).all(axis=1) & (widths > usual / WIDEST).all(axis=1)
    dropped["unusually wide or narrow"] += int((~same).sum())
    return [spot for spot, is_usual in zip(spots, same, strict=True) if is_usual]


def _average(data: NDArray[Any], spots: list[Spot], peaks: list[Voxel]) -> Array:
    """Mean of the beads, weighted by their brightness, without background, sum 1."""
    widths = np.median([spot.widths for spot in spots], axis=0)
    reach = [
        max(2, min(int(np.ceil(REACH[1] * w)), n - 1))
        for w, n in zip(widths, data.shape, strict=True)
    ]
    grid = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    distance = np.sqrt(sum((g / w) ** 2 for g, w in zip(grid, widths, strict=True)))
    total, weight = np.zeros(distance.shape), np.zeros(distance.shape)
    for spot in spots:
        picture, valid = _registered(data, spot, grid, widths, peaks)
        shell = valid & (distance > REACH[0])
        background = np.median(picture[shell]) if shell.any() else spot.background
        total += np.where(valid, picture - background, 0)
        weight += valid * spot.height
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    # Not negative, zero where only noise is, fading out to the border.
    smooth = ndimage.gaussian_filter(mean, SMOOTHED * widths)
    shell = smooth[distance > REACH[0]]
    noise = 1.4826 * float(np.median(np.abs(shell))) if shell.size else 0.0
    trust = np.maximum(smooth, 0) ** 2 / (smooth**2 + (3 * noise) ** 2 + 1e-30)
    fading = np.clip((REACH[1] - distance) / (REACH[1] - REACH[0]), 0, 1)
    psf = np.maximum(mean * np.where(distance < 0.5, 1, trust), 0) * fading
    return np.asarray(psf / psf.sum())


def _registered(
    data: NDArray[Any], spot: Spot, grid: Any, widths: Array, peaks: list[Voxel]
) -> tuple[Array, NDArray[np.bool_]]:
    """A bead with its centre in the middle, and a mask of pixels nearest to it."""
    points = [g + c for g, c in zip(grid, spot.center, strict=True)]
    low = [max(0, int(np.floor(p.min())) - 8) for p in points]
    part = data[
        tuple(
            slice(first, int(np.ceil(p.max())) + 9)
            for first, p in zip(low, points, strict=True)
        )
    ]
    local = [p - first for p, first in zip(points, low, strict=True)]
    picture = ndimage.map_coordinates(part, local, order=5, mode="mirror")
    valid = np.ones(picture.shape, dtype=bool)
    for p, size in zip(points, data.shape, strict=True):
        valid &= (p >= 0) & (p <= size - 1)
    own = _distance(points, spot.center, widths)
    for peak in peaks:
        if _distance(peak, spot.center, widths) > 1:
            valid &= own < _distance(points, peak, widths)
    return picture, valid


def _distance(point: Any, other: Any, widths: Any) -> Any:
    """Distance in full widths at half maximum."""
    parts = zip(point, other, widths, strict=True)
    return np.sqrt(sum(((a - b) / w) ** 2 for a, b, w in parts))
