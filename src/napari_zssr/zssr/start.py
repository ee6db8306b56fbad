"""What training on a plane begins from, and why. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import Config, ratio_of
from napari_zssr.imaging.kernel import kernel_for_factors
from napari_zssr.imaging.noise import CLEAN, NoiseModel, is_noisy
from napari_zssr.zssr.checkpoint import (
    NETWORKS,
    Checkpoint,
    Format,
    Loaded,
    as_saved,
    checksum,
    load,
)
from napari_zssr.zssr.messages import (
    ALONE,
    will_begin_from_learned,
    will_begin_from_saved,
)
from napari_zssr.zssr.pretrained import (
    START,
    PretrainedStart,
    folded,
    shipped_file,
    shipped_start,
    start_for,
)

# Enlargement of one application along both axes, and at most along a single one.
LEARNED_RATIO, LARGEST_RATIO = 2, 4
# On a noisy plane training takes a quarter of the steps; a few change next to nothing.
NOISY_SHARE, LEAST_NOISY = 4, 25

Start = Checkpoint | PretrainedStart
Starts = Sequence[Start | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beginning:
    """What training begins from.

    Attributes
    ----------
    config : Config
        With the size of what it begins from, and the steps from there.
    networks : Checkpoint or None
        None is random weights.
    began : str
        ``learned``: from a learned start; else empty.
    """

    config: Config
    networks: Checkpoint | None
    began: str = ""


def load_start_file(path: str | Path) -> Loaded | PretrainedStart:
    """Networks or a learned start from a file.

    Raises
    ------
    InputError
        The file is missing, damaged, or another kind of file.
    """
    kinds: tuple[Format[Loaded | PretrainedStart], ...] = (NETWORKS, START)
    return load(path, *kinds)


def load_start(config: Config) -> Loaded | PretrainedStart | None:
    """What the settings let training start from; None is random weights.

    Raises
    ------
    InputError
        A file is missing, damaged, or another kind of file.
    """
    if config.start == LEARNED:
        return shipped_start()
    return None if config.start_file is None else load_start_file(config.start_file)


def start_checksum(config: Config) -> str:
    """Checksum of the file that training starts from, empty for random weights."""
    if config.start == RANDOM:
        return ""
    return checksum(config.start_file or shipped_file())


def begun(
    config: Config,
    start: Start | None,
    samples: int,
    *,
    noise: NoiseModel = CLEAN,
    level: float = 0.0,
) -> Beginning:
    """What training on a plane begins from.

    Parameters
    ----------
    config : Config
        Its kernel is concrete.
    start : Checkpoint, LearnedStart or None
        What it is to start from.
    samples : int
        Colours that are learned together.
    noise : NoiseModel
        In normalised intensity.
    level : float
        Standard deviation of the noise at the mean signal.
    """
    if not isinstance(start, PretrainedStart):
        return Beginning(config=config, networks=start)
    noisy = is_noisy(level)
    config = as_learned(config, start, noisy=noisy)
    ratio = ratio_of(config)
    # Colours that are unknown for this enlargement are enlarged each by itself.
    together = samples if ratio in start.ratios(samples) else 1
    kernel = kernel_for_factors(
        config.kernel, config.factors, (float(ratio[0]), float(ratio[1]))
    )

    def checkpoint(noise: NoiseModel, further: Checkpoint | None = None) -> Checkpoint:
        part = start_for(start, together, ratio, noise)
        return Checkpoint(
            network=config.network,
            width=part.width,
            dilations=part.dilations,
            samples=samples,
            factors=config.factors,
            ratio=ratio,
            base=False,
            kernel=config.kernel.to_dict(),
            weights=folded(part, together, ratio, kernel, noise),
            further=further,
        )

    # What a network has enlarged it has smoothed, too.
    further = checkpoint(CLEAN) if noisy and config.applications > 1 else None
    networks = checkpoint(noise, further)
    width, blocks = networks.width, len(networks.dilations)
    return Beginning(
        config=replace(config, width=width, blocks=blocks),
        networks=networks,
        began=LEARNED,
    )


def as_learned(
    config: Config, start: PretrainedStart, *, noisy: bool = False
) -> Config:
    """Settings as they are where training begins from a learned start.

    Sons of sons are tiny for large enlargements, so that training is for one
    application of the network, as from random weights. What that has enlarged is
    learned from, too, except where the image is noisy.
    """
    steps = min(config.steps, config.learned_steps)
    if noisy:
        steps = noisy_steps(steps)
    ratio = _ratio_for(config.factors)
    further = steps > 0 and max(config.factors) > ratio and not noisy
    return replace(
        config,
        width=start.width,
        blocks=len(start.dilations),
        gradual=2 if further else 1,
        ratio=ratio,
        steps=steps,
    )


def noisy_steps(steps: int) -> int:
    """Training steps on a noisy plane, from a learned start."""
    fewer = steps // NOISY_SHARE
    return fewer if fewer >= LEAST_NOISY else 0


def _ratio_for(factors: tuple[float, float]) -> int:
    """Enlargement of one application: along a single axis as much as is known."""
    if min(factors) > 1:
        return LEARNED_RATIO
    largest = math.ceil(max(factors) - 1e-9)
    return largest if largest <= LARGEST_RATIO else LEARNED_RATIO


def as_expected(config: Config, starts: Starts) -> Config:
    """Settings that the cost of a run is foretold from.

    Parameters
    ----------
    config : Config
    starts : sequence of (Checkpoint, LearnedStart or None)
        What the channels of an image start from.
    """
    for start in starts:
        if isinstance(start, PretrainedStart):
            return as_learned(config, start)
    return as_saved(config, [one for one in starts if isinstance(one, Checkpoint)])


def start_message(config: Config, start: Start | None) -> str:
    """What training will begin from, in a sentence; empty where it will not.

    Parameters
    ----------
    config : Config
    start : Checkpoint, LearnedStart or None
        What it is to start from.
    """
    if config.network == "ridge":
        return ""
    if isinstance(start, PretrainedStart):
        return will_begin_from_learned(as_learned(config, start).steps)
    return will_begin_from_saved(config.steps) if start else ALONE


def sized(config: Config, start: Start | None) -> Config:
    """Settings as saved networks have them; a learned start is for `begun` to judge."""
    return as_saved(config, (start,)) if isinstance(start, Checkpoint) else config
