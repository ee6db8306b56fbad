"""A pretrained start: weights for any blur, ratio and noise, as plain data. No torch.

One residual network was learned from synthetic images. How it deals with a blur, a
ratio and a noise is described by gains and shifts of its layers' channels, which a
small dense network gives. Multiplied into the weights they leave an ordinary network,
from which training on an image goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.noise import NoiseModel, is_noisy
from napari_zssr.imaging.resample import cubic
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.checkpoint import Arrays, Format, load, write_file

Weights = dict[str, NDArray[np.float32]]

Ratio = tuple[int, int]

SHIPPED = Path(str(resources.files("napari_zssr"))) / "data" / "start.safetensors"
INSTALL = "install napari-zssr again, or start from 'random'"
FEATURES = 17
# Signals at which the noise is given, and deviations that are given as 1.
SIGNALS = (0.0, 0.25, 1.0)
NOISE_UNIT, SMALL_NOISE, JPEG_UNIT = 0.1, 0.004, 0.05
JPEG_STEPS = 64
# With what names of arrays for planes without noise begin in a file.
CLEAN_PART = "clean."
# Order of the features of the transposed image.
TRANSPOSED = (1, 0, 2, 3, 5, 4, *range(6, FEATURES))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PretrainedStart:
    """A network that was learned for many blurs.

    Attributes
    ----------
    width : channels of the hidden layers
    dilations : of the residual blocks, one by one
    arrays : float32 arrays by their names: ``head.SAMPLES``, ``body.N.first``,
        ``body.N.second``, ``tail.SAMPLESxYxX``, ``condition.0`` and
        ``condition.2``, each with ``.weight`` and ``.bias``
    card : what it was learned from, how, and with what
    clean : for planes without noise, at the ratios that it has
    """

    width: int
    dilations: tuple[int, ...]
    arrays: Mapping[str, NDArray[np.float32]]
    card: Mapping[str, Any]
    clean: PretrainedStart | None = None

    def ratios(self, samples: int) -> tuple[Ratio, ...]:
        """Enlargements of one application for pixels of so many colours."""
        named = [name.split(".")[1] for name in self.arrays if name.startswith("tail.")]
        numbers = {tuple(int(n) for n in name.split("x")) for name in named}
        known = {(y, x) for colours, y, x in numbers if colours == samples}
        return tuple(sorted(known | {(x, y) for y, x in known}))


def write_start(
    path: str | Path, start: PretrainedStart, *, overwrite: bool = False
) -> Path:
    """Write a pretrained start into a file. Raises InputError and ComputeError."""
    header = {**_size(start), "card": dict(start.card), "clean": None}
    arrays = dict(start.arrays)
    if start.clean is not None:
        header["clean"] = _size(start.clean)
        arrays |= {f"{CLEAN_PART}{n}": a for n, a in start.clean.arrays.items()}
    # Half precision holds the weights, and halves the file.
    halved = {name: a.astype(np.float16) for name, a in arrays.items()}
    return write_file(path, START, header, halved, overwrite=overwrite)


def load_start(path: str | Path) -> PretrainedStart:
    """Pretrained start from a file of `write_start`. Raises InputError."""
    return load(path, START)


def shipped_start() -> PretrainedStart:
    """The pretrained start that belongs to this package. Raises InputError."""
    file = shipped_file()
    if not file.is_file():
        raise InputError(
            f"The pretrained network of napari-zssr is missing ({file}); {INSTALL}."
        )
    return load(file, START, way_out=INSTALL)


def shipped_file() -> Path:
    """Where the pretrained start of this package stands."""
    return SHIPPED


def tail_name(samples: int, ratio: Ratio) -> str:
    """Name of the last layer for a number of colours and an enlargement."""
    return f"{samples}x{ratio[0]}x{ratio[1]}"


def bicubic_kernel(ratio: Ratio) -> NDArray[np.float64]:
    """Antialiased bicubic reduction as a blur, 4 weights a coarse pixel or one more."""
    lines = []
    for r in ratio:
        count = 4 * r + r % 2
        line = cubic((np.arange(count) - (count - 1) / 2) / r)
        lines.append(line / line.sum())
    return np.outer(*lines)


def condition_features(
    kernel: KernelSpec, ratio: Ratio, noise: NoiseModel
) -> NDArray[np.float32]:
    """Conditioning vector (FEATURES,) for a blur, a ratio and a noise."""
    # The middle of a coarse pixel lies between two fine ones where they are even.
    phases = [0.5 * (1 - r % 2) for r in ratio]
    array = sampled_kernel(kernel, (phases[0], phases[1]))
    weights = bicubic_kernel(ratio) if array is None else array
    return array_features(weights, ratio, noise)


def array_features(
    kernel: NDArray[np.floating], ratio: Ratio, noise: NoiseModel
) -> NDArray[np.float32]:
    """`condition_features` of a kernel given by its weights, shape (Y, X), sum 1."""
    y, x = (np.arange(n, dtype=np.float64) for n in kernel.shape)
    y = (y - (kernel.sum(axis=1) * y).sum()) / ratio[0]
    x = (x - (kernel.sum(axis=0) * x).sum()) / ratio[1]
    moments = [y**2 @ kernel.sum(axis=1), x**2 @ kernel.sum(axis=0), y @ kernel @ x]
    sharpness = 0.5 * math.log(ratio[0] * ratio[1] * float((kernel**2).sum()))
    enlargement = [math.log2(r) - 1 for r in ratio]
    values = [*moments, sharpness, *enlargement, *_noise_features(noise)]
    return np.array(values, dtype=np.float32)


def _noise_features(noise: NoiseModel) -> list[float]:
    """Deviation at several signals on two scales, correlation, and JPEG."""
    sigmas = [noise.sigma(signal) for signal in SIGNALS]
    small = [math.log1p(sigma / SMALL_NOISE) / 2 for sigma in sigmas]
    large = [sigma / NOISE_UNIT for sigma in sigmas]
    bands = [0.0 if noise.is_clean else 2 * (band - 1) for band in noise.bands]
    step = float(np.mean(noise.jpeg[:JPEG_STEPS])) if noise.jpeg else 0.0
    return [*small, *large, *bands, math.log1p(step / JPEG_UNIT)]


def modulated_weights(
    start: PretrainedStart,
    samples: int,
    ratio: Ratio,
    kernel: KernelSpec,
    noise: NoiseModel,
) -> Weights:
    """Weights of the ordinary network for one blur, ratio and noise."""
    arrays = start.arrays
    features = condition_features(kernel, ratio, noise)
    turned = f"tail.{tail_name(samples, ratio)}.weight" not in arrays
    if turned:
        ratio = ratio[::-1]
        features = features[list(TRANSPOSED)]
    hidden = arrays["condition.0.weight"] @ features + arrays["condition.0.bias"]
    out = arrays["condition.2.weight"] @ hidden.clip(0) + arrays["condition.2.bias"]
    rows = iter(out.reshape(-1, start.width))
    weights: Weights = {}
    for name, source in _conditioned(len(start.dilations), samples):
        gain, shift = 1 + next(rows), next(rows)
        weight, bias = arrays[f"{source}.weight"], arrays[f"{source}.bias"]
        weights[f"{name}.weight"] = weight * gain[:, None, None, None]
        weights[f"{name}.bias"] = bias * gain + shift
    tail = f"tail.{tail_name(samples, ratio)}"
    for kind in ("weight", "bias"):
        weights[f"tail.{kind}"] = arrays[f"{tail}.{kind}"]
    if turned:
        weights = {name: _transposed(array) for name, array in weights.items()}
    return {name: array.astype(np.float32) for name, array in weights.items()}


def start_for(
    start: PretrainedStart, samples: int, ratio: Ratio, noise: NoiseModel
) -> PretrainedStart:
    """The part of a pretrained start that serves a plane with this noise."""
    noisy = bool(noise.jpeg) or is_noisy(noise.sigma())
    clean = start.clean
    serves = clean is not None and ratio in clean.ratios(samples)
    return clean if clean is not None and serves and not noisy else start


def _transposed(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of the network that does along X what this one does along Y."""
    return array.swapaxes(2, 3) if array.ndim == 4 else array


def _conditioned(blocks: int, samples: int) -> list[tuple[str, str]]:
    """Layers with gains and shifts: their names in the ordinary network, and here."""
    body = [f"body.{n}.{part}" for n in range(blocks) for part in ("first", "second")]
    return [("head", f"head.{samples}"), *((name, name) for name in body)]


def _size(start: PretrainedStart) -> dict[str, Any]:
    return {"width": start.width, "dilations": list(start.dilations)}


def _start(header: Mapping[str, Any], arrays: Arrays) -> PretrainedStart:
    """Pretrained start of a file."""
    own: Weights = {}
    clean: Weights = {}
    for name, array in arrays.items():
        part = clean if name.startswith(CLEAN_PART) else own
        part[name.removeprefix(CLEAN_PART)] = array.astype(np.float32)
    start = _part_of(header, own, header["card"])
    if header["clean"] is None:
        return start
    return replace(start, clean=_part_of(header["clean"], clean, header["card"]))


def _part_of(size: Mapping[str, Any], arrays: Arrays, card: Any) -> PretrainedStart:
    width, dilations = size["width"], tuple(size["dilations"])
    if arrays["condition.0.weight"].shape[1:] != (FEATURES,):
        raise ValueError("it uses other image features")
    if arrays["condition.2.bias"].shape != (2 * (1 + 2 * len(dilations)) * width,):
        raise ValueError("its gains do not fit its layers")
    return PretrainedStart(width=width, dilations=dilations, arrays=arrays, card=card)


START = Format(
    name="start",
    version=3,
    oldest=3,
    holds="pretrained network",
    header=("width", "dilations", "card", "clean"),
    build=_start,
)
