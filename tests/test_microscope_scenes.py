from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from training.cells import sheet
from training.drawing import curves, discs, outline, spots, step_down, tubes, walks
from training.fields import Array, Draw, Floats, clouds, hazy, swell
from training.finish import FOCUS_PX
from training.microscope import KINDS, microscope_scene

SIDE = 64
every_kind = pytest.mark.parametrize("kind", KINDS)


def draw(*seed: int) -> Draw:
    return np.random.default_rng(seed)


# ---- scenes


@every_kind
def test_same_seed_same_image(kind: str) -> None:
    first, again = (KINDS[kind](draw(3), SIDE) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@every_kind
def test_other_seed_other_image(kind: str) -> None:
    first, other = (KINDS[kind](draw(seed), SIDE) for seed in (3, 4))
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.9


@every_kind
def test_shape_and_range(kind: str) -> None:
    for seed, side in enumerate((33, 33, 96, 101)):
        image = KINDS[kind](draw(seed), side)
        assert image.shape == (side, side)
        assert image.dtype == np.float32
        assert image.min() >= 0, f"seed {seed}"
        assert image.max() <= 1, f"seed {seed}"


@every_kind
def test_there_is_something_to_see(kind: str) -> None:
    ranges = [np.ptp(KINDS[kind](draw(seed), SIDE)) for seed in range(12)]
    assert min(ranges) > 0.02
    assert np.median(ranges) > 0.3


@every_kind
def test_not_all_are_equally_bright(kind: str) -> None:
    means = [KINDS[kind](draw(seed), SIDE).mean() for seed in range(12)]
    assert max(means) > 1.5 * min(means)


def high_share(image: Array) -> float:
    """Share of the energy in the upper fifth of the band; 0.36 in white noise."""
    window = np.hanning(len(image))
    seen = (image - image.mean()) * np.outer(window, window)
    energy = np.abs(np.fft.fft2(seen)) ** 2
    near = np.abs(np.fft.fftfreq(len(image))) > 0.4
    return float(energy[near[:, None] | near[None]].sum() / energy.sum())


@every_kind
def test_little_lies_near_the_nyquist_limit(kind: str) -> None:
    shares = [high_share(KINDS[kind](draw(seed), 96)) for seed in range(12)]
    assert np.median(shares) < 0.06
    assert max(shares) < 0.2


@every_kind
def test_images_are_fine_and_soft(kind: str) -> None:
    shares = [high_share(KINDS[kind](draw(seed), 96)) for seed in range(16)]
    assert max(shares) > 1e-3
    assert min(shares) < 0.1 * max(shares)


def test_every_kind_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = set()

    def kind(name: str) -> Callable[[Draw, int], Array]:
        def scene(_draw: Draw, side: int) -> Array:
            drawn.add(name)
            return np.zeros((side, side), np.float32)

        return scene

    for name in KINDS:
        monkeypatch.setitem(KINDS, name, kind(name))
    chance = draw(0)
    for _ in range(100):
        microscope_scene(chance, 8)
    assert drawn == set(KINDS)


def test_a_scene_is_one_of_the_kinds() -> None:
    image = microscope_scene(draw(5), 50)
    chance = draw(5)
    chance.random()
    made = [kind(copy.deepcopy(chance), 50) for kind in KINDS.values()]
    assert sum(np.array_equal(image, one) for one in made) == 1


def test_the_focus_is_never_beyond_the_pixels() -> None:
    assert all(0 <= low <= high < 3 for low, high in FOCUS_PX)


# ---- brushes: a drawing that is moved is the moved drawing


def arc() -> Floats:
    """A quarter of a circle, (1, N, 2)."""
    angle = np.linspace(0, math.pi / 2, 60)
    return 20 + 18 * np.stack([np.sin(angle), np.cos(angle)], axis=-1)[None]


def an_outline(move: Floats) -> Array:
    made = np.zeros((SIDE, SIDE), np.float32)
    centre = np.array([30.0, 31.0]) + move
    box, away = outline(draw(2), centre, 18, SIDE, flat=0.5, rough=0.2)
    made[box] = step_down(away, 1.2)
    return made


def discs_at(move: Floats, ring: float) -> Array:
    places = np.array([[20.0, 22.0], [40.0, 37.0]]) + move
    return discs(places, np.array([1.0, 0.5]), np.array([3.0, 9.0]), SIDE, 1.2, ring)


BRUSHES: dict[str, Callable[[Floats], Array]] = {
    "spots": lambda move: spots(arc()[0, ::9] + move, np.ones(7), SIDE, 0.8),
    "soft spots": lambda move: spots(arc()[0, ::9] + move, np.ones(7), SIDE, 1.3),
    "curves": lambda move: curves(arc() + move, np.ones(1), SIDE, 0.8, 0.48),
    "tubes": lambda move: tubes(arc() + move, np.ones(1), SIDE, 3.0),
    "hollow tubes": lambda move: tubes(arc() + move, np.ones(1), SIDE, 3.0, True),
    "discs": lambda move: discs_at(move, 0),
    "rings": lambda move: discs_at(move, 0.8),
    "outline": an_outline,
}


@pytest.mark.parametrize("brush", BRUSHES)
def test_a_moved_drawing_is_the_drawing_moved(brush: str) -> None:
    move = np.array([0.5, 0.3])
    still, moved = (BRUSHES[brush](step * move) for step in (0, 1))
    spectrum = ndimage.fourier_shift(np.fft.fft2(still), move)
    wanted = np.fft.ifft2(spectrum).real
    error = np.linalg.norm(moved - wanted) / np.linalg.norm(wanted)
    # Drawn pixel by pixel, without smoothing, it is 0.2 and more.
    assert error < 0.06
    assert moved.sum() == pytest.approx(still.sum(), rel=0.01)


def test_the_finest_spots_are_those_of_the_formula() -> None:
    place, sigma = np.array([20.3, 31.8]), 0.45
    y, x = np.arange(SIDE)[:, None] - place[0], np.arange(SIDE)[None] - place[1]
    wanted = np.exp(-(y * y + x * x) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    made = spots(place[None], np.ones(1), SIDE, sigma)
    # The finer grid widens them a little.
    assert np.linalg.norm(made - wanted) < 0.2 * np.linalg.norm(wanted)


def test_spots_keep_their_sum_and_place() -> None:
    for sigma in (0.5, 1.5):
        made = spots(np.array([[20.3, 31.8]]), np.array([2.5]), SIDE, sigma)
        assert made.sum() == pytest.approx(2.5, rel=1e-3)
        centre = ndimage.center_of_mass(made)
        assert centre == pytest.approx((20.3, 31.8), abs=0.01)


def test_a_curve_is_as_bright_as_asked() -> None:
    line = np.stack([np.full(150, 30.0), np.linspace(-5, 70, 150)], axis=-1)[None]
    for sigma in (0.6, 1.4):
        made = curves(line, np.array([[0.7]]), SIDE, sigma, 75 / 149)
        # Smoothing and the finer grid take little from the peak.
        assert made[30].mean() == pytest.approx(0.7, rel=0.12)
        assert made[30].std() < 0.01


def test_walks_bend_more_with_less_persistence() -> None:
    starts, angles = np.zeros((200, 2)), np.zeros(200)
    reaches = []
    for persistence in (10, 1000):
        lines = walks(draw(1), starts, angles, 50, persistence)
        reaches.append(np.hypot(*lines[:, -1].T).mean())
    assert reaches[0] < 0.8 * reaches[1]
    assert reaches[1] == pytest.approx(50, rel=0.05)


def slopes(away: Array, near: float) -> Floats:
    """How steeply a distance rises within some pixels of its zero."""
    rise = np.hypot(*np.gradient(away))
    return rise[1:-1, 1:-1][(np.abs(away) < near)[1:-1, 1:-1]]


def test_distance_from_an_outline_is_in_pixels() -> None:
    for seed in range(5):
        centre = np.array([60.0, 60.0])
        _, away = outline(draw(seed), centre, 30, 120, flat=0.4, rough=0.3)
        assert np.quantile(slopes(away, 1.5), (0.05, 0.95)) == pytest.approx(1, abs=0.2)


# ---- fields and sheets


@pytest.mark.parametrize("side", [40, 97])
def test_clouds_have_mean_0_and_deviation_1(side: int) -> None:
    made = clouds(draw(1), side, 0.8)
    assert made.shape == (side, side)
    assert abs(made.mean()) < 1e-4
    assert made.std() == pytest.approx(1, rel=1e-3)


def test_rough_clouds_are_finer() -> None:
    fine, billows = (clouds(draw(1), 96, power) for power in (0.0, 1.5))
    assert high_share(fine) > 10 * high_share(billows)


def test_swells_of_any_period_are_equally_strong() -> None:
    for period in (1.5, 4, 11):
        made = [swell(draw(seed), 120, period).std() for seed in range(4)]
        assert np.mean(made) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("side", [60, 61])
@pytest.mark.parametrize("sigma", [3.0, 7.0])
def test_haze_is_a_wide_blur(side: int, sigma: float) -> None:
    sharp = np.zeros((side, side), np.float32)
    sharp[20:32, 28:36] = 1
    wanted = ndimage.gaussian_filter(sharp, sigma, mode="nearest")
    made = hazy(sharp, sigma)
    assert made.shape == sharp.shape
    centre = ndimage.center_of_mass(wanted)
    assert ndimage.center_of_mass(made) == pytest.approx(centre, abs=0.1)
    assert np.abs(made - wanted).max() < 0.25 * wanted.max()


def test_a_sheet_parts_the_plane_into_cells() -> None:
    cells = sheet(draw(1), 96, 20)
    seen = len(np.unique(cells.owner))
    assert 12 < seen < 60
    assert cells.wall.min() >= 0
    assert (cells.owner != cells.other).all()
    # Across a border the owner changes and the wall is near.
    border = np.diff(cells.owner, axis=1) != 0
    assert cells.wall[:, 1:][border].max() < 1.5


def test_walls_are_equally_thin_however_bent() -> None:
    cells = sheet(draw(1), 96, 24, 0.4)
    # Signed, or the zero would be a crease.
    signed = cells.wall * np.where(cells.owner > cells.other, 1, -1)
    rises = slopes(signed.astype(np.float32), 1.0)
    assert np.quantile(rises, (0.2, 0.8)) == pytest.approx(1, abs=0.2)


def test_a_filled_sheet_has_no_staircases() -> None:
    cells = sheet(draw(1), 96, 20)
    values = (np.arange(len(cells.centres)) % 2).astype(float)
    soft, hard = cells.filled(values), values[cells.owner].astype(np.float32)
    assert high_share(soft) < 0.5 * high_share(hard)
    deep = cells.wall > 3
    np.testing.assert_allclose(soft[deep], hard[deep])
