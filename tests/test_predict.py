from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.photographs import random_gaussian
from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.resample import ALL, output_size, resize, whole_pixel_step
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.zssr.networks import PaperNetwork, ResidualNetwork, RidgeFilter
from napari_zssr.zssr.predict import (
    PredictSpec,
    back_project,
    blend_with_bicubic,
    halo,
    keep_grey,
    make_tiles,
    predict,
    residual_growth,
)

BICUBIC = KernelSpec()
GAUSSIAN = KernelSpec.parse("gaussian:1.2")
BROAD = KernelSpec.parse("gaussian:2.2")
TURNED = KernelSpec.parse("gaussian:1.5,0.8,30")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def network(kind: str, ratio: tuple[int, int] = (2, 2), channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    if kind == "paper":
        return PaperNetwork(channels, width=8)
    if kind == "ridge":
        ridge = RidgeFilter(ratio)
        ridge.filters.normal_(std=0.02)
        ridge.filters -= ridge.filters.mean(dim=(2, 3), keepdim=True)
        return ridge
    made = ResidualNetwork(channels, ratio, width=8)
    with torch.no_grad():
        made.tail.weight.mul_(5)
    return made


@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    tile=st.integers(16, 80),
    halo_px=st.integers(0, 40),
    factors=st.tuples(
        st.sampled_from([1.0, 2.0, 1.5, 2.5, 4 / 3, 3.7, 2**0.5]),
        st.sampled_from([2.0, 3.0, 4.0, 1.25, 1.01]),
    ),
)
def test_tiles_partition_every_shape(
    size: tuple[int, int], tile: int, halo_px: int, factors: tuple[float, float]
) -> None:
    spec = PredictSpec(factors=factors, kernel=BICUBIC, tile_px=tile)
    seen = np.zeros(size, int)
    for inner, outer in make_tiles(size, halo_px, spec):
        seen[inner] += 1
        for axis in (0, 1):
            start, stop = inner[axis].start, inner[axis].stop
            first, last = outer[axis].start, outer[axis].stop
            assert 0 <= first <= start < stop <= last <= size[axis]
            assert start - first >= min(halo_px, start)
            assert last - stop >= min(halo_px, size[axis] - stop)
            for edge in (start, first):
                assert edge * factors[axis] == pytest.approx(
                    round(edge * factors[axis]), abs=1e-6
                )
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("factor", "wanted"), [(2.0, 1), (1.5, 2), (2.25, 4), (4 / 3, 3), (2**0.5, None)]
)
def test_quantum(factor: float, wanted: int | None) -> None:
    assert whole_pixel_step(factor) == wanted


TILED = [
    ("residual", (2.0, 2.0), BICUBIC, ALL, 4),
    ("residual", (2.0, 2.0), BROAD, (0,), 10),
    ("residual", (1.5, 1.5), BICUBIC, (0, 5), 4),
    ("residual", (4.0, 4.0), BICUBIC, (0, 3), 4),
    ("residual", (3.0, 3.0), GAUSSIAN, (0,), 4),
    ("residual", (1.0, 2.0), GAUSSIAN, (0, 1, 2, 3), 4),
    ("residual", (4 / 3, 2.5), BICUBIC, (0,), 2),
    ("paper", (2.0, 2.0), BICUBIC, (0, 6), 4),
    ("paper", (1.5, 3.0), BICUBIC, (0, 2), 0),
    ("ridge", (2.0, 2.0), TURNED, (0, 3), 10),
]


@pytest.mark.parametrize(("kind", "factors", "kernel", "transforms", "back"), TILED)
def test_tiles_are_invisible(
    kind: str,
    factors: tuple[float, float],
    kernel: KernelSpec,
    transforms: tuple[int, ...],
    back: int,
) -> None:
    ratio = (1 if factors[0] == 1 else 2, 2)
    made = network(kind, ratio)
    applications = 2 if max(factors) > 2 and kind != "paper" else 1
    # Long along one axis, so that some tiles do not reach both ends.
    plane = noise(1, 17, 131) if kind != "paper" else noise(1, 17, 101)
    size = (plane.shape[1], plane.shape[2])
    results = []
    for tile in (16, 512):
        spec = PredictSpec(
            factors=factors,
            applications=applications,
            kernel=kernel,
            transforms=transforms,
            back_projection=back,
            tile_px=tile,
        )
        results.append(drain(predict(made, plane, spec)))
        tiles = list(make_tiles(size, halo(made, spec), spec))
        assert len(tiles) >= 7 if tile == 16 else len(tiles) == 1
    assert results[0].shape[1:] == tuple(
        output_size(n, f) for n, f in zip(size, factors, strict=True)
    )
    spread = float(plane.max() - plane.min())
    assert float((results[0] - results[1]).abs().max()) < 1e-4 * spread


@pytest.mark.parametrize("factors", [(2.0, 2.0), (3.0, 3.0), (1.5, 1.5), (1.0, 2.0)])
@pytest.mark.parametrize("kernel", [BICUBIC, GAUSSIAN, TURNED])
def test_residual_of_back_projection_never_grows(
    kernel: KernelSpec, factors: tuple[float, float]
) -> None:
    plane = noise(1, 25, 27).double()
    start = resize(plane, factors) + 0.1 * resize(noise(1, 25, 27, seed=1), factors)
    fine = (start.shape[1], start.shape[2])
    operator = degradation(kernel, factors, fine, (25, 27))
    residuals = []
    for iterations in range(12):
        made = back_project(start, plane, factors, kernel, iterations)
        residuals.append(float((plane - operator.degrade(made)).norm()))
    for before, after in itertools.pairwise(residuals):
        assert after <= before * (1 + 1e-9)
    assert residuals[-1] < 0.7 * residuals[0]


ORDINARY = [
    "bicubic",
    "gaussian:0.5",
    "gaussian:1.2",
    "gaussian:2.2",
    "gaussian:1.5,1,30",
]


@pytest.mark.parametrize("kernel", ORDINARY)
def test_residuals_shrink_with_ordinary_kernels(kernel: str) -> None:
    spec = KernelSpec.parse(kernel)
    for factors in ((2.0, 2.0), (3.0, 3.0), (1.5, 1.5), (1.0, 2.0)):
        assert 0.1 < residual_growth(spec, factors) < 1, f"factors {factors}"


def thin_kernel() -> KernelSpec:
    """The first random Gaussian that is too thin and slanted for its pixels."""
    draw = np.random.default_rng(0)
    drawn = (KernelSpec.parse(random_gaussian(draw, 2)) for _ in range(30))
    return next(kernel for kernel in drawn if residual_growth(kernel, (2.0, 2.0)) > 1)


@pytest.mark.parametrize("name", ["bicubic", "gaussian:1.2", "thin"])
def test_residuals_change_as_predicted(name: str) -> None:
    """After many iterations the worst part is all that is left."""
    factors = (2.0, 2.0)
    kernel = thin_kernel() if name == "thin" else KernelSpec.parse(name)
    plane = noise(1, 40, 40).double()
    operator = degradation(kernel, factors, (80, 80), (40, 40))
    norms = []
    for iterations in (0, 40, 41):
        made = back_project(resize(plane, factors), plane, factors, kernel, iterations)
        norms.append(float((plane - operator.degrade(made)).norm()))
    growth = residual_growth(kernel, factors)
    assert norms[2] / norms[1] == pytest.approx(growth, rel=0.02)
    assert (norms[1] > norms[0]) == (growth > 1) == (name == "thin")


def test_no_strength_no_correction() -> None:
    plane, enlarged = noise(1, 16, 16), noise(1, 32, 32)
    made = back_project(enlarged, plane, (2.0, 2.0), BICUBIC, 3, strength=0.0)
    torch.testing.assert_close(made, enlarged)


@pytest.mark.parametrize(
    ("kind", "factors", "shift"),
    [
        ("residual", (2.0, 2.0), (0.0, 0.0)),
        ("residual", (3.0, 3.0), (0.3, -0.4)),
        ("residual", (1.5, 1.5), (0.3, -0.4)),
        ("residual", (1.0, 2.0), (0.3, -0.4)),
        ("paper", (2.0, 2.0), (0.3, -0.4)),
        ("paper", (3.0, 3.0), (0.0, 0.0)),
        ("paper", (1.5, 1.5), (0.3, -0.4)),
        ("paper", (1.0, 2.0), (0.3, -0.4)),
    ],
)
def test_blobs_stay_where_they_are(
    kind: str, factors: tuple[float, float], shift: tuple[float, float]
) -> None:
    """With a network that adds nothing, every path keeps the alignment."""
    made = network(kind, (1 if factors[0] == 1 else 2, 2))
    last = made.tail if kind == "residual" else made.layers[-1]
    nn.init.zeros_(last.weight)
    center = (15.0 + shift[0], 16.0 + shift[1])
    y, x = torch.arange(31.0)[:, None], torch.arange(33.0)[None, :]
    blob = torch.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / 8)[None]
    spec = PredictSpec(
        factors=factors,
        applications=2 if factors[0] == 3 and kind == "residual" else 1,
        kernel=GAUSSIAN,
        transforms=ALL if factors[0] == factors[1] else (0, 1, 2, 3),
        back_projection=3,
    )
    out = drain(predict(made, blob, spec))[0].double()
    mass = out.sum()
    found = (
        float((out.sum(1) * torch.arange(len(out))).sum() / mass),
        float((out.sum(0) * torch.arange(out.shape[1])).sum() / mass),
    )
    wanted = [(c + 0.5) * f - 0.5 for c, f in zip(center, factors, strict=True)]
    assert found == pytest.approx(wanted, abs=0.05)


def test_constants_stay() -> None:
    spec = PredictSpec(
        factors=(1.5, 2.0), kernel=GAUSSIAN, transforms=(0, 1), back_projection=3
    )
    made = drain(predict(network("ridge"), torch.full((2, 20, 21), 0.4), spec))
    torch.testing.assert_close(made, torch.full_like(made, 0.4), atol=1e-5, rtol=0)


def test_ensemble_follows_flips() -> None:
    """The median over all transforms treats a turned plane alike."""
    made = network("residual")
    plane = noise(1, 20, 24)
    spec = PredictSpec(
        factors=(2.0, 2.0), kernel=BICUBIC, transforms=ALL, back_projection=2
    )
    one = drain(predict(made, plane, spec))
    two = drain(predict(made, plane.flip(1).transpose(1, 2), spec))
    torch.testing.assert_close(two, one.flip(1).transpose(1, 2), atol=1e-5, rtol=0)


def test_median_of_an_even_ensemble_is_not_darker() -> None:
    """Mirroring the intensities mirrors the result: no bias to one side."""

    class Odd(nn.Module):
        ratio = (1, 1)
        halo = 0

        def forward(self, plane: Tensor) -> Tensor:
            ramp = torch.linspace(-1, 1, plane.shape[-1]) ** 3
            return plane + 0.1 * ramp

    spec = PredictSpec(factors=(2.0, 2.0), kernel=BICUBIC, transforms=ALL)
    made = drain(predict(Odd(), torch.zeros(1, 16, 16), spec))
    assert abs(float(made.mean())) < 1e-6


def test_events_count_up_and_modes_are_untouched(modes_untouched: Any) -> None:
    spec = PredictSpec(
        factors=(2.0, 2.0),
        kernel=BICUBIC,
        transforms=(0, 3),
        back_projection=1,
        tile_px=16,
        precision="bfloat16",
    )
    steps = predict(network("residual"), noise(1, 33, 17), spec)
    numbers = [(e.stage, e.step, e.total) for e in modes_untouched(steps)]
    total = len(numbers)
    assert numbers == [("predict", n + 1, total) for n in range(total)]


@pytest.mark.parametrize("taken", range(4))
def test_closing_leaks_nothing(taken: int, closes_cleanly: Any) -> None:
    def start() -> Any:
        made = network("residual")
        spec = PredictSpec(factors=(2.0, 2.0), kernel=BICUBIC, transforms=(0, 1, 2, 3))
        return predict(made, noise(1, 16, 16), spec), [weakref.ref(made)]

    closes_cleanly(start, taken)


def test_nothing_requires_gradients() -> None:
    spec = PredictSpec(factors=(2.0, 2.0), kernel=BICUBIC, back_projection=1)
    assert not drain(predict(network("residual"), noise(1, 16, 16), spec)).requires_grad


def test_grey_stays_grey_and_colours_are_learned() -> None:
    plane = noise(1, 12, 12).repeat(3, 1, 1)
    plane[0, :, 6:] *= 0.5
    plain = resize(plane, (2, 2))
    learned = plain + 0.02 * noise(3, 24, 24, seed=1)
    kept = keep_grey(learned, plain)
    grey = (plain.amax(0) - plain.amin(0)) < 0.03
    spread = (kept - plain).amax(0) - (kept - plain).amin(0)
    assert grey.any()
    assert float(spread[grey].max()) < 1e-6
    torch.testing.assert_close(kept.mean(0)[grey], learned.mean(0)[grey])
    colourful = (plain.amax(0) - plain.amin(0)) > 0.1
    assert colourful.any()
    assert torch.equal(kept[:, colourful], learned[:, colourful])


@pytest.mark.parametrize(("channels", "strength"), [(1, 1.0), (2, 1.0), (3, 0.5)])
def test_other_planes_keep_what_was_learned(channels: int, strength: float) -> None:
    plane = noise(channels, 12, 12)
    learned = noise(channels, 24, 24, seed=1)
    spec = PredictSpec(factors=(2, 2), kernel=BICUBIC, strength=strength)
    assert blend_with_bicubic(learned, plane, spec) is learned


def test_a_share_lies_between_bicubic_and_what_was_learned() -> None:
    plane, net = noise(1, 48, 40), network("residual")
    whole, part, none = (
        drain(
            predict(
                net,
                plane,
                PredictSpec(factors=(2, 2), kernel=BICUBIC, share=share, tile_px=16),
            )
        )
        for share in (1.0, 0.25, 0.0)
    )
    plain = resize(plane, (2, 2))
    assert float((whole - plain).abs().max()) > 1e-3
    torch.testing.assert_close(none, plain)
    torch.testing.assert_close(part, plain + 0.25 * (whole - plain))
