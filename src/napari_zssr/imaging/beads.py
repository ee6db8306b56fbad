"""The point spread function (PSF) of a microscope from an image of small beads.

Beads that stand alone are registered to a fraction of a pixel by a Gaussian fitted to
each, averaged, and freed of the background.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from napari_zssr.errors import InputError
from napari_zssr.imaging.optics import FWHM, checked_spacing

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


# Points at least this bright are beads, as a share of the brightest one ...
DIMMEST = 0.2
# ... and in standard deviations of the noise.
LEAST_CONTRAST = 8.0
MOST_BEADS = 200
# Brightest points that tell about how wide a bead is.
MEASURED = 9
# Blur under which they are looked for: in full widths at half maximum, and at least in
# pixels.
SMOOTHED = 0.4


def found_beads(data: NDArray[Any]) -> tuple[list[tuple[int, ...]], tuple[float, ...]]:
    """Brightest voxels of all that may be beads, and about how wide beads are.

    What looks like a bead at first may be noise on one, so it is looked for twice.

    Parameters
    ----------
    data : ndarray, shape ([Z, ]Y, X)

    Returns
    -------
    tuple of (list of places, full widths at half maximum)
        Pixels along all axes; the brightest first.

    Raises
    ------
    InputError
        When nothing stands out.
    """
    seen = data.max(axis=0) if data.ndim == 3 else data
    level = float(np.median(data))
    first = _bright_points(seen.astype(np.float64), SMOOTHED_PX)[:MEASURED]
    rough = [rough_widths(data, _in_depth(data, p), level) for p in first]
    widths = tuple(float(w) for w in np.median(rough, axis=0))
    blur = max(SMOOTHED_PX, SMOOTHED * min(widths[-2:]))
    points = _bright_points(seen.astype(np.float64), blur)
    return [_in_depth(data, p) for p in points], widths


def _bright_points(seen: Array, blur_px: float) -> list[tuple[int, ...]]:
    """Pixels that stand out from their neighbours and the noise, brightest first."""
    smooth = ndimage.gaussian_filter(seen, blur_px)
    ground = float(np.median(smooth))
    rest = seen - smooth
    noise = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    # What such a blur leaves of white noise.
    noise /= 2 * math.sqrt(math.pi) * blur_px
    least = max(DIMMEST * (smooth.max() - ground), LEAST_CONTRAST * noise)
    if smooth.max() <= ground or smooth.max() - ground < least:
        raise InputError(
            "No beads were found: nothing in the image stands out from its background; "
            "give an image of small bright beads on a dark ground."
        )
    highest = smooth == ndimage.maximum_filter(smooth, size=3)
    found = np.argwhere(highest & (smooth >= ground + least))
    order = np.argsort(-smooth[tuple(found.T)], kind="stable")[:MOST_BEADS]
    return [(int(y), int(x)) for y, x in found[order]]


def _in_depth(data: NDArray[Any], place: tuple[int, ...]) -> tuple[int, ...]:
    y, x = place
    if data.ndim == 2:
        return y, x
    column = data[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(axis=(1, 2))
    return int(ndimage.gaussian_filter1d(column, SMOOTHED_PX).argmax()), y, x


# Intensities need no more.
Image = NDArray[np.float32]

# Distances in full widths at half maximum: from a border, between beads that stand
# alone, and from a bead's centre to where its background begins and its picture ends.
BORDER = 1.0
ALONE = 3.0
REACH = (2.0, 2.75)
# A bead this much wider than the others is several beads, or none.
WIDEST = 1.25
# Pixels at the highest value that make a plateau.
PLATEAU = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredPsf:
    """A PSF as measured.

    Attributes
    ----------
    array : ndarray, shape (Z, Y, X) or (Y, X)
        Odd and centred, not negative, sum 1.
    spacing_um : tuple of float
        Voxel along the array's axes, um.
    fwhm_um : tuple of (float or None)
        Full widths at half maximum along (Z, Y, X), um, of the Gaussians fitted to the
        beads, median over them; None for Z when the image was one plane.
    beads : int
        Beads that were averaged.
    sentence : str
        What was found, and what was left out for which reason.
    """

    array: Array
    spacing_um: tuple[float, ...]
    fwhm_um: tuple[float | None, float, float]
    beads: int
    sentence: str

    @property
    def in_focus(self) -> Array:
        """The plane (Y, X) in focus, sum 1."""
        flat = self.array.ndim == 2
        plane: Array = self.array if flat else self.array[len(self.array) // 2]
        normal: Array = plane / plane.sum()
        return normal


def measured_psf(
    image: NDArray[Any], spacing_um: tuple[float | None, ...] | None
) -> MeasuredPsf:
    """PSF from the beads in an image.

    Parameters
    ----------
    image : ndarray, shape (Z, Y, X) or (Y, X)
        Small bright beads on a dark ground; one is enough.
    spacing_um : tuple of float
        Voxel (Z, Y, X), or pixel (Y, X), um.

    Raises
    ------
    InputError
        When the voxel size is not known, or no bead can be used.
    """
    data, spacing = _checked(image, spacing_um)
    places, widths = found_beads(data)
    spots, dropped = _measured_spots(data, places, widths)
    spots, saturated = _unsaturated(image, spots, dropped)
    spots = _alike(spots, dropped)
    if not spots:
        raise InputError(
            f"No bead in the image can be used ({_told(dropped)}); give an image of "
            "small beads that stand alone, away from its borders."
        )
    array = _average(data, spots, places)
    middle = np.median([spot.widths for spot in spots], axis=0)
    fwhm = tuple(float(w * s) for w, s in zip(middle, spacing, strict=True))
    return MeasuredPsf(
        array=array,
        spacing_um=spacing,
        fwhm_um=(fwhm[0] if len(fwhm) == 3 else None, fwhm[-2], fwhm[-1]),
        beads=len(spots),
        sentence=_sentence(fwhm, len(spots), dropped, saturated),
    )


def _checked(
    image: NDArray[Any], spacing_um: tuple[float | None, ...] | None
) -> tuple[Image, tuple[float, ...]]:
    data = np.asarray(image)
    if data.ndim not in (2, 3) or min(data.shape[-2:]) < 5:
        raise InputError(
            f"A bead image has shape (Z, Y, X) or (Y, X); found shape {data.shape}: "
            "give one channel of one time."
        )
    if data.ndim == 3 and len(data) == 1:
        data = data[0]
    spacing = checked_spacing(spacing_um, data.ndim, of_beads=True)
    data = data.astype(np.float32)
    if not np.isfinite(data).all():
        raise InputError("The bead image holds NaN or Inf; give finite intensities.")
    return data, spacing


def _measured_spots(
    data: Image, places: list[tuple[int, ...]], widths: tuple[float, ...]
) -> tuple[list[Spot], Counter[str]]:
    """Beads that stand alone, and how many do not, by reason."""
    dropped: Counter[str] = Counter()
    spots = []
    for place in places:
        near = [_distance(place, other, widths) for other in places if other != place]
        if any(
            not BORDER * w <= p < n - BORDER * w
            for p, n, w in list(zip(place, data.shape, widths, strict=True))[-2:]
        ) or (data.ndim == 3 and place[0] in (0, len(data) - 1)):
            dropped["at the border"] += 1
        elif near and min(near) < ALONE:
            dropped["too close to another"] += 1
        elif (spot := fitted_spot(data, place, widths)) is None:
            dropped["no bead by its shape"] += 1
        else:
            spots.append(spot)
    return spots, dropped


def _unsaturated(
    image: NDArray[Any], spots: list[Spot], dropped: Counter[str]
) -> tuple[list[Spot], bool]:
    """Beads without a plateau at the highest value; all of them when each has one."""
    image = np.squeeze(image)
    highest = image.max()
    clear = [spot for spot in spots if not _has_plateau(image, spot, highest)]
    if not clear:
        return spots, bool(spots)
    dropped["saturated"] += len(spots) - len(clear)
    return clear, False


def _has_plateau(image: NDArray[Any], spot: Spot, highest: Any) -> bool:
    part = tuple(
        slice(max(0, round(c - w)), round(c + w) + 1)
        for c, w in zip(spot.center, spot.widths, strict=True)
    )
    count = int((image[part] == highest).sum())
    full = image.dtype.kind in "iu" and highest == np.iinfo(image.dtype).max
    return count >= (1 if full else PLATEAU)


def _alike(spots: list[Spot], dropped: Counter[str]) -> list[Spot]:
    """Beads as wide as the narrower ones: blends and clumps are wider."""
    if len(spots) < 2:
        return spots
    widths = np.array([spot.widths for spot in spots])
    usual = np.quantile(widths, 0.25 if len(spots) > 2 else 0.0, axis=0)
    same = (widths < WIDEST * usual).all(axis=1) & (widths > usual / WIDEST).all(axis=1)
    dropped["of another width"] += int((~same).sum())
    return [spot for spot, good in zip(spots, same, strict=True) if good]


def _average(data: Image, spots: list[Spot], places: list[tuple[int, ...]]) -> Array:
    """Mean of the beads, each weighted by its brightness, without background."""
    widths = np.median([spot.widths for spot in spots], axis=0)
    reach = [
        max(2, min(int(np.ceil(REACH[1] * w)), n - 1))
        for w, n in zip(widths, data.shape, strict=True)
    ]
    grid = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    distance = np.sqrt(sum((g / w) ** 2 for g, w in zip(grid, widths, strict=True)))
    total, weight = np.zeros(distance.shape), np.zeros(distance.shape)
    for spot in spots:
        picture, known = _picture(data, spot, grid, widths, places)
        shell = known & (distance > REACH[0])
        ground = np.median(picture[shell]) if shell.any() else spot.ground
        total += np.where(known, picture - ground, 0)
        weight += known * spot.height
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return _cleaned(mean, distance, widths)


def _picture(
    data: Image,
    spot: Spot,
    grid: Any,
    widths: Array,
    places: list[tuple[int, ...]],
) -> tuple[Array, NDArray[np.bool_]]:
    """A bead with its centre in the middle, and where nothing else is near."""
    where = [g + c for g, c in zip(grid, spot.center, strict=True)]
    low = [max(0, int(np.floor(w.min())) - 8) for w in where]
    high = [int(np.ceil(w.max())) + 9 for w in where]
    part = data[tuple(itertools.starmap(slice, zip(low, high, strict=True)))]
    local = [w - a for w, a in zip(where, low, strict=True)]
    picture = ndimage.map_coordinates(part, local, order=5, mode="mirror")
    known = np.ones(picture.shape, dtype=bool)
    for w, size in zip(where, data.shape, strict=True):
        known &= (w >= 0) & (w <= size - 1)
    own = _distance(where, spot.center, widths)
    for place in places:
        if _distance(place, spot.center, widths) > 1:
            known &= own < _distance(where, place, widths)
    return picture, known


def _cleaned(mean: Array, distance: Array, widths: Array) -> Array:
    """Not negative, nothing where only noise is, fading out to the border."""
    smooth = ndimage.gaussian_filter(mean, SMOOTHED * widths)
    shell = smooth[distance > REACH[0]]
    spread = 1.4826 * float(np.median(np.abs(shell))) if shell.size else 0.0
    sure = np.maximum(smooth, 0) ** 2 / (smooth**2 + (3 * spread) ** 2 + 1e-30)
    fading = np.clip((REACH[1] - distance) / (REACH[1] - REACH[0]), 0, 1)
    cleaned: Array = np.maximum(mean * np.where(distance < 0.5, 1, sure), 0) * fading
    cleaned /= cleaned.sum()
    return cleaned


def _distance(place: Any, other: Any, widths: Any) -> Any:
    """Distance in full widths at half maximum."""
    parts = zip(place, other, widths, strict=True)
    return np.sqrt(sum(((a - b) / w) ** 2 for a, b, w in parts))


def _told(dropped: Counter[str]) -> str:
    return ", ".join(f"{n} {why}" for why, n in dropped.items() if n) or "none found"


def _sentence(
    fwhm: tuple[float, ...], beads: int, dropped: Counter[str], saturated: bool
) -> str:
    size = " x ".join(f"{w:.3f}" for w in fwhm)
    axes = "Z, Y, X" if len(fwhm) == 3 else "Y, X"
    many = "bead" if beads == 1 else "beads"
    text = f"PSF measured on {beads} {many}, FWHM {size} um ({axes})"
    if dropped.total():
        text += f"; left out: {_told(dropped)}"
    if saturated:
        text += "; all are saturated, so it is narrower than shown"
    return text + "."
