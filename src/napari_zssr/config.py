"""What the user wants: frozen settings, presets, kernels. No torch in here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import (
    STARTS,
    check_device,
    check_known,
    check_one_of,
    check_start_fits,
    check_switch,
    checked_factor,
    checked_kernel,
    checked_noise,
    checked_sigmas,
    checked_start,
    checked_whole,
    nearest,
)
from napari_zssr.errors import InputError

Network = Literal["ridge", "residual", "paper"]
KernelKind = Literal["bicubic", "gaussian", "array", "file"]
Precision = Literal["auto", "float32", "bfloat16"]
NonFinite = Literal["refuse", "fill"]
Strategy = Literal["independent", "shared", "tuned"]

# Planes that networks are learned from where the planes of a channel share them.
SHARED_PLANES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelSpec:
    """The blur between an HR father and its LR son, on the fine grid.

    Attributes
    ----------
    kind : {"bicubic", "gaussian", "array", "file"}
        ``bicubic`` is MATLAB's antialiased ``imresize``.
    sigma_px : tuple of float
        Standard deviations of the Gaussian along its two principal axes, in fine
        pixels (Y, X when the angle is 0).
    angle_deg : float
        Rotation of the Gaussian's principal axes, degrees.
    array : ndarray, shape (Y, X), optional
        Sampled kernel on the fine grid; any positive sum, normalised when used.
    path : str
        ``.npy``, ``.tif`` or ``.mat`` file that holds such an array.
    """

    kind: KernelKind = "bicubic"
    sigma_px: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    array: NDArray[np.float64] | None = None
    path: str = ""

    def __post_init__(self) -> None:
        check_one_of("kernel", self.kind, KernelKind)
        if self.kind == "gaussian":
            object.__setattr__(self, "sigma_px", checked_sigmas(self.sigma_px))
        if self.kind == "array":
            object.__setattr__(self, "array", checked_kernel(self.array))
        if self.kind == "file" and not self.path:
            raise InputError("Kernel 'file' needs a path; none was given.")

    @classmethod
    def parse(cls, text: str | KernelSpec | NDArray[Any]) -> KernelSpec:
        """Kernel from text, a file's name or an array of shape (Y, X).

        Text is ``bicubic``, ``gaussian:1.2`` or ``gaussian:1.2,0.8,30`` (sigma along
        Y and X in fine pixels, angle in degrees).
        """
        if isinstance(text, KernelSpec):
            return text
        if not isinstance(text, str):
            return cls(kind="array", array=np.asarray(text))
        if text == "bicubic":
            return cls()
        if text.startswith("gaussian:"):
            return _parse_gaussian(text)
        if Path(text).suffix.lower() in {".npy", ".tif", ".tiff", ".mat"}:
            return cls(kind="file", path=text)
        raise InputError(
            f"Kernel {text!r} is not known; give 'bicubic', 'gaussian:SIGMA' in fine "
            "pixels, or a .npy, .tif or .mat file."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form, only what this kind needs."""
        content: dict[str, Any] = {"kind": self.kind}
        if self.kind == "gaussian":
            content |= {"sigma_px": list(self.sigma_px), "angle_deg": self.angle_deg}
        if self.array is not None:
            content["array"] = self.array.tolist()
        if self.kind == "file":
            content["path"] = self.path
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> KernelSpec:
        """Inverse of `to_dict`."""
        values = dict(content)
        check_known(values, cls)
        if "sigma_px" in values:
            values["sigma_px"] = tuple(values["sigma_px"])
        if values.get("array") is not None:
            values["array"] = np.asarray(values["array"], dtype=np.float64)
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
        return (self.kind, self.sigma_px, self.angle_deg, self.path, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides the pixels of a result.

    Attributes
    ----------
    factor : float or tuple of float
        Enlargement along (Y, X); one number serves both. 1 < f <= 16, one axis may
        stay at 1.
    preset : str
        Name of the preset that these settings come from.
    network : {"ridge", "residual", "paper"}
        Closed-form filter, coarse-grid residual network, or the network of the paper.
    start : str
        Weights that training starts from: ``random``, or a ``.safetensors`` file of
        saved networks. Their architecture and number then come from the file.
    steps : int
        Training steps at most, for each gradual factor; half as many again where
        several planes share them; 0 applies saved networks as they are.
    batch, crop_px : int
        Pairs a step, and side of the LR sons in pixels.
    width : int
        Channels of the network's hidden layers.
    blocks : int
        Residual blocks of the coarse-grid network.
    networks : int
        Networks trained from different seeds, whose results are averaged.
    strategy : {"independent", "shared", "tuned"}
        What is learned where a channel has several planes: networks for each plane;
        networks once, from planes spread over the stack; or those, trained further
        on each plane.
    tuned_steps : int
        Training steps on each plane with strategy "tuned"; 0 is like "shared".
    kernel : KernelSpec
        Blur between father and son.
    noise : "auto", "off" or float
        Noise of the image: estimated, none, or its standard deviation as a fraction
        of the image's range.
    gradual : int
        Number of factors on the way to the final one (of `network` "residual": to its
        first doubling, from where every doubling is one).
    back_projection : int
        Iterations of back-projection.
    ensemble : bool
        Median over flips and rotations.
    always : bool
        Return the learned result even when it gained nothing over bicubic.
    seed : int
        Seed of every random choice.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the network.
    tile_px : int or None
        Side of the tiles at inference, in input pixels; None decides from memory.
    nonfinite : {"refuse", "fill"}
        What to do with NaN and Inf.
    """

    factor: float | tuple[float, float] = (2.0, 2.0)
    preset: str = "balanced"
    network: Network = "residual"
    start: str = "random"
    steps: int = 400
    batch: int = 4
    crop_px: int = 32
    width: int = 32
    blocks: int = 3
    networks: int = 1
    strategy: Strategy = "tuned"
    tuned_steps: int = 40
    kernel: KernelSpec = field(default_factory=KernelSpec)
    noise: Literal["auto", "off"] | float = "auto"
    gradual: int = 3
    back_projection: int = 10
    ensemble: bool = True
    always: bool = False
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    tile_px: int | None = None
    nonfinite: NonFinite = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", checked_factor(self.factor))
        object.__setattr__(self, "kernel", KernelSpec.parse(self.kernel))
        object.__setattr__(self, "noise", checked_noise(self.noise))
        object.__setattr__(self, "start", checked_start(self.start))
        check_one_of("network", self.network, Network)
        check_one_of("strategy", self.strategy, Strategy)
        check_one_of("precision", self.precision, Precision)
        check_one_of("nonfinite", self.nonfinite, NonFinite)
        check_device(self.device)
        check_switch("ensemble", self.ensemble)
        check_switch("always", self.always)
        check_start_fits(self.start, self.network, self.steps)
        lowest = _LOWEST if self.start_file is None else _LOWEST | {"steps": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if name != "tile_px" or value is not None:
                object.__setattr__(self, name, checked_whole(name, value, low))

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        assert isinstance(self.factor, tuple)
        return self.factor

    @property
    def stages(self) -> int:
        """Factors that are trained for, the final one included."""
        if self.network == "paper" or self.gradual == 1:
            return self.gradual
        return self.gradual + max(0, math.ceil(math.log2(max(self.factors)) - 1e-9) - 1)

    def strategy_for(self, planes: int) -> Strategy:
        """Strategy for a channel of so many planes.

        A single plane, the closed-form filter, and saved networks that are applied as
        they are leave nothing to learn for several.
        """
        nothing = planes < 2 or self.network == "ridge" or self.steps == 0
        return "independent" if nothing else self.strategy

    @property
    def shared_steps(self) -> int:
        """Training steps of networks that planes share: there is more to learn."""
        return self.steps * 3 // 2

    @property
    def start_file(self) -> str | None:
        """File of the networks that training starts from, where there is one."""
        return None if self.start in STARTS else self.start

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content["factor"] = list(self.factors)
        content["kernel"] = self.kernel.to_dict()
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Config:
        """Settings from `to_dict`'s form; unknown keys are refused."""
        values = dict(content)
        check_known(values, cls)
        if isinstance(values.get("factor"), list):
            values["factor"] = tuple(values["factor"])
        if isinstance(values.get("kernel"), Mapping):
            values["kernel"] = KernelSpec.from_dict(values["kernel"])
        return cls(**values)

    def digest(self) -> str:
        """Hash of all settings, 16 hexadecimal digits."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_LOWEST = {
    "steps": 1,
    "batch": 1,
    "crop_px": 8,
    "width": 4,
    "blocks": 1,
    "networks": 1,
    "tuned_steps": 0,
    "gradual": 1,
    "back_projection": 0,
    "seed": 0,
    "tile_px": 16,
}


def change(config: Config, **changes: Any) -> Config:
    """Copy of the settings with some of them changed; unknown names are refused."""
    check_known(changes, Config)
    return dataclasses.replace(config, **changes)


def preset(name: str) -> Config:
    """Preset of that name."""
    if name not in PRESETS:
        raise InputError(
            f"Preset {name!r} is not known{nearest(name, PRESETS)}; "
            f"choose one of {', '.join(PRESETS)}."
        )
    return PRESETS[name]


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
    sigma_y, sigma_x = numbers[0], numbers[min(1, len(numbers) - 1)]
    angle = numbers[2] if len(numbers) == 3 else 0.0
    return KernelSpec(kind="gaussian", sigma_px=(sigma_y, sigma_x), angle_deg=angle)


INSTANT = Config(preset="instant", network="ridge", steps=1, gradual=1)
FAST = Config(preset="fast", gradual=1)
BALANCED = Config()
PAPER = Config(
    preset="paper",
    network="paper",
    steps=3000,
    batch=1,
    crop_px=128,
    width=64,
    strategy="independent",
    gradual=6,
)
PRESETS = {c.preset: c for c in (INSTANT, FAST, BALANCED, PAPER)}
