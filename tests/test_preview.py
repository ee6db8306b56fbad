from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import Progress, Snapshot, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import planes
from napari_zssr.stack.preview import PreviewResult, bicubic_window, preview_steps
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr import plane_trainer
from napari_zssr.zssr.checkpoint import write_networks

PLAIN: dict[str, Any] = {
    "noise": "off",
    "always": True,
    "device": "cpu",
    "precision": "float32",
}
RIDGE = change(INSTANT, **PLAIN)
QUICK = change(FAST, start="random", steps=3, width=8, batch=2, crop_px=16, **PLAIN)
LEARNED = change(FAST, learned_steps=12, batch=2, crop_px=16, **PLAIN)
WINDOW = (slice(6, 22), slice(10, 30))


def rings(height: int = 48, width: int = 52, seed: int = 0) -> NDArray[np.uint16]:
    y = np.arange(height)[:, None] - 11.3 - 2 * seed
    x = np.arange(width)[None, :] - 15.1 + seed
    made = 0.5 + 0.4 * np.tanh(4 * np.sin(np.sqrt(y * y + x * x)))
    return (made * 20000 + 300).astype(np.uint16)


def preview(
    data: Any,
    config: Config = RIDGE,
    axes: str = "YX",
    number: int = 0,
    window: tuple[slice, slice] = WINDOW,
    on_event: Callable[[Any], object] | None = None,
) -> PreviewResult:
    place = planes(axes, data.shape)[number]
    steps = preview_steps(
        labelled(data, axes=axes), config, plane_index=place, window=window
    )
    return drain(steps, on_event)


def pictures(data: Any, config: Config, **given: Any) -> list[NDArray[Any]]:
    seen: list[Any] = []
    result = preview(data, config, on_event=seen.append, **given)
    return [e.image for e in seen if isinstance(e, Snapshot)] + [result.image]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look after every report of training."""
    monkeypatch.setattr(plane_trainer, "SNAPSHOT_S", 0.0)
    monkeypatch.setattr(plane_trainer, "SNAPSHOT_SHARE", 1e9)


CORNER = (slice(0, 16), slice(36, 52))
WHOLE = (slice(0, 48), slice(0, 52))


@pytest.mark.parametrize(
    ("config", "factor", "window"),
    [
        (RIDGE, 2, CORNER),
        (RIDGE, 3, WINDOW),
        (RIDGE, 1.5, WHOLE),
        (RIDGE, (1, 2), WINDOW),
        (RIDGE, (1, 2), CORNER),
        (QUICK, 2, WINDOW),
        (QUICK, 3, WHOLE),
        (QUICK, 3, CORNER),
        (QUICK, 1.5, CORNER),
        (QUICK, (1, 2), WHOLE),
    ],
)
def test_equals_the_window_of_a_run(
    config: Config, factor: Any, window: tuple[slice, slice]
) -> None:
    config = change(config, factor=factor)
    data = rings()
    whole = drain(upscale_steps(labelled(data, axes="YX"), config)).image
    made = preview(data, config, window=window)
    wanted = whole[made.window].astype(float)
    assert made.image.dtype == data.dtype
    assert made.image.shape == wanted.shape
    assert np.abs(made.image - wanted).max() <= 1e-3 * np.ptp(data)


@pytest.mark.parametrize("steps", [0, 3])
def test_equals_a_run_that_starts_from_saved_networks(
    steps: int, tmp_path: Path
) -> None:
    """Of two channels, of which the second is looked at."""
    data = np.stack([rings(seed=n) for n in (0, 6)])
    stack = labelled(data, axes="CYX")
    learned = drain(upscale_steps(stack, change(QUICK, steps=60))).networks
    path = write_networks(tmp_path / "n.safetensors", learned)
    config = change(QUICK, start=str(path), steps=steps)
    whole = drain(upscale_steps(stack, config)).image
    made = preview(data, config, "CYX", 1)
    assert made.report.steps == steps
    wanted = whole[1][made.window].astype(float)
    assert np.abs(made.image - wanted).max() <= 1e-3 * np.ptp(data)
    fresh = preview(data, change(QUICK, steps=3), "CYX", 1).image
    assert np.abs(fresh - wanted).max() > 1e-2 * np.ptp(data)


@pytest.mark.parametrize("axes", ["ZCYX", "CYXZ"])
def test_equals_a_run_in_every_plane(axes: str) -> None:
    stack = np.stack([np.stack([rings(seed=z), rings(seed=z + 5)]) for z in range(3)])
    data = stack if axes == "ZCYX" else stack.transpose(1, 2, 3, 0)
    whole = drain(upscale_steps(labelled(data, axes=axes), RIDGE)).image
    for place in planes(axes, data.shape)[1::2]:
        made = preview(data, RIDGE, axes, place.number)
        wanted = whole[place.index][made.window].astype(float)
        assert np.abs(made.image - wanted).max() <= 1e-3 * np.ptp(data)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_colours_and_alpha_keep_their_place(samples: int) -> None:
    data = np.stack([rings(seed=n) for n in range(samples)], axis=-1)
    whole = drain(upscale_steps(labelled(data, axes="YXS"), RIDGE)).image
    first, last = pictures(data, RIDGE, axes="YXS")
    assert first.shape == last.shape == (32, 40, samples)
    assert np.abs(last - whole[12:44, 20:60].astype(float)).max() < 25
    away = [
        np.abs(np.roll(first, n, 1) - last.astype(float)).mean() for n in (0, -1, 1)
    ]
    assert away[0] < 0.5 * min(away[1:])


@pytest.mark.usefixtures("often")
def test_pictures_are_like_the_result() -> None:
    data = rings()
    made = pictures(data, QUICK)
    # One at once, one after each step, and the result.
    assert len(made) == 1 + QUICK.steps + 1
    assert {(p.shape, p.dtype) for p in made} == {((32, 40), data.dtype)}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("config", [QUICK, LEARNED], ids=["random", "learned"])
def test_the_last_look_is_the_result(config: Config) -> None:
    made = pictures(rings(), change(config, ensemble=False))
    np.testing.assert_array_equal(made[-2], made[-1])


def test_looking_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = change(QUICK, steps=40)
    unseen = pictures(rings(), config)
    monkeypatch.setattr(plane_trainer, "SNAPSHOT_S", 0.0)
    monkeypatch.setattr(plane_trainer, "SNAPSHOT_SHARE", 1e9)
    seen = pictures(rings(), config)
    assert len(seen) > len(unseen)
    np.testing.assert_array_equal(seen[-1], unseen[-1])


def test_the_first_picture_comes_before_any_training() -> None:
    steps = preview_steps(
        labelled(rings(), axes="YX"),
        QUICK,
        plane_index=planes("YX", (48, 52))[0],
        window=WINDOW,
    )
    first = [next(steps), next(steps)]
    steps.close()
    assert isinstance(first[0], Progress)
    assert first[0].stage == "read"
    assert isinstance(first[1], Snapshot)
    assert first[1].step == 0


def test_the_first_picture_is_what_training_starts_from() -> None:
    """Without steps the whole run is the start, applied as it is."""
    config = change(LEARNED, learned_steps=0, factor=4)
    first, *_, last = pictures(rings(), config)
    np.testing.assert_allclose(first, last, atol=1e-3 * np.ptp(last))


def test_without_gain_the_preview_ends_in_bicubic() -> None:
    y, x = np.mgrid[:48, :52] / 9
    hills = (100 + 30 * np.sin(y) + 20 * np.cos(x)).astype(np.float32)
    config = change(QUICK, always=False)
    made = preview(hills, config)
    assert made.report.returned == "bicubic"
    whole = drain(upscale_steps(labelled(hills, axes="YX"), config)).image
    np.testing.assert_allclose(made.image, whole[made.window], rtol=1e-6)


def test_a_constant_plane_has_its_preview() -> None:
    made = preview(np.full((40, 40), 7, np.uint8))
    assert (made.image == 7).all()
    assert made.image.shape == (32, 40)


class Recorder:
    """Pixels that tell which planes were read."""

    def __init__(self, data: NDArray[Any]) -> None:
        self.data, self.read = data, set()
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        self.read.add(index[0])
        return self.data[index]


def test_of_a_lazy_stack_only_some_planes_are_read() -> None:
    from dataclasses import replace

    data = np.stack([rings(seed=z % 5) for z in range(40)])
    recorder = Recorder(data)
    stack = labelled(data, axes="ZYX")
    lazy = replace(stack, data=recorder)  # type: ignore[arg-type]
    place = planes("ZYX", data.shape)[11]
    made = drain(preview_steps(lazy, RIDGE, plane_index=place, window=WINDOW))
    assert 11 in recorder.read
    assert len(recorder.read) <= 9
    same = drain(preview_steps(stack, RIDGE, plane_index=place, window=WINDOW))
    np.testing.assert_array_equal(made.image, same.image)


def test_nan_is_refused_or_filled() -> None:
    data = rings().astype(np.float32)
    data[3, 4] = np.nan
    with pytest.raises(InputError, match="1 NaN"):
        preview(data)
    config = change(RIDGE, nonfinite="fill")
    whole = drain(upscale_steps(labelled(data, axes="YX"), config)).image
    made = preview(data, config)
    assert np.abs(made.image - whole[made.window]).max() < 1e-3 * np.nanmax(data)


def test_a_window_off_the_plane_is_refused() -> None:
    with pytest.raises(InputError, match="no pixel"):
        preview(rings(), window=(slice(60, 70), slice(0, 9)))


def test_a_window_that_sticks_out_is_cut() -> None:
    made = preview(rings(), window=(slice(40, 168), slice(44, 172)))
    assert made.image.shape == (16, 16)
    assert made.window == (slice(80, 96), slice(88, 104))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("config", [RIDGE, QUICK], ids=lambda c: c.preset)
def test_closing_at_any_event_leaks_nothing(
    config: Config, closes_cleanly: Any, modes_untouched: Any
) -> None:
    config = change(config, ensemble=False)
    place = planes("YX", (48, 52))[0]

    def start() -> Any:
        stack = labelled(rings(), axes="YX")
        steps = preview_steps(stack, config, plane_index=place, window=WINDOW)
        return steps, [weakref.ref(stack.data)]

    for taken in range(sum(1 for _ in modes_untouched(start()[0])) + 1):
        closes_cleanly(start, taken)


@pytest.mark.parametrize("factor", [2, 1.5, (1, 3)], ids=str)
@pytest.mark.parametrize("axes", ["YX", "YXS"])
def test_bicubic_beside_it_shows_the_same_window(factor: Any, axes: str) -> None:
    data = rings() if axes == "YX" else np.stack([rings(seed=n) for n in range(3)], -1)
    config = change(RIDGE, factor=factor)
    window = (slice(0, 21), slice(23, 44))
    plain = bicubic_window(
        labelled(data, axes=axes),
        config,
        plane_index=planes(axes, data.shape)[0],
        window=window,
    )
    made = preview(data, config, axes, window=window)
    planar = data if axes == "YX" else data.transpose(2, 0, 1)
    whole = imresize(planar, config.factors)[..., *made.window]
    wanted = whole if axes == "YX" else whole.transpose(1, 2, 0)
    assert plain.dtype == data.dtype
    assert plain.shape == made.image.shape
    assert np.abs(plain - wanted.clip(0)).max() <= 0.5 + 1e-6
