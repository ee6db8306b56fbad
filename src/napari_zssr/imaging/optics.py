"""The blur of a microscope from its objective and the colour of its light.

Gaussians stand for the point spread function (PSF), after Zhang, Zerubia and
Olivo-Marin, Applied Optics 46, 2007. How far off they are was measured against
vectorial PSFs by ``docs/measure_optics.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from napari_zssr.imaging.objective import CheckedOptics, checked_optics

Pair = tuple[float, float]

FWHM = 2 * math.sqrt(2 * math.log(2))
# Enlargement below which there is nothing to gain.
LEAST_FACTOR = 1.1
# FWHM of the Gaussians, laterally and axially, in percent above that of the vectorial
# PSF, by NA / index: measured, the same for all indices and wavelengths.
ERRORS = (
    (0.0, 3.0, 3.6),
    (0.3, 2.3, 3.6),
    (0.5, 1.0, 3.6),
    (0.6, 0.1, 3.5),
    (0.7, -1.2, 3.3),
    (0.8, -3.0, 2.9),
    (0.9, -5.3, 2.1),
    (0.95, -7.0, 1.2),
    (0.98, -8.1, 0.1),
    (1.0, -9.2, -2.6),
)
# What a product of two PSFs adds to that.
CONFOCAL_ERROR = (-1.3, -1.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianPsf:
    """A PSF as a Gaussian.

    Attributes
    ----------
    sigma_um, sigma_z_um : float
        Standard deviations across and along the optical axis, um.
    index : float
        Refractive index that was taken.
    nyquist_um : float
        Largest pixel that still samples what the optics pass, um.
    sentence : str
        Which formula was used, for what, and how far off it is.
    """

    sigma_um: float
    sigma_z_um: float
    index: float
    nyquist_um: float
    sentence: str

    @property
    def fwhm_um(self) -> Pair:
        """Full widths at half maximum along (Z, Y or X), um."""
        return FWHM * self.sigma_z_um, FWHM * self.sigma_um


def gaussian_psf(
    *,
    na: float | None,
    wavelength_nm: float | None,
    excitation_nm: float | None = None,
    index: float | None = None,
    modality: str = "widefield",
) -> GaussianPsf:
    """The PSF of a microscope as a Gaussian; see `checked_optics` for the arguments.

    Laterally the paraxial formula at every aperture, since against vectorial PSFs it
    is the better one there too; axially the non-paraxial one. Confocal: the pinhole is
    small, so that excitation and emission multiply. Light sheet: as widefield.
    """
    optics = checked_optics(
        na=na,
        wavelength_nm=wavelength_nm,
        excitation_nm=excitation_nm,
        index=index,
        modality=modality,
    )
    lateral, axial = _widths(optics.na, optics.index, optics.wavelength_nm)
    if optics.modality == "confocal":
        exciting = optics.excitation_nm or optics.wavelength_nm
        other = _widths(optics.na, optics.index, exciting)
        lateral, axial = _product(lateral, other[0]), _product(axial, other[1])
    return GaussianPsf(
        sigma_um=lateral,
        sigma_z_um=axial,
        index=optics.index,
        nyquist_um=nyquist_um(optics),
        sentence=_sentence(optics, FWHM * lateral),
    )


def nyquist_um(optics: CheckedOptics) -> float:
    """Largest pixel that loses nothing of what the optics pass, um.

    Widefield and light sheet pass 2 NA / lambda: lambda / (4 NA). A confocal microscope
    with a closed pinhole passes twice as much, lambda_excitation / (8 NA); with a usual
    pinhole hardly anything is left up there.
    """
    if optics.modality == "confocal":
        return (optics.excitation_nm or optics.wavelength_nm) / (8000 * optics.na)
    return optics.wavelength_nm / (4000 * optics.na)


def useful_factor(spacing_um: Pair, nyquist: float) -> float:
    """Enlargement, along the coarser of (Y, X), that brings pixels to `nyquist` um."""
    return max(spacing_um) / nyquist


def sampling_sentence(spacing_um: Pair, factors: Pair, nyquist: float) -> str | None:
    """A word where more pixels than the optics fill are asked for.

    Parameters
    ----------
    spacing_um : tuple of float
        Pixel (Y, X) of the image, um.
    factors : tuple of float
        Enlargement along (Y, X).
    nyquist : float
        Largest pixel that loses nothing, um.

    Returns
    -------
    str or None
        None where the enlarged pixels are not much finer than Nyquist asks for.
    """
    useful = useful_factor(spacing_um, nyquist)
    found = f"pixels of {max(spacing_um):.3g} um; Nyquist asks for {nyquist:.3g} um"
    if useful < LEAST_FACTOR:
        return f"The image has {found}: there is nothing to gain from more pixels."
    if max(factors) <= LEAST_FACTOR * useful:
        return None
    return (
        f"The image has {found}: a factor of {useful:.2g} makes sense, beyond that "
        "there is nothing to gain from more pixels."
    )


def error_percent(optics: CheckedOptics) -> Pair:
    """FWHM (lateral, axial) of `gaussian_psf` in percent above the vectorial PSF's."""
    lateral, axial = _error(optics.na / optics.index)
    if optics.modality != "confocal":
        return lateral, axial
    return lateral + CONFOCAL_ERROR[0], axial + CONFOCAL_ERROR[1]


def _error(ratio: float) -> Pair:
    for (low, *below), (high, *above) in pairwise(ERRORS):
        if ratio <= high:
            part = (ratio - low) / (high - low)
            lateral, axial = (
                b + part * (a - b) for b, a in zip(below, above, strict=True)
            )
            return lateral, axial
    return ERRORS[-1][1:]


def _widths(na: float, index: float, wavelength_nm: float) -> Pair:
    """Lateral and axial sigma, um."""
    k = 2 * math.pi * 1000 / wavelength_nm
    c = math.sqrt(1 - (na / index) ** 2)
    if na < 0.05 * index:
        # The difference below would be rounding.
        return math.sqrt(2) / (k * na), 2 * math.sqrt(6) * index / (k * na**2)
    spread = 4 * c**5 - 25 * c**3.5 + 42 * c**2.5 - 25 * c**1.5 + 4
    axial = 5 * math.sqrt(7) * (1 - c**1.5)
    return math.sqrt(2) / (k * na), axial / (math.sqrt(6 * spread) * index * k)


def _product(one: float, other: float) -> float:
    """Width of the product of two Gaussians."""
    return 1 / math.hypot(1 / one, 1 / other)


def _sentence(optics: CheckedOptics, fwhm_um: float) -> str:
    light = f"{optics.wavelength_nm:g} nm"
    if optics.excitation_nm is not None:
        light = f"{optics.excitation_nm:g}/{light}"
    lateral, axial = (_compared(error) for error in error_percent(optics))
    guesses = "".join(f"; {guess}" for guess in optics.guesses)
    return (
        f"Gaussian PSF ({optics.modality}, NA {optics.na:g}, {light}, index "
        f"{optics.index:g}), FWHM {fwhm_um:.3f} um. Formula 0.225 lambda/NA (Zhang et "
        f"al. 2007): {lateral} a vectorial PSF, along the axis {axial} one{guesses}."
    )


def _compared(percent: float) -> str:
    share = round(abs(percent))
    if share == 0:
        return "as wide as"
    return f"{share} % {'wider' if percent > 0 else 'narrower'} than"
