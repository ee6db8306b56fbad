"""How many times more slices the settings ask for."""

from __future__ import annotations

from napari_zssr.checks import AXIAL_IN_UM, ISOTROPIC, MAX_FACTOR
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.stack.image import ImageStack
from napari_zssr.zssr.kinds import KINDS

FEWEST_SLICES = 4
GIVE_SPACING = "give the spacing along Z, Y, X in µm (--spacing 0.5,0.1,0.1)"
LEAVE_Z = "leave out the factor along Z (--factor-z, factor_z)"


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
    slices = dict(zip(stack.axes, stack.data.shape, strict=True)).get("Z", 0)
    if slices < FEWEST_SLICES:
        found = f"only {slices}" if slices else "no Z axis"
        raise InputError(
            f"Enlarging along Z needs at least {FEWEST_SLICES} slices, but the image "
            f"has {found}; {LEAVE_Z}."
        )
    planes_blurred = config.kernel.kind != "bicubic" and not config.restores_planes
    if planes_blurred and config.axial_kernel[0] != "optics":
        raise InputError(
            "A blur in XY was given, but only Z is enlarged; give the blur along Z "
            "(--kernel-z optics, kernel_z='optics'), or leave it out."
        )
    if KINDS[config.network].fine_grid:
        raise InputError(
            f"The preset {config.preset!r} does not enlarge stacks along Z; choose "
            f"another one, or {LEAVE_Z}."
        )
    if stack.guessed:
        raise InputError(
            f"The first axis of {stack.axes} may be Z or time; name the axes (--axes "
            "ZYX, axes='ZYX') to have it enlarged along Z."
        )
    if asked != ISOTROPIC:
        return float(asked)
    z, x = stack.size_um("Z"), stack.size_um("X")
    if z is None or x is None:
        raise InputError(
            "The distance between slices is not known, so 'isotropic' cannot be "
            f"computed; {GIVE_SPACING}, or a number (--factor-z 3, factor_z=3)."
        )
    factor = z / x * config.factors[1]
    if factor > MAX_FACTOR:
        raise InputError(
            f"Isotropic would mean {factor:.3g} times more slices (slices {z:g} µm "
            f"apart, pixels of {x / config.factors[1]:g} µm), which is too many (at "
            f"most {MAX_FACTOR:.0f}); check the spacing, or give a smaller number "
            "along Z."
        )
    return max(1.0, factor)
