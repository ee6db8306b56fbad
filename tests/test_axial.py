"""Along Z: what lateral planes teach is applied to XZ and YZ sections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zssr import upscale, upscale_to_disk
from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.executors import Workers
from napari_zssr.execution.run import upscale_to_disk_steps
from napari_zssr.imaging.axial_blur import (
    UNKNOWN_BLUR,
    AxialBlur,
    AxialSpectra,
    is_too_wide,
    power,
    power_growth,
    undershoot,
)
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read
from napari_zssr.progress import Event, Progress, drain
from napari_zssr.stack.axial import FINE
from napari_zssr.stack.axial_channel import channel_blur
from napari_zssr.stack.axial_factor import axial_factor
from napari_zssr.stack.axial_run import prepare_axial, windows
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.run import Upscaled, upscale_steps
from napari_zssr.zssr.axial import merge_sections
from napari_zssr.zssr.judge import Gain

Volume = NDArray[np.float32]
WIDTH = 0.6
KNOWN = change(
    FAST, factor=1, factor_z=4, kernel_z="gaussian:2.4", device="cpu", noise="off"
)
FILTER = change(INSTANT, factor=1, factor_z=2, kernel_z="gaussian:1.2", device="cpu")


def fibres(seed: int = 0, shape: tuple[int, int, int] = (48, 56, 56)) -> Volume:
    """Straight fibres in all directions, seen through the same blur everywhere."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.float32)
    for _ in range(24):
        middle = rng.uniform(0, 1, 3) * shape
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        points = middle + np.arange(-90, 90, 0.3)[:, None] * direction
        inside = np.round(points).astype(int)
        kept = ((inside >= 0) & (inside < shape)).all(axis=1)
        np.add.at(volume, tuple(inside[kept].T), rng.uniform(0.4, 1.5))
    soft = gaussian_filter(volume, 1.1)
    return np.asarray(soft / np.percentile(soft, 99.9), np.float32)


def seen(truth: Volume, factor: float = 4, width: float = WIDTH) -> Volume:
    """The volume with its slices blurred along Z and `factor` times further apart."""
    sections = np.ascontiguousarray(truth.transpose(1, 0, 2))
    blurred = degrade_array(
        sections, AxialBlur(width=width).kernel(factor), (factor, 1)
    )
    return blurred.transpose(1, 0, 2).astype(np.float32)


def stack_of(volume: Any, axes: str = "ZYX", **given: Any) -> ImageStack:
    spacing = {"Z": 0.4, "Y": 0.1, "X": 0.1}
    return labelled(volume, axes=axes, spacing=spacing, **given)


def enlarged(volume: Any, config: Config = KNOWN, axes: str = "ZYX") -> Upscaled:
    return drain(upscale_steps(stack_of(volume, axes), config))


def error_db(result: Volume, truth: Volume) -> float:
    inner = (slice(6, -6), slice(3, -3), slice(3, -3))
    error = np.mean((result[inner].astype(float) - truth[inner]) ** 2)
    return float(10 * np.log10(error))


def cubic(volume: Volume) -> Volume:
    """Four times the planes by cubic interpolation."""
    return imresize(volume.transpose(1, 0, 2), (4.0, 1.0)).transpose(1, 0, 2)


def test_it_is_closer_to_the_truth_than_cubic_interpolation() -> None:
    truth = fibres()
    volume = seen(truth)
    plain = cubic(volume)
    result = enlarged(volume)
    assert result.image.shape == (48, 56, 56)
    assert error_db(result.image, truth) < error_db(plain, truth) - 5
    (report,) = result.report.axial
    assert report.returned == "learned"
    assert "Along Z, ×4" in result.report.sentence


def test_errors_of_sections_leave_few_lines_in_planes() -> None:
    """Each section has its own: lines along X of XZ ones, along Y of YZ ones."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.from_numpy(fibres())
    depth, height, width = truth.shape
    xz = truth + torch.randn(depth, height, 1, generator=draw)
    yz = truth + torch.randn(depth, 1, width, generator=draw)
    result = merge_sections(xz, yz)
    assert (result - truth).std() < 0.6 * ((xz + yz) / 2 - truth).std()
    torch.testing.assert_close(merge_sections(truth, truth), truth)
    # Neither counts more, where they differ everywhere by the same.
    torch.testing.assert_close(merge_sections(truth + 0.2, truth), truth + 0.1)


def test_slices_lie_where_they_were() -> None:
    """A bead stays within a twentieth of a fine voxel."""
    z, y, x = np.ogrid[:48, :56, :56]
    truth = np.zeros((48, 56, 56), np.float32)
    places = [(20.3, 15.6, 30.2), (29.8, 38.1, 14.7)]
    for place in places:
        d2 = sum((a - b) ** 2 for a, b in zip((z, y, x), place, strict=True))
        truth += np.exp(-d2 / (2 * 1.8**2)).astype(np.float32)
    # Something to learn from beside the beads.
    truth += 0.05 * fibres(3)
    result = enlarged(seen(truth)).image
    for place in places:
        low = [int(c) - 6 for c in place]
        part = tuple(slice(n, n + 13) for n in low)
        weights = np.clip(result[part] - np.median(result[part]) - 0.1, 0, None)
        grid = np.meshgrid(*(np.arange(n, n + 13) for n in low), indexing="ij")
        centre = [float((g * weights).sum() / weights.sum()) for g in grid]
        reference = np.clip(truth[part] - np.median(truth[part]) - 0.1, 0, None)
        wanted = [float((g * reference).sum() / reference.sum()) for g in grid]
        np.testing.assert_allclose(centre, wanted, atol=0.05)


@pytest.mark.parametrize("factor", [2.5, 4])
def test_geometry_of_the_result(factor: float) -> None:
    result = enlarged(np.zeros((6, 20, 24), np.uint16), change(FILTER, factor_z=factor))
    assert result.image.shape == (np.ceil(6 * factor), 20, 24)
    assert result.image.dtype == np.uint16
    assert result.spacing == (pytest.approx(0.4 / factor), 0.1, 0.1)
    origin = 0.4 * (1 - factor) / (2 * factor)
    assert result.origin == (pytest.approx(origin), 0, 0)


def test_planes_and_z_in_one_run() -> None:
    volume = (1000 * seen(fibres(shape=(24, 40, 40)), 2)).astype(np.uint16)
    config = change(FILTER, factor=2, factor_z="isotropic")
    result = enlarged(volume, config)
    # Pixels of 0.05 um, slices 0.4 um apart.
    assert result.image.shape == (96, 80, 80)
    assert result.spacing == (pytest.approx(0.05),) * 3
    assert len(result.report.planes) == 12


@pytest.mark.parametrize("axes", ["TCZYX", "ZCYX", "CYXZ", "ZYXS"])
def test_every_channel_and_time_point(axes: str) -> None:
    sizes = {"T": 2, "C": 2, "Z": 6, "Y": 24, "X": 28, "S": 3}
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 200, [sizes[a] for a in axes]).astype(np.uint8)
    result = enlarged(volume, FILTER, axes)
    sizes["Z"] = 12
    assert result.image.shape == tuple(sizes[a] for a in axes)
    assert len(result.report.axial) == (2 if "C" in axes else 1)


def test_a_blur_told_too_wide_does_no_harm() -> None:
    """It gives lateral planes a gain that sections never see."""
    truth = fibres(1)
    volume = seen(truth)
    plain = cubic(volume)
    result = enlarged(volume, change(KNOWN, kernel_z="gaussian:3.6"))
    assert error_db(result.image, truth) < error_db(plain, truth)
    assert "of this width was used" in result.report.sentence


def test_trenches_beside_single_spots_are_seen() -> None:
    """They are too few to be found among the darkest voxel in a thousand."""
    spots = np.zeros((40, 60, 60), np.float32)
    spots[16, 24, 6] = spots[27, 44, 8] = 1
    soft = 10 * gaussian_filter(spots, 1.2) + np.linspace(0.1, 1, 60)
    right = undershoot(soft[::2], soft)
    assert not is_too_wide(0.0, right)
    curvature = np.diff(np.pad(soft, ((1, 1), (0, 0), (0, 0)), mode="edge"), 2, axis=0)
    trenches = undershoot(soft[::2], soft - 8 * curvature)
    assert trenches.common < 0.1
    assert is_too_wide(0.0, trenches)


def test_the_blur_of_a_stack() -> None:
    for seed in (0, 1):
        volume = seen(fibres(seed, (64, 72, 72)))
        blur = AxialSpectra(volume=volume, factor=4, sigma=0.0).estimated_blur()
        assert blur is not None
        assert 0.7 * WIDTH < blur.width < 1.1 * WIDTH


def test_the_blur_of_optics_and_of_sections() -> None:
    """The excess of the axial over the lateral width, in slices."""
    from napari_zssr.imaging.optics import FWHM, gaussian_psf

    volume = (100 * seen(fibres(shape=(24, 40, 40)), 2)).astype(np.uint16)
    optics = "optics:na=0.8,wavelength_nm=520"
    config = change(FILTER, kernel=optics, kernel_z="optics")
    (report,) = enlarged(volume, config).report.axial
    psf = gaussian_psf(na=0.8, wavelength_nm=520)
    excess = (psf.sigma_z_um**2 - psf.sigma_um**2) ** 0.5
    share = report.width_slices / (excess / 0.4) if report.width_slices else 0
    assert min(abs(share - narrowed) for narrowed in (1, 0.8, 0.64)) < 1e-6
    # The same from the widths of a point.
    widths = f"fwhm:{FWHM * psf.sigma_z_um},{FWHM * psf.sigma_um}"
    ready = prepare_axial(stack_of(volume), change(FILTER, kernel_z=widths), 2.0)
    measured = channel_blur(ready, 0)
    assert measured.width == pytest.approx(excess / 0.4, rel=1e-4)
    box = AxialBlur(width=1.0, shape="section").kernel(4)
    assert box.array is not None
    np.testing.assert_allclose(box.array[:, 0], [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])


def test_slices_as_close_as_pixels_are_restored() -> None:
    """As many as before, and closer to what is there."""
    truth = fibres(2)
    volume = seen(truth, 1, 2.0)
    stack = labelled(volume, axes="ZYX", spacing={"Z": 0.1, "Y": 0.1, "X": 0.1})
    config = change(KNOWN, factor_z="isotropic", kernel_z="estimate")
    result = drain(upscale_steps(stack, config))
    assert result.image.shape == volume.shape
    assert result.report.axial[0].returned == "learned"
    assert error_db(result.image, truth) < error_db(volume, truth) - 3


def test_a_blur_that_the_stack_does_not_tell() -> None:
    """Haze along Z looks like a blur without end."""
    rng = np.random.default_rng(0)
    haze = gaussian_filter(rng.normal(size=(24, 48, 48)), (9, 0.7, 0.7))
    volume = (100 + 400 * haze / haze.std()).astype(np.float32)
    result = enlarged(volume, change(KNOWN, kernel_z="estimate"))
    (report,) = result.report.axial
    assert "kernel_z" in report.sentence
    assert "left out for a test were predicted no better" in report.sentence
    assert report.width_slices is None
    np.testing.assert_allclose(result.image, cubic(volume), rtol=1e-3, atol=2)


def test_noise_goes_where_the_blur_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such stacks came back cubic, with all of their noise."""
    monkeypatch.setattr(AxialSpectra, "estimated_blur", lambda _: UNKNOWN_BLUR)
    truth = fibres(3)
    noise = np.random.default_rng(3).normal(0, 0.1, seen(truth).shape)
    volume = (seen(truth, width=0.3) + noise).astype(np.float32)
    config = change(KNOWN, kernel_z="estimate", noise="auto")
    result = enlarged(volume, config)
    (report,) = result.report.axial
    assert report.returned == "learned"
    assert report.width_slices is None
    assert "no more blur than in XY was assumed" in report.sentence
    found = re.search(r"were predicted ([0-9.]+) dB better", report.sentence)
    assert found is not None
    assert float(found[1]) > 0.5
    assert error_db(result.image, truth) < error_db(cubic(volume), truth) - 4


def test_power_of_noise_and_its_growth() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (40, 40, 40))
    np.testing.assert_allclose(power(noise, 0, 32)[2:], 9, rtol=0.15)
    assert abs(power_growth(noise, 4)) < 0.1
    assert power_growth(gaussian_filter(noise, (1.5, 0, 0)), 4) < -0.1


@pytest.mark.parametrize(
    ("volume", "axes", "spacing", "config", "says"),
    [
        ((6, 20, 20), "ZYX", None, {"factor_z": "isotropic"}, "give the spacing"),
        ((1, 20, 20), "ZYX", 0.1, {"factor_z": 2}, "at least 4 slices"),
        ((20, 20), "YX", 0.1, {"factor_z": 2}, "no Z axis"),
        ((6, 20, 20), None, 0.1, {"factor_z": 2}, "may be Z or time"),
        (
            (6, 20, 20),
            "ZYX",
            (3.5, 0.1, 0.1),
            {"factor_z": "isotropic"},
            "too many",
        ),
    ],
)
def test_stacks_that_cannot_be_enlarged_along_z(
    volume: tuple[int, ...],
    axes: str | None,
    spacing: Any,
    config: dict[str, Any],
    says: str,
) -> None:
    stack = labelled(np.zeros(volume, np.uint8), axes=axes, spacing=spacing)
    with pytest.raises(InputError, match=says):
        axial_factor(change(FILTER, **config), stack)


def test_few_counts_become_float32_and_it_is_said() -> None:
    counts = np.random.default_rng(0).poisson(0.4 * seen(fibres(), 2))
    result = enlarged(counts.astype(np.uint8), FILTER)
    assert result.image.dtype == np.float32
    assert "The result is float32" in result.report.sentence


def test_the_paper_has_nothing_along_z() -> None:
    config = change(FILTER, preset="paper", network="paper", steps=3)
    with pytest.raises(InputError, match="'paper' does not enlarge"):
        enlarged(np.zeros((6, 20, 20), np.uint8), config)


@pytest.mark.parametrize("kernel_z", ["estimate", "gaussian:1"])
def test_a_few_pixels(kernel_z: str) -> None:
    volume = np.random.default_rng(0).integers(0, 99, (4, 16, 18)).astype(np.uint8)
    config = change(FILTER, factor_z=8, kernel_z=kernel_z)
    result = enlarged(volume, config)
    assert result.image.shape == (32, 16, 18)
    assert "must be at least" in result.report.sentence


@pytest.mark.parametrize(
    ("steps", "tested"),
    [(0, "The network pretrained on synthetic images"), (4, "Training")],
)
def test_what_gained_nothing_along_z_is_what_was_tried(
    steps: int, tested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Gain(decibel=-0.5, error_decibel=0.1, significant=False)
    monkeypatch.setattr("napari_zssr.zssr.axial.judge", lambda *_, **__: loss)
    config = change(KNOWN, learned_steps=steps)
    report = enlarged(seen(fibres(shape=(24, 40, 40))), config).report
    assert report.sentence == (
        f"Along Z, ×4: {tested} brought no improvement. Cubic interpolation was "
        "returned."
    )


@pytest.mark.parametrize("factor", [1.5, 5])
def test_factors_that_the_start_has_and_has_not_learned(factor: float) -> None:
    volume = seen(fibres(shape=(30, 40, 40)), factor)
    result = enlarged(volume, change(KNOWN, factor_z=factor, steps=20, learned_steps=4))
    assert len(result.image) == np.ceil(factor * len(volume))


@pytest.mark.parametrize(
    "given",
    [
        {"factor_z": 17},
        {"factor_z": "iso"},
        {"kernel_z": "gaussian"},
        {"kernel_z": "x:1"},
        {"kernel_z": "gaussian:1,2"},
        {"kernel_z": "fwhm:0.9"},
        {"kernel_z": "fwhm:0.3,0.9"},
    ],
)
def test_settings_that_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        Config(**given)


def test_strips_cover_everything_once() -> None:
    seen_pixels = np.zeros((300, 900), int)
    for rows, columns in windows((300, 900), 2**17):
        seen_pixels[rows, columns] += 1
    assert (seen_pixels == 1).all()


# ---- nothing is made up


@pytest.mark.parametrize("kind", ["flat", "stripes", "one plane"])
def test_nothing_is_made_up_along_z(kind: str) -> None:
    rng = np.random.default_rng(5)
    volume = np.full((12, 48, 48), 100.0)
    if kind == "stripes":
        volume += 50 * np.sin(np.arange(48) / 2)
    if kind == "one plane":
        volume[6] += 100
    noisy = (volume + rng.normal(0, 5, volume.shape)).astype(np.float32)
    result = enlarged(noisy, change(KNOWN, noise="auto")).image
    profile = result.mean(axis=(1, 2))
    away = np.r_[0:16, 36:48] if kind == "one plane" else np.r_[0:48]
    assert (
        np.abs(
            profile[away] - noisy.mean(axis=(1, 2))[[0, 1, 2, 9, 10, 11]].mean()
        ).max()
        < 4
    )
    # No grain that the image has not.
    assert result[away].std(axis=0).mean() < 7


def test_the_blur_is_a_stage_of_its_own() -> None:
    """What comes before training is told, and counts towards what is done."""
    stack = stack_of(seen(fibres(shape=(16, 28, 36)), 2))
    stages = [e.stage for e in upscale_steps(stack, FILTER) if isinstance(e, Progress)]
    assert stages.index("axial blur") < stages.index("axial pairs")


# ---- to disk


def is_strip_done(event: Event) -> bool:
    """Whether it comes after a strip of columns, and not while one is worked on."""
    of_columns = isinstance(event, Progress) and event.stage == "axial columns"
    return of_columns and event.step % FINE == 0


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "ZYXS"])
def test_pixels_on_disk_are_those_of_a_run_in_memory(
    name: str, axes: str, tmp_path: Path
) -> None:
    volume = (1000 * seen(fibres(shape=(16, 28, 36)), 2)).astype(np.uint16)
    at = axes.replace("S", "C").index("C")
    pixels = np.stack([volume, volume[::-1], volume][: 3 if "S" in axes else 2], at)
    stack = stack_of(pixels, axes)
    config = change(FILTER, factor=2, factor_z=2)
    written = drain(upscale_to_disk_steps(stack, config, tmp_path / name))
    assert written.path == tmp_path / name
    found = read(tmp_path / name)
    wanted = drain(upscale_steps(stack, config))
    # Files have an order of their own.
    order = [axes.index(letter) for letter in found.axes]
    np.testing.assert_array_equal(found.data, wanted.image.transpose(order))
    assert found.size_um("Z") == pytest.approx(0.2)
    assert len(written.report.axial) == (1 if "S" in axes else 2)
    assert len(written.report.planes) == (8 if "S" in axes else 16)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_zssr.stack.axial_run.STRIP_PIXELS", 2**15)
    volume = (1000 * seen(fibres(shape=(24, 40, 200)), 2)).astype(np.uint16)
    stack, target = stack_of(volume), tmp_path / "a.ome.zarr"
    steps = upscale_to_disk_steps(stack, FILTER, target)
    for event in steps:
        if is_strip_done(event):
            break
    steps.close()
    kept = list((tmp_path / "a.ome.zarr.part" / "columns").glob("*.npy"))
    assert len(kept) == 1
    modified = kept[0].stat().st_mtime_ns
    steps = upscale_to_disk_steps(stack, FILTER, target)
    next(filter(is_strip_done, steps))
    assert kept[0].stat().st_mtime_ns == modified
    drain(steps)
    wanted = drain(upscale_steps(stack, FILTER)).image
    np.testing.assert_array_equal(read(target).data, wanted)


def test_other_pixels_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    volume = np.zeros((6, 20, 20), np.uint8)
    volume[:, 4:8] = 90
    steps = upscale_to_disk_steps(stack_of(volume), FILTER, tmp_path / "a.ome.zarr")
    next(filter(is_strip_done, steps))
    steps.close()
    steps = upscale_to_disk_steps(
        stack_of(volume[::-1] + 1), FILTER, tmp_path / "a.ome.zarr"
    )
    with pytest.raises(InputError, match="was started with"):
        drain(steps)


def test_workers_share_the_columns(
    tmp_path: Path, two_processes: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = (1000 * seen(fibres(shape=(24, 40, 200)), 2)).astype(np.uint16)
    config = change(
        KNOWN, factor_z=2, kernel_z="gaussian:1.2", steps=8, learned_steps=8
    )
    stack = stack_of(np.stack([volume, volume[:, ::-1]]), "CZYX")
    monkeypatch.setattr("napari_zssr.stack.axial_run.STRIP_PIXELS", 2**15)
    here, there = tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr"
    drain(upscale_to_disk_steps(stack, config, here, threads=1))
    steps = upscale_to_disk_steps(
        stack, config, there, threads=1, workers=two_processes
    )
    assert len(drain(steps).report.axial) == 2
    np.testing.assert_array_equal(read(there).data, read(here).data)


def test_columns_that_fail_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_zssr.execution import column_run

    def broken(*_: Any) -> Any:
        raise ComputeError("No room.")

    monkeypatch.setattr(column_run, "enlarge_strip", broken)
    stack = stack_of((1000 * seen(fibres(), 2)).astype(np.uint16))
    target = tmp_path / "a.ome.zarr"
    with pytest.raises(ComputeError, match="1 of 1 parts of the stack failed"):
        drain(upscale_to_disk_steps(stack, FILTER, target))
    # Nothing was finished.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [{"shard": (1, 2)}, {"keep_networks": True}])
def test_what_columns_do_not_have_is_refused(tmp_path: Path, option: Any) -> None:
    stack = stack_of(np.zeros((6, 20, 20), np.uint8))
    steps = upscale_to_disk_steps(stack, FILTER, tmp_path / "a.ome.zarr", **option)
    with pytest.raises(InputError, match="leave out"):
        drain(steps)
    assert list(tmp_path.iterdir()) == []


def test_the_doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python and the command line."""
    from napari_zssr.cli import main
    from napari_zssr.io.write import write

    volume = (1000 * seen(fibres(shape=(24, 40, 40)), 2)).astype(np.uint16)
    write(tmp_path / "cells.ome.tif", stack_of(volume))
    config = {"factor": 1, "factor_z": 2, "kernel_z": "gaussian:1.2", "device": "cpu"}
    wanted = upscale(tmp_path / "cells.ome.tif", "instant", **config)
    written = upscale_to_disk(
        tmp_path / "cells.ome.tif", tmp_path / "a.ome.zarr", "instant", **config
    )
    assert written.path is not None
    np.testing.assert_array_equal(read(written.path).data, wanted)
    monkeypatch.chdir(tmp_path)
    options = "--factor 1 --factor-z 2 --kernel-z gaussian:1.2 --device cpu -p instant"
    assert main(["upscale", "cells.ome.tif", *options.split()]) == 0
    np.testing.assert_array_equal(read(tmp_path / "cells_z2.ome.tif").data, wanted)
