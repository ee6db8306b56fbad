"""How long a run takes, from rates that were measured. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_zssr.config import SHARED_PLANES, Config

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
        Seconds of one training step; of the whole fit for the
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
    sizes = dict(zip(axes, shape, strict=True))
    y, x = sizes["Y"], sizes["X"]
    planes, channels = sizes.get("T", 1) * sizes.get("Z", 1), sizes.get("C", 1)
    learned = min(y * x, LEARNED_PX)
    judging = learned * rates.pairs_s
    versions = 8 if config.ensemble else 1
    enlarging = versions * _with_halo(y) * _with_halo(x) * rates.version_s
    strategy = config.strategy_for(planes)
    if strategy == "independent":
        training = _training(config, config.steps, learned, rates)
        each = config.stages * (training + judging + enlarging)
        return channels * planes * each
    spread = min(SHARED_PLANES, planes) * y * x
    once = config.stages * _training(
        config, config.shared_steps, min(spread, LEARNED_PX), rates
    )
    once += (config.stages - 1) * versions * min(spread, LEARNED_PX) * rates.version_s
    steps = config.tuned_steps if strategy == "tuned" else 0
    each = _training(config, steps, learned, rates) + judging + enlarging
    return channels * (once + planes * each)


def _training(config: Config, steps: int, learned: int, rates: Rates) -> float:
    """Seconds of training for one gradual factor."""
    if config.network == "ridge":
        return rates.step_s + learned * rates.pairs_s
    pairs = learned * rates.pairs_s if steps else 0.0
    return steps * rates.step_s + pairs


def _with_halo(size: int) -> int:
    """Pixels along one axis of all tiles together."""
    return size + 2 * HALO_PX * (math.ceil(size / TILE_PX) - 1)
