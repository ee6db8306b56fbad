"""Blur kernels on the fine grid: from a `KernelSpec` to a centred array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.errors import InputError
from napari_zssr.imaging.optics import FWHM
from napari_zssr.imaging.resample import Array, Pair, cubic, imresize
from napari_zssr.kernelspec import KernelSpec

# Standard deviations to which a Gaussian is sampled.
TRUNCATE = 4.0
# Weights below this share of the peak count as zero.
NEGLIGIBLE = 1e-6
# Sampling of the profile from which a width is read, pixels.
FINE_STEP = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineKernel:
    """A blur on the fine grid, and how it was determined.

    Attributes
    ----------
    spec : bicubic, gaussian or array
    factors : enlargement along (Y, X) that it belongs to
    sentence : origin, and how far to trust it
    fine_um : size (Y, X) of a fine pixel
    spread_px : standard errors of `widths_px`, fine pixels
    """

    spec: KernelSpec
    factors: Pair
    sentence: str
    fine_um: tuple[float | None, float | None] = (None, None)
    spread_px: Pair | None = None

    @property
    def array(self) -> Array:
        """Weights, shape (odd, odd), sum 1."""
        kernel = sampled_kernel(self.spec)
        if kernel is None:
            rows, columns = (_cubic_weights(f) for f in self.factors)
            return np.outer(rows, columns)
        middle = central_part(kernel, _has_weight(kernel))
        return np.asarray(middle / middle.sum())

    @property
    def widths_px(self) -> Pair | None:
        """Standard deviations along the principal axes, fine pixels, larger first.

        None for the bicubic kernel, whose negative weights give it no width.
        """
        if self.spec.kind == "bicubic":
            return None
        small, large = np.sqrt(np.maximum(np.linalg.eigvalsh(self._spread()), 0))
        return float(large), float(small)

    @property
    def angle_deg(self) -> float:
        """Direction of the larger width, from Y towards X, -90 to 90 degrees."""
        if self.spec.kind == "bicubic":
            return 0.0
        y, x = np.linalg.eigh(self._spread())[1][:, 1]
        return math.degrees(math.atan2(x, y) if y > 0 else math.atan2(-x, -y))

    @property
    def fwhm_px(self) -> Pair:
        """Full widths at half maximum along the principal axes, fine pixels.

        Unlike `widths_px` they do not depend on weights far from the centre.
        """
        if self.spec.kind == "gaussian" and self.widths_px is not None:
            return FWHM * self.widths_px[0], FWHM * self.widths_px[1]
        along, across = self._directions
        return width_at_half(self.array, along), width_at_half(self.array, across)

    @property
    def fwhm_um(self) -> Pair | None:
        """`fwhm_px` in um, None if the size of a pixel is not known."""
        y, x = self.fine_um
        if y is None or x is None:
            return None
        along, across = (math.hypot(a * y, b * x) for a, b in self._directions)
        return self.fwhm_px[0] * along, self.fwhm_px[1] * across

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form."""
        return {
            "kernel": self.spec.to_dict(),
            "factors": list(self.factors),
            "sentence": self.sentence,
            "fine_um": list(self.fine_um),
            "widths_px": None if self.widths_px is None else list(self.widths_px),
            "spread_px": None if self.spread_px is None else list(self.spread_px),
            "angle_deg": self.angle_deg,
            "fwhm_px": list(self.fwhm_px),
            "fwhm_um": None if self.fwhm_um is None else list(self.fwhm_um),
        }

    @property
    def _directions(self) -> tuple[Pair, Pair]:
        """Unit vectors (Y, X) along and across the larger width."""
        angle = math.radians(self.angle_deg)
        y, x = math.cos(angle), math.sin(angle)
        return (y, x), (-x, y)

    def _spread(self) -> Array:
        """Covariance (Y, X), square fine pixels."""
        if self.spec.kind == "gaussian":
            return _gaussian_covariance(self.spec)
        return covariance(self.array)


@lru_cache(maxsize=256)
def sampled_kernel(spec: KernelSpec, phase: Pair = (0.0, 0.0)) -> Array | None:
    """Kernel (odd, odd) of sum 1, None for bicubic.

    `spec` is concrete; `phase` is the offset (Y, X) of the centre of mass from the
    middle pixel, fine pixels.
    """
    if spec.kind == "bicubic":
        return None
    if spec.kind == "gaussian":
        return _gaussian(spec, phase)
    assert spec.kind == "array"
    assert spec.array is not None
    return _recentred(spec.array / spec.array.sum(), phase)


def kernel_for_factors(spec: KernelSpec, factors: Pair, target: Pair) -> KernelSpec:
    """The kernel of the same optics for another enlargement.

    A kernel relates two grids: for Gaussian optics its width in fine pixels grows as
    sqrt(f^2 - 1), so that k4 = k2 * dilate2(k2) holds.
    """
    if spec.kind == "bicubic" or factors == target:
        return spec
    ratio = (_width_ratio(factors[0], target[0]), _width_ratio(factors[1], target[1]))
    if spec.kind == "gaussian":
        return _stretched_gaussian(spec, ratio)
    array = sampled_kernel(spec)
    assert array is not None
    for axis in (0, 1):
        if ratio[axis] == 0:
            array = array.sum(axis=axis, keepdims=True)
    padded = np.pad(array, [(2, 2) if r > 0 else (0, 0) for r in ratio])
    resized = imresize(padded, (ratio[0] or 1.0, ratio[1] or 1.0))
    return KernelSpec(kind="array", array=resized / resized.sum())


def check_fits(spec: KernelSpec, shape: tuple[int, int]) -> None:
    """Refuse a kernel larger than the plane (Y, X) to be blurred."""
    kernel = sampled_kernel(spec)
    if kernel is None:
        return
    used = np.argwhere(_has_weight(kernel))
    rows, columns = np.ptp(used, axis=0) + 1
    if rows > shape[0] or columns > shape[1]:
        raise InputError(
            f"The kernel covers {rows} × {columns} pixels, more than the enlarged "
            f"plane of {shape[0]} × {shape[1]}; give a smaller kernel."
        )


def width_at_half(array: Array, direction: Pair) -> float:
    """Full width at half maximum along a direction (Y, X) through the peak, pixels."""
    peak = np.unravel_index(int(np.argmax(array)), array.shape)
    reach = sum(array.shape)
    distance = np.linspace(0, reach, round(reach / FINE_STEP) + 1)
    width = 0.0
    for sign in (1, -1):
        line = [p + sign * d * distance for p, d in zip(peak, direction, strict=True)]
        profile = ndimage.map_coordinates(np.pad(array, 1), np.add(line, 1))
        width += float(distance[int(np.argmax(profile < profile[0] / 2))])
    return width


def covariance(array: Array) -> Array:
    """Second moments (Y, X) of a kernel about its centre of mass, square pixels."""
    center = center_of_mass(array)
    y = np.arange(array.shape[0])[:, None] - center[0]
    x = np.arange(array.shape[1])[None, :] - center[1]
    moments = [(array * a * b).sum() for a, b in ((y, y), (y, x), (x, x))]
    return np.array([[moments[0], moments[1]], [moments[1], moments[2]]])


def center_of_mass(array: Array) -> Pair:
    """Centre of mass (Y, X) in pixel indices of a kernel that sums to 1."""
    y = float((array.sum(axis=1) * np.arange(array.shape[0])).sum())
    x = float((array.sum(axis=0) * np.arange(array.shape[1])).sum())
    return y, x


def _cubic_weights(factor: float) -> Array:
    """Weights with which bicubic reduction averages the fine pixels along an axis."""
    radius = math.ceil(2 * factor)
    weights = cubic(np.arange(-radius, radius + 1) / factor)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def central_part(array: Array, mask: NDArray[np.bool_]) -> Array:
    """The middle of an odd array that holds the mask, symmetric about the centre."""
    for axis in (0, 1):
        middle = array.shape[axis] // 2
        used = np.flatnonzero(mask.any(axis=1 - axis))
        reach = int(np.abs(used - middle).max())
        array = array.take(range(middle - reach, middle + reach + 1), axis=axis)
    return array


def _has_weight(array: Array) -> NDArray[np.bool_]:
    return np.asarray(np.abs(array) > NEGLIGIBLE * np.abs(array).max())


def _width_ratio(factor: float, target: float) -> float:
    if factor == target or factor == 1:
        return 1.0
    return math.sqrt((target**2 - 1) / (factor**2 - 1))


def _gaussian_covariance(spec: KernelSpec) -> Array:
    angle = math.radians(spec.angle_deg)
    rotation = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return np.asarray(rotation @ np.diag(np.square(spec.sigma_px)) @ rotation.T)


def _gaussian(spec: KernelSpec, phase: Pair) -> Array:
    spread = _gaussian_covariance(spec)
    radius = [max(1, math.ceil(TRUNCATE * math.sqrt(spread[i, i]))) for i in (0, 1)]
    y = np.arange(-radius[0], radius[0] + 1)[:, None] - phase[0]
    x = np.arange(-radius[1], radius[1] + 1)[None, :] - phase[1]
    inverse = np.linalg.inv(spread)
    square = inverse[0, 0] * y * y + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x * x
    values = np.exp((square.min() - square) / 2)
    return np.asarray(values / values.sum())


def _stretched_gaussian(spec: KernelSpec, ratio: Pair) -> KernelSpec:
    stretch = np.diag(ratio)
    values, vectors = np.linalg.eigh(stretch @ _gaussian_covariance(spec) @ stretch)
    sigmas = np.sqrt(np.maximum(values, 1e-12))
    return KernelSpec(
        kind="gaussian",
        sigma_px=(float(sigmas[0]), float(sigmas[1])),
        angle_deg=math.degrees(math.atan2(vectors[1, 0], vectors[0, 0])),
    )


def _recentred(array: Array, phase: Pair) -> Array:
    """Move the centre of mass to `phase` from the middle of an odd-sized array."""
    odd = np.pad(array, [(3, 3 + (n + 1) % 2) for n in array.shape])
    middle = [(n - 1) / 2 for n in odd.shape]
    for _ in range(3):
        center = center_of_mass(odd)
        move = [m + p - c for m, p, c in zip(middle, phase, center, strict=True)]
        if max(abs(m) for m in move) < 1e-6:
            break
        whole = [round(m) for m in move]
        if any(whole):
            extra = max(abs(w) for w in whole)
            odd = np.roll(np.pad(odd, extra), whole, axis=(0, 1))
            middle = [m + extra for m in middle]
            continue
        odd = ndimage.shift(odd, move, order=3, mode="constant")
        odd /= odd.sum()
    return odd


def loaded_kernel(spec: KernelSpec) -> KernelSpec:
    """A kernel file replaced by its array, so that recipes do not need the file.

    Raises `InputError` if the file is missing, holds no kernel, or needs pickle.
    """
    if spec.kind != "file":
        return spec
    path = Path(spec.path)
    if not path.is_file():
        raise InputError(f"Kernel file {str(path)!r} does not exist; check the name.")
    try:
        array = _read_array(path)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"Kernel file {str(path)!r} cannot be read ({error}); give a 2-D array as "
            ".npy without pickle, .csv, .tif or .mat."
        ) from error
    return KernelSpec(kind="array", array=np.squeeze(array))


def _read_array(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path))
    if suffix == ".csv":
        return np.loadtxt(path, delimiter=",", ndmin=2)
    if suffix == ".mat":
        return _read_mat(path)
    raise ValueError("not a .npy, .csv, .tif or .mat file")


def _read_mat(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(str(path))
    except MatReadError as error:
        raise ValueError(str(error)) from error
    arrays = [
        value
        for name, value in content.items()
        if not name.startswith("__")
        and isinstance(value, np.ndarray)
        and value.dtype.kind in "fiuc"
        and np.squeeze(value).ndim == 2
    ]
    if len(arrays) != 1:
        raise ValueError(f"{len(arrays)} two-dimensional arrays found, one is needed")
    return np.asarray(arrays[0])
