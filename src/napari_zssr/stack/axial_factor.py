"""How many times more slices the settings ask for."""

from __future__ import annotations

from napari_zssr.checks import AXIAL_IN_UM, ISOTROPIC, MAX_FACTOR
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.stack.image import ImageStack
from napari_zssr.zssr.kinds import KINDS

FEWEST_SLICES = 4


def needs_slice_distance(config: Config) -> bool:
    """Whether the result depends on how far apart the slices are."""
    in_um = config.axial_kernel[0] in AXIAL_IN_UM
    return config.factor_z == ISOTROPIC or (config.factor_z != 1 and in_um)


def axial_factor(config: Config, stack: ImageStack) -> float | None:
    """Enlargement along Z that the settings ask for, of a stack as it was given.

    None where only planes are enlarged; 1 where slices are restored without new ones.
    Raises InputError.
    """
    asked = config.factor_z
    if asked == 1:
        return None
    if "Z" not in stack.axes or stack.data.shape[stack.axes.index("Z")] < FEWEST_SLICES:
        slices = stack.data.shape[stack.axes.index("Z")] if "Z" in stack.axes else 0
        raise InputError(
            f"Enlarging along Z needs at least {FEWEST_SLICES} slices, the image has "
            f"{slices or 'no axis Z'}; name its axes, or leave out factor_z."
        )
    if KINDS[config.network].fine_grid:
        raise InputError(
            f"The preset {config.preset!r} does not enlarge stacks along Z; choose "
            "another one, or leave out factor_z."
        )
    if stack.guessed:
        raise InputError(
            f"Whether the first axis of {stack.axes} is Z or time was only guessed; "
            "name the axes, such as ZYX, to have it enlarged along Z."
        )
    if asked != ISOTROPIC:
        return float(asked)
    z, x = stack.size_um("Z"), stack.size_um("X")
    if z is None or x is None:
        raise InputError(
            "How far apart the slices are is not known, so that 'isotropic' has no "
            "factor; give spacing in um along Z, Y, X, or factor_z as a number."
        )
    factor = z / x * config.factors[1]
    if factor > MAX_FACTOR:
        raise InputError(
            f"Isotropic would be {factor:.3g} times more planes (slices {z:g} um "
            f"apart, pixels of {x / config.factors[1]:g} um), beyond what can be "
            f"learned (at most {MAX_FACTOR:.0f}); check the spacing, or give a smaller "
            "factor_z."
        )
    return max(1.0, factor)
