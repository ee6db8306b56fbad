"""What training can start from: saved networks or a pretrained start. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import Config
from napari_zssr.imaging.kernel import kernel_for_factors
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.zssr.checkpoint import (
    NETWORKS,
    Checkpoint,
    Format,
    Loaded,
    checksum,
    load,
)
from napari_zssr.zssr.kinds import RESIDUAL
from napari_zssr.zssr.pretrained import (
    START,
    PretrainedStart,
    Ratio,
    modulated_weights,
    shipped_file,
    shipped_start,
    start_for,
)

Start = Checkpoint | PretrainedStart
Starts = Sequence[Start | None]

# Enlargement of one application along both axes, and at most along a single one.
LEARNED_RATIO, LARGEST_RATIO = 2, 4


def load_start_file(path: str | Path) -> Loaded | PretrainedStart:
    """Saved networks or a pretrained start from a file; InputError if it is neither."""
    formats: tuple[Format[Loaded | PretrainedStart], ...] = (NETWORKS, START)
    return load(path, *formats)


def load_start(config: Config) -> Loaded | PretrainedStart | None:
    """What the settings let training start from; None is random weights."""
    if config.start == LEARNED:
        return shipped_start()
    return None if config.start_file is None else load_start_file(config.start_file)


def start_checksum(config: Config) -> str:
    """Checksum of the file that training starts from, empty for random weights."""
    if config.start == RANDOM:
        return ""
    return checksum(config.start_file or shipped_file())


def learned_ratio(factors: tuple[float, float]) -> Ratio:
    """Enlargement (Y, X) of one application of a pretrained network."""
    largest = math.ceil(max(factors) - 1e-9)
    # Along a single axis a start has learned larger steps.
    single = min(factors) == 1 and largest <= LARGEST_RATIO
    ratio = largest if single else LEARNED_RATIO
    y, x = (ratio if factor > 1 else 1 for factor in factors)
    return y, x


def initial_checkpoint(
    start: PretrainedStart,
    *,
    samples: int,
    factors: tuple[float, float],
    kernel: KernelSpec,
    noise: NoiseModel,
    staged: bool,
) -> Checkpoint:
    """Network of a pretrained start for one blur and noise.

    With `staged`, a second one without noise for what the first has enlarged: that has
    been smoothed already.
    """
    ratio = learned_ratio(factors)
    together = _learned_together(start, samples, ratio)
    coarse = kernel_for_factors(kernel, factors, (float(ratio[0]), float(ratio[1])))

    def network(noise: NoiseModel, further: Checkpoint | None = None) -> Checkpoint:
        part = start_for(start, together, ratio, noise)
        return Checkpoint(
            network=RESIDUAL.name,
            width=part.width,
            dilations=part.dilations,
            samples=samples,
            factors=factors,
            ratio=ratio,
            base=False,
            kernel=kernel.to_dict(),
            weights=modulated_weights(part, together, ratio, coarse, noise),
            further=further,
        )

    return network(noise, network(CLEAN) if staged else None)


def initial_size(
    start: PretrainedStart,
    samples: int,
    factors: tuple[float, float],
    noise: NoiseModel,
) -> tuple[int, int]:
    """Width and blocks of `initial_checkpoint`, without its weights."""
    ratio = learned_ratio(factors)
    part = start_for(start, _learned_together(start, samples, ratio), ratio, noise)
    return part.width, len(part.dilations)


def _learned_together(start: PretrainedStart, samples: int, ratio: Ratio) -> int:
    """Colours that are unknown for an enlargement are enlarged each by itself."""
    return samples if ratio in start.ratios(samples) else 1
