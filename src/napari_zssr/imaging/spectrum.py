"""Power spectra of planes, averaged over squares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float32]
# Power, and the frequencies along Y and X that it belongs to, all of one shape.
Spectrum = tuple[Array, Array, Array]

SQUARE_PX = 32


def power_spectrum(
    plane: NDArray[Any], factors: tuple[float, float] = (1.0, 1.0)
) -> Spectrum:
    """Mean power density of Hann-weighted squares (Welch, 1967).

    Parameters
    ----------
    plane : ndarray, shape (Y, X)
    factors : tuple of float
        Pixels of the plane per unit of length along (Y, X): the enlargement, where
        frequencies are wanted in cycles per input pixel.

    Returns
    -------
    tuple of ndarray, shape (32, 32) or less
        Power density, that of white noise being its variance over the product of the
        factors, and frequencies along Y and X in cycles per unit.
    """
    side = [min(SQUARE_PX, n) for n in plane.shape]
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in side)).astype(np.float32)
    squares = np.lib.stride_tricks.sliding_window_view(plane, side)
    squares = squares[:: side[0], :: side[1]]
    centred = squares - squares.mean(axis=(-2, -1), keepdims=True)
    power = np.abs(fft.fft2(centred * taper)) ** 2
    density = power.mean(axis=(0, 1)) / ((taper**2).sum() * factors[0] * factors[1])
    y, x = (np.abs(np.fft.fftfreq(n)) * f for n, f in zip(side, factors, strict=True))
    return density, *np.broadcast_arrays(y[:, None], x[None])


def in_band(spectrum: Spectrum, band: tuple[float, float]) -> NDArray[np.bool_]:
    """Which frequencies, of any direction, lie in a band (lowest, highest)."""
    radius = np.hypot(*spectrum[1:])
    inside: NDArray[np.bool_] = (radius >= band[0]) & (radius <= band[1])
    return inside
