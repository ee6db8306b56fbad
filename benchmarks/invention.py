"""What a pretrained start might make up: structure that the image does not hold.

Images without anything to find (noise, flat fields, points, gratings too fine for the
camera) are enlarged from a learned and from a random start. A prior that paints what
it has learned would raise peaks where bicubic enlargement has none, or give noise an
order that reaches beyond what an interpolation brings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.empty_scenes import FACTOR, SCENES, SIDE_PX, Scene
from benchmarks.job import Job, enlarge, from_learned
from benchmarks.table import Cell, Table
from napari_zssr.checks import RANDOM
from napari_zssr.config import Config, change
from napari_zssr.imaging.resample import imresize

Array = NDArray[np.float64]

SEEDS = (0, 1, 2, 3, 4)
# Limits: share of bicubic's peaks, of the random start's order, and of the range.
PEAKS, ORDER, HEIGHT = 1.02, 1.1, 0.02
# A peak rises by this share of the image's range above the passes to higher ones.
PROMINENCE = 0.02
BORDER_PX = 4
# Order is sought beyond what an interpolation mixes; coarse pixels.
LAGS_PX = (2, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What an enlargement shows.

    Attributes
    ----------
    peaks : int
        Maxima that rise by 2 % of the image's range above their surroundings.
    order : float
        Autocorrelation, root mean square over lags of 2 to 8 coarse pixels.
    height : float
        Its highest pixel above that of bicubic enlargement, share of the range.
    """

    peaks: int
    order: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the engine is asked.

    Attributes
    ----------
    label : str
    changes : mapping
        Settings that differ.
    forced : bool
        Whether the result is wanted although the image speaks against it. Even a
        random start then raises noise into peaks, and is what these are compared with.
    """

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False


SETTINGS = (
    Setting(label="as shipped", changes={"noise": "auto", "always": False}),
    Setting(
        label="always, noise off",
        changes={"noise": "off", "always": True},
        forced=True,
    ),
)


def invention(job: Job) -> Table:
    """Every scene from a random and from a pretrained start, beside the limits.

    Parameters
    ----------
    job : Job
        Its settings with a random start are measured beside the same with the learned
        start that they name, or the shipped one; factor 2. The limit holds for the
        seeds, of which there are five.
    """
    rows: list[tuple[Cell, ...]] = []
    pair = (change(job.config, start=RANDOM), from_learned(job.config))
    for number, (name, scene) in enumerate(SCENES.items()):
        job.announce(number, len(SCENES), name)
        drawn = [scene(np.random.default_rng(seed)) for seed in SEEDS[: job.limit]]
        rows += [_row(job, name, drawn, pair, setting) for setting in SETTINGS]
    return Table(
        title=f"{job.title}: what is made up",
        columns=COLUMNS,
        rows=tuple(rows),
        notes=NOTES,
    )


def enlarged(image: NDArray[Any], config: Config, setting: Setting) -> tuple[Any, str]:
    """The engine's result at factor 2, and what it is."""
    run = enlarge(image, config, factor=FACTOR, **setting.changes)
    return run.image, run.returned


def plain(image: NDArray[Any]) -> Array:
    """Bicubic enlargement at factor 2."""
    return imresize(image, (FACTOR, FACTOR))


def figures(image: NDArray[Any], large: NDArray[Any]) -> Figures:
    """What `large` shows that was made of `image`, both (Y, X)."""
    span = float(np.ptp(image))
    border = round(BORDER_PX * FACTOR)
    inside = np.asarray(large, dtype=np.float64)[border:-border, border:-border]
    top = float(plain(image)[border:-border, border:-border].max())
    return Figures(
        peaks=peaks(inside, PROMINENCE * span),
        order=order(inside),
        height=(float(inside.max()) - top) / span,
    )


def peaks(image: Array, rise: float) -> int:
    """Maxima of (Y, X) that rise by `rise` above any pass to a higher one.

    The highest of all counts always.
    """
    flooded = image - rise
    while True:
        spread = np.minimum(ndimage.grey_dilation(flooded, (3, 3)), image)
        if np.array_equal(spread, flooded):
            break
        flooded = spread
    tops = image - flooded >= rise * (1 - 1e-9)
    return int(ndimage.label(tops, np.ones((3, 3)))[1])


def order(image: Array) -> float:
    """Autocorrelation of (Y, X): root mean square over the lags of `LAGS_PX`.

    0 for an image that is constant.
    """
    values = image - image.mean()
    if not values.any():
        return 0.0
    size = [2 * n for n in image.shape]

    def correlated(array: Array) -> Array:
        power = np.abs(np.fft.rfft2(array, size)) ** 2
        return np.fft.irfft2(power, size)

    # Divided by the number of pairs at each lag, then by the variance.
    pairs = np.maximum(correlated(np.ones_like(values)), 1)
    found = correlated(values) / pairs
    found /= found[0, 0]
    lags = [np.minimum(np.arange(n), n - np.arange(n)) for n in size]
    reach = np.maximum(lags[0][:, None], lags[1][None])
    low, high = (round(lag * FACTOR) for lag in LAGS_PX)
    chosen = found[(reach >= low) & (reach <= high)]
    return float(np.sqrt(np.mean(chosen**2)))


def broken(
    scenes: Sequence[Scene],
    bicubic: Sequence[Figures],
    random: Sequence[Figures],
    learned: Sequence[Figures],
    setting: Setting,
) -> list[str]:
    """Limits that the pretrained start breaks on a scene's seeds: peaks, height, order.

    Peaks: no more than bicubic's and 2 %, for each seed; where results are forced, or
    the random start's and 2 %; not those along lines. Height: 2 % of the range above
    the highest of bicubic, random start and truth; where results are forced, only if
    the truth is known. Order: 1.1 times the random start's, mean of the seeds; where
    results are forced, or bicubic's, since an alias is in the image, and the random
    start then buries it.
    """
    found = []
    for scene, b, r, n in zip(scenes, bicubic, random, learned, strict=True):
        allowed = max(b.peaks, r.peaks) if setting.forced else b.peaks
        if not scene.lines and n.peaks > PEAKS * allowed:
            found.append("peaks")
        known = not setting.forced or math.isfinite(scene.top)
        if known and n.height > HEIGHT + max(0.0, r.height, _truth(scene)):
            found.append("height")
    held = _mean(bicubic, "order") if setting.forced else 0.0
    if _mean(learned, "order") > ORDER * max(held, _mean(random, "order")):
        found.append("order")
    return list(dict.fromkeys(found))


def _truth(scene: Scene) -> float:
    """How far the truth rises above bicubic, share of the range."""
    return (scene.top - float(plain(scene.image).max())) / float(np.ptp(scene.image))


def _row(
    job: Job,
    name: str,
    scenes: Sequence[Scene],
    pair: tuple[Config, Config],
    setting: Setting,
) -> tuple[Cell, ...]:
    shown = [figures(scene.image, plain(scene.image)) for scene in scenes]
    made = [[enlarged(s.image, config, setting) for s in scenes] for config in pair]
    random, learned = (
        [figures(s.image, large) for s, (large, _) in zip(scenes, of, strict=True)]
        for of in made
    )
    kinds = [kind for of in made[1:] for _, kind in of]
    return (
        name,
        setting.label,
        *(_mean(each, "peaks") for each in (shown, random, learned)),
        *(_mean(each, "order") for each in (shown, random, learned)),
        *(100 * _mean(each, "height") for each in (random, learned)),
        ", ".join(dict.fromkeys(kinds)),
        ", ".join(broken(scenes, shown, random, learned, setting)) or "none",
    )


def _mean(of: Sequence[Figures], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in of]))


COLUMNS = (
    "image",
    "settings",
    "peaks, bicubic",
    "peaks, random",
    "peaks, learned",
    "order, bicubic",
    "order, random",
    "order, learned",
    "height %, random",
    "height %, learned",
    "returned",
    "limits broken",
)
NOTES = (
    f"{SIDE_PX} x {SIDE_PX} px, x2, means over the seeds 0 to 4. Peaks: maxima that "
    "rise by 2 % of the image's range above any pass to a higher one. Order: root "
    "mean square of the autocorrelation over lags of 2 to 8 coarse pixels, beyond "
    "what an interpolation brings. Height: highest pixel above bicubic's, % of the "
    "range. A border of 4 coarse pixels is left out.",
    "Limits of it: peaks, for each seed, bicubic's and 2 % (not along "
    "filaments, where they are a matter of chance); order 1.1 "
    "times the random start's; height 2 % above the highest of bicubic, random start "
    "and truth.",
    "Always, noise off: the result is asked for although the image is noise, and the "
    "method is told that it is not; peaks and order are then compared with the larger "
    "of the random start's, which takes noise for structure as well, and bicubic's.",
    "Points are Gaussians of sigma 1 px, pairs of them 1.2 px apart, of which the "
    "fine image is known; gratings have a period of 1.6 px and are seen through "
    "square pixels, so that their alias is in the image.",
)
