"""How much more a microscope blurs along Z than across, and whether a result shows it.

Lengths are in slices, the distance of two planes of the stack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.signal.windows import dpss

from napari_zssr.imaging.degrade import degradation, degrade_array
from napari_zssr.imaging.resample import spread_starts
from napari_zssr.kernelspec import KernelSpec

# Across the axis nothing is blurred: a Gaussian of no width, in fine pixels.
NO_BLUR_PX = 1e-6
# Widths that are tried: in slices; the widest in fine pixels where slices lie close.
NARROWEST, WIDEST, WIDEST_PX, WIDTHS = 0.1, 1.6, 6.4, 16
# A blur that is assumed too wide ruins a stack, one too narrow only gains less.
CAUTION = 0.95
# Growth of power along Z (log10) and undershoot that results under a right blur do not
# exceed, both of them; the more growth, the more undershoot (isotropic and layered
# volumes under blurs 0.9 to 1.5 times as wide as the true one).
LARGEST_GROWTH = 0.15
UNDERSHOOT_BY_GROWTH = (0.15, 0.35, 0.53), (0.04, 0.09, 0.15)
# Undershoot of the deepest voxels: twice what results under a right blur have, of clean
# stacks and of noisy ones, which come out softer.
LARGEST_DEPTH, LARGEST_DEPTH_NOISY = 0.3, 0.14
# Quantiles that stand for the darkest and the brightest pixels, and the deepest of all.
DARKEST_TO_BRIGHTEST, DEEPEST = (0.001, 0.999), 1e-5
# Planes, and sections of each orientation, that spectra are taken of.
PLANES, SECTIONS = 12, 24
# Spectra: half bandwidth of the tapers and their number; shortest and longest window.
BANDWIDTH, TAPERS, SHORTEST, LONGEST = 2.0, 3, 6, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AxialBlur:
    """Blur along Z beyond that across.

    Attributes
    ----------
    width : standard deviation of a Gaussian, or thickness of a section, in slices
    shape : "gaussian" or "section"
    sentence : origin, and how far to trust it
    known : False where the stack hides its blur, and hardly any is assumed
    """

    width: float
    shape: str = "gaussian"
    sentence: str = ""
    known: bool = True

    def kernel(self, factor: float) -> KernelSpec:
        """Kernel along the first axis, on `factor` fine planes a slice."""
        if self.shape == "section":
            return KernelSpec(kind="array", array=_box(self.width * factor)[:, None])
        return KernelSpec(
            kind="gaussian", sigma_px=(max(NO_BLUR_PX, self.width * factor), NO_BLUR_PX)
        )

    def narrowed(self, share: float) -> AxialBlur:
        """The same, so much narrower."""
        return replace(self, width=share * self.width)


def _box(width: float) -> NDArray[np.float64]:
    """Box of a width in pixels, sampled on an odd number of them."""
    reach = math.ceil(max(0.0, width - 1) / 2)
    weights = np.ones(2 * reach + 1)
    if reach:
        weights[[0, -1]] = (width - (2 * reach - 1)) / 2
    return np.asarray(weights / weights.sum())


# Without a blur, slices are only too far apart: enlarging them is safe, and noise goes.
UNKNOWN_BLUR = AxialBlur(
    width=NARROWEST,
    sentence=(
        "The blur along Z could not be estimated (the stack is too small, too hazy or "
        "too noisy), so no more blur than in XY was assumed. To remove it, give it "
        "(--kernel-z, kernel_z) as optics, fwhm:Z,XY or gaussian:SIGMA."
    ),
    known=False,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AxialSpectra:
    """Spectra of a volume (Z, Y, X), normalised, of noise `sigma`.

    Lateral planes that are degraded along Y are compared with sections that are blurred
    along X as much: were the specimen alike in all directions, and the width right,
    both have seen the same blur along both of their axes, and their power along the
    first axis agrees. Sections as they are do not serve: planes have been blurred
    along Z already, which takes fine lateral detail from them, so that the blur would
    seem narrower than it is.
    """

    volume: NDArray[np.float32]
    factor: float
    sigma: float

    @property
    def length(self) -> int:
        """Slices and pixels of a lateral son that a spectrum is taken of."""
        lateral = int(min(self.volume.shape[1:]) / self.factor)
        return min(len(self.volume), lateral, LONGEST)

    def mismatch(self, width: float) -> float:
        """Mean squared difference of logarithmic power under a width."""
        factor, volume, length = self.factor, self.volume, self.length
        along = AxialBlur(width=width).kernel(factor)
        across = KernelSpec(kind="gaussian", sigma_px=(NO_BLUR_PX, width * factor))
        planes = volume[_spread(len(volume), PLANES)]
        rows = volume[:, _spread(volume.shape[1], SECTIONS)].transpose(1, 0, 2)
        columns = volume[:, :, _spread(volume.shape[2], SECTIONS)].transpose(2, 0, 1)
        sons = [
            power(degrade_array(part, along, (factor, 1.0)), 1, length)
            for part in (planes, planes.transpose(0, 2, 1))
        ]
        sections = [
            power(degrade_array(part, across, (1.0, 1.0)), 1, length)
            for part in (rows, columns)
        ]
        # Noise is white along Z in sections, and blurred in what sons keep of it.
        white = _noise_share(across) - _noise_power(along, factor, length)
        noise = self.sigma**2 * np.maximum(white, 0)[1:]
        son, section = (np.mean(part, axis=0)[1:] for part in (sons, sections))
        return float(np.mean(np.log((son + noise) / section) ** 2))

    def estimated_blur(self) -> AxialBlur:
        """The Gaussian under which spectra agree best, a little narrower to be safe.

        Unknown where no width that is tried is wide enough, since haze or noise
        misleads it, and where the volume is too small.
        """
        if self.length < SHORTEST:
            return UNKNOWN_BLUR

        def error(logarithm: float) -> float:
            return self.mismatch(math.exp(logarithm))

        widest = max(WIDEST, WIDEST_PX / self.factor)
        grid = np.log(np.geomspace(NARROWEST, widest, WIDTHS))
        best = int(np.argmin([error(value) for value in grid]))
        if best == WIDTHS - 1:
            return UNKNOWN_BLUR
        around = grid[max(0, best - 1)], grid[best + 1]
        found = math.exp(minimize_scalar(error, bounds=around, method="bounded").x)
        return AxialBlur(
            width=CAUTION * found,
            sentence=(
                "Extra blur along Z estimated from the stack: Gaussian, SD "
                f"{found:.2f} slices, deliberately taken {100 * (1 - CAUTION):.0f} % "
                "narrower."
            ),
        )


def power(images: NDArray[np.floating], axis: int, length: int) -> NDArray[np.float64]:
    """Mean power along an axis, per pixel, by multitapers on windows of a length.

    White noise of variance v has power v at every frequency.
    """
    moved = np.moveaxis(images, axis, -1)
    size = moved.shape[-1]
    tapers = _tapers(length)
    total = np.zeros(length // 2 + 1)
    starts = sorted({0, (size - length) // 2, size - length})
    for start in starts:
        part = moved[..., start : start + length]
        part = part - part.mean(axis=-1, keepdims=True)
        for taper in tapers:
            transformed = np.abs(np.fft.rfft(part * taper, axis=-1)) ** 2
            total += transformed.reshape(-1, length // 2 + 1).mean(axis=0)
    return total / (len(starts) * len(tapers))


@lru_cache(maxsize=8)
def _tapers(length: int) -> NDArray[np.float64]:
    tapers: NDArray[np.float64] = dpss(length, BANDWIDTH, min(TAPERS, length))
    return tapers


@lru_cache(maxsize=256)
def _noise_share(kernel: KernelSpec) -> float:
    """Share of white noise's variance that a blur leaves."""
    return degradation(kernel, (1.0, 1.0), (256, 256)).noise_gain()


@lru_cache(maxsize=256)
def _noise_power(kernel: KernelSpec, factor: float, length: int) -> NDArray[np.float64]:
    """Power of degraded white noise of variance 1 along the first axis."""
    noise = np.random.default_rng(0).standard_normal(
        (8, round(factor * length) + 64, 64)
    )
    return power(degrade_array(noise, kernel, (factor, 1.0)), 1, length)


def power_growth(volume: NDArray[np.floating], factor: float) -> float:
    """By how much power along Z outgrows that across, towards fine detail, in log10.

    `volume`: (Z', Y, X), enlarged along Z. Between half the frequency that the slices
    could hold and one and a half times that, against lower frequencies: 0 in what is
    alike in all directions, below where Z is blurrier, clearly above where a blur was
    undone that was not there.
    """
    length = min(*volume.shape, LONGEST)
    if length < SHORTEST:
        return 0.0
    frequency = np.fft.rfftfreq(length)
    along = power(volume, 0, length)
    across = (power(volume, 1, length) + power(volume, 2, length)) / 2
    ratio = np.log10((along + 1e-20) / (across + 1e-20))
    limit = 0.5 / factor
    low = (frequency > 0.5 / length) & (frequency < limit / 2)
    parts = [
        ratio[(frequency >= a * limit) & (frequency < b * limit)]
        for a, b in ((0.5, 1.0), (1.0, 1.5))
    ]
    if not low.any() or not all(part.size for part in parts):
        return 0.0
    return float(max(part.mean() for part in parts) - ratio[low].mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Undershoot:
    """By how much an enlarged volume falls below the darkest of its slices.

    In shares of the slices' range. A right blur sharpens what is there; one that is
    assumed too wide digs dark trenches beside it.

    Attributes
    ----------
    common : of one voxel in a thousand
    deepest : of the few deepest, as beside single bright spots
    """

    common: float
    deepest: float


def undershoot(
    columns: NDArray[np.floating], volume: NDArray[np.floating]
) -> Undershoot:
    """Undershoot of an enlarged volume."""
    low, high = np.quantile(columns, DARKEST_TO_BRIGHTEST)
    common, deepest = np.quantile(volume, (DARKEST_TO_BRIGHTEST[0], DEEPEST))
    spread = max(float(high - low), 1e-12)
    return Undershoot(
        common=float(low - common) / spread, deepest=float(low - deepest) / spread
    )


def is_too_wide(growth: float, below: Undershoot, *, noisy: bool = False) -> bool:
    """Whether a result shows that a blur was assumed too wide.

    Layered specimens have more detail along Z than across by nature, and may fall a
    little lower, but dig no trenches.
    """
    limit = np.interp(growth, *UNDERSHOOT_BY_GROWTH)
    common = growth > LARGEST_GROWTH and below.common > float(limit)
    depth = LARGEST_DEPTH_NOISY if noisy else LARGEST_DEPTH
    return common or below.deepest > depth


def _spread(size: int, count: int) -> list[int]:
    """At most so many indices, spread evenly from the first to the last."""
    return spread_starts(size, 1, min(size, count))
