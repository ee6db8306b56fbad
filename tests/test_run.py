from __future__ import annotations

import json
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import PlaneDone, Progress, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack
from napari_zssr.stack.run import Upscaled, upscale_steps

QUICK = change(
    FAST,
    start="random",
    steps=3,
    width=8,
    batch=2,
    crop_px=16,
    back_projection=2,
    ensemble=False,
    noise="off",
    always=True,
    device="cpu",
    precision="float32",
)
RIDGE = change(INSTANT, noise="off", ensemble=False, device="cpu", always=True)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rings(height: int = 32, width: int = 36, seed: int = 0) -> NDArray[np.float64]:
    y = np.arange(height)[:, None] - 11.3 - 2 * seed
    x = np.arange(width)[None, :] - 15.1 + seed
    return 0.5 + 0.4 * np.tanh(4 * np.sin(np.sqrt(y * y + x * x)))


def run(data: Any, config: Config = RIDGE, axes: str = "YX", **given: Any) -> Upscaled:
    return drain(upscale_steps(labelled(np.asarray(data), axes=axes, **given), config))


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"]
)
def test_dtype_and_range_are_kept(dtype: str) -> None:
    top = {"uint8": 255, "int16": 3000}.get(dtype, 60000)
    # Away from the ends of the dtype, where clipping would move the mean.
    data = ((0.25 + 0.5 * rings()) * top).astype(dtype)
    made = run(data)
    assert made.image.dtype == data.dtype
    assert made.image.shape == (64, 72)
    assert made.image.astype(float).mean() == pytest.approx(data.mean(), rel=0.005)
    assert abs(float(made.image.max()) - float(data.max())) < 0.4 * top


@pytest.mark.parametrize("dtype", [">u2", ">f4"])
def test_foreign_byte_order_is_served(dtype: str) -> None:
    data = (rings() * 1000).astype(dtype)
    np.testing.assert_array_equal(
        run(data).image, run(data.astype(dtype.replace(">", "<"))).image
    )


@pytest.mark.parametrize("config", [QUICK, RIDGE], ids=lambda c: c.preset)
@pytest.mark.parametrize(("gain", "offset"), [(1000.0, 0.0), (3.0, -50.0), (1e-3, 7.0)])
def test_result_follows_gain_and_offset(
    config: Config, gain: float, offset: float
) -> None:
    plain = run(rings(), config).image
    moved = run(gain * rings() + offset, config).image
    error = np.abs(moved - (gain * plain + offset)).max()
    assert error < 0.01 * gain * np.ptp(plain)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("YX", (32, 36)),
        ("XY", (32, 36)),
        ("TCZYX", (1, 2, 2, 20, 24)),
        ("YXC", (20, 24, 2)),
        ("YXS", (20, 24, 3)),
        ("SYX", (4, 20, 24)),
        ("YZX", (20, 2, 24)),
    ],
)
def test_axes_keep_their_order(axes: str, shape: tuple[int, ...]) -> None:
    data = rng().random(shape).astype(np.float32)
    made = run(data, change(RIDGE, factor=(2, 1.5)), axes)
    wanted = [
        {"Y": 2 * n, "X": int(np.ceil(1.5 * n))}.get(a, n)
        for a, n in zip(axes, shape, strict=True)
    ]
    assert made.image.shape == tuple(wanted)
    assert made.axes == axes


def test_turned_axes_give_the_turned_result() -> None:
    data = rings().astype(np.float32)
    config = change(RIDGE, factor=(2, 1.5))
    one = run(data, config, "YX").image
    two = run(data.T, config, "XY").image
    np.testing.assert_array_equal(two.T, one)


def test_channels_are_learned_separately() -> None:
    """What stands in one channel changes nothing in another."""
    first = rings()
    one = run(np.stack([first, rings(seed=3)]), QUICK, "CYX").image
    two = run(np.stack([first, 900 * rng().random((32, 36))]), QUICK, "CYX").image
    np.testing.assert_array_equal(one[0], two[0])


def test_a_plane_depends_on_its_index_alone() -> None:
    """Seeds go by number: neighbours, and their order, do not matter."""
    first, second = rings(), rings(seed=3)
    both = run(np.stack([first, second]), QUICK, "CYX").image
    np.testing.assert_array_equal(run(first, QUICK).image, both[0])
    other = run(np.stack([second, second]), QUICK, "CYX").image
    np.testing.assert_array_equal(other[1], both[1])
    assert not np.array_equal(other[0], both[1])  # another number, another seed


def test_same_seed_same_pixels() -> None:
    data = rings()
    one = run(data, QUICK).image
    np.testing.assert_array_equal(run(data, QUICK).image, one)
    assert not np.array_equal(run(data, change(QUICK, seed=1)).image, one)


@pytest.mark.parametrize("axes", ["YXS", "SYX"])
def test_alpha_is_enlarged_plainly(axes: str) -> None:
    alpha = (255 * (rings(seed=2) > 0.5)).astype(np.uint8)
    colours = [(255 * rings(seed=n)).astype(np.uint8) for n in range(3)]
    planes = np.stack([*colours, alpha])
    data = planes if axes == "SYX" else np.moveaxis(planes, 0, -1)
    made = run(data, RIDGE, axes).image
    made = made if axes == "SYX" else np.moveaxis(made, -1, 0)
    wanted = np.clip(np.round(imresize(alpha, (2, 2))), 0, 255)
    assert np.abs(made[3] - wanted).max() <= 1
    opaque = np.stack([*colours, np.full_like(alpha, 255)])
    again = run(opaque, RIDGE, "SYX").image
    assert (again[3] == 255).all()
    np.testing.assert_array_equal(again[:3], made[:3])


@pytest.mark.parametrize("value", [0, 77])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_constant_images_stay(value: int, dtype: str) -> None:
    made = run(np.full((20, 21), value, dtype))
    np.testing.assert_array_equal(made.image, np.full((40, 42), value, dtype))
    assert made.report.planes[0].returned == "constant"


def test_constant_plane_beside_another() -> None:
    data = np.stack([np.full((32, 36), 5.0), rings()])
    made = run(data, RIDGE, "ZYX")
    assert [p.returned for p in made.report.planes] == ["constant", "learned"]
    assert "For the other plane, " in made.report.sentence
    assert "or it has the same value everywhere." in made.report.sentence
    np.testing.assert_allclose(made.image[0], 5, atol=1e-5)


@pytest.mark.parametrize("shape", [(15, 30), (1, 1), (3, 200)])
def test_small_planes_are_bicubic(shape: tuple[int, int]) -> None:
    data = rng().random(shape)
    made = run(data, change(QUICK, back_projection=0))
    if min(shape) > 1:
        assert made.report.planes[0].returned == "bicubic"
        assert "too small" in made.report.sentence
    np.testing.assert_allclose(made.image, imresize(data, (2, 2)), atol=1e-5)


def test_alignment_is_told() -> None:
    stack = labelled(np.stack([rings()] * 2), axes="CYX", spacing={"Y": 0.2, "X": 0.1})
    channels = (Channel(name="DAPI"), Channel(name="GFP"))
    stack = ImageStack(
        data=stack.data,
        axes=stack.axes,
        spacing=stack.spacing,
        units=stack.units,
        channels=channels,
        name="cells",
        checksum="0123456789abcdef",
    )
    made = drain(upscale_steps(stack, change(RIDGE, factor=(2, 4))))
    assert made.spacing[1:] == pytest.approx((0.1, 0.025))
    assert made.origin == pytest.approx((0, -0.05, 0.1 * (1 - 4) / 8))
    assert made.units == stack.units
    assert made.channels == channels
    assert (made.report.input_name, made.report.input_checksum) == (
        "cells",
        "0123456789abcdef",
    )
    written = made.as_stack()
    assert written.data is made.image
    assert (written.axes, written.spacing) == (made.axes, made.spacing)


def test_report_rebuilds_the_run() -> None:
    made = run(np.stack([rings(), rings(seed=1)]), QUICK, "TYX")
    content = json.loads(json.dumps(made.report.to_dict()))
    assert [p["plane"] for p in content["planes"]] == [0, 1]
    assert content["device"] == "cpu"
    assert content["seed"] == QUICK.seed
    assert {"torch", "numpy"} <= set(content["versions"])
    assert content["sentence"]
    assert made.config == QUICK
    assert Config.from_dict(json.loads(json.dumps(made.config.to_dict()))) == QUICK


def bad(*places: tuple[int, int]) -> NDArray[np.float32]:
    data = rings().astype(np.float32)
    for n, place in enumerate(places):
        data[place] = (np.nan, np.inf)[n % 2]
    return data


def test_nan_is_refused_with_count_and_place() -> None:
    with pytest.raises(InputError, match=r"2 NaN or Inf pixels.*\(3, 4\)") as caught:
        run(bad((3, 4), (9, 9)))
    assert "\n" not in str(caught.value)


def test_nan_is_filled_when_asked() -> None:
    made = run(bad((3, 4), (9, 9)), change(RIDGE, nonfinite="fill"))
    assert np.isfinite(made.image).all()
    assert np.nanmax(np.abs(made.image)) < 2


def test_a_plane_of_nan_alone_becomes_0() -> None:
    data = np.stack([rings(), np.full((32, 36), np.nan)])
    made = run(data, change(RIDGE, nonfinite="fill"), "ZYX")
    np.testing.assert_array_equal(made.image[1], 0)
    assert made.image[0].std() > 0.1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((0, 5)), "empty"),
        (np.zeros((20, 20), bool), "boolean"),
        (np.zeros((20, 20), complex), "complex"),
        (np.array([["a", "b"]]), "cannot be used"),
    ],
)
def test_what_is_no_image_is_refused(data: Any, says: str) -> None:
    stack = ImageStack(data=data, axes="YX", spacing=(None,) * 2, units=(None,) * 2)
    with pytest.raises(InputError, match=says):
        drain(upscale_steps(stack, RIDGE))


def test_kernel_larger_than_the_plane_is_refused() -> None:
    config = change(RIDGE, kernel=np.ones((80, 80)))
    with pytest.raises(InputError, match="smaller kernel"):
        run(rings(), config)


def test_missing_device_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="cuda"):
        run(rings(), change(RIDGE, device="cuda:7"))


def test_events_tell_planes() -> None:
    stack = labelled(np.stack([rings()] * 3), axes="ZYX")
    events: list[Any] = []
    made = drain(upscale_steps(stack, QUICK), events.append)
    done = [e for e in events if isinstance(e, PlaneDone)]
    assert [(e.plane, e.planes) for e in done] == [(0, 3), (1, 3), (2, 3)]
    assert [made.image[e.index].shape for e in done] == [(64, 72)] * 3
    told = [e for e in events if isinstance(e, Progress)]
    assert {e.planes for e in told} == {3}
    numbers = [e.plane for e in told]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2}


def test_an_array_of_the_caller_fills_plane_by_plane() -> None:
    stack = labelled(np.stack([rings()] * 2).astype(np.float32), axes="ZYX")
    arrays: list[NDArray[Any]] = []
    filled: list[list[bool]] = []

    def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        arrays.append(np.zeros(shape, dtype))
        return arrays[0]

    def look(event: Any) -> None:
        if isinstance(event, PlaneDone):
            filled.append([bool(plane.any()) for plane in arrays[0]])

    made = drain(upscale_steps(stack, RIDGE, allocate=allocate), look)
    assert made.image is arrays[0]
    assert filled == [[True, False], [True, True]]
    np.testing.assert_array_equal(made.image, drain(upscale_steps(stack, RIDGE)).image)


def test_modes_are_untouched_at_every_yield(modes_untouched: Any) -> None:
    stack = labelled(np.stack([rings()] * 2), axes="ZYX")
    steps = upscale_steps(stack, change(QUICK, precision="bfloat16"))
    assert len(list(modes_untouched(steps))) >= 2


def test_closing_at_any_yield_frees_the_image(closes_cleanly: Any) -> None:
    config = change(QUICK, steps=2)
    data = np.stack([rings(20, 20)] * 2)
    count = sum(1 for _ in upscale_steps(labelled(data, axes="ZYX"), config))

    def start() -> Any:
        stack = labelled(data.copy(), axes="ZYX")
        return upscale_steps(stack, config), [weakref.ref(stack.data)]

    for taken in range(count + 1):
        closes_cleanly(start, taken)


def test_the_input_is_left_alone() -> None:
    data = bad((3, 4))
    kept = data.copy()
    run(data, change(RIDGE, nonfinite="fill"))
    np.testing.assert_array_equal(data, kept)


def test_failures_become_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_zssr.zssr import networks

    def forward(self: Any, plane: Any) -> Any:
        raise RuntimeError("device vanished\nTraceback: much more")

    monkeypatch.setattr(networks.RidgeFilter, "forward", forward)
    with pytest.raises(ComputeError, match="device vanished") as caught:
        run(rings())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [1.33333334, 2.0000001, 1.1, 16])
def test_odd_factors_fit_their_output(factor: float) -> None:
    made = run(rings(30, 18), change(RIDGE, factor=factor))
    assert made.image.shape[0] in (int(30 * factor), int(30 * factor) + 1)


def test_noise_is_estimated_by_default() -> None:
    y, x = np.mgrid[:160, :160] / 160
    signal = 200 * (1 + np.sin(3 * y) * np.cos(4 * x))
    noisy = signal + rng().normal(0, 20, signal.shape)
    config = change(RIDGE, noise="auto", always=False)
    told = run(noisy, config).report.planes[0].noise
    true = 20 / np.ptp(np.quantile(noisy, (0.001, 0.999)))
    assert told == pytest.approx(true, rel=0.25)
    assert run(signal, config).report.planes[0].noise < 1e-3


def test_flat_noise_is_not_raised() -> None:
    """A flat Poisson field comes back no noisier than bicubic makes it."""
    flat = rng().poisson(40, (128, 128)).astype(np.uint16)
    made = run(flat, change(RIDGE, noise="auto", always=False)).image
    plain = imresize(flat, (2, 2))
    assert made.std() <= 1.1 * plain.std()
    assert made.mean() == pytest.approx(flat.mean(), rel=0.005)


@pytest.mark.parametrize("config", [QUICK, RIDGE], ids=lambda c: c.preset)
def test_flat_fields_show_no_grid(config: Config) -> None:
    """The means of the sub-pixel grids agree: no checkerboard."""
    flat = rng().poisson(400, (96, 96)).astype(np.float32)
    config = change(config, noise="auto", ensemble=True)
    for factor in (2, 3):
        made = run(flat, change(config, factor=factor)).image
        means = [
            made[y::factor, x::factor].mean()
            for y in range(factor)
            for x in range(factor)
        ]
        assert np.ptp(means) < 1e-3 * flat.mean()


def test_a_line_says_what_became_of_the_grain() -> None:
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160] / 25
    clean = 100 + 50 * np.sin(x) * np.cos(y)
    noisy = draw.normal(clean, 12)
    told = []
    for pair in ([clean, clean], [clean, noisy], [noisy, noisy]):
        stack = labelled(np.stack(pair).astype(np.float32), axes="ZYX")
        config = change(FAST, always=True, device="cpu")
        told.append(drain(upscale_steps(stack, config)).report.sentence)
    assert "flat areas" not in told[0]
    assert "Faint" not in told[0]
    assert "Faint texture may have been removed" in told[1]
    assert "In the median: Less noisy:" in told[2]
    assert "noise in flat areas fell by" in told[2]
    assert "Faint texture may have been removed" in told[2]
