from __future__ import annotations

import errno
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RIDGE
from engine import super_resolve_plane
from numpy.typing import NDArray
from test_plane import QUICK, stripes
from test_predict import network, noise
from torch import Tensor

from napari_zssr.config import Config, change
from napari_zssr.errors import ComputeError
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.noise import estimate_noise
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import planes, to_cyx
from napari_zssr.stack.plane import (
    ChannelSetup,
    PlaneInput,
    intensity_maps,
    upscale_plane_steps,
)
from napari_zssr.stack.plane_result import EnlargedPlane
from napari_zssr.stack.prepare import make_plan
from napari_zssr.stack.preview import preview_steps
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr import canvas as canvases
from napari_zssr.zssr import pairs
from napari_zssr.zssr.canvas import ScratchCanvas, new_canvas, scratch_bytes
from napari_zssr.zssr.networks import InterpolationNetwork
from napari_zssr.zssr.predict import (
    PredictSpec,
    bicubic,
    bicubic_steps,
    enlarged_shape,
    predict,
    predict_tiles,
)

ALL = slice(None)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Results of any size go to disk; the files that were opened for them."""
    opened: list[Any] = []
    original = tempfile.TemporaryFile

    def watched(*args: Any, **options: Any) -> Any:
        opened.append(original(*args, **options))
        return opened[-1]

    monkeypatch.setattr(canvases, "LARGEST_HELD_BYTES", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    return opened


def rings() -> NDArray[np.uint16]:
    return (stripes(40, 44)[0].numpy() * 3000 + 100).astype(np.uint16)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    wanted = noise(3, 37, 29)
    made = ScratchCanvas(wanted.shape, tmp_path)
    for y in range(0, 37, 10):
        for x in range(0, 29, 29 if y == 20 else 11):
            columns = slice(x, 29 if y == 20 else min(x + 11, 29))
            rows = slice(y, min(y + 10, 37))
            made[:, rows, columns] = wanted[:, rows, columns]
    assert torch.equal(made[:, :, :], wanted)
    assert torch.equal(made[:, 7:23, 3:8], wanted[:, 7:23, 3:8])
    assert torch.equal(made[:, 30:99, :], wanted[:, 30:, :])
    torch.testing.assert_close(made.mean(), wanted.mean(dim=(1, 2), keepdim=True))
    made.shift = torch.tensor([0.5, 0, -1])[:, None, None]
    assert torch.equal(made[:, :4, :], wanted[:, :4] + made.shift)
    made.close()
    with pytest.raises(ValueError, match="closed"):
        made[:, :4, :]


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 3.0), (1.0, 2.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_canvases_hold_the_same_pixels(
    channels: int, factors: tuple[float, float], tmp_path: Path
) -> None:
    plane = noise(channels, 70, 90)
    made = network("residual", (1 if factors[0] == 1 else 2, 2), channels)
    spec = PredictSpec(
        factors=factors,
        applications=2 if factors[1] == 3 else 1,
        kernel=KernelSpec(),
        tile_px=32,
        back_projection=1,
    )
    canvas = ScratchCanvas(enlarged_shape(plane, factors), tmp_path)
    drain(predict_tiles(made, plane, spec, canvas))
    assert torch.equal(canvas[:, :, :], drain(predict(made, plane, spec)))


def test_only_large_results_go_to_disk(tmp_path: Path) -> None:
    assert scratch_bytes((1, 8192, 8192)) == 0
    assert scratch_bytes((1, 8192, 8193)) == 4 * 8192 * 8193
    with new_canvas((1, 4, 4), tmp_path) as held:
        assert isinstance(held, Tensor)


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.5, 3.0), (1.0, 2.5), (16.0, 1.0)])
def test_plain_tiles_make_plain_enlargement(
    factors: tuple[float, float], scratch: list[Any]
) -> None:
    plane = noise(2, 1100, 37)
    made = drain(bicubic_steps(plane, factors))
    assert isinstance(made, ScratchCanvas)
    torch.testing.assert_close(
        made[:, :, :], bicubic(plane, factors), atol=1e-6, rtol=0
    )
    part = (slice(500, 530), slice(3, 20))
    torch.testing.assert_close(
        drain(bicubic_steps(plane, factors, part)),
        bicubic(plane, factors, part),
        atol=1e-6,
        rtol=0,
    )


def test_the_plain_network_adds_nothing() -> None:
    plane = noise(1, 20, 30)
    spec = PredictSpec(factors=(2.0, 1.5), kernel=KernelSpec())
    made = drain(predict(InterpolationNetwork(), plane, spec))
    assert torch.equal(made, bicubic(plane, spec.factors))


CASES: dict[str, tuple[Any, str, Config]] = {
    "learned": (rings(), "YX", RIDGE),
    "trained": (rings(), "YX", change(QUICK, steps=4, always=True, device="cpu")),
    "bicubic": (rings(), "YX", change(QUICK, steps=1, always=False, device="cpu")),
    "constant": (np.full((20, 30), 7, np.uint8), "YX", RIDGE),
    "rgba": (np.stack([rings() // 13] * 4, -1).astype(np.uint8), "YXS", RIDGE),
    "float": (rings() / 7.0, "YX", change(RIDGE, factor=1.5)),
    "stack": (np.stack([rings(), rings()[::-1] // 2]), "ZYX", RIDGE),
}


@pytest.mark.parametrize("case", CASES)
def test_runs_come_to_the_same_on_disk(
    case: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    data, axes, config = CASES[case]
    held = drain(upscale_steps(labelled(data, axes=axes), config))
    opened = request.getfixturevalue("scratch")
    made = drain(upscale_steps(labelled(data, axes=axes), config))
    assert (held.report.planes[0].returned, made.image.dtype) == (
        made.report.planes[0].returned,
        data.dtype,
    )
    # The mean of all is summed up tile by tile.
    close = 1 if data.dtype.kind in "iu" else 1e-5 * np.ptp(data)
    np.testing.assert_allclose(made.image, held.image, rtol=0, atol=close)
    assert len(opened) == {"constant": 0, "rgba": 2, "stack": 2}.get(case, 1)
    assert all(file.closed for file in opened)


def test_networks_learn_on_from_what_lies_on_disk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(QUICK, gradual=2, steps=3, always=True)
    monkeypatch.setattr(pairs, "WHOLE_PX", 64)
    monkeypatch.setattr(pairs, "WINDOW_PX", 51)
    plane = stripes(70, 65)
    (window,) = pairs.training_windows(plane)
    assert window.shape == (1, 51, 51)
    held = drain(super_resolve_plane(plane, config)).image[:, :, :]
    opened = request.getfixturevalue("scratch")
    made = drain(super_resolve_plane(plane, config)).image
    torch.testing.assert_close(made[:, :, :], held, atol=1e-5, rtol=0)
    assert [file.closed for file in opened] == [True, False]


def test_previews_need_no_canvas(scratch: list[Any]) -> None:
    stack = labelled(rings(), axes="YX")
    (place,) = planes("YX", stack.data.shape)
    window = (slice(4, 20), slice(6, 30))
    for config in (RIDGE, change(QUICK, steps=1, always=False, device="cpu")):
        whole = drain(upscale_steps(stack, config)).image
        count = len(scratch)
        made = drain(preview_steps(stack, config, plane_index=place, window=window))
        assert np.abs(made.image.astype(int) - whole[made.window]).max() <= 3
        assert len(scratch) == count


def plane_made(data: Any, config: Config, folder: Path | None = None) -> EnlargedPlane:
    stack = labelled(data, axes="YXS" if data.ndim == 3 else "YX")
    (place,) = listed = planes(stack.axes, data.shape)
    mapping = intensity_maps(data, stack.axes, listed)[0]
    work = PlaneInput(
        pixels=to_cyx(data, stack.axes),
        plane_index=place,
        channel=ChannelSetup(number=0, config=config, mapping=mapping),
        scratch=folder,
    )
    return drain(upscale_plane_steps(work, make_plan(stack, config)))


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_bands_make_up_the_pixels(
    colour: bool, on_disk: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if on_disk:
        request.getfixturevalue("scratch")
    data = CASES["rgba"][0] if colour else rings()
    with plane_made(data, RIDGE, tmp_path) as made:
        whole = made.pixels
        assert whole.shape == made.shape == (4 if colour else 1, 80, 88)
        assert whole.dtype == data.dtype
        for rows, band_rows in ((1, 16), (40, 32), (80, 80), (999, 992)):
            bands = list(made.bands(rows))
            assert {band.shape[1] for band in bands[:-1]} <= {band_rows}
            np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)
        out = np.zeros((80, 88, 4) if colour else (80, 88), data.dtype)
        made.fill(to_cyx(out, "YXS" if colour else "YX"))
        np.testing.assert_array_equal(to_cyx(out, "YXS" if colour else "YX"), whole)


def test_a_plane_that_was_made_gives_its_disk_back(
    scratch: list[Any], tmp_path: Path
) -> None:
    made = plane_made(CASES["rgba"][0], RIDGE, tmp_path)
    assert [file.closed for file in scratch] == [False, False]
    with made:
        pass
    assert [file.closed for file in scratch] == [True, True]
    plane_made(rings(), RIDGE, tmp_path)
    assert scratch[-1].closed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [RIDGE, change(QUICK, steps=2, always=False)])
def test_closing_at_any_event_gives_the_disk_back(
    config: Config, scratch: list[Any]
) -> None:
    config = change(config, device="cpu", tile_px=16)
    stack = labelled(rings(), axes="YX")
    count = sum(1 for _ in upscale_steps(stack, config))
    used = 0
    for taken in range(1, count + 1):
        steps = upscale_steps(stack, config)
        for _ in range(taken):
            next(steps)
        used += any(not file.closed for file in scratch)
        steps.close()
        assert all(file.closed for file in scratch)
    assert used >= 5


def test_memory_that_ran_out_begins_a_new_file(
    scratch: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = stripes(24, 300)
    config = change(QUICK, steps=2, always=True)
    calm = drain(super_resolve_plane(plane, config, tile_px=128)).image[:, :, :]
    original = canvases.ScratchCanvas.__setitem__
    failures = [MemoryError("out of memory")]

    def fails(self: Any, place: Any, block: Tensor) -> None:
        original(self, place, block)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(canvases.ScratchCanvas, "__setitem__", fails)
    made = drain(super_resolve_plane(plane, config, tile_px=256)).image
    torch.testing.assert_close(made[:, :, :], calm, atol=1e-4, rtol=0)
    assert [file.closed for file in scratch[-2:]] == [True, False]


def refuses(message: str, run: Callable[[], object]) -> None:
    with pytest.raises(ComputeError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)
    assert "TMPDIR" in str(caught.value)


def test_a_full_disk_is_told(
    scratch: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack = labelled(rings(), axes="YX")

    class Full(SimpleNamespace):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        full = Full(seek=lambda _: None, close=lambda: None)
        patched.setattr(tempfile, "TemporaryFile", lambda **_: full)
        refuses("No space left", lambda: drain(upscale_steps(stack, RIDGE)))
    nothing = SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nothing)
    refuses("too little space", lambda: ScratchCanvas((1, 99, 99), tmp_path))


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    refuses("No such file", lambda: ScratchCanvas((1, 9, 9), tmp_path / "none"))


def peak_of(run: Callable[[], object]) -> int:
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_planes_are_scaled_in_bands() -> None:
    values = np.random.default_rng(0).integers(0, 999, (1, 4096, 4096), np.uint16)
    mapping = IntensityMap(offset=10, scale=500)
    normal = mapping.normalise(values)
    np.testing.assert_array_equal(
        normal[0, ::99], ((values[0, ::99].astype(float) - 10) / 500).astype("f4")
    )
    # The result is counted; one float64 copy would take twice as much.
    assert peak_of(lambda: mapping.normalise(values)) < 2 * normal.nbytes
    assert peak_of(lambda: estimate_noise(normal[0])) < normal.nbytes
