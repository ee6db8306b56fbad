"""The blur of a microscope from its objective and the colour of its light.

Gaussians stand for the point spread function (PSF), after Zhang, Zerubia and
Olivo-Marin, Applied Optics 46, 2007. How far off they are was measured against
vectorial PSFs by ``tools/measure_optics.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import check_one_of
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import Modality

VISIBLE_NM = (200.0, 2000.0)
# Other units that a wavelength may have been given in, and how many nm they are.
UNITS_NM = ((1e3, "um"), (0.1, "angstrom"), (1e9, "m"))
INDICES = (1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOptics:
    """What the optics are, complete and plausible; made by `checked_optics`."""

    na: float
    wavelength_nm: float
    excitation_nm: float | None
    index: float
    modality: Modality
    guesses: tuple[str, ...]


def checked_optics(
    *,
    na: float | None,
    wavelength_nm: float | None,
    excitation_nm: float | None = None,
    index: float | None = None,
    modality: str = "widefield",
) -> CheckedOptics:
    """Optics with nothing missing.

    Parameters
    ----------
    na : float
        Numerical aperture of the objective.
    wavelength_nm, excitation_nm : float
        Light that is seen, and light that excites, nm.
    index : float, optional
        Refractive index of the immersion; guessed from the aperture when None.
    modality : {"widefield", "confocal", "lightsheet"}

    Raises
    ------
    InputError
        When something is missing, in another unit, or cannot be.
    """
    check_one_of("modality", modality, Modality)
    aperture = _number("numerical aperture", "--na 1.4", na)
    emission = _wavelength("emission", "--wavelength-nm 520", wavelength_nm)
    excitation = None
    if modality == "confocal" and excitation_nm is not None:
        excitation = _wavelength("excitation", "--excitation-nm 488", excitation_nm)
        _check_order(excitation, emission)
    guesses = []
    if index is None:
        taken = guessed_index(aperture)
        guesses.append(f"index {taken:g} guessed from NA {aperture:g}")
    else:
        taken = _number("refractive index", "--index 1.515", index)
    _check_aperture(aperture, taken)
    if modality == "confocal" and excitation is None:
        guesses.append("no excitation wavelength given, so the emission's is taken")
    if modality == "widefield" and excitation_nm is not None:
        guesses.append("the excitation has no part in widefield")
    if modality == "lightsheet":
        guesses.append("axial width of the objective alone, without the light sheet")
    return CheckedOptics(
        na=aperture,
        wavelength_nm=emission,
        excitation_nm=excitation,
        index=taken,
        modality=next(name for name in get_args(Modality) if name == modality),
        guesses=tuple(guesses),
    )


def guessed_index(na: float) -> float:
    """Index of the immersion that an aperture needs: air, water, or else oil."""
    return 1.0 if na <= 0.95 else 1.33 if na <= 1.2 else 1.515


def checked_spacing(
    spacing_um: Any, dims: int = 2, *, of_beads: bool = False
) -> tuple[float, ...]:
    """Pixel size in um along the last `dims` axes, of an image or of that of beads.

    Raises
    ------
    InputError
        When it is unknown: no width can be told in pixels then, and none is guessed.
    """
    axes = "(Z, Y, X)" if dims == 3 else "(Y, X)"
    what, option = "pixel", "--spacing"
    if of_beads:
        what, option = "pixel of the bead image", "--kernel-spacing"
    given = () if spacing_um is None else tuple(spacing_um)[-dims:]
    if len(given) < dims or None in given:
        raise InputError(
            f"The size of a {what} is not known and is not guessed; give {option} with "
            f"um along {axes}."
        )
    values = tuple(float(s) for s in given)
    if not all(math.isfinite(s) and s > 0 for s in values):
        raise InputError(
            f"The size of a {what} is {spacing_um!r}; give {option} with um above 0 "
            f"along {axes}."
        )
    return values


def _number(what: str, option: str, value: Any) -> float:
    if value is None:
        raise InputError(
            f"A kernel from optics needs the {what}, which is not in the image's "
            f"metadata; give it, as in {option}."
        )
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"The {what} is {value!r}; give a number, as in {option}.")
    return number


def _wavelength(what: str, option: str, value: Any) -> float:
    number = _number(f"{what} wavelength", option, value)
    low, high = VISIBLE_NM
    if low <= number <= high:
        return number
    for nm, unit in UNITS_NM:
        if low <= number * nm <= high:
            raise InputError(
                f"The {what} wavelength is {number:g} nm, which looks like {unit}; did "
                f"you mean {number * nm:g} nm?"
            )
    raise InputError(
        f"The {what} wavelength is {number:g} nm; give {low:g} to {high:g} nm, as in "
        f"{option}."
    )


def _check_order(excitation: float, emission: float) -> None:
    if excitation > emission:
        raise InputError(
            f"The excitation at {excitation:g} nm is longer than the emission at "
            f"{emission:g} nm; were they swapped? For two photons give a bead image."
        )


def _check_aperture(na: float, index: float) -> None:
    low, high = INDICES
    if not low <= index <= high:
        raise InputError(
            f"The refractive index is {index:g}; give {low:g} (air) to {high:g}, oil "
            "has 1.515."
        )
    if na > index:
        raise InputError(
            f"NA {na:g} is above the refractive index {index:g}, which no objective "
            "reaches; check --na, or give the immersion's --index."
        )


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
        sentence=_vectorial_sentence(optics, lateral),
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


def _vectorial_sentence(optics: CheckedOptics, fwhm_um: float) -> str:
    guesses = "".join(f"; {guess}" for guess in optics.guesses)
    return (
        f"Vectorial PSF of ideal optics ({optics.modality}, NA {optics.na:g}, "
        f"{optics.wavelength_nm:g} nm, index {optics.index:g}; psf-generator), FWHM "
        f"{fwhm_um:.3f} um: real objectives are rather wider{guesses}."
    )
