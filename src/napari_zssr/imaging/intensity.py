"""Intensities: one affine map per channel between the image and the networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.quantization import as_integers, quantized

# In float64 at a time.
BAND_PIXELS = 2**22
RANGE_QUANTILES = (0.001, 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityMap:
    """Normalised = (intensity - offset) / scale.

    Attributes
    ----------
    offset, scale : float
        In units of the image.
    few_counts : bool
        Whether integers are too coarse for the result (`loses_intensity`).
    piecewise : bool
        Whether the channel looks like labels (`is_piecewise_constant`).
    """

    offset: float
    scale: float
    few_counts: bool = False
    piecewise: bool = False

    def normalise(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Intensities to float32, about 0..1, nothing clipped; same shape."""
        out = np.empty(values.shape, dtype=np.float32)
        for band in _bands(values.shape):
            # float64 first: float32 has not the digits for a small signal on a large
            # offset
            out[band] = (values[band].astype(np.float64) - self.offset) / self.scale
        return out

    def restore(
        self,
        values: NDArray[Any],
        dtype: np.dtype[Any],
        origin: tuple[int, int] = (0, 0),
    ) -> NDArray[Any]:
        """Inverse of `normalise`, in any type of pixels.

        Parameters
        ----------
        values : ndarray, shape (..., Y, X)
            Normalised.
        dtype : dtype
            Integers keep the sums of neighbourhoods, see `quantized`.
        origin : tuple of int
            Row and column of the first pixel in its plane.
        """
        if dtype.kind not in "iu":
            return self.restore_plainly(values, dtype)
        exact = self._exact(values)
        return quantized(exact, dtype, offset=self.offset, origin=origin)

    def restore_plainly(
        self, values: NDArray[Any], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """`restore` for what is no intensity, such as transparency."""
        exact = self._exact(values)
        return exact.astype(dtype) if dtype.kind == "f" else as_integers(exact, dtype)

    def _exact(self, values: NDArray[Any]) -> NDArray[np.float64]:
        exact: NDArray[np.float64] = values.astype(np.float64) * self.scale
        exact += self.offset
        return exact


def _bands(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Indices of rows that together make up (..., Y, X), so that copies are small."""
    if len(shape) < 2:
        yield (...,)
        return
    rows = max(1, BAND_PIXELS // max(1, math.prod(shape[:-2]) * shape[-1]))
    for first in range(0, shape[-2], rows):
        yield (..., slice(first, first + rows), slice(None))


def intensity_map(values: NDArray[Any]) -> IntensityMap:
    """Map for one channel from a sample of its pixels.

    Parameters
    ----------
    values : ndarray, any shape
        Sampled pixels, finite.

    Returns
    -------
    IntensityMap
        0.1 % and 99.9 % quantiles go to 0 and 1; for a sparse image whose quantiles
        agree, the extremes do. Follows a x + b exactly.
    """
    flat = values.astype(np.float64, copy=False).ravel()
    low, high = np.quantile(flat, RANGE_QUANTILES)
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        low, high = flat.min(), flat.max()
    scale = float(high - low)
    return IntensityMap(offset=float(low), scale=scale if scale > 0 else 1.0)


def check_finite(values: NDArray[Any], nonfinite: str, what: str) -> NDArray[Any]:
    """Refuse NaN and Inf, or fill them with the mean of the finite pixels.

    Parameters
    ----------
    values : ndarray, any shape
    nonfinite : {"refuse", "fill"}
    what : str
        Name of the image, for the message.

    Raises
    ------
    InputError
        With the count and the first place.
    """
    if values.dtype.kind != "f":
        return values
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count == 0:
        return values
    if nonfinite == "refuse" or count == values.size:
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{what} holds {count} NaN or Inf pixels, the first at {place}; remove "
            "them, or have them filled with the mean by --fill-nonfinite or "
            "nonfinite='fill'."
        )
    filled = values.copy()
    filled[bad] = values[~bad].mean()
    return filled
