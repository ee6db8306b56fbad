"""Where pixels come from: arrays, and what reads them when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.intensity import check_finite

Index = tuple[int | slice, ...]


class Pixels(Protocol):
    """Pixels that are read when they are indexed: arrays, zarr, dask, files.

    Those of this package can be pickled: they open their file by themselves, at the
    first use, in whatever process they are.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    def __getitem__(self, index: Any, /) -> Any:
        """Pixels for one whole number or slice an axis."""


class Planes(Protocol):
    """What gives pixels for the index of a plane: an array, or what reads one."""

    def __getitem__(self, index: Index, /) -> NDArray[Any]: ...


def is_lazy(data: Any) -> bool:
    """Whether pixels are read when they are indexed, and so must not be held whole."""
    return (
        not isinstance(data, np.ndarray | np.generic)
        and isinstance(getattr(data, "dtype", None), np.dtype)
        and all(hasattr(data, name) for name in ("shape", "ndim", "__getitem__"))
    )


class CheckedPlanes:
    """Planes of an image that may be lazy: native, and finite when they are read.

    Parameters
    ----------
    data : Pixels
        What `check_pixels` has let pass.
    nonfinite : {"refuse", "fill"}
        What is done about masked pixels, NaN and Inf; they are filled with the mean of
        the plane's other pixels. A plane of a stack that has none becomes 0.
    """

    def __init__(self, data: Pixels, nonfinite: str) -> None:
        self.data = data
        self.nonfinite = nonfinite
        self.shape = data.shape
        self.dtype = data.dtype
        self.ndim = data.ndim

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """One plane, or any other part.

        Raises
        ------
        InputError
            It cannot be read, or holds masked pixels, NaN or Inf that are to be
            refused.
        """
        plane = native(self.data[index])
        at = tuple(i for i in index if not isinstance(i, slice))
        what = f"The image's plane {list(at)}" if at else "The image"
        if at and self.nonfinite == "fill" and not _usable(plane).any():
            return np.zeros_like(np.ma.getdata(plane))
        if isinstance(plane, np.ma.MaskedArray):
            plane = _unmasked(plane, self.nonfinite, what)
        return check_finite(plane, self.nonfinite, what)


class FilePixels(ABC):
    """Pixels that stay in a file until they are indexed."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @abstractmethod
    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels for one whole number or slice an axis."""

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)


class StoredArray:
    """Pixels in a ``.npy`` file, opened by whoever reads them; picklable by its name.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        opened = np.load(path, mmap_mode="r")
        self.shape: tuple[int, ...] = opened.shape
        self.dtype: np.dtype[Any] = opened.dtype
        self.ndim: int = opened.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Pixels, copied out of the file."""
        return np.array(np.load(self._path, mmap_mode="r")[index])


def full_index(index: Any, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    """One whole number or slice an axis, none of the numbers negative.

    Parameters
    ----------
    index : tuple of (int, slice or Ellipsis), or one of them
    shape : tuple of int
        Size along each axis.

    Raises
    ------
    IndexError
        A number is outside, or there are more of them than axes.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    given += [slice(None)] * (len(shape) - len(given))
    if len(given) > len(shape):
        raise IndexError(f"{len(given)} indices for {len(shape)} axes")
    return tuple(
        part if isinstance(part, slice) else range(size)[part]
        for part, size in zip(given, shape, strict=True)
    )


def loaded(data: Pixels) -> NDArray[Any]:
    """All pixels in memory, in the byte order of this machine."""
    return native(data[...])


def native(pixels: Any) -> NDArray[Any]:
    """Array in the byte order of this machine; the mask of a masked array stays."""
    # Asked for an array, dask gives one without its mask.
    given = pixels.compute() if hasattr(pixels, "__dask_graph__") else pixels
    array = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _usable(plane: NDArray[Any]) -> NDArray[np.bool_]:
    """Where pixels are neither masked nor NaN or Inf."""
    usable: NDArray[np.bool_] = np.isfinite(np.ma.getdata(plane))
    return usable & ~np.ma.getmaskarray(plane)


def _unmasked(
    plane: np.ma.MaskedArray[Any, Any], nonfinite: str, what: str
) -> NDArray[Any]:
    """Pixels of a masked array, the masked ones refused or filled with the mean."""
    values, mask = np.ma.getdata(plane), np.ma.getmaskarray(plane)
    count = int(mask.sum())
    if count == 0:
        return values
    if nonfinite == "refuse" or count == values.size:
        raise InputError(
            f"{what} has {count} masked pixels, which would be learned from; have them "
            "filled with the mean of the others by nonfinite='fill', or give its .data."
        )
    others = values[_usable(plane)]
    mean = others.mean(dtype=np.float64) if others.size else 0.0
    fill = np.round(mean) if values.dtype.kind in "iu" else mean
    return np.where(mask, values.dtype.type(fill), values)
