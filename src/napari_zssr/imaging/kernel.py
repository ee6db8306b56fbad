"""Blur kernels on the fine grid: from a description to a centred array."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.config import KernelSpec
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize

Array = NDArray[np.float64]
Pair = tuple[float, float]

TRUNCATE = 4.0


@lru_cache(maxsize=256)
def sampled_kernel(spec: KernelSpec, phase: Pair = (0.0, 0.0)) -> Array | None:
    """Kernel whose centre of mass lies `phase` away from the middle pixel.

    Parameters
    ----------
    spec : KernelSpec
        What the blur is.
    phase : tuple of float
        Sub-pixel place of the centre of mass along (Y, X), fine pixels.

    Returns
    -------
    ndarray, shape (odd, odd), sum 1, or None for the bicubic kernel

    Raises
    ------
    InputError
        When the kernel's file cannot be read.
    """
    if spec.kind == "bicubic":
        return None
    if spec.kind == "gaussian":
        return _gaussian(spec, phase)
    array = spec.array if spec.kind == "array" else load_kernel(spec.path)
    assert array is not None
    return _recentred(array / array.sum(), phase)


def load_kernel(path: str | Path) -> Array:
    """Kernel array (Y, X) from a ``.npy``, ``.tif`` or ``.mat`` file.

    Raises
    ------
    InputError
        When the file is missing, no kernel, or would need pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Kernel file {str(path)!r} does not exist.")
    try:
        array = _read_array(path)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"Kernel file {str(path)!r} cannot be read ({error}); give a 2-D array as "
            ".npy without pickle, .tif or .mat."
        ) from error
    squeezed = np.squeeze(array)
    spec = KernelSpec(kind="array", array=squeezed)
    assert spec.array is not None
    return spec.array


def pinned(spec: KernelSpec) -> KernelSpec:
    """A kernel from a file becomes the array in it, so that a recipe holds it whole."""
    if spec.kind != "file":
        return spec
    return KernelSpec(kind="array", array=load_kernel(spec.path))


def for_factors(spec: KernelSpec, factors: Pair, wanted: Pair) -> KernelSpec:
    """The same optics' kernel for another enlargement.

    A kernel relates two grids: for Gaussian optics its width in fine pixels grows as
    sqrt(f^2 - 1), so that k4 = k2 * dilate2(k2) holds.
    """
    if spec.kind == "bicubic" or factors == wanted:
        return spec
    ratio = (_width_ratio(factors[0], wanted[0]), _width_ratio(factors[1], wanted[1]))
    if spec.kind == "gaussian":
        return _stretched_gaussian(spec, ratio)
    array = sampled_kernel(spec)
    assert array is not None
    for axis in (0, 1):
        if ratio[axis] == 0:
            array = array.sum(axis=axis, keepdims=True)
    along = tuple(r if r > 0 else 1.0 for r in ratio)
    padding = [(2, 2) if r > 0 else (0, 0) for r in ratio]
    resized = imresize(np.pad(array, padding), (along[0], along[1]))
    return KernelSpec(kind="array", array=resized / resized.sum())


def check_fits(spec: KernelSpec, shape: tuple[int, int]) -> None:
    """Refuse a kernel larger than the plane (Y, X) that it is to blur."""
    array = sampled_kernel(spec)
    if array is None:
        return
    effective = _support(array)
    if effective[0] > shape[0] or effective[1] > shape[1]:
        raise InputError(
            f"The kernel covers {effective[0]} x {effective[1]} fine pixels, more than "
            f"the enlarged plane of {shape[0]} x {shape[1]}; give a smaller kernel."
        )


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


def _support(array: Array) -> tuple[int, int]:
    """Rows and columns that carry more than a millionth of the kernel's peak."""
    strong = np.abs(array) > 1e-6 * np.abs(array).max()
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _width_ratio(factor: float, wanted: float) -> float:
    if factor == wanted or factor == 1:
        return 1.0
    return math.sqrt((wanted**2 - 1) / (factor**2 - 1))


def _gaussian_covariance(spec: KernelSpec) -> Array:
    angle = math.radians(spec.angle_deg)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    spread: Array = turn @ np.diag(np.square(spec.sigma_px)) @ turn.T
    return spread


def _gaussian(spec: KernelSpec, phase: Pair) -> Array:
    spread = _gaussian_covariance(spec)
    radius = [max(1, math.ceil(TRUNCATE * math.sqrt(spread[i, i]))) for i in (0, 1)]
    y = np.arange(-radius[0], radius[0] + 1)[:, None] - phase[0]
    x = np.arange(-radius[1], radius[1] + 1)[None, :] - phase[1]
    inverse = np.linalg.inv(spread)
    square = inverse[0, 0] * y * y + 2 * inverse[0, 1] * y * x + inverse[1, 1] * x * x
    values: Array = np.exp((square.min() - square) / 2)
    values /= values.sum()
    return values


def _stretched_gaussian(spec: KernelSpec, ratio: Pair) -> KernelSpec:
    stretch = np.diag(ratio)
    values, vectors = np.linalg.eigh(stretch @ _gaussian_covariance(spec) @ stretch)
    sigmas = np.sqrt(np.maximum(values, 1e-12))
    angle = math.degrees(math.atan2(vectors[1, 0], vectors[0, 0]))
    return KernelSpec(
        kind="gaussian",
        sigma_px=(float(sigmas[0]), float(sigmas[1])),
        angle_deg=angle,
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


def _read_array(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path))
    if suffix == ".mat":
        return _read_mat(path)
    raise ValueError("not a .npy, .tif or .mat file")


def _read_mat(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: dict[str, Any] = loadmat(str(path))
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
