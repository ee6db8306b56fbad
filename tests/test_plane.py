from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from engine import gradual_factors, super_resolve_plane
from torch import Tensor, nn

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.errors import ComputeError
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resample import output_size, resize
from napari_zssr.progress import Progress, drain
from napari_zssr.zssr import networks, predict
from napari_zssr.zssr.pairs import training_windows
from napari_zssr.zssr.plane_trainer import PlaneResult
from napari_zssr.zssr.predict import bicubic

TINY: dict[str, Any] = {
    "width": 8,
    "batch": 2,
    "crop_px": 16,
    "back_projection": 2,
    "ensemble": False,
    "noise": "off",
}
QUICK = change(FAST, steps=20, **TINY)
RIDGE = change(INSTANT, **{k: v for k, v in TINY.items() if k != "batch"})
SLOW = change(PAPER, steps=5, gradual=1, **TINY)


def stripes(height: int = 48, width: int = 56) -> Tensor:
    """Sharp rings at all angles: an image with much to gain."""
    y = torch.arange(height, dtype=torch.float32)[:, None] - 20.3
    x = torch.arange(width, dtype=torch.float32)[None, :] - 25.1
    rings = torch.sin(torch.sqrt(y * y + x * x) * 1.1)
    return (0.5 + 0.5 * torch.tanh(4 * rings))[None]


def solve(plane: Tensor, config: Config, **options: Any) -> PlaneResult:
    return drain(super_resolve_plane(plane, config, **options))


def named(value: Any) -> str:
    return str(value.preset if isinstance(value, Config) else value)


SERVED = [
    *[(QUICK, 3), (QUICK, 4), (QUICK, 1.5), (QUICK, (2.5, 1))],
    *[(RIDGE, 2), (RIDGE, 4), (RIDGE, (1, 2)), (RIDGE, (2.5, 1))],
    *[(SLOW, 3), (SLOW, 4), (SLOW, 1.5), (SLOW, (2.5, 1))],
]


@pytest.mark.parametrize(("config", "factor"), SERVED, ids=named)
def test_every_preset_serves_any_factor(config: Config, factor: Any) -> None:
    config = change(config, factor=factor, steps=2, always=True)
    plane = stripes(32, 37)
    result = solve(plane, config)
    wanted = [output_size(n, f) for n, f in zip((32, 37), config.factors, strict=True)]
    assert tuple(result.image.shape) == (1, *wanted)
    assert result.returned == "learned"
    assert torch.isfinite(result.image).all()


def test_gain_is_found_and_told() -> None:
    result = solve(stripes(64, 64), RIDGE)
    assert result.returned == "learned"
    assert result.gain is not None
    assert result.gain.decibel > 0.3
    assert f"{result.gain.decibel:.2f}" in result.sentence


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_constant_plane_stays_constant(level: float) -> None:
    result = solve(torch.full((2, 20, 21), level), change(QUICK, factor=(1.5, 2)))
    assert result.returned == "constant"
    assert result.image.shape == (2, 30, 42)
    assert (result.image == level).all()
    assert result.gain is None


@pytest.mark.parametrize("shape", [(1, 2), (15, 64), (64, 15), (2, 3)])
def test_tiny_planes_are_returned_bicubic(shape: tuple[int, int]) -> None:
    plane = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    result = solve(plane, QUICK)
    assert result.returned == "bicubic"
    assert "too small" in result.sentence
    torch.testing.assert_close(result.image, bicubic(plane, (2.0, 2.0)))


@pytest.mark.parametrize("shape", [(20, 20), (31, 40)])
def test_planes_too_small_for_the_factor_are_returned_bicubic(
    shape: tuple[int, int],
) -> None:
    """Enlarged eightfold, sons of 20 pixels would have two and a half."""
    result = solve(stripes(*shape), change(SLOW, factor=8))
    assert result.returned == "bicubic"
    assert "at least 32 are needed" in result.sentence


@pytest.mark.parametrize("shape", [(16, 16), (16, 40), (17, 19)])
@pytest.mark.parametrize("config", [QUICK, RIDGE, SLOW], ids=lambda c: c.preset)
def test_smallest_planes_are_learned_on(config: Config, shape: tuple[int, int]) -> None:
    result = solve(stripes(*shape), change(config, steps=3, always=True))
    assert result.returned == "learned"
    assert result.image.shape == (1, 2 * shape[0], 2 * shape[1])


def hills() -> Tensor:
    """So smooth that bicubic is right already."""
    y, x = torch.arange(40.0)[:, None], torch.arange(40.0)[None, :]
    return (0.5 + 0.2 * torch.sin(y / 9) + 0.2 * torch.cos(x / 8))[None]


def test_without_gain_bicubic_is_returned() -> None:
    config = change(QUICK, steps=1)
    result = solve(hills(), config)
    assert result.returned == "bicubic"
    assert "bicubic interpolation was returned" in result.sentence
    assert result.gain is not None
    assert not result.gain.significant
    torch.testing.assert_close(result.image, bicubic(hills(), (2.0, 2.0)))


def test_always_returns_what_was_learned() -> None:
    result = solve(hills(), change(QUICK, steps=1, always=True))
    assert result.returned == "learned"
    assert not torch.equal(result.image, bicubic(hills(), (2.0, 2.0)))


@pytest.mark.parametrize("config", [QUICK, RIDGE], ids=lambda c: c.preset)
@pytest.mark.parametrize("factor", [2, 3, 1.5])
def test_mean_is_kept(config: Config, factor: float) -> None:
    plane = torch.cat([stripes(), 0.3 * stripes().flip(2)])
    result = solve(plane, change(config, factor=factor, always=True))
    torch.testing.assert_close(
        result.image.mean(dim=(1, 2)), plane.mean(dim=(1, 2)), rtol=5e-3, atol=0
    )


def test_noisy_planes_are_learned_too() -> None:
    noise = NoiseModel(gain=1e-3, offset=1e-4)
    plane = stripes()
    plane = plane + noise.draw(plane, torch.Generator().manual_seed(0))
    for config in (QUICK, RIDGE):
        result = solve(plane, change(config, always=True), noise=noise)
        assert torch.isfinite(result.image).all()


@pytest.mark.parametrize("config", [QUICK, RIDGE, SLOW], ids=lambda c: c.preset)
def test_same_seed_same_pixels(config: Config) -> None:
    config = change(config, steps=4, always=True)
    one = solve(stripes(), config, seed=5).image
    torch.rand(7)  # whatever else draws random numbers in between
    assert torch.equal(solve(stripes(), config, seed=5).image, one)
    if config.network != "ridge":
        assert not torch.equal(solve(stripes(), config, seed=6).image, one)


def test_tiles_do_not_show() -> None:
    config = change(QUICK, steps=3, always=True, ensemble=True)
    plane = stripes(24, 150)
    whole = solve(plane, config, tile_px=512).image
    tiled = solve(plane, config, tile_px=32).image
    assert float((whole - tiled).abs().max()) < 1e-4


@pytest.mark.parametrize("config", [QUICK, RIDGE, SLOW], ids=lambda c: c.preset)
def test_every_yield_leaves_modes_alone(config: Config, modes_untouched: Any) -> None:
    steps = super_resolve_plane(
        stripes(), change(config, always=True), precision="bfloat16"
    )
    assert len(list(modes_untouched(steps))) >= 2


def watched_networks(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[nn.Module]]:
    """Weak references to all networks that come into being."""
    seen: list[weakref.ref[nn.Module]] = []
    original = nn.Module.__init__

    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if "zssr" in type(self).__module__:
            seen.append(weakref.ref(self))

    monkeypatch.setattr(nn.Module, "__init__", init)
    return seen


@pytest.mark.parametrize("config", [QUICK, RIDGE, SLOW], ids=lambda c: c.preset)
def test_closing_at_any_yield_leaks_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch, closes_cleanly: Any
) -> None:
    config = change(config, always=True, ensemble=True, steps=2)
    events = sum(1 for _ in super_resolve_plane(stripes(20, 20), config))
    seen = watched_networks(monkeypatch)
    for taken in range(1, events + 1):
        closes_cleanly(
            lambda: (super_resolve_plane(stripes(20, 20), config), seen), taken
        )
    assert seen


GRADUAL = [
    *[(PAPER, 1, 16), (PAPER, 2, 3), (PAPER, 3, (1, 2)), (PAPER, 6, 1.5)],
    *[(PAPER, 6, (3, 1.5)), (PAPER, 6, 16)],
    *[(BALANCED, 1, 16), (BALANCED, 2, 2), (BALANCED, 2, 4), (BALANCED, 3, (3, 1.5))],
    *[(BALANCED, 6, (1, 2)), (BALANCED, 6, 1.5), (BALANCED, 6, 16)],
]


@pytest.mark.parametrize(("preset", "gradual", "factor"), GRADUAL, ids=named)
def test_gradual_factors_lead_to_the_factor(
    preset: Config, gradual: int, factor: Any
) -> None:
    config = change(preset, gradual=gradual, factor=factor)
    listed = gradual_factors(config)
    assert listed[-1] == config.factors
    assert len(set(listed)) == len(listed)
    areas = [y * x for y, x in listed]
    assert areas == sorted(areas)
    for pair in listed:
        assert all(1 <= f <= top for f, top in zip(pair, config.factors, strict=True))
    if preset is BALANCED:
        further = math.ceil(math.log2(max(config.factors)) - 1e-9) - 1
        assert len(listed) == gradual + (further if gradual > 1 else 0)


def test_coarse_grid_networks_go_by_doublings() -> None:
    config = change(BALANCED, gradual=2, factor=(3, 1.5))
    wanted = [(2**0.5, 1.5**0.5), (2.0, 1.5), (3.0, 1.5)]
    np.testing.assert_allclose(gradual_factors(config), wanted)
    assert gradual_factors(change(config, gradual=1)) == [(3.0, 1.5)]


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian:1", "array"])
@pytest.mark.parametrize("gradual", [2, 6])
def test_gradual_runs_with_every_kernel(gradual: int, kernel: str) -> None:
    given: Any = kernel
    if kernel == "array":
        given = bicubic(torch.ones(1, 3, 3), (2.0, 2.0))[0].numpy()
    config = change(SLOW, gradual=gradual, steps=2, kernel=given, always=True)
    result = solve(stripes(32, 32), config)
    assert result.image.shape == (1, 64, 64)
    assert result.steps == 2 * len(gradual_factors(config))


def test_gradual_works_with_the_residual_network() -> None:
    config = change(QUICK, gradual=2, steps=2, factor=4, always=True)
    assert solve(stripes(32, 32), config).image.shape == (1, 128, 128)


@pytest.mark.parametrize("size", [(1100, 1000), (5000, 300), (300, 5000), (16, 70000)])
def test_large_planes_are_learned_from_windows(size: tuple[int, int]) -> None:
    plane = torch.empty(1, 1, 1).expand(1, *size)
    windows = training_windows(plane)
    assert len(windows) >= 2
    assert sum(w.shape[1] * w.shape[2] for w in windows) <= 2**23
    assert {w.shape for w in windows} == {windows[0].shape}


def test_small_planes_are_learned_from_whole() -> None:
    plane = stripes()
    assert training_windows(plane)[0] is plane


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Networks that run out of memory so many times when they are applied."""
    state: dict[str, Any] = {"left": 0, "error": None}
    original = predict._applied

    def applied(*given: Any) -> Tensor:
        if state["left"] > 0:
            state["left"] -= 1
            raise state["error"]
        return original(*given)

    monkeypatch.setattr(predict, "_applied", applied)
    return state


MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_halves_the_tile_and_says_so(failing: dict[str, Any]) -> None:
    config = change(QUICK, steps=2, always=True)
    plane = stripes(24, 300)
    calm = solve(plane, config, tile_px=256).image
    failing |= {"left": 1, "error": MEMORY}
    events: list[Any] = []
    result = drain(super_resolve_plane(plane, config, tile_px=256), events.append)
    told = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert len(told) == 1
    assert "128" in told[0]
    assert float((result.image - calm).abs().max()) < 1e-4


def test_out_of_memory_for_good_is_told(failing: dict[str, Any]) -> None:
    failing |= {"left": 99, "error": MEMORY}
    with pytest.raises(ComputeError, match=r"[Mm]emory") as caught:
        solve(stripes(24, 300), change(QUICK, steps=2, always=True), tile_px=256)
    assert "\n" not in str(caught.value)


def test_other_failures_are_not_hidden(failing: dict[str, Any]) -> None:
    failing |= {"left": 1, "error": RuntimeError("shapes: no memory")}
    with pytest.raises(RuntimeError, match="shapes: no memory"):
        solve(stripes(), change(QUICK, steps=2, always=True))


def test_blobs_come_back_in_their_places() -> None:
    """Learned or not, spots stand within a tenth of a fine pixel."""
    centers = [(12.3, 13.8), (13.1, 40.4), (36.6, 14.2), (37.0, 41.7)]
    y = torch.arange(50.0)[:, None]
    x = torch.arange(55.0)[None, :]
    plane = torch.zeros(1, 50, 55)
    for cy, cx in centers:
        plane[0] += torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 6)
    for factor in (2.0, 3.0, 1.5):
        made = solve(plane, change(RIDGE, factor=factor, always=True)).image[0]
        shifts = [_shift(made, center, factor) for center in centers]
        assert sum(shifts) / len(shifts) < 0.05
        assert max(shifts) < 0.1


def _shift(image: Tensor, center: tuple[float, float], factor: float) -> float:
    """Distance between a spot and its place, fine pixels."""
    wanted = [(c + 0.5) * factor - 0.5 for c in center]
    reach = round(8 * factor)
    top, left = (round(w) - reach for w in wanted)
    part = image[top : top + 2 * reach + 1, left : left + 2 * reach + 1].double()
    y = float((part.sum(1) * torch.arange(len(part))).sum() / part.sum()) + top
    x = float((part.sum(0) * torch.arange(part.shape[1])).sum() / part.sum()) + left
    return math.hypot(y - wanted[0], x - wanted[1])


def test_bicubic_is_plain_resampling() -> None:
    torch.testing.assert_close(
        bicubic(stripes(), (1.5, 2.0)), resize(stripes(), (1.5, 2.0))
    )


def test_clean_is_the_default_noise() -> None:
    config = change(RIDGE, always=True)
    torch.testing.assert_close(
        solve(stripes(), config).image, solve(stripes(), config, noise=CLEAN).image
    )


@pytest.mark.parametrize(
    ("kernel", "filtered"), [("bicubic", False), ("gaussian:1.5", True)]
)
def test_a_known_blur_puts_the_network_on_the_ridge_filter(
    kernel: str, filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases: list[nn.Module | None] = []
    start = networks.ResidualNetwork.__init__

    def init(self: Any, *args: Any, base: nn.Module | None = None, **rest: Any) -> None:
        bases.append(base)
        start(self, *args, base=base, **rest)

    monkeypatch.setattr(networks.ResidualNetwork, "__init__", init)
    father = torch.zeros(1, 192, 192)
    for place in torch.rand(150, 5, generator=torch.Generator().manual_seed(0)):
        top, left, height, width = (place[:4] * torch.tensor([180, 180, 60, 60])).int()
        father[:, top : top + height + 4, left : left + width + 4] = place[4]
    config = change(QUICK, kernel=kernel, steps=2)
    spec = degradation(config.kernel, (2.0, 2.0), (192, 192))
    drain(super_resolve_plane(spec.degrade(father), config))
    assert [base is not None for base in bases] == [filtered]
