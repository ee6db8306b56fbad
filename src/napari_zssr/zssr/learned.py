"""A learned start: weights for any blur, ratio and noise, as plain data. No torch.

One residual network was learned from generated images. How it deals with a blur, a
ratio and a noise is told by gains and shifts of its layers' channels, which a small
dense network gives. Multiplied into the weights they leave an ordinary network, from
which training on an image goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import sampled_kernel
from napari_zssr.imaging.resample import cubic
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.writing import check_place, written_whole
from napari_zssr.zssr.arrayfile import Arrays, Format, load, packed

Weights = dict[str, NDArray[np.float32]]

SHIPPED = Path(str(resources.files("napari_zssr"))) / "data" / "start.safetensors"
INSTALL = "install napari-zssr again, or start from 'random'"
FEATURES = 6
# Largest enlargement of one application.
LARGEST_RATIO = 4
# Standard deviation of the noise that is told as 1.
NOISE_UNIT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedStart:
    """A network that was learned for many blurs.

    Attributes
    ----------
    width, blocks : int
        Channels of the hidden layers, and residual blocks.
    arrays : dict
        float32 arrays by their names: ``head.SAMPLES``, ``body.N.first``,
        ``body.N.second``, ``tail.SAMPLESxRATIO``, ``condition.0`` and
        ``condition.2``, each with ``.weight`` and ``.bias``.
    card : dict
        What it was learned from, how, and with what.
    """

    width: int
    blocks: int
    arrays: Mapping[str, NDArray[np.float32]]
    card: Mapping[str, Any]

    def ratios(self, samples: int) -> tuple[int, ...]:
        """Enlargements of one application for pixels of so many colours."""
        found = range(2, LARGEST_RATIO + 1)
        return tuple(r for r in found if f"tail.{samples}x{r}.weight" in self.arrays)


def write_start(
    path: str | Path, start: LearnedStart, *, overwrite: bool = False
) -> Path:
    """Write a learned start into a safetensors file.

    Parameters
    ----------
    path : str or Path
        File ending in ``.safetensors``.
    start : LearnedStart
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The name or folder does not allow it.
    ComputeError
        The disk is full or fails.
    """
    check_place(path, overwrite, {NETWORKS_SUFFIX}, NETWORKS_SUFFIX)
    target = Path(path).expanduser().resolve()
    told = {"width": start.width, "blocks": start.blocks, "card": dict(start.card)}
    with written_whole(target) as draft:
        draft.write_bytes(packed(START, told, start.arrays))
    return target


def load_start(path: str | Path) -> LearnedStart:
    """Learned start from a file that `write_start` has written.

    Raises
    ------
    InputError
        The file is missing, damaged, or another kind of file.
    """
    return load(path, START)


def shipped_start() -> LearnedStart:
    """The learned start that belongs to this package.

    Raises
    ------
    InputError
        Its file is missing or damaged.
    """
    file = shipped_file()
    if not file.is_file():
        raise InputError(
            f"The learned start of napari-zssr is missing ({file}); {INSTALL}."
        )
    return load(file, START, way_out=INSTALL)


def shipped_file() -> Path:
    """Where the learned start of this package stands."""
    return SHIPPED


def ratio_for(factors: tuple[float, float]) -> int:
    """Enlargement of one application, for equal factors along (Y, X)."""
    ratio = math.ceil(max(factors) - 1e-9)
    return ratio if ratio <= LARGEST_RATIO else 2


def features(kernel: KernelSpec, ratio: int, sigma: float) -> NDArray[np.float32]:
    """What a network is told of a blur, a ratio and a noise.

    Parameters
    ----------
    kernel : KernelSpec
        Blur on the fine grid; concrete.
    ratio : int
        Enlargement of one application.
    sigma : float
        Standard deviation of the noise, normalised intensity.

    Returns
    -------
    ndarray, shape (6,), float32
    """
    # The middle of a coarse pixel lies between two fine ones where they are even.
    phase = 0.5 * (1 - ratio % 2)
    array = sampled_kernel(kernel, (phase, phase))
    weights = bicubic_kernel(ratio) if array is None else array
    return array_features(weights, ratio, sigma)


def bicubic_kernel(ratio: int) -> NDArray[np.float64]:
    """Antialiased bicubic reduction as a blur, shape (4 ratio, 4 ratio) or one more."""
    count = 4 * ratio + ratio % 2
    line = cubic((np.arange(count) - (count - 1) / 2) / ratio)
    made: NDArray[np.float64] = np.outer(line, line) / line.sum() ** 2
    return made


def array_features(
    kernel: NDArray[np.floating], ratio: int, sigma: float
) -> NDArray[np.float32]:
    """`features` of a kernel that is given by its weights, shape (Y, X), sum 1."""
    y, x = (np.arange(n, dtype=np.float64) for n in kernel.shape)
    y = y - (kernel.sum(axis=1) * y).sum()
    x = x - (kernel.sum(axis=0) * x).sum()
    moments = [y**2 @ kernel.sum(axis=1), x**2 @ kernel.sum(axis=0), y @ kernel @ x]
    coarse = [moment / ratio**2 for moment in moments]
    sharpness = 0.5 * math.log(ratio**2 * float((kernel**2).sum()))
    told = [*coarse, sharpness, math.log2(ratio) - 1, sigma / NOISE_UNIT]
    return np.array(told, dtype=np.float32)


def folded(
    start: LearnedStart, samples: int, ratio: int, kernel: KernelSpec, sigma: float
) -> Weights:
    """Weights of the ordinary network for one blur, ratio and noise.

    Parameters
    ----------
    start : LearnedStart
    samples : int
        Colours that are learned together.
    ratio : int
        Enlargement of one application, one of `LearnedStart.ratios`.
    kernel : KernelSpec
        Blur on the fine grid of that ratio; concrete.
    sigma : float
        Standard deviation of the noise, normalised intensity.

    Returns
    -------
    dict
        Arrays as `ResidualNetwork` names them.
    """
    arrays = start.arrays
    told = features(kernel, ratio, sigma)
    hidden = arrays["condition.0.weight"] @ told + arrays["condition.0.bias"]
    out = arrays["condition.2.weight"] @ hidden.clip(0) + arrays["condition.2.bias"]
    rows = iter(out.reshape(-1, start.width))
    made: Weights = {}
    for name, source in _conditioned(start.blocks, samples):
        gain, shift = 1 + next(rows), next(rows)
        weight, bias = arrays[f"{source}.weight"], arrays[f"{source}.bias"]
        made[f"{name}.weight"] = weight * gain[:, None, None, None]
        made[f"{name}.bias"] = bias * gain + shift
    for part in ("weight", "bias"):
        made[f"tail.{part}"] = arrays[f"tail.{samples}x{ratio}.{part}"].copy()
    return {name: array.astype(np.float32) for name, array in made.items()}


def _conditioned(blocks: int, samples: int) -> list[tuple[str, str]]:
    """Layers with gains and shifts: their names in the ordinary network, and here."""
    body = [f"body.{n}.{part}" for n in range(blocks) for part in ("first", "second")]
    return [("head", f"head.{samples}"), *((name, name) for name in body)]


def _start(told: Mapping[str, Any], arrays: Arrays) -> LearnedStart:
    """Learned start of a file."""
    start = LearnedStart(arrays=dict(arrays), **told)
    rows = 2 * (1 + 2 * start.blocks)
    if arrays["condition.0.weight"].shape[1:] != (FEATURES,):
        raise ValueError("it is told other features")
    if arrays["condition.2.bias"].shape != (rows * start.width,):
        raise ValueError("its gains do not fit its layers")
    return start


START = Format(
    name="start",
    version=1,
    holds="learned start",
    told=("width", "blocks", "card"),
    made=_start,
)
