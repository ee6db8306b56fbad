"""Resolution against known cut-offs, on generated images of three kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cutoff_scenes import (
    CUTOFFS,
    KINDS,
    PHOTONS,
    SIDE,
    noisy,
    scene,
    spots,
    widefield,
)
from napari_zssr.errors import InputError
from napari_zssr.imaging import resolution as _resolution
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resolution import (
    THRESHOLD,
    Resolution,
    decorrelation_resolution,
    radial_spectrum,
    ring_correlation,
    ring_resolution,
    thinned_halves,
)

Array = NDArray[np.float64]


def by_halves(image: Array, photons: float, seed: int = 0, **given: Any) -> Resolution:
    halves = thinned_halves(image, NoiseModel(gain=1 / photons), seed)
    return ring_resolution(*halves, **given)


def found(resolution: Resolution) -> float:
    assert resolution.outcome == "found"
    assert resolution.cutoff is not None
    return resolution.cutoff


def noise_correlation(halves: tuple[Array, Array], signal: Array) -> float:
    one, two = (half - signal for half in halves)
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


@pytest.mark.parametrize("photons", [3, 20, 200, 5000])
def test_halves_of_photons(photons: float) -> None:
    signal = scene("filaments", 0, 0.2, shape=(512, 512))
    image = noisy(signal, photons)
    halves = thinned_halves(image, NoiseModel(gain=1 / photons), 1)
    assert abs(noise_correlation(halves, signal)) < 0.02
    np.testing.assert_allclose(np.mean(halves, axis=0), image, atol=1e-9)
    for half in halves:
        # Half the photons, each counted twice.
        counts = half * photons / 2
        np.testing.assert_allclose(counts, np.rint(counts), atol=1e-6)
        assert (half - signal).var() == pytest.approx(
            2 * signal.mean() / photons, rel=0.05
        )
        assert half.mean() == pytest.approx(image.mean(), abs=2e-3)


@pytest.mark.parametrize(
    ("gain", "offset", "bands"),
    [
        (0.0, 0.01, (1.0, 1.0, 1.0, 1.0)),
        (0.004, 0.0005, (1.0, 1.0, 1.0, 1.0)),
        (0.05, 0.0001, (1.0, 1.0, 1.0, 1.0)),
        (0.0, 0.01, (1.6, 1.2, 0.9, 0.5)),
        (0.01, 0.001, (1.4, 1.1, 0.9, 0.7)),
    ],
)
def test_halves_of_other_noise(
    gain: float, offset: float, bands: tuple[float, ...]
) -> None:
    """Read noise, a little light, and noise whose neighbours are alike."""
    torch = pytest.importorskip("torch")
    model = NoiseModel(gain=gain, offset=offset, bands=bands)
    signal = scene("spots", 1, 0.1, shape=(512, 512))
    drawn = model.draw(torch.as_tensor(signal[None]), torch.Generator().manual_seed(0))
    image = signal + drawn.numpy()[0]
    halves = thinned_halves(image, model, 2)
    assert abs(noise_correlation(halves, signal)) < 0.02
    np.testing.assert_allclose(np.mean(halves, axis=0), image)
    noise = ring_correlation(*(half - signal for half in halves))
    # At no frequency, not only on average.
    for part in np.array_split(np.arange(len(noise.counts)), 4):
        mean = np.average(noise.correlation[part], weights=noise.counts[part])
        assert abs(mean) < 0.05


def test_halves_of_a_camera() -> None:
    """Photons and read noise, not drawn from the model itself."""
    signal, photons, read = scene("filaments", 2, 0.2, shape=(512, 512)), 40.0, 1.6
    image = noisy(signal, photons)
    image = image + np.random.default_rng(3).normal(0, read / photons, image.shape)
    model = NoiseModel(gain=1 / photons, offset=(read / photons) ** 2)
    assert abs(noise_correlation(thinned_halves(image, model, 0), signal)) < 0.02


def test_halves_depend_on_the_seed_alone() -> None:
    image, model = noisy(scene("spots", 0, 0.2), 100), NoiseModel(gain=0.01)
    first, again, other = (thinned_halves(image, model, n)[0] for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_find_a_known_cutoff(kind: str, cutoff: float) -> None:
    """Within 10 %, each of nine images, where the signal at the cut-off is known."""
    for photons in PHOTONS[kind]:
        for seed in range(3):
            image = noisy(scene(kind, seed, cutoff), photons, seed)
            for resolution in (
                by_halves(image, photons, seed),
                decorrelation_resolution(image),
            ):
                assert found(resolution) == pytest.approx(cutoff, rel=0.1), (
                    resolution.method
                )


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("kind", KINDS)
def test_decorrelation_needs_no_noise(kind: str, cutoff: float) -> None:
    for seed in range(3):
        clean = decorrelation_resolution(scene(kind, seed, cutoff))
        assert found(clean) == pytest.approx(cutoff, rel=0.1)


@pytest.mark.parametrize("photons", [200, 1000, 5000])
@pytest.mark.parametrize("cutoff", [0.12, 0.3])
def test_end_of_a_smooth_transfer_function(cutoff: float, photons: float) -> None:
    """Found below it, where noise is stronger; the further, the fewer photons."""
    image = noisy(scene("spots", 0, cutoff, widefield), photons)
    assert 0.9 < found(by_halves(image, photons)) / cutoff < 1.03
    assert 0.82 < found(decorrelation_resolution(image)) / cutoff < 0.97


def test_fewer_photons_resolve_less() -> None:
    clean = scene("shapes", 1, 0.4, widefield)
    cutoffs = [found(by_halves(noisy(clean, n), n)) for n in (50, 200, 1000, 5000)]
    assert cutoffs == sorted(cutoffs)
    assert cutoffs[0] < 0.7 * cutoffs[-1]
    # What no network can undo: the signal is there, below the noise.
    assert found(decorrelation_resolution(clean)) > 1.2 * cutoffs[0]


def test_the_same_filter_on_both_halves_changes_nothing() -> None:
    halves = thinned_halves(
        noisy(scene("filaments", 0, 0.2), 500), NoiseModel(gain=0.002), 0
    )
    smooth = [ndimage.gaussian_filter(half, 1.0) for half in halves]
    before, after = found(ring_resolution(*halves)), found(ring_resolution(*smooth))
    assert after == pytest.approx(before, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_more_pixels_are_not_more_resolution(kind: str) -> None:
    """Halves enlarged one by one resolve what they did, in half the pixels."""
    cutoff, photons = 0.2, 1000
    image = noisy(scene(kind, 0, cutoff), photons)
    halves = thinned_halves(image, NoiseModel(gain=1 / photons), 0)
    large = [ndimage.zoom(half, 2, mode="reflect", grid_mode=True) for half in halves]
    before, after = found(ring_resolution(*halves)), found(ring_resolution(*large))
    assert 2 * after == pytest.approx(before, rel=0.02)


def test_halves_of_a_smoothed_image_are_no_halves() -> None:
    """Noise that both share counts as signal: the trap that the manual warns of."""
    photons = 500
    image = noisy(scene("filaments", 0, 0.12), photons)
    smooth = ndimage.gaussian_filter(image, 0.7)
    wrong = ring_resolution(*thinned_halves(smooth, NoiseModel(offset=1e-5), 0))
    right = by_halves(image, photons)
    assert wrong.cutoff is None or wrong.cutoff > 1.5 * found(right)


def test_how_wrong_the_noise_may_be() -> None:
    photons, cutoff = 500, 0.25
    image = noisy(scene("spots", 0, cutoff), photons)
    for share in (0.9, 1.2, 2.0):
        halves = thinned_halves(image, NoiseModel(gain=share / photons), 0)
        assert found(ring_resolution(*halves)) == pytest.approx(cutoff, rel=0.1)
    halves = thinned_halves(image, NoiseModel(gain=0.6 / photons), 0)
    blinded = ring_resolution(*halves)
    assert blinded.outcome == "pixel limit"
    assert "more noise" in blinded.sentence


def test_pixels_that_are_not_square() -> None:
    """A plane with every second row left out has the cut-off of the whole one."""
    photons, cutoff = 1000, 0.15
    image = noisy(scene("spots", 3, cutoff, shape=(512, 300)), photons)[::2]
    spacing = (0.2, 0.1)
    for resolution in (
        by_halves(image, photons, spacing_um=spacing),
        decorrelation_resolution(image, spacing),
    ):
        # Cycles per pixel along the longer side, of 0.2 um.
        assert found(resolution) == pytest.approx(2 * cutoff, rel=0.1)
        assert resolution.period_um == pytest.approx(0.1 / cutoff, rel=0.1)
    swapped = decorrelation_resolution(image.T, spacing[::-1])
    straight = decorrelation_resolution(image, spacing)
    assert swapped.cutoff == pytest.approx(straight.cutoff)


def test_sides_of_different_length() -> None:
    photons, cutoff = 1000, 0.2
    image = noisy(scene("filaments", 3, cutoff, shape=(150, 420)), photons)
    assert found(by_halves(image, photons)) == pytest.approx(cutoff, rel=0.1)
    assert found(decorrelation_resolution(image)) == pytest.approx(cutoff, rel=0.1)


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_nothing_is_found_in_noise(side: int) -> None:
    for seed in range(40):
        image = np.random.default_rng(seed).normal(0.5, 0.1, (side, side))
        halves = thinned_halves(image, NoiseModel(offset=0.01), seed)
        for resolution in (ring_resolution(*halves), decorrelation_resolution(image)):
            assert resolution.outcome == "nothing"
            assert resolution.cutoff is None


def test_signal_up_to_the_limit_of_the_pixels() -> None:
    image = noisy(0.05 + spots(np.random.default_rng(0), SIDE), 1000)
    resolution = by_halves(image, 1000, spacing_um=(0.1, 0.1))
    assert resolution.outcome == "pixel limit"
    assert resolution.cutoff is None
    assert resolution.period_um is None
    assert "0.2 µm (2 pixels)" in resolution.sentence
    # Decorrelation cannot tell this from noise, and says so.
    alone = decorrelation_resolution(image)
    assert alone.outcome == "nothing"
    assert "as fine as its pixels" in alone.sentence


def test_sentences() -> None:
    image = noisy(scene("spots", 0, 0.2), 1000)
    resolution = by_halves(image, 1000, spacing_um=(0.1, 0.1))
    assert resolution.period_um is not None
    assert f"{resolution.period_um:.3g} µm" in resolution.sentence
    assert resolution.sentence.endswith("by Fourier ring correlation.")
    assert "um" not in decorrelation_resolution(image).sentence


def test_constant_planes() -> None:
    flat = np.full((64, 80), 0.3)
    for resolution in (ring_resolution(flat, flat), decorrelation_resolution(flat)):
        assert resolution.outcome == "nothing"
        assert "found no" in resolution.sentence
    assert radial_spectrum(flat).power.max() < 1e-20


@pytest.mark.parametrize(
    ("plane", "words"),
    [
        (np.zeros((31, 64)), "32 × 32"),
        (np.zeros((3, 64, 64)), "plane"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.full((64, 64), np.inf), "NaN or infinite"),
    ],
)
def test_planes_that_cannot_be_measured(plane: Array, words: str) -> None:
    for measure in (
        decorrelation_resolution,
        radial_spectrum,
        lambda plane: ring_resolution(plane, plane),
        lambda plane: thinned_halves(plane, NoiseModel(gain=0.01), 0),
    ):
        with pytest.raises(InputError, match=words):
            measure(plane)


def test_what_else_is_refused() -> None:
    image = noisy(scene("spots", 0, 0.2), 100)
    with pytest.raises(InputError, match="has no noise"):
        thinned_halves(image, CLEAN, 0)
    jpeg = NoiseModel(gain=0.01, jpeg=(0.1,) * 64)
    with pytest.raises(InputError, match="JPEG"):
        thinned_halves(image, jpeg, 0)
    with pytest.raises(InputError, match="same shape"):
        ring_correlation(image, image[:-1])
    with pytest.raises(InputError, match="pixel"):
        decorrelation_resolution(image, (0.1, -1.0))


def test_ring_correlation_of_equal_and_of_independent_images() -> None:
    draw = np.random.default_rng(0)
    one, two = draw.normal(size=(2, 200, 140))
    same, apart = ring_correlation(one, one), ring_correlation(one, two)
    np.testing.assert_allclose(same.correlation, 1)
    assert abs(np.average(apart.correlation, weights=apart.counts)) < 0.02
    assert same.frequency[-1] <= 0.5
    # The coefficients of a disc, those of the mean left out.
    assert same.counts.sum() == pytest.approx(math.pi / 4 * one.size, rel=0.02)


def test_correlation_of_known_noise() -> None:
    """Signal and noise of equal power correlate by one half."""
    draw = np.random.default_rng(1)
    signal, *noises = draw.normal(size=(3, 256, 256))
    rings = ring_correlation(*(signal + noise for noise in noises))
    mean = np.average(rings.correlation, weights=rings.counts)
    assert mean == pytest.approx(0.5, abs=0.03)


def halves_that_correlate(
    by_frequency: Callable[[Array], Array], seed: int
) -> tuple[Array, Array]:
    """Two images (256, 256) whose rings are expected to correlate by so much."""
    draw = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None]
    share = by_frequency(np.hypot(y, x))
    signal, *noises = draw.normal(size=(3, 256, 256))
    passed = np.fft.rfft2(signal) * np.sqrt(share / (1 - share))
    shaped = np.fft.irfft2(passed, s=signal.shape)
    return shaped + noises[0], shaped + noises[1]


@pytest.mark.parametrize("seed", range(4))
def test_what_wobbles_about_the_threshold_is_no_detail(seed: int) -> None:
    """The first fall counts, not the last of many by chance."""

    def falls(frequency: Array) -> Array:
        return np.interp(frequency, [0.15, 0.2, 0.5], [0.9, 0.16, 0.13])

    halves = halves_that_correlate(falls, seed)
    rings = ring_correlation(*halves)
    wobbling = rings.correlation[rings.frequency > 0.22] > THRESHOLD
    assert 0.3 < wobbling.mean() < 0.7
    assert 0.17 < found(ring_resolution(*halves)) < 0.22


def test_one_ring_that_dips_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = halves_that_correlate(
        lambda frequency: np.interp(frequency, [0.15, 0.2], [0.9, 0.0]), 0
    )
    rings = ring_correlation(*halves)
    for dip in (2, 10, 30):
        curve = rings.correlation.copy()
        curve[dip] = 0.0
        dipping = replace(rings, correlation=curve)
        monkeypatch.setattr(_resolution, "ring_correlation", lambda *_, r=dipping: r)
        assert found(ring_resolution(*halves)) == pytest.approx(0.19, rel=0.04)


def test_what_agrees_again_behind_the_first_fall_is_no_detail() -> None:
    """As networks do that draw the same pattern into both halves."""

    def rises(frequency: Array) -> Array:
        return np.interp(frequency, [0.15, 0.2, 0.4, 0.45], [0.9, 0.05, 0.05, 0.4])

    resolution = ring_resolution(*halves_that_correlate(rises, 0))
    assert found(resolution) == pytest.approx(0.19, rel=0.04)


def test_spectrum_of_white_noise_is_its_variance() -> None:
    noise = np.random.default_rng(0).normal(3, 0.2, (300, 200))
    spectrum = radial_spectrum(noise)
    assert spectrum.power[20:].mean() == pytest.approx(0.04, rel=0.05)
    assert (np.diff(spectrum.frequency) > 0).all()


def test_spectrum_shows_where_a_signal_ends() -> None:
    spectrum = radial_spectrum(scene("spots", 0, 0.2))
    inside, outside = (
        spectrum.power[(spectrum.frequency > low) & (spectrum.frequency < high)].mean()
        for low, high in ((0.1, 0.18), (0.25, 0.5))
    )
    assert outside < 1e-5 * inside
