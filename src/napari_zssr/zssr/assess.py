"""How much of what networks learned is delivered, from checks on samples of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from napari_zssr.imaging.quality import check_windows, median_quality
from napari_zssr.imaging.support import Support, support
from napari_zssr.progress import Event, Progress, Steps, changed
from napari_zssr.zssr.enlarge import enlarged
from napari_zssr.zssr.saved import Checkpoint
from napari_zssr.zssr.sentences import unsupported

if TYPE_CHECKING:
    from napari_zssr.zssr.learn import Lesson

STAGE = "check"
SAMPLES = 4
# Supported share from which all is delivered. It was chosen with those that follow on
# the images that `docs/learn_support.py` learns from, each judged by trees that had
# not seen it: of right results 3 % may lose 0.1 dB.
SUPPORTED = 0.65
# What is delivered below that is so much less than supported: too much does more harm.
CAUTION = 0.1
# Steps of a delivered share, and the least that is worth it.
STEP, LEAST = 0.05, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What checks tell of networks, decided once for all planes that they enlarge.

    Attributes
    ----------
    share : float
        Of the change from bicubic that is to be delivered, 0..1.
    supported : float
        Of the change that is likely closest to the truth.
    gain_db : float
        Likely gain of the whole change over bicubic, against the truth.
    reason : str
        Why less than all is delivered; empty where all is.
    """

    share: float = 1.0
    supported: float
    gain_db: float
    reason: str = ""


def assess(
    network: nn.Module, planes: Sequence[Tensor], lesson: Lesson
) -> Steps[Assessment | None]:
    """Apply a network to samples of planes, and judge what it makes of them.

    Parameters
    ----------
    network : Module
        As it was learned.
    planes : sequence of Tensor, shape (C, Y, X)
        Planes, or windows of several.
    lesson : Lesson

    Returns
    -------
    Assessment or None
        None where the planes are too small to tell anything.
    """
    config = lesson.config
    spec = replace(lesson.applied(config.factors), transforms=(0,))
    windows = [
        (plane, window)
        for plane in planes
        for window in check_windows(
            (slice(0, plane.shape[1]), slice(0, plane.shape[2])), config.factors
        )
    ]
    count = min(SAMPLES, len(windows))
    found = []
    for n in range(count):
        plane, window = windows[(2 * n + 1) * len(windows) // (2 * count)]
        made = yield from changed(enlarged(network, plane, spec, window), _as_check)
        image = plane[:, *window].cpu().numpy()
        one = support(
            image, made[:, :, :].numpy(), config.factors, config.kernel, lesson.noise
        )
        found += [] if one is None else [one]
    return _together(found) if found else None


def assessment_of(networks: Checkpoint) -> Assessment | None:
    """What checks told of networks on the planes that they were learned from."""
    return Assessment(**networks.assessment) if networks.assessment else None


def _as_check(event: Event) -> Event:
    return replace(event, stage=STAGE) if isinstance(event, Progress) else event


def _together(found: Sequence[Support]) -> Assessment:
    supported = float(np.median([one.share for one in found]))
    gain = float(np.median([one.gain for one in found]))
    if supported >= SUPPORTED:
        return Assessment(supported=supported, gain_db=gain)
    share = STEP * round((supported - CAUTION) / STEP)
    margins = [one.margin for one in found if one.margin is not None]
    return Assessment(
        share=round(share, 2) if share >= LEAST else 0.0,
        supported=supported,
        gain_db=gain,
        reason=unsupported(
            median_quality([one.quality for one in found]),
            float(np.median(margins)) if margins else None,
        ),
    )
