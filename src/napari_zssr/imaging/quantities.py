"""Whether measurements survive: sums of intensity, and positions of spots.

The result is binned to the pixels of the image first, so that both are measured alike:
output pixel j covers input coordinates [j / f, (j + 1) / f).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from napari_zssr.checks import size_text
from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import intensity_map
from napari_zssr.imaging.noise import NoiseModel, estimate_noise, shows_signal
from napari_zssr.imaging.resample import Array, Pair, output_size
from napari_zssr.units import signed

Labels = NDArray[np.integer[Any]]

# Smoothing before the threshold, input pixels, bins of its histogram, and the smallest
# region, most regions and rim (light that a blur has carried out of an object).
SMOOTHING_PX, BINS = 1.0, 256
LEAST_AREA, MOST_REGIONS, RIM_PX = 20, 300, 3
DIMMED = 0.1
WITHIN_NOISE = "within its noise"
# Relative change of a sum from which it counts as changed, and standard deviations that
# count: of hundreds of regions hardly one exceeds three by chance.
CHANGED, DEVIATIONS = 0.01, 3.0
# Width of the filter that finds and locates spots, input pixels.
SPOT_PX = 1.5
# Height of a spot above the noise of the filtered image, in standard deviations, and as
# a share of the highest one; how far it may move and still be found, input pixels.
HEIGHT, SHARE, REACH_PX = 5.0, 0.1, 2
# Least over largest bend of a spot: along a ridge the place of a maximum is chance.
ROUND = 0.2
LEAST_SPOTS, MOST_SPOTS = 3, 2000
# Mean shift that counts, and distances not told more exactly, input pixels.
MOVED_PX, LEAST_SHIFT = 0.05, 0.01
# Of the root mean square of their shifts, which noise moves by itself.
SCATTER = "by {} pixels, including the noise of their positions"
# Median absolute deviation to standard deviation, for Gaussian noise.
TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flux:
    """Sums of intensity in regions above a background, in the image and in the result.

    Attributes
    ----------
    numbers : ndarray, shape (R,)
        Labels of the regions.
    before, after : ndarray, shape (R,)
        Sums above the background, intensities times input pixels.
    changes : ndarray, shape (R,)
        after / before - 1, NaN where a region is no brighter than its noise.
    noise : ndarray, shape (R,)
        Standard deviation that the noise of the image gives `before`.
    changed : ndarray of bool, shape (R,)
        Where the sum moves by more than 1 % and three such deviations.
    median, largest : float
        Of `changes`, the largest by its size; NaN without a region.
    centres : ndarray, shape (R, 2)
        Middle of each region, input pixels (Y, X).
    total : float
        The change of the sum over the plane; NaN if that is no brighter than its noise.
    background : float
        Taken off every pixel of both, intensity.
    sentence : str
    """

    numbers: Labels
    before: Array
    after: Array
    changes: Array
    noise: Array
    changed: NDArray[np.bool_]
    median: float
    largest: float
    centres: Array
    total: float
    background: float
    sentence: str

    @property
    def judged(self) -> int:
        """Regions of which it is known whether they changed."""
        return int((np.isfinite(self.changes) | self.changed).sum())

    @property
    def largest_beside_noise(self) -> str:
        """Whether the largest change is noise, in words; empty without one."""
        if math.isnan(self.largest):
            return ""
        at = int(np.nanargmax(np.abs(self.changes)))
        if self.changed[at]:
            return "more than 1 % beyond its noise"
        is_noise = abs(self.after[at] - self.before[at]) <= DEVIATIONS * self.noise[at]
        return WITHIN_NOISE if is_noise else "at most 1 % beyond its noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotShift:
    """How far bright spots of the image lie elsewhere in the result.

    Attributes
    ----------
    spots : int
        Spots that were found in both.
    lost : int
        Those of the image that have no maximum within two pixels in the result.
    mean : tuple of float
        Mean shift along (Y, X), input pixels, positive downwards and to the right.
    rms : float
        Root mean square distance of single spots from their place, input pixels.
    moved : bool
        Whether the mean shift of three spots or more exceeds 0.05 pixels and three of
        its standard errors.
    sentence : str
    """

    spots: int
    lost: int
    mean: Pair
    rms: float
    moved: bool
    sentence: str


def flux(
    image: NDArray[Any],
    result: NDArray[Any],
    factors: Pair,
    labels: NDArray[Any] | None = None,
    *,
    background: float | None = None,
    noise: NoiseModel | None = None,
) -> Flux:
    """Compare sums of intensity in regions before and after enlargement.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
    result : ndarray, shape (ceil(f Y), ceil(f X))
        In the same intensities; sums are divided by the area of its pixels.
    factors : tuple of float
        Enlargement along (Y, X).
    labels : ndarray of int, shape (Y, X), optional
        Numbers of regions, 0 for none. By default those of `bright_regions`.
    background : float, optional
        Intensity without objects. By default the median outside the regions.
    noise : NoiseModel, optional
        Noise of the image, in its intensities. By default estimated.

    Returns
    -------
    Flux

    Raises
    ------
    InputError
        The sizes do not fit, or the labels are no whole numbers.
    """
    image = np.asarray(image, dtype=np.float64)
    enlarged = binned(result, factors, image.shape)
    if labels is None:
        labels = bright_regions(image)
    _check_labels(labels, image.shape)
    is_inside = labels != 0
    numbers, region = np.unique(labels[is_inside], return_inverse=True)
    outside = image[~is_inside]
    if background is None:
        background = float(np.median(outside)) if outside.size else 0.0
    model = _image_noise(image) if noise is None else noise
    variance = np.maximum(model.gain * image + model.offset, 0) * model.bands[0] ** 2
    planes = (image - background, enlarged - background, variance)
    before, after, variances = (
        np.bincount(region, plane[is_inside], minlength=len(numbers)).astype(np.float64)
        for plane in planes
    )
    deviation = np.sqrt(variances)
    changes = _relative(before, after, deviation)
    moved = np.abs(after - before)
    changed = moved > CHANGED * np.abs(before) + DEVIATIONS * deviation
    whole = [np.array([plane.sum()]) for plane in planes]
    total = _relative(whole[0], whole[1], np.sqrt(whole[2]))
    pixels = np.bincount(region, minlength=len(numbers))
    at = [np.bincount(region, a, minlength=len(numbers)) for a in np.nonzero(is_inside)]
    known = changes[np.isfinite(changes)]
    median = float(np.median(known)) if known.size else math.nan
    largest = float(known[np.argmax(np.abs(known))]) if known.size else math.nan
    return Flux(
        numbers=numbers,
        before=before,
        after=after,
        changes=changes,
        noise=deviation,
        changed=changed,
        median=median,
        largest=largest,
        centres=np.stack(at, axis=1) / pixels[:, None],
        total=float(total[0]),
        background=background,
        sentence=_flux_sentence(changes, changed, median, largest),
    )


def _relative(before: Array, after: Array, noise: Array) -> Array:
    """Relative change, after / before - 1, NaN where there is noise alone."""
    is_seen = before > np.maximum(DEVIATIONS * noise, 1e-12 * np.abs(after))
    return np.where(is_seen, after / np.where(is_seen, before, 1) - 1, np.nan)


def _flux_sentence(
    changes: Array, changed: NDArray[np.bool_], median: float, largest: float
) -> str:
    if not changes.size:
        return "No object was found, so no intensities were compared."
    if math.isnan(median):
        return "No object is brighter than its noise, so no change can be detected."
    compared, count = int(np.isfinite(changes).sum()), int(changed.sum())
    if compared == 1:
        verb = "more" if count else "not more"
        return (
            f"The summed intensity of 1 object changed by {_percent(median)}, which "
            f"is {verb} than 1 % beyond its noise."
        )
    content = f"{_percent(median)} in the median and by {_percent(largest)} at most"
    sentence = f"The summed intensities of {compared} objects changed by {content}; "
    if not count:
        return sentence + "none by more than 1 % beyond its noise."
    return sentence + f"{count} of them by more than 1 % beyond the noise."


def _percent(share: float) -> str:
    return f"{signed(100 * share)} %"


def binned(
    result: NDArray[Any], factors: Pair, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Mean of a result (ceil(f Y), ceil(f X)) over each pixel of an image (Y, X).

    Output pixels on the border of two input pixels count by their areas. Raises
    InputError if the sizes do not fit.
    """
    expected = tuple(output_size(n, f) for n, f in zip(shape, factors, strict=True))
    if result.shape != expected:
        y, x = factors
        raise InputError(
            f"The result has {size_text(result.shape)} pixels, but an image of "
            f"{size_text(shape)} enlarged ×{y:g} along Y and ×{x:g} along X has "
            f"{size_text(expected)}; give the image that it was made from."
        )
    rows, columns = (
        _binning(n, f, m) for n, f, m in zip(shape, factors, expected, strict=True)
    )
    return np.asarray((columns @ (rows @ result.astype(np.float64)).T).T)


def _binning(size: int, factor: float, out_size: int) -> Any:
    """Sparse weights (size, out_size): overlap of input and output pixels."""
    taps = math.ceil(factor) + 2
    left = np.arange(size)[:, np.newaxis] * factor
    index = np.floor(left).astype(np.int64) + np.arange(taps)
    overlap = np.minimum(index + 1, left + factor) - np.maximum(index, left)
    overlap[(index >= out_size) | (overlap < 1e-9)] = 0
    overlap /= overlap.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(size), taps)
    columns = index.ravel().clip(max=out_size - 1)
    entries = (overlap.ravel(), (rows, columns))
    return sparse.coo_array(entries, shape=(size, out_size)).tocsr()


def bright_regions(image: NDArray[Any]) -> Labels:
    """Label bright objects of an image (Y, X); all 0 where there is none.

    Connected parts above Otsu's threshold of the smoothed image (Otsu, IEEE Trans. SMC
    9, 1979), of at least 20 pixels, the 300 largest, each with a rim of 3 pixels.
    """
    image = np.asarray(image, dtype=np.float64)
    none = np.zeros(image.shape, np.int32)
    # Dimmed: by its range alone, any plane that is normalised would show signal.
    dim = DIMMED * intensity_map(image).normalise(image)
    if np.ptp(image) == 0 or not shows_signal(dim[np.newaxis]):
        return none
    smooth = ndimage.gaussian_filter(image, SMOOTHING_PX, mode="mirror")
    parts, _ = ndimage.label(smooth > otsu_threshold(smooth))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = np.argsort(areas, kind="stable")[::-1][:MOST_REGIONS]
    kept = np.sort(kept[areas[kept] >= LEAST_AREA])
    if not kept.size:
        return none
    renumbered = np.zeros(len(areas), np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    labels = renumbered[parts]
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    return np.asarray(np.where(distance <= RIM_PX, labels[tuple(nearest)], 0))


def otsu_threshold(values: NDArray[Any]) -> float:
    """Threshold that parts values, any shape, into classes of least variance."""
    counts, edges = np.histogram(values, BINS)
    centers = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * centers).cumsum()
    # The last one leaves nothing above.
    means = sums[:-1] / below[:-1], (sums[-1] - sums[:-1]) / above[:-1]
    between = below[:-1] * above[:-1] * (means[0] - means[1]) ** 2.0
    # Between two classes far apart every threshold is as good: their middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())


def spot_shift(
    image: NDArray[Any],
    result: NDArray[Any],
    factors: Pair,
    *,
    noise: NoiseModel | None = None,
) -> SpotShift:
    """Measure how far bright spots moved by enlargement.

    Spots are local maxima of the negative Laplacian of a Gaussian (1.5 input pixels)
    that stand five standard deviations above its noise and are no ridges; a parabola
    along each axis locates them in the image and in the result.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
    result : ndarray, shape (ceil(f Y), ceil(f X))
    factors : tuple of float
        Enlargement along (Y, X).
    noise : NoiseModel, optional
        Noise of the image, in its intensities. By default estimated.

    Returns
    -------
    SpotShift

    Raises
    ------
    InputError
        The sizes do not fit.
    """
    image = np.asarray(image, dtype=np.float64)
    model = _image_noise(image) if noise is None else noise
    fine = _spotness(binned(result, factors, image.shape))
    coarse = _spotness(image)
    sigma = model.sigma(float(image.mean())) * max(model.bands)
    found = _spots(coarse, sigma) if np.ptp(image) > 0 else []
    tops = [_top(fine, place) for place in found]
    shifts = np.array(
        [
            np.add(top, _parabola(fine, top)) - np.add(place, _parabola(coarse, place))
            for place, top in zip(found, tops, strict=True)
            if top is not None
        ]
    ).reshape(-1, 2)
    lost = len(found) - len(shifts)
    if not len(shifts):
        return SpotShift(
            spots=0,
            lost=lost,
            mean=(math.nan, math.nan),
            rms=math.nan,
            moved=False,
            sentence=_no_spots_sentence(lost),
        )
    y, x = shifts.mean(axis=0)
    error = math.hypot(*shifts.std(axis=0)) / math.sqrt(len(shifts))
    is_far = math.hypot(y, x) > max(MOVED_PX, DEVIATIONS * error)
    moved = len(shifts) >= LEAST_SPOTS and is_far
    rms = math.sqrt((shifts**2).sum(axis=1).mean())
    return SpotShift(
        spots=len(shifts),
        lost=lost,
        mean=(float(y), float(x)),
        rms=rms,
        moved=moved,
        sentence=_spot_sentence(len(shifts), lost, (y, x), rms, moved),
    )


def _no_spots_sentence(lost: int) -> str:
    if not lost:
        return "No bright spot was found, so no positions were compared."
    if lost == 1:
        return "The only bright spot of the image was not found in the result."
    return f"None of the {lost} bright spots of the image was found in the result."


def _spot_sentence(spots: int, lost: int, mean: Pair, rms: float, moved: bool) -> str:
    what = f"{spots} spots are" if spots != 1 else "One spot is"
    scatter = f" Single spots scatter {SCATTER.format(distance_text(rms))}." * (
        spots != 1
    )
    average = " on average" * (spots != 1)
    if spots < LEAST_SPOTS:
        verdict = "too few to judge"
    else:
        verdict = "they moved" if moved else "no relevant shift"
    missing = f" Not found in the result: {lost} more." if lost else ""
    return (
        f"{what} shifted by {signed(mean[0], 3)} pixels along Y and "
        f"{signed(mean[1], 3)} along X{average}: {verdict}.{scatter}{missing}"
    )


def distance_text(pixels: float) -> str:
    """A distance of spots in pixels, as exactly as it is known."""
    if pixels < LEAST_SHIFT:
        return f"less than {LEAST_SHIFT:g}"
    return f"{pixels:.2g}"


def _spotness(plane: Array) -> Array:
    return -np.asarray(ndimage.gaussian_laplace(plane, SPOT_PX, mode="mirror"))


def _spots(response: Array, sigma: float) -> list[tuple[int, int]]:
    """Pixels (Y, X) that are the highest of 5 x 5, stand above the noise and are round.

    `sigma` is the standard deviation of the noise of the image.
    """
    unit = np.zeros((25, 25))
    unit[12, 12] = 1
    of_noise = sigma * math.sqrt(float((_spotness(unit) ** 2).sum()))
    usual = TO_SIGMA * float(np.median(np.abs(response - np.median(response))))
    limit = max(HEIGHT * max(of_noise, usual), SHARE * float(response.max()))
    edge = math.ceil(2 * SPOT_PX) + REACH_PX
    is_top = response == ndimage.maximum_filter(response, 5, mode="mirror")
    is_top &= (response > limit) & (response > 0)
    inside = np.zeros(response.shape, bool)
    inside[edge:-edge, edge:-edge] = True
    places = np.argwhere(is_top & inside)
    heights = response[tuple(places.T)]
    highest = places[np.argsort(-heights, kind="stable")[:MOST_SPOTS]]
    return [(int(y), int(x)) for y, x in highest if _is_round(response, y, x)]


def _is_round(response: Array, y: int, x: int) -> bool:
    part = response[y - 1 : y + 2, x - 1 : x + 2]
    along_y, along_x = (np.diff(line, 2)[0] for line in (part[:, 1], part[1]))
    mixed = (part[0, 0] + part[2, 2] - part[0, 2] - part[2, 0]) / 4
    sharp, blunt = np.linalg.eigvalsh([[along_y, mixed], [mixed, along_x]])
    return bool(blunt <= ROUND * sharp < 0)


def _top(response: Array, place: tuple[int, int]) -> tuple[int, int] | None:
    """Highest pixel within reach, None where that is no maximum."""
    y, x = place
    part = response[
        y - REACH_PX : y + REACH_PX + 1,
        x - REACH_PX : x + REACH_PX + 1,
    ]
    row, column = np.unravel_index(int(np.argmax(part)), part.shape)
    side = 2 * REACH_PX
    if row in (0, side) or column in (0, side) or part[row, column] <= 0:
        return None
    return y + int(row) - REACH_PX, x + int(column) - REACH_PX


def _parabola(response: Array, place: tuple[int, int]) -> Pair:
    """Offset (Y, X) of the vertex from a pixel higher than its neighbours."""
    y, x = place
    column, row = response[y - 1 : y + 2, x], response[y, x - 1 : x + 2]
    return _vertex(column), _vertex(row)


def _vertex(three: Array) -> float:
    bend = float(three[0] - 2 * three[1] + three[2])
    return float(three[0] - three[2]) / (2 * bend) if bend < 0 else 0.0


def _image_noise(image: Array) -> NoiseModel:
    """Noise estimated from an image, in its intensities."""
    mapping = intensity_map(image)
    model = estimate_noise(mapping.normalise(image))
    return model.mapped(1 / mapping.scale, -mapping.offset / mapping.scale)


def _check_labels(labels: NDArray[Any], shape: tuple[int, ...]) -> None:
    if labels.shape != shape:
        raise InputError(
            f"The labels have {size_text(labels.shape)} pixels and the image "
            f"{size_text(shape)}; give labels of the image that was enlarged."
        )
    if labels.dtype.kind not in "iub":
        raise InputError(
            f"Labels are whole numbers, but these are {labels.dtype}; convert them to "
            "an integer type first."
        )
