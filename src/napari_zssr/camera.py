"""Noise of a camera, as its data sheet gives it. No torch in here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from napari_zssr.errors import InputError

PREFIX = "camera"
EXAMPLE = "'camera: gain 0.46, offset 100, read noise 1.6'"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FIELD = re.compile(rf"(gain|offset|read noise)\s*[=:]?\s*({_NUMBER})\s*(.*)")
# Units that may stand behind a number.
UNITS = {
    "gain": ("", "e-/count", "e/count", "e-/adu", "e/adu", "electrons/count"),
    "offset": ("", "count", "counts", "adu"),
    "read noise": ("", "e", "e-", "electrons"),
}
WANTED = {
    "gain": "electrons per count",
    "offset": "counts",
    "read noise": "electrons",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNoise:
    """Noise of the pixels that a camera gives, as they come.

    Attributes
    ----------
    gain : float
        Electrons per count, above 0.
    offset : float
        Counts without light.
    read_noise : float
        Standard deviation without light, electrons.
    """

    gain: float
    offset: float
    read_noise: float

    def __str__(self) -> str:
        """As `parsed_camera` reads it."""
        return (
            f"{PREFIX}: gain {self.gain:g}, offset {self.offset:g}, "
            f"read noise {self.read_noise:g}"
        )


def is_camera(text: str) -> bool:
    """Whether a noise that was asked for is that of a camera."""
    return text.strip().lower().startswith(PREFIX)


def parsed_camera(text: str) -> CameraNoise:
    """Camera from words, such as ``camera: gain 0.46, offset 100, read noise 1.6 e-``.

    Parameters
    ----------
    text : str
        Gain in electrons per count, offset in counts, read noise in electrons.

    Raises
    ------
    InputError
        Something is missing, not understood, in another unit, or impossible.
    """
    values: dict[str, float] = {}
    for part in text.strip().lower().removeprefix(PREFIX).lstrip(": ").split(","):
        field = _FIELD.fullmatch(part.strip())
        if field is None or field[1] in values:
            raise InputError(
                f"The noise of the camera {text!r} is not understood at "
                f"{part.strip()!r}; write it as {EXAMPLE}."
            )
        name, number, unit = field[1], float(field[2]), field[3].replace(" ", "")
        if unit not in UNITS[name]:
            raise InputError(
                f"The {name} of the camera is given in {unit}; give it in "
                f"{WANTED[name]}."
            )
        values[name] = number
    if missing := [name for name in WANTED if name not in values]:
        raise InputError(
            f"The noise of the camera {text!r} lacks {' and '.join(missing)}; "
            f"write it as {EXAMPLE}."
        )
    camera = CameraNoise(
        gain=values["gain"], offset=values["offset"], read_noise=values["read noise"]
    )
    _check(camera)
    return camera


def _check(camera: CameraNoise) -> None:
    if not (camera.gain > 0 and math.isfinite(camera.gain)):
        raise InputError(
            f"The gain of the camera is {camera.gain:g}; give electrons per count, a "
            "number above 0."
        )
    if not (camera.read_noise >= 0 and math.isfinite(camera.read_noise)):
        raise InputError(
            f"The read noise of the camera is {camera.read_noise:g}; give electrons, "
            "0 or more."
        )
