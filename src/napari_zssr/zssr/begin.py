"""What training on a plane begins from, and why. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_zssr.checks import LEARNED, RANDOM
from napari_zssr.config import Config
from napari_zssr.imaging.kernel import for_factors
from napari_zssr.imaging.noise import CLEAN, NoiseModel, recorrupted
from napari_zssr.zssr.arrayfile import Format, checksum, load
from napari_zssr.zssr.learned import (
    START,
    LearnedStart,
    folded,
    ratio_for,
    shipped_file,
    shipped_start,
)
from napari_zssr.zssr.saved import NETWORKS, Checkpoint, Loaded, as_saved
from napari_zssr.zssr.sentences import (
    ALONE,
    will_begin_from_learned,
    will_begin_from_random,
    will_begin_from_saved,
)

# Enlargement of one application that is trained for.
LEARNED_RATIO = 2

Start = Checkpoint | LearnedStart
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
        ``learned``: from a learned start. Else why not from that, where it was asked
        for, or empty.
    """

    config: Config
    networks: Checkpoint | None
    began: str = ""


def load_begun(path: str | Path) -> Loaded | LearnedStart:
    """Networks or a learned start from a file.

    Raises
    ------
    InputError
        The file is missing, damaged, or another kind of file.
    """
    kinds: tuple[Format[Loaded | LearnedStart], ...] = (NETWORKS, START)
    return load(path, *kinds)


def start_of(config: Config) -> Loaded | LearnedStart | None:
    """What the settings let training start from; None is random weights.

    Raises
    ------
    InputError
        A file is missing, damaged, or another kind of file.
    """
    if config.start == LEARNED:
        return shipped_start()
    return None if config.start_file is None else load_begun(config.start_file)


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
    level : float
        Standard deviation of the noise at the mean signal.
    """
    if not isinstance(start, LearnedStart):
        return Beginning(config=config, networks=start)
    jpeg = bool(noise.jpeg)
    if why := unfit(config, start, samples, level=level, jpeg=jpeg):
        return Beginning(config=config, networks=None, began=why)
    sized = as_learned(config, start)
    ratio = float(sized.ratio)
    kernel = for_factors(config.kernel, config.factors, (ratio, ratio))
    weights = folded(start, samples, sized.ratio, kernel, level)
    networks = Checkpoint(
        network=sized.network,
        width=sized.width,
        blocks=sized.blocks,
        samples=samples,
        factors=sized.factors,
        ratio=(sized.ratio, sized.ratio),
        base=False,
        guide=False,
        kernel=sized.kernel.to_dict(),
        weights=(weights,),
    )
    return Beginning(config=sized, networks=networks, began=LEARNED)


def unfit(
    config: Config,
    start: LearnedStart,
    samples: int,
    *,
    level: float = 0.0,
    jpeg: bool = False,
) -> str:
    """Why a learned start is of no use to a plane, as the end of a sentence; or empty.

    Parameters
    ----------
    config : Config
    start : LearnedStart
    samples : int
        Colours that are learned together.
    level : float
        Standard deviation of the noise at the mean signal, as far as it is known.
    jpeg : bool
        Whether the plane is known to have been a JPEG.
    """
    y, x = config.factors
    if y != x:
        return "Y and X are enlarged differently"
    if not start.ratios(samples):
        return f"the learned start knows no pixels of {samples} colours"
    if ratio_for(config.factors) not in start.ratios(samples):
        return f"the learned start knows no enlargement by {y:g}"
    if recorrupted(level):
        return "the image is noisy"
    return "the image was a JPEG" if jpeg else ""


def as_learned(config: Config, start: LearnedStart) -> Config:
    """Settings as they are where a learned start is of use.

    Sons of sons are tiny for large enlargements, so that training is for x2, as from
    random weights; without any, the start is applied once.
    """
    steps = min(config.steps, config.learned_steps)
    further = steps > 0 and max(config.factors) > LEARNED_RATIO
    return replace(
        config,
        width=start.width,
        blocks=start.blocks,
        networks=1,
        gradual=2 if further else 1,
        ratio=LEARNED_RATIO if steps else ratio_for(config.factors),
        steps=steps,
    )


def as_expected(
    config: Config, starts: Starts, samples: int, level: float | None = None
) -> Config:
    """Settings that the cost of a run is foretold from.

    Parameters
    ----------
    config : Config
    starts : sequence of (Checkpoint, LearnedStart or None)
        What the channels of an image start from.
    samples : int
        Colours that are learned together.
    level : float, optional
        Largest noise of the channels at the mean signal, where that is known. Where it
        is not, as many networks are expected as a noisy plane takes.
    """
    for start in starts:
        if isinstance(start, LearnedStart):
            level = _known_level(config, level)
            if unfit(config, start, samples, level=level or 0.0):
                return config
            wanted = as_learned(config, start)
            if level is not None or wanted.steps == 0:
                return wanted
            return replace(wanted, networks=config.networks * config.gradual)
    return as_saved(config, [one for one in starts if isinstance(one, Checkpoint)])


def foretold(
    config: Config, start: Start | None, samples: int, level: float | None = None
) -> str:
    """What training will begin from and why, in a sentence; empty where it will not.

    Parameters
    ----------
    config : Config
    start : Checkpoint, LearnedStart or None
        What it is to start from.
    samples : int
        Colours that are learned together.
    level : float, optional
        Standard deviation of the noise at the mean signal, where that is known.
    """
    if config.network == "ridge":
        return ""
    if not isinstance(start, LearnedStart):
        return will_begin_from_saved(config.steps) if start else ALONE
    level = _known_level(config, level)
    if why := unfit(config, start, samples, level=level or 0.0):
        return will_begin_from_random(why)
    steps = as_learned(config, start).steps
    return will_begin_from_learned(steps, sure=config.noise != "auto")


def _known_level(config: Config, measured: float | None) -> float | None:
    """Noise that the settings tell, else what was measured; None is unknown."""
    if config.noise == "auto":
        return measured
    return 0.0 if config.noise == "off" else config.noise


def sized(config: Config, start: Start | None) -> Config:
    """Settings as saved networks have them; a learned start is for `begun` to judge."""
    return as_saved(config, (start,)) if isinstance(start, Checkpoint) else config
