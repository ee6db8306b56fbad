"""What every result promises, in figures: place, intensity, evenness, sameness."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.job import Job, enlarge, factor_text
from benchmarks.metrics import polyphase_spread, shaved
from benchmarks.table import Cell, Table
from napari_zssr.config import Config, change
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]
Pair = tuple[float, float]

ALIGNMENT_FACTORS: tuple[Pair, ...] = (
    (2, 2),
    (3, 3),
    (4, 4),
    (1.5, 1.5),
    (1, 2),
)
BLOB_SIGMA, BLOB_GAP = 1.5, 16


def invariants(job: Job) -> Table:
    """All promises, each beside its limit.

    Parameters
    ----------
    job : Job
        Its config is used with noise off, always learned, where noise is no part of
        the promise; alignment goes through `ALIGNMENT_FACTORS`.
    """
    plain = change(job.config, noise="off", always=True)
    rows: list[tuple[Cell, ...]] = []
    cases = _alignment_cases()
    for number, (label, factors, kernel) in enumerate(cases):
        job.announce(number, len(cases) + 1, f"alignment {label}")
        mean, worst = alignment(change(plain, factor=factors, kernel=kernel))
        rows += [
            _row("misplacement, mean (fine px)", label, mean, 0.05),
            _row("misplacement, worst (fine px)", label, worst, 0.1),
        ]
    job.announce(len(cases), len(cases) + 1, "intensity")
    rows += _intensity_rows(job.config, plain)
    return Table(
        title=job.title,
        columns=("promise", "case", "value", "limit", "kept"),
        rows=tuple(rows),
    )


def alignment(config: Config, *, size: int = 96, seed: int = 0) -> Pair:
    """How far blobs at known places come back from where they belong.

    Parameters
    ----------
    config : Config
        Settings; its factors and kernel are what is tested.
    size : int
        Side of the coarse image in pixels.
    seed : int
        Of the blobs' places within their cells.

    Returns
    -------
    tuple of float
        Mean and largest distance, fine pixels.
    """
    places = blob_places(size, seed)
    fine = enlarge(blobs(size, places), config).image.astype(np.float64)
    factors = np.array(config.factors)
    expected = (places + 0.5) * factors - 0.5
    found = np.array([_center(fine, place, factors) for place in expected])
    away = np.linalg.norm(found - expected, axis=1)
    return float(away.mean()), float(away.max())


def blob_places(size: int, seed: int = 0) -> Array:
    """Sub-pixel places (n, 2) of blobs, one in each 16 x 16 cell but the border's."""
    draw = np.random.default_rng(seed)
    middles = np.arange(BLOB_GAP, size - BLOB_GAP + 1, BLOB_GAP, dtype=np.float64)
    grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1)
    grid = grid.reshape(-1, 2)
    return grid + draw.uniform(-0.5, 0.5, grid.shape)


def blobs(size: int, places: Array) -> NDArray[np.float32]:
    """Gaussian blobs of sigma 1.5 px and height 1000 on 100, shape (size, size)."""
    pixel = np.arange(size)
    along = np.exp(-((pixel - places[..., None]) ** 2) / (2 * BLOB_SIGMA**2))
    image = 100 + 1000 * np.einsum("ny,nx->yx", along[:, 0], along[:, 1])
    return np.asarray(image, dtype=np.float32)


def linearity(config: Config, *, size: int = 96) -> float:
    """Largest |SR(a I + b) - (a SR(I) + b)| over the range, for a = 3, b = 500."""
    image = texture(size)
    first = 3 * enlarge(image, config).image.astype(np.float64) + 500
    second = enlarge(3 * image + 500, config).image
    return float(np.abs(second - first).max() / np.ptp(first))


def mean_intensity(config: Config, *, size: int = 96) -> float:
    """|mean of the result / mean of the image - 1|."""
    image = texture(size)
    return abs(float(enlarge(image, config).image.mean() / image.mean()) - 1)


def flat_field(config: Config, *, size: int = 256, counts: float = 100.0) -> Pair:
    """What becomes of a flat field of photons.

    Parameters
    ----------
    config : Config
        Settings; noise as they say.
    size : int
        Side in pixels.
    counts : float
        Mean photons for each pixel.

    Returns
    -------
    tuple of float
        Standard deviation over that of bicubic, and polyphase spread (NaN for a
        factor that is no whole number).
    """
    flat = np.random.default_rng(0).poisson(counts, (size, size)).astype(np.uint16)
    large = enlarge(flat, config).image
    plain = imresize(flat, config.factors)
    cut = math.ceil(4 * max(config.factors))
    ratio = float(shaved(large, cut).std() / shaved(plain, cut).std())
    if not all(float(f).is_integer() for f in config.factors):
        return ratio, math.nan
    whole = (int(config.factors[0]), int(config.factors[1]))
    return ratio, polyphase_spread(large, whole)


def tiling(config: Config, *, size: int = 96, tile_px: int = 48) -> float:
    """Largest difference between tiled and whole inference, over the range."""
    image = texture(size)
    whole = enlarge(image, config, tile_px=4 * size).image.astype(np.float64)
    tiled = enlarge(image, config, tile_px=tile_px).image
    return float(np.abs(tiled - whole).max() / np.ptp(whole))


def repeatability(config: Config, *, size: int = 96) -> int:
    """Pixels that differ between two runs."""
    first, second = (enlarge(texture(size), config).image for _ in range(2))
    return int(np.count_nonzero(first != second))


def texture(size: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random texture of two scales with sharp edges, 100 to 1100, (Y, X)."""
    draw = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(draw.normal(size=(size, size)), 6)
    fine = ndimage.gaussian_filter(draw.normal(size=(size, size)), 1.5)
    image = np.where(coarse > 0, 1.0, 0.0) + 0.5 * fine / fine.std()
    image = ndimage.gaussian_filter(image, 0.6)
    scaled = 100 + 1000 * (image - image.min()) / np.ptp(image)
    return np.asarray(scaled, dtype=np.float32)


def _intensity_rows(config: Config, plain: Config) -> list[tuple[Cell, ...]]:
    case = f"x{factor_text(config.factors)}"
    std_ratio, spread = flat_field(config)
    forced_ratio, forced_spread = flat_field(change(config, always=True))
    return [
        _row("linearity (of range)", case, linearity(plain), 0.01),
        _row("mean intensity (relative)", case, mean_intensity(plain), 0.005),
        _row("flat field, std over bicubic's", case, std_ratio, 1.1),
        _row("flat field, polyphase spread", case, spread, 0.001),
        _row("flat field, std, always learned", case, forced_ratio, 1.1),
        _row("flat field, spread, always learned", case, forced_spread, 0.001),
        _row("tiles (of range)", case, tiling(plain), 1e-4),
        _row("two runs, differing pixels", case, repeatability(plain), 0),
    ]


def _alignment_cases() -> list[tuple[str, Pair, KernelSpec]]:
    plain = [
        (f"x{factor_text(f)}, bicubic", f, KernelSpec()) for f in ALIGNMENT_FACTORS
    ]
    odd, even = _bell(9), _bell(10)
    off = np.pad(odd, ((0, 3), (2, 0)))
    named = (("odd", odd), ("even", even), ("off-centre", off))
    return plain + [
        (f"x{f:g}, {name} kernel", (f, f), KernelSpec(kind="array", array=array))
        for f in (2, 3)
        for name, array in named
    ]


def _bell(side: int) -> Array:
    along = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * 1.2**2))
    bell: Array = np.outer(along, along) / along.sum() ** 2
    return bell


def _center(image: Array, place: Array, factors: Array) -> Array:
    """Centre of the blob at `place`, by a Gaussian-weighted centroid."""
    reach = np.ceil(BLOB_GAP / 2 * factors).astype(int)
    first = np.round(place).astype(int) - reach
    window = tuple(slice(f, f + 2 * r + 1) for f, r in zip(first, reach, strict=True))
    patch = image[window] - np.median(image)
    width = 1.5 * BLOB_SIGMA * factors
    center = np.asarray(place, dtype=np.float64)
    for _ in range(20):
        weights = [
            np.exp(-((f + np.arange(n) - c) ** 2) / (2 * w**2))
            for f, n, c, w in zip(first, patch.shape, center, width, strict=True)
        ]
        weighted = patch * weights[0][:, None] * weights[1]
        total = weighted.sum()
        y = (weighted.sum(1) * (first[0] + np.arange(patch.shape[0]))).sum() / total
        x = (weighted.sum(0) * (first[1] + np.arange(patch.shape[1]))).sum() / total
        center = np.array([y, x])
    return center


def _row(promise: str, case: str, value: float, limit: float) -> tuple[Any, ...]:
    kept = "" if math.isnan(value) else "yes" if value <= limit else "no"
    return (promise, case, value, limit, kept)
