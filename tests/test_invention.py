"""A pretrained start makes nothing up; the measures themselves are tested as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import invention
from benchmarks.empty_scenes import Scene
from benchmarks.invention import Figures, Setting
from napari_zssr.config import FAST, Config, change

# As many steps as fast takes, of one pair each: a quarter of the time.
RANDOM = change(FAST, start="random", batch=1, device="cpu")
SHIPPED, FORCED = invention.SETTINGS
# Their noise is so low that it is not smoothed.
QUIET = ("uneven light", "points", "two points below the limit")


def one_quick(names: Iterable[str], quick: str) -> list[Any]:
    """Scenes, all but one of them for the slow run: each takes a minute."""
    slow = pytest.mark.slow
    return [name if name == quick else pytest.param(name, marks=slow) for name in names]


@pytest.fixture
def learned() -> Config:
    """Settings with the start that is examined: the shipped one, as fast uses it."""
    return change(FAST, device="cpu")


def _scenes(name: str) -> list[Scene]:
    draws = [np.random.default_rng(seed) for seed in invention.SEEDS]
    return [invention.SCENES[name](draw) for draw in draws]


def _bicubic(scenes: Sequence[Scene]) -> list[Figures]:
    return [invention.figures(s.image, invention.plain(s.image)) for s in scenes]


def _made(scenes: Sequence[Scene], config: Config, setting: Setting) -> list[Figures]:
    return [
        invention.figures(s.image, invention.enlarged(s.image, config, setting)[0])
        for s in scenes
    ]


def _broken(name: str, learned: Config, setting: Setting) -> list[str]:
    scenes = _scenes(name)
    # Fewer are stricter; where results are forced the random start has all of its own.
    random = RANDOM if setting.forced else change(RANDOM, steps=40)
    both = [_made(scenes, config, setting) for config in (random, learned)]
    return invention.broken(scenes, _bicubic(scenes), *both, setting)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(invention.SCENES))
def test_nothing_is_made_up_where_results_are_forced(
    name: str, learned: Config
) -> None:
    assert _broken(name, learned, FORCED) == []


@pytest.mark.parametrize("name", one_quick(QUIET, "uneven light"))
def test_nothing_is_made_up_as_shipped(name: str, learned: Config) -> None:
    # The held-out regions must not hide it.
    always = replace(SHIPPED, changes={"noise": "auto", "always": True})
    assert _broken(name, learned, always) == []
    image = _scenes(name)[0].image
    made, kind = invention.enlarged(image, learned, SHIPPED)
    wanted = invention.plain(image)
    if kind == "learned":
        wanted = invention.enlarged(image, learned, always)[0]
    assert made == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [n for n in invention.SCENES if n not in QUIET])
def test_smoothed_noise_shows_no_more_than_the_noise_did(
    name: str, learned: Config
) -> None:
    scenes = _scenes(name)[:3]
    always = replace(SHIPPED, changes={"noise": "auto", "always": True})
    both = zip(_bicubic(scenes), _made(scenes, learned, always), strict=True)
    for scene, (plain, made) in zip(scenes, both, strict=True):
        assert scene.lines or made.peaks <= plain.peaks
        # Beyond the limit only an alias is in the image, as high as it may be.
        assert "beyond" in name or made.height <= 0.02


def test_what_is_painted_is_found() -> None:
    scenes = _scenes("noise")
    plain = _bicubic(scenes)
    span = np.ptp(scenes[0].image)
    stripes = 0.1 * span * np.sin(np.arange(2 * invention.SIDE_PX) / 1.5)
    painted = [_painted(scene, stripes) for scene in scenes]
    assert "order" in invention.broken(scenes, plain, plain, painted, SHIPPED)
    assert invention.broken(scenes, plain, plain, plain, SHIPPED) == []
    buried = [replace(figures, order=0.5 * figures.order) for figures in plain]
    assert invention.broken(scenes, plain, buried, plain, SHIPPED) == ["order"]
    assert invention.broken(scenes, plain, buried, plain, FORCED) == []
    assert "order" in invention.broken(scenes, plain, buried, painted, FORCED)

    points = _scenes("points")
    plain = _bicubic(points)
    grid = np.zeros((2 * invention.SIDE_PX,) * 2)
    grid[::8, ::8] = 0.04 * np.ptp(points[0].image)
    painted = [_painted(scene, grid) for scene in points]
    for setting in (SHIPPED, FORCED):
        assert "peaks" in invention.broken(points, plain, plain, painted, setting)


def test_points_no_higher_than_the_truth() -> None:
    scenes = _scenes("two points below the limit")
    plain = _bicubic(scenes)
    rise = [invention._truth(scene) for scene in scenes]
    assert min(rise) > 0.03
    near, far = (
        [replace(p, height=r + more) for p, r in zip(plain, rise, strict=True)]
        for more in (0.015, 0.025)
    )
    for setting in (SHIPPED, FORCED):
        assert invention.broken(scenes, plain, plain, near, setting) == []
        assert invention.broken(scenes, plain, plain, far, setting) == ["height"]
        assert invention.broken(scenes, plain, far, far, setting) == []


def test_a_pair_that_is_split_is_found() -> None:
    scene = _scenes("two points below the limit")[0]
    plain = invention.plain(scene.image)
    assert invention.figures(scene.image, plain).peaks == 36
    sharp = plain - 6 * np.hypot(*np.gradient(plain))
    assert invention.figures(scene.image, sharp).peaks > 1.02 * 36


def _painted(scene: Scene, pattern: Any) -> Figures:
    return invention.figures(scene.image, invention.plain(scene.image) + pattern)
