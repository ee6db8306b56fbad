"""The blur of a microscope from its objective and the wavelength of its light.

Gaussians approximate the point spread function (PSF), after Zhang, Zerubia and
Olivo-Marin, Applied Optics 46, 2007. Their errors were measured against vectorial PSFs
by ``tools/measure_optics.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_zssr.checks import check_one_of, number_or_nan
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import Array, Pair
from napari_zssr.kernelspec import Modality

VISIBLE_NM = (200.0, 2000.0)
# Other units that a wavelength may be given in, and their size in nm.
UNITS_NM = ((1e3, "µm"), (0.1, "angstrom"), (1e9, "m"))
INDICES = (1.0, 2.0)
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
# Added to these for the product of two PSFs.
CONFOCAL_ERROR = (-1.3, -1.8)
# Odd, as Simpson's rule needs it.
PUPIL_POINTS = 257
# Samples per full width at half maximum, and such widths from the centre to the border.
LATERAL_SAMPLES = 8
LATERAL_REACH = 5
AXIAL_POINTS = 201
AXIAL_REACH = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOptics:
    """Optics, complete and plausible, with remarks on what was guessed."""

    na: float
    wavelength_nm: float
    excitation_nm: float | None
    index: float
    index_text: str
    modality: str
    remarks: str


def checked_optics(
    *,
    na: float | None,
    wavelength_nm: float | None,
    excitation_nm: float | None = None,
    index: float | None = None,
    modality: str = "widefield",
) -> CheckedOptics:
    """Optics with nothing missing; a missing index is guessed from the aperture.

    Raises `InputError` if a value is missing, in another unit, or impossible.
    """
    check_one_of("modality", modality, Modality)
    na = _checked_number("numerical aperture", "--na 1.4", na)
    emission = _checked_wavelength("emission", "--wavelength-nm 520", wavelength_nm)
    excitation = None
    if modality == "confocal" and excitation_nm is not None:
        option = "--excitation-nm 488"
        excitation = _checked_wavelength("excitation", option, excitation_nm)
        if excitation > emission:
            raise InputError(
                f"The excitation wavelength ({excitation:g} nm) is longer than that of "
                f"the emission ({emission:g} nm); swap them, or measure the blur on "
                "beads if this is two-photon microscopy."
            )
    remarks = assumed = ""
    if index is None:
        index, assumed = guessed_index(na), "assumed "
    index = _checked_number("refractive index", "--index 1.515", index)
    low, high = INDICES
    if not low <= index <= high:
        raise InputError(
            f"The refractive index is {index:g}; give {low:g} (air) to {high:g} (oil "
            "is 1.515)."
        )
    if na > index:
        raise InputError(
            f"NA {na:g} is larger than the refractive index {index:g}, which is "
            "impossible; check --na, or give the immersion's --index."
        )
    if modality == "widefield" and excitation_nm is not None:
        remarks += "; the excitation wavelength does not matter in widefield"
    if modality == "lightsheet":
        remarks += (
            "; the width along Z is that of the objective alone, without the light "
            "sheet"
        )
    return CheckedOptics(
        na=na,
        wavelength_nm=emission,
        excitation_nm=excitation,
        index=index,
        index_text=f"{assumed}refractive index {index:g}",
        modality=modality,
        remarks=remarks,
    )


def guessed_index(na: float) -> float:
    """Refractive index of the immersion that an aperture needs: air, water or oil."""
    return 1.0 if na <= 0.95 else 1.33 if na <= 1.2 else 1.515


def checked_spacing(
    spacing_um: Any, dims: int = 2, *, of_beads: bool = False
) -> tuple[float, ...]:
    """Pixel size in um along the last `dims` axes, of an image or a bead image.

    Raises `InputError` if it is unknown: without it no width can be given in pixels.
    """
    axes = "(Z, Y, X)" if dims == 3 else "(Y, X)"
    pixel, option = "pixel", "--spacing"
    if of_beads:
        pixel, option = "pixel of the bead image", "--kernel-spacing"
    given = () if spacing_um is None else tuple(spacing_um)[-dims:]
    if len(given) < dims or None in given:
        raise InputError(
            f"The size of a {pixel} is not known; give {option} in µm along {axes}."
        )
    values = tuple(float(s) for s in given)
    if not all(math.isfinite(s) and s > 0 for s in values):
        raise InputError(
            f"The size of a {pixel} is {spacing_um!r}; give {option} in µm, above 0, "
            f"along {axes}."
        )
    return values


def _checked_number(name: str, option: str, value: Any) -> float:
    if value is None:
        raise InputError(
            f"The {name} is not in the image's metadata; give it, as in {option}."
        )
    number = math.nan if isinstance(value, bool) else number_or_nan(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"The {name} is {value!r}; give a number, as in {option}.")
    return number


def _checked_wavelength(light: str, option: str, value: Any) -> float:
    number = _checked_number(f"{light} wavelength", option, value)
    low, high = VISIBLE_NM
    if low <= number <= high:
        return number
    for nm, unit in UNITS_NM:
        if low <= number * nm <= high:
            raise InputError(
                f"The {light} wavelength is {number:g} nm, which looks like {unit}; "
                f"did you mean {number * nm:g} nm?"
            )
    raise InputError(
        f"The {light} wavelength is {number:g} nm; give {low:g} to {high:g} nm, as in "
        f"{option}."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianPsf:
    """A PSF as a Gaussian.

    Attributes
    ----------
    sigma_um, sigma_z_um : standard deviations across and along the optical axis, um
    index : refractive index that was assumed
    nyquist_um : largest pixel that still samples what the optics pass, um
    optics : microscope, aperture, light and refractive index, in words
    sentence : formula, optics and expected error
    """

    sigma_um: float
    sigma_z_um: float
    index: float
    nyquist_um: float
    optics: str
    sentence: str

    @property
    def fwhm_um(self) -> Pair:
        """Full widths at half maximum along (Z, Y or X), um."""
        return FWHM * self.sigma_z_um, FWHM * self.sigma_um


def gaussian_psf(**settings: Any) -> GaussianPsf:
    """The PSF of a microscope as a Gaussian; takes the arguments of `checked_optics`.

    Laterally the paraxial formula at every aperture, since it is closer to vectorial
    PSFs even at high ones; axially the non-paraxial one. Confocal: the pinhole is
    small, so that excitation and emission multiply. Light sheet: as widefield.
    """
    optics = checked_optics(**settings)
    lateral, axial = _widths(optics.na, optics.index, optics.wavelength_nm)
    if optics.modality == "confocal":
        exciting = optics.excitation_nm or optics.wavelength_nm
        lateral, axial = (
            1 / math.hypot(1 / width, 1 / other)
            for width, other in zip(
                (lateral, axial),
                _widths(optics.na, optics.index, exciting),
                strict=True,
            )
        )
    return GaussianPsf(
        sigma_um=lateral,
        sigma_z_um=axial,
        index=optics.index,
        nyquist_um=nyquist_um(optics),
        optics=_optics_text(optics),
        sentence=_gaussian_sentence(optics, FWHM * lateral),
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


def sampling_sentence(spacing_um: Pair, factors: Pair, nyquist: float) -> str | None:
    """Remark on pixels finer than the optics can fill, None if there are none.

    Pixel size and Nyquist limit in um; pixels and factors along (Y, X).
    """
    if factors == (1.0, 1.0):
        return None
    # Along the coarser axis.
    useful = max(spacing_um) / nyquist
    sampling = (
        f"pixels of {max(spacing_um):.3g} µm, and this objective resolves no more "
        f"with pixels below {nyquist:.3g} µm (Nyquist)"
    )
    if useful < LEAST_FACTOR:
        return f"The image has {sampling}, so enlarging it shows no finer detail."
    if max(factors) <= LEAST_FACTOR * useful:
        return None
    return (
        f"The image has {sampling}; a factor above {useful:.2g} shows no finer detail."
    )


def _widths(na: float, index: float, wavelength_nm: float) -> Pair:
    """Lateral and axial standard deviation, um."""
    k = 2 * math.pi * 1000 / wavelength_nm
    c = math.sqrt(1 - (na / index) ** 2)
    if na < 0.05 * index:
        # The difference below would be lost to rounding.
        return math.sqrt(2) / (k * na), 2 * math.sqrt(6) * index / (k * na**2)
    spread = 4 * c**5 - 25 * c**3.5 + 42 * c**2.5 - 25 * c**1.5 + 4
    axial = 5 * math.sqrt(7) * (1 - c**1.5)
    return math.sqrt(2) / (k * na), axial / (math.sqrt(6 * spread) * index * k)


def _optics_text(optics: CheckedOptics) -> str:
    light = f"{optics.wavelength_nm:g} nm"
    if optics.excitation_nm is not None:
        light = f"{optics.excitation_nm:g}/{light}"
    elif optics.modality == "confocal":
        light += " assumed for excitation too"
    return f"{optics.modality}, NA {optics.na:g}, {light}, {optics.index_text}"


def _gaussian_sentence(optics: CheckedOptics, fwhm_um: float) -> str:
    ratios, *columns = zip(*ERRORS, strict=True)
    errors = [np.interp(optics.na / optics.index, ratios, column) for column in columns]
    if optics.modality == "confocal":
        errors = list(np.add(errors, CONFOCAL_ERROR))
    lateral, axial = map(_compared, errors)
    return (
        f"Gaussian PSF ({_optics_text(optics)}), FWHM {fwhm_um:.3f} µm (Zhang et al. "
        "2007). "
        f"Compared with an exact PSF it is {lateral} in XY and {axial} in "
        f"Z{optics.remarks}."
    )


def _compared(percent: float) -> str:
    share = round(abs(percent))
    if share == 0:
        return "as wide"
    return f"about {share} % too {'wide' if percent > 0 else 'narrow'}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorialPsf:
    """A computed PSF: in focus (Y, X), odd, centred, sum 1; widths are (Z, Y, X)."""

    array: Array
    spacing_um: tuple[float, float]
    fwhm_um: tuple[float, float, float]
    sentence: str


def vectorial_psf(**settings: Any) -> VectorialPsf:
    """PSF of ideal optics; takes the arguments of `checked_optics`.

    Raises `InputError` if ``psf-generator`` is not installed, or as `checked_optics`.
    """
    try:
        from psf_generator import VectorialSphericalPropagator
    except ImportError as error:
        raise InputError(
            "Vectorial PSFs need the package psf-generator, which is not installed; "
            "pip install 'napari-zssr[optics]', or choose the Gaussian PSF."
        ) from error

    optics = checked_optics(**settings)
    gaussian = gaussian_psf(**settings)
    step = FWHM * gaussian.sigma_um / LATERAL_SAMPLES
    side = 2 * LATERAL_SAMPLES * LATERAL_REACH + 1
    plane = _intensity(VectorialSphericalPropagator, optics, (side, step), (1, 0.0))[0]
    step_z = 2 * AXIAL_REACH * FWHM * gaussian.sigma_z_um / (AXIAL_POINTS - 1)
    profile = _intensity(
        VectorialSphericalPropagator, optics, (3, step), (AXIAL_POINTS, step_z)
    )[:, 1, 1]
    lateral = half_width(plane[side // 2], step)
    return VectorialPsf(
        array=plane / plane.sum(),
        spacing_um=(step, step),
        fwhm_um=(half_width(profile, step_z), lateral, lateral),
        sentence=(
            f"Vectorial PSF of ideal optics ({optics.modality}, NA {optics.na:g}, "
            f"{optics.wavelength_nm:g} nm, {optics.index_text}; "
            f"psf-generator), FWHM {lateral:.3f} µm; real objectives blur slightly "
            f"more{optics.remarks}."
        ),
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
    """Intensity (Z, Y, X) of a focus; points and um between them across and along."""
    side, step = lateral
    planes, step_z = axial
    wavelengths = [optics.wavelength_nm]
    if optics.modality == "confocal":
        wavelengths.append(optics.excitation_nm or optics.wavelength_nm)
    # The package spreads n points over n pixels, from border to border, and rounds the
    # first plane down to a whole number: all lengths are in pm.
    fine = 1000.0
    fields = [
        propagator(
            n_pix_pupil=PUPIL_POINTS,
            n_pix_psf=side,
            # Circular: the same intensity as unpolarised light.
            e0x=1.0,
            e0y=1j,
            wavelength=wavelength * fine,
            # At the index itself the outermost angle is lost to rounding.
            na=min(optics.na, 0.9999 * optics.index),
            pix_size=1000 * fine * step * (side - 1) / side,
            defocus_step=1000 * fine * step_z * (planes - 1) / planes,
            n_defocus=planes,
            apod_factor=True,
            n_i=optics.index,
            n_i0=optics.index,
        ).compute_focus_field()
        for wavelength in wavelengths
    ]
    intensities = [(f.abs() ** 2).sum(dim=1).double().numpy() for f in fields]
    return np.asarray(np.prod(intensities, axis=0))
