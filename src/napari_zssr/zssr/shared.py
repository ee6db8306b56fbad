"""Networks learned once for many planes, from windows of a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_zssr.config import Config
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.progress import Steps
from napari_zssr.zssr.assess import assess
from napari_zssr.zssr.begin import Start, begun
from napari_zssr.zssr.learn import Lesson, checkpoint, judge, learn
from napari_zssr.zssr.plane import SMALLEST_PX
from napari_zssr.zssr.policy import (
    WINDOWS,
    begun_rate,
    noise_level,
    training_windows,
)
from napari_zssr.zssr.saved import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """What is kept of a plane to learn from.

    Attributes
    ----------
    windows : tuple of Tensor, shape (C, Y, X)
        Parts of the plane, copied out of it. The whole plane has the same ones, so
        that no training sees the regions that are held out there.
    parts : int
        How many the whole plane has.
    """

    windows: tuple[Tensor, ...]
    parts: int


def sample_of(plane: NDArray[np.float32], planes: int) -> Sample | None:
    """Windows of a plane, fewer the more planes there are.

    Parameters
    ----------
    plane : ndarray, shape (C, Y, X)
        Normalised intensities.
    planes : int
        Planes that are learned from.

    Returns
    -------
    Sample or None
        None for a plane that is constant or too small to learn from.
    """
    if min(plane.shape[1:]) < SMALLEST_PX or np.ptp(plane) <= 0:
        return None
    windows = training_windows(torch.from_numpy(plane))
    wanted = min(len(windows), max(1, WINDOWS // planes))
    places = [(2 * n + 1) * len(windows) // (2 * wanted) for n in range(wanted)]
    return Sample(
        windows=tuple(windows[n].clone() for n in places),
        parts=len(windows),
    )


def learn_shared(
    samples: Sequence[Sample],
    config: Config,
    *,
    noise: NoiseModel = CLEAN,
    device: str = "cpu",
    tile_px: int = 512,
    precision: str = "float32",
    seed: int = 0,
    start: Start | None = None,
) -> Steps[Checkpoint | None]:
    """Train on several planes.

    Parameters
    ----------
    samples : sequence of Sample
        At least one.
    config : Config
    noise : NoiseModel
        What the planes have in common.
    device : str
    tile_px : int
        Side of a tile where windows are enlarged on the way.
    precision : {"float32", "bfloat16"}
    seed : int
    start : Checkpoint or LearnedStart, optional
        What training starts from.

    Returns
    -------
    Checkpoint or None
        None where the settings' network is none that can be kept. It tells of how
        many planes it has learned, and of their noise.
    """
    windows = tuple(w.to(device) for sample in samples for w in sample.windows)
    level = sum(noise_level(window, noise) for window in windows) / len(windows)
    beginning = begun(config, start, len(windows[0]), noise=noise, level=level)
    config = replace(beginning.config, steps=beginning.config.shared_steps)
    lesson = Lesson(
        windows=windows,
        sources=windows,
        parts=samples[0].parts,
        config=config,
        noise=noise,
        level=level,
        tile_px=tile_px,
        precision=precision,
        seed=seed,
        start=beginning.networks,
        trains=config.steps > 0,
        rate=begun_rate(beginning, level),
        began=beginning.began,
    )
    network, _ = yield from learn(lesson)
    found = checkpoint(network, lesson)
    if found is None:
        return None
    assessment = yield from assess(network, windows, lesson)
    return replace(
        found,
        planes=len(samples),
        noise=asdict(noise),
        gained=judge(network, lesson).significant,
        assessment=None if assessment is None else asdict(assessment),
    )


def noise_of(shared: Checkpoint) -> NoiseModel:
    """Noise of the planes that networks were learned from."""
    told = dict(shared.noise or {})
    for name in ("bands", "jpeg"):
        told[name] = tuple(told.get(name, getattr(CLEAN, name)))
    return NoiseModel(**told)
