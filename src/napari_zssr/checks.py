"""Refuses settings that cannot be used, in one sentence. No torch in here.

What `checked_...` returns is the value in its plain form; `check_...` only refuses.
All raise `InputError`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError

CAMERA_PREFIX = "camera"
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


def size_text(shape: Iterable[int]) -> str:
    """Size of an image in sentences: ``48 × 40``."""
    return " × ".join(map(str, shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNoise:
    """Noise of the pixels that a camera gives, as they come.

    Attributes
    ----------
    gain : electrons per count, above 0
    offset : counts without light
    read_noise : standard deviation without light, electrons
    """

    gain: float
    offset: float
    read_noise: float

    def __str__(self) -> str:
        """As `parsed_camera` reads it."""
        return (
            f"{CAMERA_PREFIX}: gain {self.gain:g}, offset {self.offset:g}, "
            f"read noise {self.read_noise:g}"
        )


def is_camera(text: str) -> bool:
    """Whether a noise that was asked for is that of a camera."""
    return text.strip().lower().startswith(CAMERA_PREFIX)


def parsed_camera(text: str) -> CameraNoise:
    """Camera from words, such as ``camera: gain 0.46, offset 100, read noise 1.6 e-``.

    Gain in electrons per count, offset in counts, read noise in electrons.
    """
    values: dict[str, float] = {}
    for part in (
        text.strip().lower().removeprefix(CAMERA_PREFIX).lstrip(": ").split(",")
    ):
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
            f"The noise of the camera {text!r} has no {' and '.join(missing)}; write "
            f"it as {EXAMPLE}."
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


MAX_FACTOR = 16.0
ISOTROPIC: Final = "isotropic"
# Where weights start from; anything else names a file of saved networks.
RANDOM, LEARNED = STARTS = ("random", "learned")
NETWORKS_SUFFIX = ".safetensors"


def checked_factor(factor: Any) -> tuple[float, float]:
    """Enlargement along (Y, X), each from 1 to 16; 1 restores planes as they are."""
    pair = _pair(factor)
    if pair is None:
        raise InputError(
            f"Factor {factor!r} is not understood; give one number, or one "
            "each for Y and X."
        )
    if not all(math.isfinite(f) and 1 <= f <= MAX_FACTOR for f in pair):
        raise InputError(
            f"Factor {factor!r} cannot be used; give numbers from 1 to "
            f"{MAX_FACTOR:.0f}."
        )
    return pair


def checked_factor_z(factor: Any) -> float | Literal["isotropic"]:
    """Enlargement along Z: from 1 to 16, or "isotropic"."""
    if factor == ISOTROPIC:
        return ISOTROPIC
    number = number_or_nan(factor)
    if not 1 <= number <= MAX_FACTOR:
        raise InputError(
            f"factor_z {factor!r} cannot be used; give a number from 1 to "
            f"{MAX_FACTOR:.0f}, or {ISOTROPIC!r}."
        )
    return number


# Kinds of blur along Z, and how many numbers each takes.
AXIAL_KERNELS = {"estimate": 0, "optics": 0, "gaussian": 1, "section": 1, "fwhm": 2}
# Kinds that need to know how far apart the slices are.
AXIAL_IN_UM = ("optics", "fwhm")


def checked_kernel_z(text: Any) -> str:
    """Text of a blur along Z that `parsed_kernel_z` understands."""
    kind, numbers = parsed_kernel_z(text)
    return ":".join(filter(None, (kind, ",".join(f"{n:g}" for n in numbers))))


def parsed_kernel_z(text: Any) -> tuple[str, tuple[float, ...]]:
    """Kind of a blur along Z, and its numbers."""
    kind, _, rest = str(text).strip().partition(":")
    if kind == "section" and not rest:
        rest = "1"
    numbers = tuple(number_or_nan(part) for part in rest.split(",") if rest)
    fit = len(numbers) == AXIAL_KERNELS.get(kind) and all(0 < n <= 100 for n in numbers)
    if not fit:
        raise InputError(
            f"kernel_z {text!r} cannot be used; give estimate, optics, gaussian:2.4 "
            "(standard deviation in pixels of the result), section:1 (thickness in "
            "slices) or fwhm:0.9,0.3 (widths of a bead along Z and across, in µm, "
            "as `napari-zssr kernel BEADS --beads` prints it)."
        )
    if kind == "fwhm" and numbers[0] <= numbers[1]:
        raise InputError(
            f"kernel_z {text!r} is no wider along Z than across, so there is no "
            "extra blur to remove; give the width along Z first."
        )
    return kind, numbers


def checked_sigmas(sigma_px: Any) -> tuple[float, float]:
    """Standard deviations along two axes, fine pixels, above 0 and at most 100."""
    pair = _pair(sigma_px)
    if pair is None or not all(math.isfinite(s) and 0 < s <= 100 for s in pair):
        raise InputError(
            f"The sigma of the Gaussian blur is {sigma_px!r}; give it in pixels "
            "of the result, above 0 and at most 100."
        )
    return pair


def checked_positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    number = number_or_nan(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{name} is {value!r}; give a number above 0.")
    return number


def number_or_nan(value: Any) -> float:
    """A number as a float, NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def checked_kernel(array: NDArray[Any] | None) -> NDArray[np.float64]:
    """Weights of shape (Y, X), finite, with a positive sum; a read-only copy."""
    if array is None or np.ndim(array) != 2 or 0 in np.shape(array):
        found = "none" if array is None else f"shape {np.shape(array)}"
        raise InputError(
            f"A kernel needs two axes (Y, X), but {found} was given; give a 2-D array."
        )
    if np.asarray(array).dtype.kind not in "biuf":
        raise InputError(
            f"The kernel's values are {np.asarray(array).dtype}; give real numbers."
        )
    values: NDArray[np.float64] = np.array(array, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            "The kernel contains NaN or infinite values; give finite ones."
        )
    if values.sum() <= 0:
        raise InputError(
            f"The kernel's values sum to {values.sum():.3g}; give values with a "
            "positive sum."
        )
    values.flags.writeable = False
    return values


def checked_noise(noise: Any) -> str | float:
    """``auto``, ``off``, a camera, or a deviation from 0 to 1 of the image's range."""
    if isinstance(noise, str) and noise in ("auto", "off"):
        return noise
    if isinstance(noise, CameraNoise) or (isinstance(noise, str) and is_camera(noise)):
        return str(parsed_camera(str(noise)))
    sigma = math.nan if isinstance(noise, bool) else number_or_nan(noise)
    if not 0 <= sigma <= 1:
        raise InputError(
            f"Noise {noise!r} cannot be used; give 'auto', 'off', a standard "
            "deviation as a fraction of the intensity range (0 to 1), or a camera: "
            f"{EXAMPLE}."
        )
    return sigma


def checked_whole(name: str, value: Any, low: int) -> int:
    """Whole number from `low` up; neither 2.0 nor True is one."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {low}.")
    return int(value)


def checked_start(start: Any) -> str:
    """One of `STARTS`, or the name of a file, which need not be there."""
    text = str(start) if isinstance(start, PurePath) else start
    if isinstance(text, str) and (
        text in STARTS or PurePath(text).suffix.lower() == NETWORKS_SUFFIX
    ):
        return text
    raise InputError(
        f"start is {start!r}{nearest(start, STARTS)}; give {', '.join(STARTS)} or the "
        f"{NETWORKS_SUFFIX} file of saved networks."
    )


def check_start_fits(start: str, network: str, steps: Any) -> None:
    """Refuse a start without use, and training that is left out without a start."""
    if start != RANDOM and network == "ridge":
        raise InputError(
            f"start is {start!r}, but the preset 'instant' trains no network; choose "
            "another preset, or start from 'random'."
        )
    if start == LEARNED and network != "residual":
        raise InputError(
            f"start is {start!r}, but only the presets fast and balanced have a "
            "pretrained network; choose one of them, or start from 'random'."
        )
    if start == RANDOM and steps == 0:
        raise InputError(
            f"steps is {steps!r}, but a network that starts from 'random' must be "
            "trained; give a whole number of at least 1, or start from 'learned' or "
            "a file of saved networks."
        )


def check_one_of(name: str, value: str, kinds: Any) -> None:
    """Refuse what is not one of a Literal's words."""
    allowed = get_args(kinds)
    if value not in allowed:
        raise InputError(
            f"{name} is {value!r}{nearest(value, allowed)}; choose one of "
            f"{', '.join(allowed)}."
        )


def check_switch(name: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; give True or False.")


def check_device(device: Any) -> None:
    """Refuse what names no device; whether it is there is asked later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(device)):
        raise InputError(
            f"Device {device!r} is not known; give auto, cpu, cuda, cuda:N or mps."
        )


def check_known(values: Mapping[str, Any], kind: type) -> None:
    """Refuse names that are no fields of the dataclass `kind`."""
    known = [f.name for f in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise InputError(
                f"Setting {name!r} is not known{nearest(name, known)}; "
                f"the settings are {', '.join(known)}."
            )


def nearest(name: Any, known: Iterable[str]) -> str:
    """Remark on the known name that was probably meant; empty where none is near."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _pair(value: Any) -> tuple[float, float] | None:
    """(Y, X) from one number or two; None when it is neither."""
    try:
        pair = np.broadcast_to(np.asarray(value, dtype=np.float64), (2,))
    except (TypeError, ValueError):
        return None
    return float(pair[0]), float(pair[1])
