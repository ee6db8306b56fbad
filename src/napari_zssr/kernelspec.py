"""Specification of the blur between an image and a finer one. Loads no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import (
    check_known,
    check_one_of,
    checked_kernel,
    checked_positive,
    checked_sigmas,
    nearest,
)
from napari_zssr.errors import InputError

KernelKind = Literal[
    "bicubic", "gaussian", "array", "file", "psf", "optics", "estimate"
]
Modality = Literal["widefield", "confocal", "lightsheet"]
Method = Literal["gaussian", "vectorial"]

KERNEL_FILES = (".npy", ".csv", ".tif", ".tiff", ".mat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """How an image was taken.

    Attributes
    ----------
    na : float or None
        Numerical aperture; None takes what the image's metadata say.
    wavelength_nm : float or None
        Of the emitted light, in vacuum; None takes that of each channel from the
        image's metadata.
    excitation_nm : float or None
        Of the exciting light of a confocal microscope; None as above.
    index : float or None
        Refractive index of what lies between objective and sample; None takes the
        metadata's, or guesses it from the aperture.
    modality : {"widefield", "confocal", "lightsheet"} or None
        None takes what the metadata say, or widefield.
    method : {"gaussian", "vectorial"}
        Gaussian approximation, or a vectorial model of the point spread function.
    """

    na: float | None = None
    wavelength_nm: float | None = None
    excitation_nm: float | None = None
    index: float | None = None
    modality: Modality | None = None
    method: Method = "gaussian"

    def __post_init__(self) -> None:
        if self.modality is not None:
            check_one_of("modality", self.modality, Modality)
        check_one_of("method", self.method, Method)
        for name in ("na", "wavelength_nm", "excitation_nm", "index"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_positive(name, value))

    @property
    def text(self) -> str:
        """Text that `KernelSpec.parse` reads back."""
        changed = [
            f"{f.name}={value:g}" if isinstance(value, float) else f"{f.name}={value}"
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        ]
        return f"optics:{','.join(changed)}" if changed else "optics"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelSpec:
    """The blur between an HR father and its LR son, on the fine grid.

    Attributes
    ----------
    kind : {"bicubic", "gaussian", "array", "file", "psf", "optics", "estimate"}
        ``bicubic`` is MATLAB's antialiased ``imresize``; ``estimate`` finds the blur
        in the image itself, channel by channel.
    sigma_px : tuple of float
        Standard deviations of the Gaussian along its two principal axes, in fine
        pixels (Y, X when the angle is 0).
    angle_deg : float
        Rotation of the Gaussian's principal axes, degrees.
    array : ndarray, shape (Y, X), optional
        Sampled kernel on the fine grid, or point spread function in focus; any
        positive sum, normalised when used.
    path : str
        ``.npy``, ``.csv``, ``.tif`` or ``.mat`` file of a kernel, or image of beads.
    spacing_um : tuple of float
        Pixel size (Y, X) of a point spread function.
    optics : Optics, optional
        Of another kind they are only those of a blur along Z.
    """

    kind: KernelKind = "bicubic"
    sigma_px: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    array: NDArray[np.float64] | None = None
    path: str = ""
    spacing_um: tuple[float, float] = (0.0, 0.0)
    optics: Optics | None = None

    def __post_init__(self) -> None:
        check_one_of("kernel", self.kind, KernelKind)
        if self.kind == "gaussian":
            object.__setattr__(self, "sigma_px", checked_sigmas(self.sigma_px))
        if self.kind in ("array", "psf"):
            object.__setattr__(self, "array", checked_kernel(self.array))
        if self.kind == "psf":
            y, x = (checked_positive("spacing_um", um) for um in self.spacing_um)
            object.__setattr__(self, "spacing_um", (y, x))
        if self.kind == "file" and not self.path:
            raise InputError("Kernel 'file' has no path; give the name of the file.")
        if self.kind == "optics" and self.optics is None:
            object.__setattr__(self, "optics", Optics())

    @classmethod
    def parse(cls, text: Any) -> KernelSpec:
        """Kernel from text, a file name, an array (Y, X), or an object with a ``spec``.

        Text is ``bicubic``, ``estimate``, ``gaussian:1.2`` or ``gaussian:1.2,0.8,30``
        (sigma along Y and X in fine pixels, angle in degrees), ``optics`` or
        ``optics:na=1.4,wavelength_nm=520``, with the names of `Optics`.
        """
        spec = getattr(text, "spec", text)
        if isinstance(spec, KernelSpec):
            return spec
        if not isinstance(text, str | Path):
            return cls(kind="array", array=np.asarray(text))
        text = str(text)
        kind, _, rest = text.partition(":")
        if text in ("bicubic", "estimate"):
            return cls(kind=text)
        if kind == "gaussian":
            return _parse_gaussian(text)
        if kind == "optics":
            return cls(kind="optics", optics=_parse_optics(rest))
        if Path(text).suffix.lower() in KERNEL_FILES:
            return cls(kind="file", path=text)
        raise InputError(
            f"Kernel {text!r} is not known; give 'bicubic', 'estimate', 'optics', "
            "'gaussian:SIGMA' (in result pixels), or a .npy, .csv, .tif or .mat "
            "file."
        )

    @property
    def is_concrete(self) -> bool:
        """Whether it is a blur on the fine grid, the same for every image."""
        return self.kind in ("bicubic", "gaussian", "array")

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form, only what this kind needs."""
        content: dict[str, Any] = {"kind": self.kind}
        if self.kind == "gaussian":
            content |= {"sigma_px": list(self.sigma_px), "angle_deg": self.angle_deg}
        if self.array is not None:
            content["array"] = self.array.tolist()
        if self.kind == "file":
            content["path"] = self.path
        if self.kind == "psf":
            content["spacing_um"] = list(self.spacing_um)
        if self.optics is not None:
            content["optics"] = dataclasses.asdict(self.optics)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> KernelSpec:
        """Inverse of `to_dict`."""
        values = dict(content)
        check_known(values, cls)
        for name in ("sigma_px", "spacing_um"):
            if name in values:
                values[name] = tuple(values[name])
        if values.get("array") is not None:
            values["array"] = np.asarray(values["array"], dtype=np.float64)
        if isinstance(values.get("optics"), Mapping):
            check_known(values["optics"], Optics)
            values["optics"] = Optics(**values["optics"])
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KernelSpec) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        digest = b""
        if self.array is not None:
            digest = hashlib.sha256(self.array.tobytes()).digest()
            digest += repr(self.array.shape).encode()
        plain = (self.kind, self.sigma_px, self.angle_deg, self.path, self.spacing_um)
        return (*plain, self.optics, digest)


def _parse_gaussian(text: str) -> KernelSpec:
    try:
        numbers = [float(part) for part in text.removeprefix("gaussian:").split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3:
        raise InputError(
            f"Kernel {text!r} is not understood; write gaussian:SIGMA, "
            "gaussian:SIGMA_Y,SIGMA_X or gaussian:SIGMA_Y,SIGMA_X,ANGLE."
        )
    angle = numbers[2] if len(numbers) == 3 else 0.0
    if not math.isfinite(angle):
        raise InputError(f"Kernel {text!r} has no finite angle; give it in degrees.")
    return KernelSpec(
        kind="gaussian", sigma_px=(numbers[0], numbers[:2][-1]), angle_deg=angle
    )


def _parse_optics(text: str) -> Optics:
    """Optics from ``name=value`` parts."""
    values: dict[str, Any] = {}
    known = [f.name for f in dataclasses.fields(Optics)]
    for part in filter(None, text.split(",")):
        name, _, value = (piece.strip() for piece in part.partition("="))
        name = name.lower()
        if name not in known or not value:
            raise InputError(
                f"Optics {part!r} is not understood{nearest(name, known)}; write "
                "optics:na=1.4,wavelength_nm=520 with "
                f"{', '.join(known)}."
            )
        values[name] = value
    return Optics(**values)
