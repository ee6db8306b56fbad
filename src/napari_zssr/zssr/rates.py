"""How long a run takes, from rates that were measured. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_zssr.config import Config

# Most pixels of a plane that pairs are made from.
LEARNED_PX = 16 * 512**2
TILE_PX = 512
HALO_PX = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the parts of a run cost on one device, for some settings.

    Attributes
    ----------
    step_s : float
        Seconds of one training step of one network; of the whole fit for the
        closed-form filter.
    pairs_s : float
        Seconds that making all pairs takes, by pixel that is learned from.
    version_s : float
        Seconds that one version of the ensemble takes, back-projection included, by
        pixel of the input.
    """

    step_s: float
    pairs_s: float
    version_s: float


def expected_seconds(
    config: Config, shape: Sequence[int], axes: str, rates: Rates
) -> float:
    """Expected time of a run.

    Parameters
    ----------
    config : Config
    shape : sequence of int
        Size along each axis.
    axes : str
        Letters of the axes.
    rates : Rates
        Measured for these settings.
    """
    y, x = shape[axes.index("Y")], shape[axes.index("X")]
    count = math.prod(
        n for n, letter in zip(shape, axes, strict=True) if letter not in "YXS"
    )
    learned = min(y * x, LEARNED_PX)
    ridge = config.network == "ridge"
    steps = 1 if ridge else config.networks * config.steps
    # Pairs are made for every network that is trained, and once more to judge.
    trained = config.networks if config.steps else 0
    times = 1 + (1 if ridge else trained)
    training = steps * rates.step_s + times * learned * rates.pairs_s
    versions = 8 if config.ensemble else 1
    enlarging = versions * _with_halo(y) * _with_halo(x) * rates.version_s
    return count * config.stages * (training + enlarging)


def _with_halo(size: int) -> int:
    """Pixels along one axis of all tiles together."""
    return size + 2 * HALO_PX * (math.ceil(size / TILE_PX) - 1)
