"""Pixel sizes from the resolution tags of a TIFF."""

from __future__ import annotations

from dataclasses import dataclass

import tifffile

from napari_zssr.files.calibration import Calibration, calibrated
from napari_zssr.stack.units import in_um

# Pixels per inch that cameras, scanners and programs write for screen and print
PRINT_DENSITIES = (
    *(72, 75, 96, 100, 120, 144, 150, 180),
    *(200, 240, 300, 350, 360, 400, 600),
)
_UM = {"inch": 25400.0, "cm": 10000.0}
_WORDS = {"inch": "inch", "cm": "centimetre"}
_TOLERANCE = 0.013  # densities per centimetre are often rounded to whole numbers
_LARGEST_UM = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Resolution tags of one page.

    Attributes
    ----------
    lengths : dict
        Length of a pixel by letter, Y and X, in `unit`.
    unit : {"inch", "cm", ""}
        What the tag ResolutionUnit says, empty where it says nothing.
    """

    lengths: dict[str, float]
    unit: str

    @property
    def um(self) -> dict[str, float]:
        """Lengths in micrometres; empty without a unit."""
        scale = _UM.get(self.unit)
        return {k: v * scale for k, v in self.lengths.items()} if scale else {}

    @property
    def is_of_print(self) -> bool:
        """Whether a density is one for screen or print and not of a specimen."""
        return any(
            abs(25400.0 / size / density - 1) < _TOLERANCE
            for size in self.um.values()
            for density in PRINT_DENSITIES
        )

    @property
    def is_small(self) -> bool:
        """Whether the pixels are at most a millimetre, as an image's are."""
        return bool(self.um) and max(self.um.values()) <= _LARGEST_UM

    def __str__(self) -> str:
        first = next(iter(self.lengths.values()), 0.0)
        density = f"{1 / first:g} pixels" if first else "no density"
        return f"{density} per {_WORDS.get(self.unit, 'unit')}"


def page_resolution(page: tifffile.TiffPage) -> Resolution:
    """Read the tags XResolution, YResolution and ResolutionUnit of a page."""
    lengths = {}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        value = page.tags.valueof(tag)
        if isinstance(value, tuple) and len(value) == 2 and min(value) > 0:
            lengths[letter] = value[1] / value[0]
    unit = page.tags.valueof("ResolutionUnit", default=1)
    return Resolution(lengths=lengths, unit={2: "inch", 3: "cm"}.get(unit, ""))


def tag_calibration(resolution: Resolution) -> Calibration:
    """Pixel size from the tags alone: densities per centimetre, but none of print.

    "72 pixels per inch" is what programs write when they know nothing, and an inch is
    what they take for the unit; neither tells the size of a specimen.
    """
    if resolution.unit != "cm" or resolution.is_of_print or not resolution.is_small:
        return Calibration()
    sizes = resolution.um
    return calibrated(
        {letter: (size, "um") for letter, size in sizes.items()},
        messages=[
            f"The pixel size of {_listed(sizes)} um comes from the TIFF's resolution "
            f"tags ({resolution}); set the spacing if that is not the specimen's."
        ],
    )


def unit_calibration(resolution: Resolution, unit: str, source: str) -> Calibration:
    """Pixel size from the tags and the unit of length that a text beside them names.

    Where the tags name another unit than the text, they count pixels per their own
    one: so ImageJ and Bio-Formats read 100000 pixels per centimetre beside "um".

    Parameters
    ----------
    resolution : Resolution
        The tags.
    unit : str
        Short name of a unit of length.
    source : str
        Whose text it is, for the message.
    """
    if resolution.is_of_print:
        return Calibration(messages=(_print_message(resolution),))
    scale = in_um(1.0, unit)
    assert scale is not None
    plain = {letter: size * scale for letter, size in resolution.lengths.items()}
    sizes = resolution.um or plain
    if not resolution.is_small and max(plain.values(), default=0.0) <= _LARGEST_UM:
        sizes = plain
    usual = unit if unit not in {"cm", "in"} else "um"
    factor = in_um(1.0, usual)
    assert factor is not None
    named_twice = bool(resolution.unit) and _UM[resolution.unit] != scale
    return calibrated(
        {letter: (size / factor, usual) for letter, size in sizes.items()},
        messages=[_unit_message(resolution, unit, sizes, source)]
        if named_twice
        else [],
    )


def _unit_message(
    resolution: Resolution, unit: str, sizes: dict[str, float], source: str
) -> str:
    return (
        f"The resolution tags say {resolution}, {source} says {unit}; the pixel size "
        f"was read as {_listed(sizes)} um."
    )


def _print_message(resolution: Resolution) -> str:
    return (
        f"The resolution tags say {resolution}, which is a density of screen or print "
        "and not taken for a pixel size; set the spacing if it is known."
    )


def _listed(sizes: dict[str, float]) -> str:
    """Sizes along Y and X in words, one where they agree."""
    return " x ".join(dict.fromkeys(f"{size:.4g}" for size in sizes.values()))
