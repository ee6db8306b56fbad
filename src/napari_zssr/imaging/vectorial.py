"""Vectorial point spread functions, by the ``psf-generator`` package (extra `optics`).

Seen light comes from dipoles that turn freely; by reciprocity its PSF is the focus of
unpolarised light under the same lens (Richards and Wolf, 1959), which is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.objective import CheckedOptics, checked_optics
from napari_zssr.imaging.optics import FWHM, gaussian_psf

Array = NDArray[np.float64]

# Simpson's rule wants an odd number.
PUPIL_POINTS = 257
# Samples in a full width at half maximum, and widths from the middle to the border.
LATERAL_SAMPLES = 8
LATERAL_REACH = 5
AXIAL_POINTS = 201
AXIAL_REACH = 1.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorialPsf:
    """A computed PSF.

    Attributes
    ----------
    array : ndarray, shape (Y, X)
        In focus; odd, centred, sum 1.
    spacing_um : tuple of float
        Pixel (Y, X) of the array, um.
    fwhm_um : tuple of float
        Full widths at half maximum along (Z, Y, X), um.
    sentence : str
        How it was computed.
    """

    array: Array
    spacing_um: tuple[float, float]
    fwhm_um: tuple[float, float, float]
    sentence: str


def vectorial_psf(
    *,
    na: float | None,
    wavelength_nm: float | None,
    excitation_nm: float | None = None,
    index: float | None = None,
    modality: str = "widefield",
) -> VectorialPsf:
    """PSF of ideal optics; see `checked_optics` for the arguments.

    Raises
    ------
    InputError
        When ``psf-generator`` is not installed, or the optics cannot be.
    """
    propagator = _propagator()
    given = {
        "na": na,
        "wavelength_nm": wavelength_nm,
        "excitation_nm": excitation_nm,
        "index": index,
        "modality": modality,
    }
    optics = checked_optics(**given)  # type: ignore[arg-type]
    guess = gaussian_psf(**given)  # type: ignore[arg-type]
    step = FWHM * guess.sigma_um / LATERAL_SAMPLES
    side = 2 * LATERAL_SAMPLES * LATERAL_REACH + 1
    plane = _intensity(propagator, optics, (side, step), (1, 0.0))[0]
    step_z = 2 * AXIAL_REACH * FWHM * guess.sigma_z_um / (AXIAL_POINTS - 1)
    axis = _intensity(propagator, optics, (3, step), (AXIAL_POINTS, step_z))[:, 1, 1]
    lateral = half_width(plane[side // 2], step)
    return VectorialPsf(
        array=plane / plane.sum(),
        spacing_um=(step, step),
        fwhm_um=(half_width(axis, step_z), lateral, lateral),
        sentence=_sentence(optics, lateral),
    )


def half_width(profile: Array, step: float) -> float:
    """Full width at half maximum of a symmetric profile, peak in the middle."""
    half = profile[len(profile) // 2 :] / profile[len(profile) // 2]
    below = np.flatnonzero(half < 0.5)
    if not below.size:
        return math.nan
    last = int(below[0])
    # The logarithm of a Gaussian in the square of the distance is a straight line.
    near, far = np.log(half[last - 1]), np.log(half[last])
    part = (near + math.log(2)) / (near - far)
    return float(2 * step * math.sqrt((last - 1) ** 2 + part * (2 * last - 1)))


def _intensity(
    propagator: Any,
    optics: CheckedOptics,
    lateral: tuple[int, float],
    axial: tuple[int, float],
) -> Array:
    """Intensity (Z, Y, X) of so many points so many um apart."""
    seen = _focus(propagator, optics, optics.wavelength_nm, lateral, axial)
    if optics.modality != "confocal":
        return seen
    exciting = optics.excitation_nm or optics.wavelength_nm
    return seen * _focus(propagator, optics, exciting, lateral, axial)


def _focus(
    propagator: Any,
    optics: CheckedOptics,
    wavelength_nm: float,
    lateral: tuple[int, float],
    axial: tuple[int, float],
) -> Array:
    side, step = lateral
    planes, step_z = axial
    # The package spreads n points over n pixels, from border to border, and rounds the
    # first plane down to a whole number: all lengths are in pm.
    fine = 1000.0
    made = propagator(
        n_pix_pupil=PUPIL_POINTS,
        n_pix_psf=side,
        # Circular: the same intensity as unpolarised light.
        e0x=1.0,
        e0y=1j,
        wavelength=wavelength_nm * fine,
        # At the index itself the outermost angle is lost to rounding.
        na=min(optics.na, 0.9999 * optics.index),
        pix_size=1000 * fine * step * (side - 1) / side,
        defocus_step=1000 * fine * step_z * (planes - 1) / planes,
        n_defocus=planes,
        apod_factor=True,
        n_i=optics.index,
        n_i0=optics.index,
    )
    field = made.compute_focus_field()
    intensity: Array = (field.abs() ** 2).sum(dim=1).double().numpy()
    return intensity


def _propagator() -> Any:
    try:
        from psf_generator import VectorialSphericalPropagator
    except ImportError as error:
        raise InputError(
            "Vectorial PSFs need the package psf-generator, which is not installed; "
            "pip install 'napari-zssr[optics]', or take the Gaussian PSF."
        ) from error
    return VectorialSphericalPropagator


def _sentence(optics: CheckedOptics, fwhm_um: float) -> str:
    guesses = "".join(f"; {guess}" for guess in optics.guesses)
    return (
        f"Vectorial PSF of ideal optics ({optics.modality}, NA {optics.na:g}, "
        f"{optics.wavelength_nm:g} nm, index {optics.index:g}; psf-generator), FWHM "
        f"{fwhm_um:.3f} um: real objectives are rather wider{guesses}."
    )
