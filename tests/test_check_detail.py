"""What a check tells of agreement with the original, and of detail."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.cli import main
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.intensity import intensity_map
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.imaging.resample import imresize
from napari_zssr.imaging.residual import residual
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance, write
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.stack.agreement import agreement_steps
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import Check, check_files, check_steps
from napari_zssr.stack.detail import (
    PENDING,
    UNTOLD,
    Detail,
    Scale,
    busiest_part,
    detail_steps,
)
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.methods import methods
from napari_zssr.stack.plot import Axis, Line, Mark, plot

Array = NDArray[np.float64]

SIGMA = 0.04
KERNEL = KernelSpec(kind="gaussian", sigma_px=(1.0, 1.0))
SCALE = Scale(pixel=(1.0, 1.0), unit="px", factors=(1.0, 1.0))


def discs(side: int = 256, seed: int = 0) -> Array:
    """Discs of several heights, (Y, X)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    plane = np.full((side, side), 0.1)
    for _ in range(side // 4):
        row, column, radius = *draw.uniform(0, side, 2), draw.uniform(4, 16)
        plane[(y - row) ** 2 + (x - column) ** 2 < radius**2] = draw.uniform(0.2, 1)
    return plane


def band_limited(cutoff: float, side: int = 256, seed: int = 3) -> Array:
    """Spots without any detail finer than a frequency, about 0 to 1."""
    draw = np.random.default_rng(seed)
    points = np.zeros((side, side))
    np.add.at(points, tuple(draw.integers(0, side, (2, side * side // 60))), 1.0)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    passed = np.fft.rfft2(points) * (radius < cutoff)
    plane = np.fft.irfft2(passed, s=points.shape)
    return (plane - plane.min()) / np.quantile(plane - plane.min(), 0.999)


def noisy(plane: Array, sigma: float, seed: int = 1) -> Array:
    return plane + np.random.default_rng(seed).normal(0, sigma, plane.shape)


def stack_of(plane: Array, **known: Any) -> ImageStack:
    return labelled(plane.astype(np.float32), axes="YX"[-plane.ndim :], **known)


def recipe(
    factor: float, noise: float | str, returned: str = "learned", **config: Any
) -> dict[str, Any]:
    """What a file tells of a result of one plane."""
    settings = Config(factor=factor, noise=noise, kernel=KERNEL).to_dict() | config
    return {
        "config": settings,
        "report": {
            "kernels": [{"kernel": KERNEL.to_dict()}],
            "planes": [{"plane": 0, "returned": returned, "noise": SIGMA}],
            "versions": {"napari-zssr": "1"},
        },
    }


@pytest.fixture(scope="module")
def pair() -> tuple[ImageStack, ImageStack]:
    """A noisy original, and its truth, which a perfect result is."""
    truth = discs()
    image = degrade_array(truth, KERNEL, (2.0, 2.0))
    return stack_of(noisy(image, SIGMA)), stack_of(truth)


def checked(pair: tuple[ImageStack, ImageStack], noise: float, **given: Any) -> Check:
    original, result = pair
    # Noise is told in shares of the range.
    share = noise / intensity_map(original.data).scale
    return check_files(result, original, recipe=recipe(2, share), **given)


def test_a_result_that_is_true_agrees(pair: tuple[ImageStack, ImageStack]) -> None:
    (plane,) = checked(pair, SIGMA).planes
    assert not plane.agreement.disagrees
    assert plane.agreement.flagged < 0.001
    assert plane.agreement.level == pytest.approx(1, abs=0.1)
    assert "in doubt" not in plane.detail.sentence


def test_planted_spots_are_flagged(pair: tuple[ImageStack, ImageStack]) -> None:
    original, truth = pair
    places = [(60, 70), (150, 90), (200, 180), (100, 210)]
    points = np.zeros(truth.data.shape)
    points[tuple(np.transpose(places))] = 1
    spots = ndimage.gaussian_filter(points, 2) * 8 * math.pi * 8 * SIGMA
    result = stack_of(truth.data + spots)
    plane = checked((original, result), SIGMA).to_dict()["planes"][0]
    assert plane["agreement"]["disagrees"]
    assert plane["agreement"]["reasons"] == ["local"]
    assert 0.001 < plane["agreement"]["flagged"] < 0.1
    (found,) = checked((original, result), SIGMA).planes
    flags = found.agreement.flags
    assert flags is not None
    assert all(flags[y // 2, x // 2] for y, x in places)


@pytest.mark.parametrize(
    ("times", "reason"), [(0.4, "noise underrated"), (2.5, "over")]
)
def test_a_wrong_noise_in_the_recipe_is_flagged(
    times: float, reason: str, pair: tuple[ImageStack, ImageStack]
) -> None:
    done = checked(pair, times * SIGMA)
    (found,) = (plane.agreement for plane in done.planes)
    assert any(reason in one for one in found.reasons)
    assert found.level == pytest.approx(1 / times, rel=0.1)
    # Too little of it, too, would be in both halves.
    assert "the residual disagrees" in done.sentence


def test_what_has_no_recipe_is_told(pair: tuple[ImageStack, ImageStack]) -> None:
    original, result = pair
    done = check_files(result, original)
    assert "does not say which blur" in done.messages[0]
    assert "because the file does not say" in done.sentence
    with pytest.raises(InputError, match="contains no recipe"):
        check_files(result, original, networks="any.safetensors")


@pytest.mark.parametrize("cutoff", [0.12, 0.2, 0.3])
def test_a_band_limited_plane_gets_its_resolution(cutoff: float) -> None:
    """In um, the same before and after an interpolation by halves."""
    original = stack_of(noisy(band_limited(cutoff), 0.02), spacing=0.1)
    result = stack_of(imresize(original.data, (2.0, 2.0)))
    done = check_files(result, original, recipe=recipe(2, 0.02, "bicubic"))
    detail = done.planes[0].detail
    assert detail.unit == "um"
    assert detail.before is not None
    assert detail.after is not None
    assert detail.before.period == pytest.approx(0.1 / cutoff, rel=0.1)
    assert detail.after.period == pytest.approx(detail.before.period, rel=0.03)
    assert "interpolated, which adds no detail" in detail.sentence
    # Equal detail has equal power, and the result knows nothing beyond the original.
    first, last = detail.spectra["original"], detail.spectra["result"]
    low = slice(2, int(cutoff * 200))
    assert np.median(first.values[low] / last.values[low]) == pytest.approx(1, abs=0.1)
    assert last.frequency[-1] == pytest.approx(2 * first.frequency[-1], rel=0.02)


class Made:
    """Stands for networks: any function of a plane (C, Y, X)."""

    share = 1.0
    config = Config()

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def enlarger(self, _: NoiseModel) -> Callable[[Any, Any], Steps[Any]]:
        return self._steps

    def _steps(self, colours: Any, window: Any) -> Steps[Any]:
        for step in range(8):
            yield Progress(stage="predict", step=step, total=8)
        made = self.function(colours)
        return made if window is None else made[:, *window]


def measured(function: Callable[[Any], Any], result: Any = None) -> Detail:
    """Detail of a noisy plane cut at 0.15, and of what a function makes of it."""
    image = noisy(band_limited(0.15), 0.05)[None].astype(np.float32)
    made: Any = Made(function)
    given = function(image) if result is None else result(image)
    return drain(detail_steps(image, given, NoiseModel(offset=0.05**2), SCALE, made))


def smooth(colours: Any) -> Any:
    return ndimage.gaussian_filter(colours, (0, 1, 1))


def test_smoothing_does_not_pass_for_resolution() -> None:
    """As it would where a smoothed image were split."""
    detail = measured(smooth)
    assert detail.before is not None
    assert detail.after is not None
    assert detail.after.period == pytest.approx(detail.before.period, rel=0.05)
    first, last = (detail.correlations[name].values for name in ("original", "result"))
    assert np.abs(last - first)[:100].max() < 0.1
    assert detail.confirmed is not None
    assert detail.confirmed.all is not None
    assert detail.confirmed.all.share > 0.7


def test_long_work_can_be_stopped_at_many_steps() -> None:
    """So that a check is soon cancelled, and its bar moves."""
    image = noisy(band_limited(0.15), 0.05)[None].astype(np.float32)
    made: Any = Made(smooth)
    noise = NoiseModel(offset=0.05**2)
    events: list[Any] = []
    steps = detail_steps(image, smooth(image), noise, SCALE, made)
    detail = drain(steps, events.append)
    assert detail.after is not None
    shares = [event.step / event.total for event in events]
    assert len(shares) > 3 * 8
    assert shares == sorted(shares)
    assert len(set(shares)) > 20


def test_the_cheap_checks_of_a_plane_come_first(
    pair: tuple[ImageStack, ImageStack],
) -> None:
    original, result = pair
    known: list[Check] = []
    events: list[Any] = []
    steps = check_steps(result, original, on_found=known.append)
    done = drain(steps, events.append)
    assert len(known) == 2
    (early,), (late,) = (check.planes for check in known)
    assert early.flux is late.flux
    assert early.agreement is late.agreement
    assert early.detail.sentence == PENDING
    assert late.detail is done.planes[0].detail
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["intensities", "positions", "residual", "resolution"]
    shares = [event.step / event.total for event in events]
    assert shares == sorted(shares)


def test_of_large_planes_the_measured_part_is_told() -> None:
    plane = np.random.default_rng(0).normal(0.5, 0.1, (1, 560, 540))
    large = plane.astype(np.float32)
    detail = drain(detail_steps(large, large, NoiseModel(offset=0.01), SCALE, UNTOLD))
    assert detail.part == (512, 512)
    assert "512 × 512 pixels" in detail.sentence
    small = drain(detail_steps(large[:, :64], large[:, :64], CLEAN, SCALE, UNTOLD))
    assert small.part == (64, 512)
    fits = drain(
        detail_steps(large[:, :64, :64], large[:, :64, :64], CLEAN, SCALE, UNTOLD)
    )
    assert fits.part is None


def test_what_is_made_up_agrees_with_itself() -> None:
    """Why the detail after is no more than a bound, and is told as one."""

    def makes_up(colours: Any) -> Any:
        draw = np.random.default_rng(9)
        return smooth(colours) + draw.normal(0, 0.2, colours.shape)

    detail = measured(makes_up)
    assert detail.after is not None
    assert detail.after.outcome == "pixel limit"
    assert "so the resolution of the result remains unknown" in detail.sentence
    # The other half does not agree with it.
    assert detail.confirmed is not None
    assert detail.confirmed.all is not None
    assert detail.confirmed.all.share < 0.25
    assert "is also in the other half" in detail.confirmed.sentence


def test_other_networks_are_noticed() -> None:
    assert "a different result" not in measured(smooth).sentence
    sharper = measured(smooth, lambda colours: 2 * colours - smooth(colours))
    assert "produce a different result" in sharper.sentence


def test_networks_see_the_whole_part_though_less_is_compared() -> None:
    """How they are applied follows the level of the noise in all of it."""
    same = measured(lambda colours: smooth(colours) * colours.shape[-1])
    assert "a different result" not in same.sentence


@pytest.mark.parametrize(
    ("noise", "side", "told"),
    [
        (CLEAN, 64, "no noise was found in it"),
        (NoiseModel(offset=1e-4, jpeg=((0.1,) * 64,)), 64, "it was compressed as JPEG"),
        (NoiseModel(offset=1e-4), 24, "at least 32 × 32 pixels"),
    ],
)
def test_where_nothing_can_be_measured_it_is_said(
    noise: NoiseModel, side: int, told: str
) -> None:
    plane = band_limited(0.2, side)[None].astype(np.float32)
    detail = drain(detail_steps(plane, plane, noise, SCALE, UNTOLD))
    assert told in detail.sentence
    assert detail.after is None


def test_of_colours_the_mean_is_measured() -> None:
    """The first shows nothing; noise that all share does not become less."""
    plane = band_limited(0.2)
    colours = np.stack([np.full_like(plane, 0.5), plane, plane])
    noise = np.random.default_rng(4).normal(0, 0.02, plane.shape)
    image = (colours + noise).astype(np.float32)
    made: Any = Made(smooth)
    detail = drain(
        detail_steps(image, smooth(image), NoiseModel(offset=0.02**2), SCALE, made)
    )
    assert detail.before is not None
    assert detail.before.period == pytest.approx(5, rel=0.1)


def test_small_maps_of_large_planes_show_every_flag() -> None:
    plane = np.full((1, 700, 700), 0.5)
    image = noisy(plane, 0.03)
    result = plane.copy()
    result[0, 400:404, 300:304] += 0.2
    given = image, result, (1.0, 1.0), KernelSpec(), NoiseModel(offset=9e-4)
    found, whole = drain(agreement_steps(*given)), residual(*given)
    assert found.flags is not None
    assert found.map is not None
    assert found.flags.shape == found.map.shape == (234, 234)
    marked = {(int(y) // 3, int(x) // 3) for y, x in np.argwhere(whole.flags)}
    assert (134, 100) in marked
    assert set(map(tuple, np.argwhere(found.flags).tolist())) == marked
    # As noise is expected, whatever the blocks.
    assert found.map.std() == pytest.approx(1, abs=0.1)


def test_mere_noise_has_no_detail() -> None:
    plane = noisy(np.full((1, 128, 128), 0.5), 0.1).astype(np.float32)
    made: Any = Made(smooth)
    detail = drain(
        detail_steps(plane, smooth(plane), NoiseModel(offset=0.01), SCALE, made)
    )
    assert detail.before is not None
    assert detail.before.outcome == "nothing"
    assert "agree on no detail" in detail.sentence


def test_of_large_planes_the_part_with_detail_is_measured() -> None:
    plane = np.zeros((1, 1200, 1100), np.float32)
    plane[:, 900:1100, 50:150] = noisy(np.zeros((200, 100)), 1)
    rows, columns = busiest_part(plane, (1.5, 2.0))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (512, 512)
    assert rows.start % 2 == 0
    assert rows.start <= 900
    assert rows.stop >= 1100
    assert columns.start <= 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy image, its truth, results and their networks."""
    path = tmp_path_factory.mktemp("detail")
    truth = ndimage.gaussian_filter(discs(128), 0.7)
    write(path / "truth.ome.tif", stack_of(1000 * truth, spacing=0.2))
    write(path / "a.ome.tif", stack_of(1000 * noisy(truth, 0.1), spacing=0.2))
    for factor in (1, 2):
        files = ["upscale", str(path / "a.ome.tif"), "-o", str(path / f"r{factor}.tif")]
        networks = ["--save-networks", str(path / f"r{factor}.safetensors")]
        plain = f"--factor {factor} --preset fast --device cpu --json"
        assert main([*files, *networks, *plain.split()]) == 0
    return path


@pytest.mark.parametrize("factor", [1, 2])
def test_halves_go_through_the_networks_of_a_file(factor: int, folder: Path) -> None:
    target = folder / f"c{factor}.json"
    given = ["check", str(folder / f"r{factor}.tif")]
    given += ["--original", str(folder / "a.ome.tif"), "--json", str(target)]
    given += ["--networks", str(folder / f"r{factor}.safetensors")]
    assert main(given) == 0
    content = json.loads(target.read_text())
    (plane,) = content["planes"]
    detail = plane["detail"]
    assert detail["unit"] == "um"
    assert detail["after"]["outcome"] in ("found", "pixel limit")
    # They make the very result.
    assert "a different result" not in detail["sentence"]
    assert (
        {"original", "result"} == set(detail["correlations"]) == set(detail["spectra"])
    )
    assert not plane["agreement"]["disagrees"]
    assert "Nieuwenhuizen" in " ".join(content["references"])


def test_networks_of_another_factor_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["check", str(folder / "r2.tif"), "--original", str(folder / "a.ome.tif")]
    assert main([*given, "--networks", str(folder / "r1.safetensors")]) == 2
    assert "does not fit 2 × 2" in capsys.readouterr().err


def test_a_truth_tells_what_detail_is_true(folder: Path) -> None:
    original, result, truth = (
        read(folder / name) for name in ("a.ome.tif", "r1.tif", "truth.ome.tif")
    )
    given: dict[str, Any] = {"recipe": read_provenance(folder / "r1.tif")}
    found = check_files(result, original, truth=truth, **given).planes[0].detail
    noisy_one = check_files(original, original, truth=truth).planes[0].detail
    assert found.with_truth is not None
    assert noisy_one.with_truth is not None
    assert found.with_truth.period < noisy_one.with_truth.period


def test_methods_of_a_restored_image(folder: Path) -> None:
    original, result = read(folder / "a.ome.tif"), read(folder / "r1.tif")
    done = check_files(result, original, recipe=read_provenance(folder / "r1.tif"))
    paragraph, references = methods(done)
    assert "denoised without enlargement" in paragraph
    assert "gain over the degraded image" in paragraph
    assert "bicubic interpolation" not in paragraph
    assert "enlarged" not in paragraph
    assert [f"[{n}]" in paragraph for n in range(1, len(references) + 2)] == [
        *[True] * len(references),
        False,
    ]


def test_a_plot_holds_its_curves() -> None:
    """In its frame, at the places of their values; gaps where there are none."""
    x, y = np.array([0.0, 1.0, 2.0]), np.array([1e-3, 0.0, 10.0])
    drawn = plot(
        [Line(label="a < b", x=x, y=y)],
        Axis(label="x", low=0, high=2),
        Axis(label="y", low=1e-3, high=1e1, log=True),
        title="t",
        across=[Mark(label="0.1", at=0.1)],
    )
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("text")]
    assert {"a < b", "0.5", "10\u207b\u00b3", "10\u00b9", "0.1"} <= set(texts)
    path = root.find("path")
    assert path is not None
    assert path.attrib["d"] == "M64.0 284.0L546.0 12.0"
