"""What is said of a microscope's optics and pixels, refused where it cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

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
