"""Kernels in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec

Array = NDArray[np.float64]


def load_kernel(path: str | Path) -> Array:
    """Kernel array (Y, X) from a ``.npy``, ``.csv``, ``.tif`` or ``.mat`` file.

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
            ".npy without pickle, .csv, .tif or .mat."
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
