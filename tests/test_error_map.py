"""The standard error of every pixel: where errors are, and how large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr import ImageStack, Upscaled, read, upscale_steps, upscale_to_disk
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import drain

Image = NDArray[np.float32]


def scene(side: int = 192) -> Image:
    """Textured discs on a smooth ground."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:side, :side]
    plane = 0.2 + 0.1 * np.sin(x / 40) * np.cos(y / 30)
    texture = ndimage.gaussian_filter(rng.normal(size=(side, side)), 1.5)
    for _ in range(9):
        row, column = rng.uniform(10, side - 10, 2)
        inside = (y - row) ** 2 + (x - column) ** 2 < rng.uniform(8, 22) ** 2
        plane[inside] = rng.uniform(0.5, 0.9) + 0.8 * texture[inside]
    return ndimage.gaussian_filter(plane, 0.5).astype(np.float32)


def coarse(truth: Image, sigma: float, factor: int = 2) -> Image:
    image = imresize(truth, (1 / factor, 1 / factor)) if factor > 1 else truth
    noise = np.random.default_rng(3).normal(0, sigma, image.shape)
    return (image + noise).astype(np.float32)


def with_errors(image: Any, preset: str = "fast", **settings: Any) -> Upscaled:
    return drain(upscale_steps(image, preset, error_map=True, **settings))


def area_under_curve(score: NDArray[Any], error: NDArray[Any]) -> float:
    """How well a score tells the worst tenth of the errors; 0.5 is chance."""
    worst = (error >= np.quantile(error, 0.9)).ravel()
    rank = score.ravel().argsort().argsort()
    above = rank[worst].sum() - worst.sum() * (worst.sum() - 1) / 2
    return float(above / (worst.sum() * (~worst).sum()))


@pytest.mark.parametrize(
    ("preset", "factor", "sigma"),
    [("fast", 2, 0.0), ("fast", 2, 0.05), ("fast", 1, 0.05), ("instant", 2, 0.03)],
)
def test_it_lies_where_errors_are_and_covers_them(
    preset: str, factor: int, sigma: float
) -> None:
    truth = scene()
    result = with_errors(coarse(truth, sigma, factor), preset, factor=factor)
    assert result.error is not None
    inner = np.s_[8:-8, 8:-8]
    error, told = np.abs(result.image - truth)[inner], result.error[inner]
    assert area_under_curve(told, error) > 0.75
    assert 0.8 < np.mean(error <= 1.645 * told) < 0.99


def test_more_noise_gives_larger_errors() -> None:
    means = []
    for sigma in (0.02, 0.08):
        error = with_errors(coarse(scene(), sigma), factor=2).error
        assert error is not None
        means.append(float(error.mean()))
    assert means[1] > 1.5 * means[0]


def test_it_changes_no_pixel_and_follows_the_intensity() -> None:
    image = coarse(scene(), 0.05)
    plain = drain(upscale_steps(image, "fast", factor=2))
    result, scaled = (with_errors(k * image, factor=2) for k in (1, 1000))
    assert plain.error is None
    assert np.array_equal(plain.image, result.image)
    assert result.error is not None
    assert scaled.error is not None
    assert scaled.error / 1000 == pytest.approx(result.error, rel=0.02)


def test_stacks_channels_and_colours() -> None:
    image = (coarse(scene(96), 0.05) * 200).clip(0, 255).astype(np.uint8)
    stack = with_errors(np.stack([image, image[::-1]]), axes="ZYX", factor=2)
    assert stack.error is not None
    assert stack.error.shape == stack.image.shape
    assert stack.error.dtype == np.float32
    assert "In the median: The standard error of the result is" in stack.report.sentence
    beside = stack.error_stack()
    assert isinstance(beside, ImageStack)
    assert beside.axes == "ZYX"
    assert beside.spacing == stack.spacing
    colours = with_errors(np.dstack([image] * 3), axes="YXS", factor=2)
    assert colours.error is not None
    assert colours.error.shape == colours.image.shape[:2]


def test_planes_that_tell_nothing_have_none() -> None:
    stack = np.stack([coarse(scene(96), 0.03), np.full((48, 48), 0.5, np.float32)])
    result = with_errors(stack, axes="ZYX", factor=2)
    assert result.error is not None
    assert np.isfinite(result.error[0]).all()
    assert np.isnan(result.error[1]).all()


def test_small_planes_are_not_calibrated_and_say_so() -> None:
    report = with_errors(coarse(scene()[60:100, 60:100], 0.05), factor=2).report
    error = report.planes[0].error
    assert error is not None
    assert not error["is_calibrated"]
    assert "too small" in report.sentence
    large = with_errors(coarse(scene(), 0.05), factor=2).report
    assert "regions not used for training" in large.sentence


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_it_is_written_beside_the_result(tmp_path: Path, ending: str) -> None:
    image = (coarse(scene(96), 0.05) * 1000).clip(0).astype(np.uint16)
    stack = ImageStack(
        data=np.stack([image] * 2),
        axes="ZYX",
        spacing=(0.5, 0.2, 0.2),
        units=("um",) * 3,
        name="cells",
    )
    target = tmp_path / f"cells.{ending}"
    written = upscale_to_disk(stack, target, "fast", factor=2, error_map=True)
    assert written.error_path == tmp_path / f"cells_error.{ending}"
    in_memory = with_errors(stack, factor=2)
    errors = read(written.error_path)
    assert np.array_equal(np.asarray(errors.data), in_memory.error)
    assert errors.spacing == in_memory.spacing
    # Again: what is there is not overwritten unasked.
    with pytest.raises(InputError, match="exists"):
        upscale_to_disk(stack, target, "fast", factor=2, error_map=True)
    assert not list(tmp_path.glob("*.part"))


def test_where_it_cannot_be(tmp_path: Path) -> None:
    image = coarse(scene(96), 0.05)
    with pytest.raises(InputError, match="computed along Z"):
        with_errors(np.stack([image] * 6), axes="ZYX", factor_z=2)
    with pytest.raises(InputError, match="PNG cannot hold an error map"):
        upscale_to_disk(
            (image * 100).astype(np.uint8), tmp_path / "a.png", error_map=True
        )


def test_workers_and_resumed_runs_give_the_same(tmp_path: Path) -> None:
    image = (coarse(scene(96), 0.05) * 1000).clip(0).astype(np.uint16)
    stack = np.stack([image, image[::-1], image.T])
    maps = []
    for workers in (0, 2):
        target = tmp_path / f"{workers}.ome.tif"
        settings: dict[str, Any] = {"axes": "ZYX", "factor": 2, "error_map": True}
        upscale_to_disk(stack, target, "fast", workers=workers, threads=1, **settings)
        maps.append(tifffile.imread(tmp_path / f"{workers}_error.ome.tif"))
    assert maps[0] == pytest.approx(maps[1], rel=1e-4, abs=1e-5)
