"""What the user wants: frozen settings and presets. No torch in here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_zssr.checks import (
    ISOTROPIC,
    LEARNED,
    RANDOM,
    STARTS,
    check_device,
    check_known,
    check_one_of,
    check_start_fits,
    check_switch,
    checked_factor,
    checked_factor_z,
    checked_kernel_z,
    checked_noise,
    checked_start,
    checked_whole,
    nearest,
    parsed_kernel_z,
)
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec

Network = Literal["ridge", "residual", "paper"]
Precision = Literal["auto", "float32", "bfloat16"]
NonFinite = Literal["refuse", "fill"]
OutputType = Literal["auto", "same", "float32"]
Strategy = Literal["independent", "shared", "tuned"]

# Planes that networks are learned from where the planes of a channel share them.
SHARED_PLANES = 8


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
        Weights that training starts from: ``random``, ``learned`` (a network that was
        learned from synthetic images), or a ``.safetensors`` file of saved networks
        or of a pretrained start. Architecture and number then are those of the start.
    steps : int
        Training steps at most, for each gradual factor; half as many again where
        several planes share them; 0 applies what it starts from as it is.
    learned_steps : int
        Training steps at most, instead, where it begins from a pretrained start; 0
        applies that as it is.
    batch, crop_px : int
        Pairs a step, and side of the LR sons in pixels.
    width : int
        Channels of the network's hidden layers.
    blocks : int
        Residual blocks of the coarse-grid network.
    ratio : int
        Enlargement of one application of that network, along the axes that are
        enlarged; it is applied until the factor is reached.
    strategy : {"independent", "shared", "tuned"}
        What is learned where a channel has several planes: networks for each plane;
        networks once, from planes spread over the stack; or those, trained further
        on each plane.
    tuned_steps : int
        Training steps on each plane with strategy "tuned"; 0 is like "shared".
    factor_z : float or "isotropic"
        Enlargement along Z, up to 16; 1 leaves the slices alone. "isotropic" makes
        them as close as the pixels of the enlarged planes are, from the spacing.
    kernel_z : str
        Blur along Z beyond that across: ``estimate`` from the stack, ``optics`` from
        those of `kernel` or of the metadata, ``fwhm:0.9,0.3`` (of a point along Z and
        across, in um), ``gaussian:2.4`` (standard deviation in pixels of the result),
        ``section:1`` (thickness in slices).
    kernel : KernelSpec
        Blur between father and son.
    noise : "auto", "off", float or str
        Noise of the image: estimated, none, its standard deviation as a fraction of
        the image's range, or that of a camera, in its own counts: ``camera: gain
        0.46, offset 100, read noise 1.6``, gain in electrons per count, read noise in
        electrons.
    gradual : int
        Number of factors on the way to the final one (of `network` "residual": to its
        first application, from where every application is one).
    back_projection : int
        Iterations of back-projection.
    ensemble : bool
        Median over flips and rotations.
    always : bool
        Return all that was learned even where it gained nothing over bicubic, or
        checks on the result do not support it; they only warn.
    error_map : bool
        Give the standard error of every pixel beside the image.
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
    dtype : {"auto", "same", "float32"}
        Pixels of the result: those of the image, but float32 where whole numbers would
        lose more than 0.5 % of a small signal; always those of the image; float32.
    """

    factor: float | tuple[float, float] = (2.0, 2.0)
    preset: str = "balanced"
    network: Network = "residual"
    start: str = LEARNED
    steps: int = 400
    learned_steps: int = 200
    batch: int = 4
    crop_px: int = 32
    width: int = 32
    blocks: int = 3
    ratio: int = 2
    strategy: Strategy = "tuned"
    tuned_steps: int = 40
    factor_z: float | Literal["isotropic"] = 1.0
    kernel_z: str = "estimate"
    kernel: KernelSpec = field(default_factory=KernelSpec)
    noise: str | float = "auto"
    gradual: int = 3
    back_projection: int = 10
    ensemble: bool = True
    always: bool = False
    error_map: bool = False
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    tile_px: int | None = None
    nonfinite: NonFinite = "refuse"
    dtype: OutputType = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor_z", checked_factor_z(self.factor_z))
        object.__setattr__(self, "factor", checked_factor(self.factor))
        object.__setattr__(self, "kernel_z", checked_kernel_z(self.kernel_z))
        object.__setattr__(self, "kernel", KernelSpec.parse(self.kernel))
        object.__setattr__(self, "noise", checked_noise(self.noise))
        object.__setattr__(self, "start", checked_start(self.start))
        check_one_of("network", self.network, Network)
        check_one_of("strategy", self.strategy, Strategy)
        check_one_of("precision", self.precision, Precision)
        check_one_of("nonfinite", self.nonfinite, NonFinite)
        check_one_of("dtype", self.dtype, OutputType)
        check_device(self.device)
        check_switch("ensemble", self.ensemble)
        check_switch("always", self.always)
        check_switch("error_map", self.error_map)
        check_start_fits(self.start, self.network, self.steps)
        if self.error_map and self.factor_z != 1:
            raise InputError(
                "An error map cannot be computed along Z; leave out the error map "
                "(--error-map, error_map), or the factor along Z."
            )
        if self.factor_z == 1 and self.only_denoises and self.noise == "off":
            raise InputError(
                "Factor 1, no blur and noise 'off' leave nothing to do; give a blur "
                "(--kernel, kernel), set the noise to 'auto', or give a larger "
                "factor."
            )
        lowest = _LOWEST if self.start == RANDOM else _LOWEST | {"steps": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if name != "tile_px" or value is not None:
                object.__setattr__(self, name, checked_whole(name, value, low))

    @property
    def factors(self) -> tuple[float, float]:
        """Enlargement along (Y, X)."""
        assert isinstance(self.factor, tuple)
        return self.factor

    def strategy_for(self, planes: int) -> Strategy:
        """Strategy for a channel of so many planes.

        A single plane, the closed-form filter, and networks that are applied as they
        are leave nothing to learn for several.
        """
        nothing = planes < 2 or self.network == "ridge" or self.steps == 0
        return "independent" if nothing else self.strategy

    @property
    def restores_planes(self) -> bool:
        """Whether planes are enlarged or restored, or only become more."""
        return self.factor_z == 1 or any(factor > 1 for factor in self.factors)

    @property
    def only_denoises(self) -> bool:
        """Whether planes keep their size, and no blur is taken back."""
        return denoises_only(self.factors, self.kernel)

    @property
    def factor_text(self) -> str:
        """Factors as they stand in names: x2, x2x1.5, x2_z4, isotropic."""
        return factors_text(self.factors, self.factor_z)

    @property
    def axial_kernel(self) -> tuple[str, tuple[float, ...]]:
        """Kind of the blur along Z, and its numbers."""
        return parsed_kernel_z(self.kernel_z)

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
        # Results of earlier versions may have averaged several.
        values.pop("networks", None)
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
    "learned_steps": 0,
    "batch": 1,
    "crop_px": 8,
    "width": 4,
    "blocks": 1,
    "ratio": 2,
    "tuned_steps": 0,
    "gradual": 1,
    "back_projection": 0,
    "seed": 0,
    "tile_px": 16,
}


def denoises_only(factors: tuple[float, float], kernel: KernelSpec) -> bool:
    """Whether planes keep their size, and no blur is taken back."""
    return factors == (1.0, 1.0) and kernel.kind == "bicubic"


def factors_text(
    factors: tuple[float, float], factor_z: float | Literal["isotropic"] = 1.0
) -> str:
    """Factors as they stand in names: x2, x2x1.5, x2_z4, isotropic."""
    y, x = factors
    planes = f"x{y:.3g}" if y == x else f"x{y:.3g}x{x:.3g}"
    if factor_z == 1:
        return planes
    slices = ISOTROPIC if factor_z == ISOTROPIC else f"z{factor_z:.3g}"
    return slices if factors == (1.0, 1.0) else f"{planes}_{slices}"


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


INSTANT = Config(preset="instant", network="ridge", start=RANDOM, steps=1, gradual=1)
FAST = Config(
    preset="fast", learned_steps=50, strategy="shared", ensemble=False, gradual=1
)
BALANCED = Config()
PAPER = Config(
    preset="paper",
    network="paper",
    start=RANDOM,
    steps=3000,
    batch=1,
    crop_px=128,
    width=64,
    strategy="independent",
    gradual=6,
)
PRESETS = {c.preset: c for c in (INSTANT, FAST, BALANCED, PAPER)}
