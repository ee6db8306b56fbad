"""A result that was enlarged along Z, in the slices of its original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.axial_blur import NARROWEST, AxialBlur
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.resample import output_size, resize_operator
from napari_zssr.stack.image import ImageStack, Index, Pixels
from napari_zssr.stack.recipe import axial_blur_kind, axial_reports

# Weights of the slices of a result that are less count for nothing.
NEGLIGIBLE = 1e-6

T = TypeVar("T")


def in_original_slices(
    result: ImageStack, original: ImageStack, recipe: Mapping[str, Any] | None
) -> ImageStack:
    """The result as the microscope would have recorded it along Z.

    Blurred along Z as was assumed and reduced to the slices of the original, when its
    pixels are read; the result itself where nothing was done along Z. InputError where
    the recipe tells other sizes.
    """
    reports = axial_reports(recipe or {})
    if not reports or isinstance(result.data, OriginalSlices):
        return result
    slices, fine = (s.data.shape[s.axes.index("Z")] for s in (original, result))
    factor = float(reports[0]["factor"])
    if output_size(slices, factor) != fine:
        raise InputError(
            f"The result has {fine} slices and the original {slices}, but enlarging "
            f"×{factor:.4g} along Z makes {output_size(slices, factor)} of them; give "
            "the original it was made from."
        )
    weights = {
        report["channel"]: _weights(_blur(recipe or {}, report), factor, slices)
        for report in reports
    }
    at = result.axes.index("Z")
    return replace(
        result,
        data=OriginalSlices(result.data, result.axes, weights),
        spacing=_with(result.spacing, at, original.spacing[original.axes.index("Z")]),
        units=_with(result.units, at, original.units[original.axes.index("Z")]),
    )


class OriginalSlices:
    """Slices that are weighted sums of those of a stack, computed when they are read.

    `weights` are matrices (slices, slices of the stack), by channel.
    """

    def __init__(
        self, data: Pixels, axes: str, weights: Mapping[int, NDArray[np.float64]]
    ) -> None:
        self._data, self._weights = data, weights
        self._z, self._c = axes.index("Z"), axes.find("C")
        slices = next(iter(weights.values())).shape[0]
        self.shape = tuple(
            slices if axis == self._z else size for axis, size in enumerate(data.shape)
        )
        self.dtype = np.dtype(np.float32)
        self.ndim = data.ndim

    def __getitem__(self, index: Index) -> NDArray[np.float32]:
        """Pixels at an index along all axes."""
        box = tuple(n if isinstance(n, slice) else slice(n, n + 1) for n in index)
        if self._c < 0:
            pixels = self._of_channel(box, 0)
        else:
            channels = range(self.shape[self._c])[box[self._c]]
            parts = [
                self._of_channel(_with(box, self._c, slice(n, n + 1)), n)
                for n in channels
            ]
            pixels = np.concatenate(parts, axis=self._c)
        dropped = (0 if isinstance(n, int) else slice(None) for n in index)
        return pixels[tuple(dropped)]

    def _of_channel(self, box: tuple[slice, ...], channel: int) -> NDArray[np.float32]:
        rows = self._weights[channel][box[self._z]]
        used = np.flatnonzero((np.abs(rows) > NEGLIGIBLE).any(axis=0))
        part = slice(int(used[0]), int(used[-1]) + 1)
        read = np.asarray(self._data[_with(box, self._z, part)], dtype=np.float64)
        summed = np.tensordot(rows[:, part], read, axes=(1, self._z))
        return np.moveaxis(summed, 0, self._z).astype(np.float32)


def _with(values: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _blur(
    recipe: Mapping[str, Any], report: Mapping[str, Any]
) -> tuple[float, str] | None:
    """Width and shape of the blur of a channel; None where it was interpolated."""
    if report["returned"] != "learned":
        return None
    shape = "section" if axial_blur_kind(recipe) == "section" else "gaussian"
    return float(report["width_slices"] or NARROWEST), shape


@lru_cache(maxsize=8)
def _weights(
    blur: tuple[float, str] | None, factor: float, slices: int
) -> NDArray[np.float64]:
    """What each slice of a result (columns) adds to each of the original (rows)."""
    import torch

    fine = output_size(slices, factor)
    if blur is None:
        # Interpolation holds the slices it began with.
        return np.linalg.pinv(resize_operator(slices, factor).matrix.toarray())
    width, shape = blur
    kernel = AxialBlur(width=width, shape=shape).kernel(factor)
    operator = degradation(kernel, (factor, 1.0), (fine, 1), (slices, 1))
    basis = torch.eye(fine, dtype=torch.float64)[:, :, None]
    return np.asarray(operator.degrade(basis)[:, :, 0].numpy().T)
