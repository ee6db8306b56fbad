"""The point spread function (PSF) of a microscope from an image of small beads.

Beads that stand alone are registered to a fraction of a pixel by a Gaussian fitted to
each, averaged, and freed of the background.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.errors import InputError
from napari_zssr.imaging.beadfind import found_beads
from napari_zssr.imaging.beadfit import Spot, fitted_spot
from napari_zssr.imaging.objective import checked_spacing

Array = NDArray[np.float64]
# Intensities need no more.
Image = NDArray[np.float32]

# Distances in full widths at half maximum: from a border, between beads that stand
# alone, and from a bead's centre to where its background begins and its picture ends.
BORDER = 1.0
ALONE = 3.0
REACH = (2.0, 2.75)
# A bead this much wider than the others is several beads, or none.
WIDEST = 1.25
# Blur, in full widths at half maximum, under which the signal is told from the noise.
SMOOTHED = 0.4
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
