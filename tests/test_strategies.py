"""Learning once for a stack instead of once a slice."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import PlaneDone, Progress, Snapshot, drain
from napari_zssr.stack import channels as shared_rooms
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import shared_planes, shared_steps, sharing_channels
from napari_zssr.stack.image import ImageStack, planes
from napari_zssr.stack.plane import (
    ChannelSetup,
    PlaneInput,
    intensity_maps,
    upscale_plane_steps,
)
from napari_zssr.stack.prepare import make_plan
from napari_zssr.stack.preview import preview_steps
from napari_zssr.stack.resources import Hardware, RunInput, plan_run
from napari_zssr.stack.run import Upscaled, upscale_steps
from napari_zssr.zssr.checkpoint import load_networks, write_networks
from napari_zssr.zssr.networks import ResidualNetwork
from napari_zssr.zssr.plane_trainer import plane_sample, shared_noise

QUICK = change(
    FAST,
    start="random",
    strategy="tuned",
    steps=8,
    tuned_steps=3,
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
SHARED = change(QUICK, strategy="shared")
ALONE = change(QUICK, strategy="independent")
ALL = pytest.mark.parametrize("config", [QUICK, SHARED], ids=["tuned", "shared"])


def rings(seed: int = 0, height: int = 40, width: int = 44) -> NDArray[np.float32]:
    y = np.arange(height)[:, None] - 11.3 - 2 * seed
    x = np.arange(width)[None, :] - 15.1 + seed
    made = 0.5 + 0.4 * np.tanh(4 * np.sin(np.sqrt(y * y + x * x)))
    return made.astype(np.float32)


def stack_of(count: int) -> NDArray[np.float32]:
    return np.stack([rings(seed=n) for n in range(count)])


def run(data: NDArray[Any], config: Config, axes: str = "ZYX") -> Upscaled:
    return drain(upscale_steps(labelled(data, axes=axes), config))


# Which planes.


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 40, 1000])
def test_the_choice_is_spread_over_the_channel(count: int) -> None:
    listed = planes("ZCYX", (count, 2, 8, 8))
    chosen = shared_planes(listed, 1)
    assert all(place.channel == 1 for place in chosen)
    depths = [int(place.index[0]) for place in chosen]  # type: ignore[arg-type]
    assert depths == sorted(set(depths))
    assert len(depths) == min(count, 8)
    # As far from the first plane as from the last, and nowhere a long gap.
    assert abs(depths[0] - (count - 1 - depths[-1])) <= 1
    assert max(np.diff([-1, *depths, count])) <= -(-count // 8) + 1


def test_planes_over_time_and_depth_share_those_of_channels_do_not() -> None:
    listed = planes("TCZYX", (3, 2, 4, 8, 8))
    assert sharing_channels(QUICK, listed) == (0, 1)
    times = {place.index[0] for place in shared_planes(listed, 0)}
    assert len(times) == 3
    assert sharing_channels(QUICK, planes("CYX", (5, 8, 8))) == ()
    assert sharing_channels(change(INSTANT, strategy="shared"), listed) == ()
    assert sharing_channels(PAPER, listed) == ()
    assert sharing_channels(ALONE, listed) == ()
    applied = change(QUICK, start="n.safetensors", steps=0)
    assert sharing_channels(applied, listed) == ()


@pytest.mark.parametrize(("size", "kept"), [(400, 1), (700, 1), (2200, 2)])
def test_no_more_is_kept_than_windows_of_the_plane(size: int, kept: int) -> None:
    plane = np.random.default_rng(0).random((1, size, size)).astype(np.float32)
    sample = plane_sample(plane, 8)
    assert sample is not None
    assert len(sample.windows) == kept
    assert all(window.numel() <= 640**2 for window in sample.windows)
    # Copies: the plane itself can go.
    for window in sample.windows:
        assert window.untyped_storage().nbytes() == 4 * window.numel()


@pytest.mark.parametrize("shape", [(1, 12, 40), (1, 40, 40)])
def test_nothing_is_kept_of_what_teaches_nothing(shape: tuple[int, ...]) -> None:
    assert plane_sample(np.full(shape, 0.5, np.float32), 8) is None


# Pixels.


@ALL
def test_same_seed_same_pixels(config: Config) -> None:
    data = stack_of(3)
    one = run(data, config).image
    np.testing.assert_array_equal(run(data, config).image, one)
    assert not np.array_equal(run(data, change(config, seed=1)).image, one)


def test_the_strategies_differ() -> None:
    data = stack_of(3)
    made = [run(data, config).image for config in (ALONE, SHARED, QUICK)]
    assert not np.allclose(made[0], made[1], atol=1e-4)
    assert not np.allclose(made[1], made[2], atol=1e-6)


def test_no_tuning_is_sharing() -> None:
    data = stack_of(2)
    untuned = run(data, change(QUICK, tuned_steps=0)).image
    np.testing.assert_array_equal(untuned, run(data, SHARED).image)


@pytest.mark.parametrize("config", [FAST, BALANCED], ids=lambda c: c.preset)
def test_a_single_plane_is_learned_on_itself(config: Config) -> None:
    config = change(config, **{k: getattr(QUICK, k) for k in ("steps", "width")})
    config = change(config, noise="off", device="cpu", always=True, ensemble=False)
    alone = change(config, strategy="independent")
    for axes, data in (("YX", rings()), ("CYX", stack_of(2)), ("ZYX", rings()[None])):
        one, other = run(data, config, axes), run(data, alone, axes)
        np.testing.assert_array_equal(one.image, other.image)
        assert one.report.sentence == other.report.sentence


def test_the_closed_form_is_that_of_each_plane() -> None:
    config = change(INSTANT, noise="off", device="cpu", always=True)
    data = stack_of(3)
    found = [
        run(data, change(config, strategy=s)).image
        for s in ("independent", "shared", "tuned")
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def parts(
    data: NDArray[Any], config: Config
) -> tuple[ImageStack, Any, ChannelSetup, Any]:
    stack = labelled(data, axes="ZYX")
    listed = planes("ZYX", data.shape)
    maps = intensity_maps(data, "ZYX", listed)
    channel = ChannelSetup(number=0, config=config, mapping=maps[0])
    return stack, make_plan(stack, config), channel, listed


@ALL
def test_planes_may_come_in_any_order(config: Config) -> None:
    data = stack_of(3)
    whole = run(data, config).image
    stack, plan, channel, listed = parts(data, config)
    shared = drain(shared_steps(stack, channel, plan))
    assert len(listed) == 3
    for place in reversed(listed):
        work = PlaneInput(
            pixels=data[place.index][None],
            plane_index=place,
            channel=channel,
            shared=shared,
        )
        made = drain(upscale_plane_steps(work, plan))
        np.testing.assert_array_equal(made.pixels[0], whole[place.index])


@ALL
def test_what_is_shared_can_wait_in_a_file(config: Config, tmp_path: Path) -> None:
    """A run that is continued reads what it has learned and goes on as before."""
    noisy = stack_of(3) + np.random.default_rng(0).normal(0, 0.05, (3, 40, 44))
    config = change(config, noise="auto")
    stack, plan, channel, listed = parts(noisy, config)
    shared = drain(shared_steps(stack, channel, plan))
    assert shared is not None
    (again,) = load_networks(write_networks(tmp_path / "n.safetensors", (shared,)))
    assert again is not None
    assert again.planes == 3
    assert shared_noise(again) == shared_noise(shared)
    made = []
    for networks in (shared, again):
        work = PlaneInput(
            pixels=noisy[1][None],
            plane_index=listed[1],
            channel=channel,
            shared=networks,
        )
        made.append(drain(upscale_plane_steps(work, plan)))
    np.testing.assert_array_equal(made[0].pixels, made[1].pixels)
    assert made[0].report.sentence == made[1].report.sentence


class Seen:
    """A lazy image that notes what is read of it."""

    def __init__(self, data: NDArray[Any]) -> None:
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.read: list[Any] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        self.read.append(index)
        made: NDArray[Any] = self._data[index]
        return made


def test_only_the_chosen_planes_are_read() -> None:
    data = stack_of(20)
    stack, plan, channel, listed = parts(data, SHARED)
    lazy: Any = Seen(data)
    found = drain(shared_steps(replace(stack, data=lazy), channel, plan))
    assert lazy.read == [place.index for place in shared_planes(listed, 0)]
    direct = drain(shared_steps(stack, channel, plan))
    assert found is not None
    assert direct is not None
    for name, array in found.weights.items():
        np.testing.assert_array_equal(array, direct.weights[name])


def test_channels_learn_for_themselves() -> None:
    """What stands in one channel changes nothing in another."""
    first = stack_of(2)
    one = run(np.stack([first, stack_of(4)[2:]]), SHARED, "CZYX").image
    two = run(np.stack([first, 9 * stack_of(7)[5:]]), SHARED, "CZYX").image
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.array_equal(one[1], two[1])


@pytest.mark.parametrize("factor", [2, 3, 1.5, (1, 2)], ids=str)
@pytest.mark.parametrize(
    "config", [QUICK, change(QUICK, gradual=2, strategy="shared")], ids=["one", "two"]
)
def test_every_factor_is_served(config: Config, factor: Any) -> None:
    config = change(config, factor=factor, steps=2)
    made = run(stack_of(2), config)
    y, x = config.factors
    assert made.image.shape == (2, np.ceil(40 * y), np.ceil(44 * x))
    assert np.isfinite(made.image).all()
    assert [p.returned for p in made.report.planes] == ["learned"] * 2


def test_the_paper_s_network_can_be_shared() -> None:
    config = change(PAPER, steps=3, width=8, crop_px=16, gradual=2, noise="off")
    config = change(config, strategy="tuned", tuned_steps=2, device="cpu", always=True)
    made = run(stack_of(2), change(config, ensemble=False))
    assert made.report.planes[0].steps == 2
    assert np.isfinite(made.image).all()


def test_colours_are_learned_together() -> None:
    data = np.stack([np.stack([rings(n), rings(n + 4), rings(n + 9)]) for n in (0, 1)])
    made = run(data, SHARED, "ZSYX")
    assert made.image.shape == (2, 3, 80, 88)
    assert made.networks[0] is not None
    assert made.networks[0].samples == 3


# Learning.


def wide_rings(seed: int) -> NDArray[np.float32]:
    y = np.arange(96)[:, None] - 40.3 - 4 * seed
    x = np.arange(96)[None, :] - 50.1 + 3 * seed
    made = 0.5 + 0.4 * np.tanh(4 * np.sin(np.sqrt(y * y + x * x) / 2))
    return made.astype(np.float32)


def test_sharing_learns_and_tuning_harms_nothing() -> None:
    truth = np.stack([wide_rings(n) for n in range(4)])
    data = np.stack([imresize(t[None], (0.5, 0.5))[0] for t in truth])
    config = change(QUICK, steps=120, tuned_steps=30, always=False)

    def error(image: NDArray[Any]) -> float:
        return float(((image - truth) ** 2).mean())

    plain = np.stack([imresize(d[None], (2, 2))[0] for d in data])
    shared = run(data, change(config, strategy="shared"))
    tuned = run(data, config)
    assert [p.returned for p in shared.report.planes] == ["learned"] * 4
    assert error(shared.image) < 0.8 * error(plain)
    assert error(tuned.image) < 1.03 * error(shared.image)


def test_held_out_regions_are_held_out_from_sharing_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What judges a plane stands in no father of the shared training."""
    from napari_zssr.zssr import pairs
    from napari_zssr.zssr import pairs as held_out

    boxes: set[tuple[Any, ...]] = set()
    found = held_out.held_out_regions

    def note(window: torch.Tensor, *given: Any) -> Any:
        made = found(window, *given)
        boxes.add((tuple(window.shape), *made))
        return made

    monkeypatch.setattr(pairs, "held_out_regions", note)
    run(stack_of(3), QUICK)
    assert len(boxes) == 1


def test_saved_networks_are_where_sharing_begins(tmp_path: Path) -> None:
    data = stack_of(3)
    path = tmp_path / "n.safetensors"
    write_networks(path, run(data, change(SHARED, steps=60)).networks)
    begun = change(SHARED, start=str(path), steps=1)
    made = run(data, begun)
    fresh = run(data, change(SHARED, steps=1))
    assert made.report.planes[0].gain_db is not None
    assert fresh.report.planes[0].gain_db is not None
    assert made.report.planes[0].gain_db > fresh.report.planes[0].gain_db
    assert "started from saved networks" in made.report.sentence
    applied = run(data, change(begun, steps=0))
    assert applied.report.planes[0].steps == 0
    assert "without further training" in applied.report.sentence


@ALL
def test_what_is_shared_can_be_saved(config: Config) -> None:
    made = run(stack_of(3), config)
    (networks,) = made.networks
    assert networks is not None
    assert networks.planes == 3


def test_a_stack_that_gains_has_no_slices_that_have_to_prove_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unsure slices are learned where the stack gains; losing ones are bicubic."""
    from napari_zssr.zssr import plane_trainer
    from napari_zssr.zssr.judge import Gain

    def kinds(decibel: float, together: bool) -> list[str]:
        unsure = Gain(decibel=decibel, error_decibel=9.0, significant=False)
        whole = Gain(decibel=1.0, error_decibel=0.1, significant=together)

        # Of planes it is told how often noise is drawn, of the stack it is not.
        def judge(*_: Any, draws: int | None = None) -> Gain:
            return whole if draws is None else unsure

        monkeypatch.setattr(plane_trainer, "judge", judge)
        made = run(stack_of(2), change(QUICK, always=False))
        return [p.returned for p in made.report.planes]

    assert kinds(0.4, together=True) == ["learned"] * 2
    assert kinds(-0.1, together=True) == ["bicubic"] * 2
    assert kinds(0.4, together=False) == ["bicubic"] * 2


# What is told.


def test_sentences_tell_what_was_done() -> None:
    data = stack_of(3)
    shared, tuned, alone = (run(data, c).report for c in (SHARED, QUICK, ALONE))
    on = "Trained on 3 planes of the stack"
    assert on in shared.planes[0].sentence
    assert f"{on}, then on this one" in tuned.planes[0].sentence
    assert "planes of the stack" not in alone.planes[0].sentence
    assert "on 3 planes of each channel" in shared.sentence
    assert "then on every plane" in tuned.sentence
    assert "then on every plane" not in shared.sentence
    assert "planes of each channel" not in alone.sentence
    assert [p.steps for p in shared.planes] == [0, 0, 0]
    assert [p.steps for p in tuned.planes] == [3, 3, 3]
    assert [p.shared for p in tuned.planes] == [3, 3, 3]
    assert [p.shared for p in alone.planes] == [0, 0, 0]


def test_progress_tells_when_learning_is_shared() -> None:
    events: list[Any] = []
    stack = labelled(np.stack([stack_of(2)] * 2), axes="CZYX")
    drain(upscale_steps(stack, QUICK), events.append)
    stages = [e.stage for e in events if isinstance(e, Progress)]
    first = next(n for n, e in enumerate(events) if isinstance(e, PlaneDone))
    after = [e.stage for e in events[first:] if isinstance(e, Progress)]
    assert "shared train" in stages
    assert not any(stage.startswith("shared") for stage in after)
    told = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert told == [
        f"Channel {n}: training once, on 2 planes of the stack." for n in (1, 2)
    ]
    assert all(e.planes == 4 for e in events if isinstance(e, Progress))


# Planes without signal.


def with_empty_ends(count: int = 3, empty: int = 4) -> NDArray[np.uint16]:
    """A stack whose first and last slices show a camera's offset and noise alone."""
    draw = np.random.default_rng(0)
    blank = np.zeros((empty, 64, 72))
    seen = np.stack([rings(n, 64, 72) for n in range(count)])
    data = 100 + 2000 * np.concatenate([blank, seen, blank])
    made: NDArray[np.uint16] = np.round(data + draw.normal(0, 5, data.shape)).astype(
        np.uint16
    )
    return made


@pytest.mark.parametrize(
    "config",
    [ALONE, SHARED, QUICK, change(INSTANT, device="cpu", always=True)],
    ids=["independent", "shared", "tuned", "instant"],
)
def test_empty_slices_are_bicubic_and_cost_nothing(config: Config) -> None:
    data = with_empty_ends()
    events: list[Any] = []
    made = drain(upscale_steps(labelled(data, axes="ZYX"), config), events.append)
    kinds = [p.returned for p in made.report.planes]
    assert kinds == ["bicubic"] * 4 + ["learned"] * 3 + ["bicubic"] * 4
    for number in (0, 10):
        report = made.report.planes[number]
        assert report.steps == 0
        assert "Only noise" in report.sentence
        plain = imresize(data[number][None], config.factors)[0]
        assert np.abs(made.image[number] - plain).max() <= 1
    worked = {
        e.plane
        for e in events
        if isinstance(e, Progress) and not e.stage.startswith("shared")
    }
    assert worked == {4, 5, 6}


def test_empty_slices_teach_nothing() -> None:
    stack, plan, channel, _ = parts(with_empty_ends(), SHARED)
    found = drain(shared_steps(stack, channel, plan))
    assert found is not None
    # Of eight that are looked at.
    assert 1 <= found.planes <= 3


def test_a_stack_whose_choice_is_empty_learns_plane_by_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = with_empty_ends(count=1, empty=12)
    listed = planes("ZYX", data.shape)
    assert listed[12] not in shared_planes(listed, 0)
    stack, plan, channel, _ = parts(data, SHARED)
    maps = intensity_maps(data[12:13], "ZYX", planes("ZYX", (1, 64, 72)))
    channel = replace(channel, mapping=maps[0])
    assert drain(shared_steps(stack, channel, plan)) is None
    monkeypatch.setattr("napari_zssr.stack.prepare.intensity_maps", lambda *_: maps)
    made = run(data, SHARED)
    assert made.report.planes[12].returned == "learned"
    assert made.report.planes[12].shared == 0
    assert made.report.planes[12].steps == SHARED.steps


# Preview.


@ALL
def test_a_preview_equals_the_window_of_a_run(config: Config) -> None:
    data = stack_of(5)
    whole = run(data, config).image
    stack = labelled(data, axes="ZYX")
    place = planes("ZYX", data.shape)[3]
    window = (slice(6, 22), slice(10, 30))
    events: list[Any] = []
    steps = preview_steps(stack, config, plane_index=place, window=window)
    made = drain(steps, events.append)
    wanted = whole[3][made.window]
    assert np.abs(made.image - wanted).max() <= 1e-3 * np.ptp(data)
    first = next(n for n, e in enumerate(events) if isinstance(e, Snapshot))
    assert not any(e.stage == "shared train" for e in events[:first])
    assert events[first].image.shape == made.image.shape


def test_moving_the_window_does_not_learn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_rooms, "_shared_networks", {})

    def stages(config: Config, data: NDArray[Any], number: int, x: int) -> set[str]:
        place = planes("ZYX", data.shape)[number]
        window = (slice(6, 22), slice(x, x + 10))
        events: list[Any] = []
        stack = labelled(data, axes="ZYX")
        drain(
            preview_steps(stack, config, plane_index=place, window=window),
            events.append,
        )
        return {e.stage for e in events if isinstance(e, Progress)}

    data = stack_of(4)
    assert "shared train" in stages(QUICK, data, 1, 5)
    assert "shared train" not in stages(QUICK, data, 1, 25)
    assert "shared train" not in stages(QUICK, data, 3, 5)
    assert "shared train" not in stages(change(QUICK, tuned_steps=9), data, 3, 5)
    assert "shared train" in stages(change(QUICK, seed=1), data, 1, 5)
    changed = data.copy()
    changed[2, 7, 7] += 0.01
    assert "shared train" in stages(QUICK, changed, 1, 5)


# Closing, and errors.


@pytest.mark.parametrize("taken", [1, 2, 3, 5, 9, 14, 20, 26])
def test_closing_leaks_nothing(
    taken: int,
    monkeypatch: pytest.MonkeyPatch,
    closes_cleanly: Callable[[Callable[[], Any], int], None],
) -> None:
    watched: list[weakref.ref[Any]] = []
    init = ResidualNetwork.__init__

    def noted(self: Any, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        watched.append(weakref.ref(self))

    monkeypatch.setattr(ResidualNetwork, "__init__", noted)

    def start() -> Any:
        return upscale_steps(labelled(stack_of(3), axes="ZYX"), QUICK), watched

    closes_cleanly(start, taken)


def test_modes_are_untouched(modes_untouched: Any) -> None:
    steps = upscale_steps(labelled(stack_of(2), axes="ZYX"), QUICK)
    assert len(list(modes_untouched(steps))) > 10


def test_failing_to_share_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the device\nis gone")

    monkeypatch.setattr(ResidualNetwork, "forward", fail)
    with pytest.raises(
        ComputeError, match="channel 1 failed on the processor: the device"
    ):
        run(stack_of(2), SHARED)


def test_unknown_strategies_are_refused() -> None:
    with pytest.raises(InputError, match=r"strategy is 'share'.*did you mean 'shared'"):
        change(FAST, strategy="share")
    with pytest.raises(InputError, match="tuned_steps is -1"):
        change(FAST, tuned_steps=-1)


# Time.


def test_the_plan_knows_what_is_learned_once() -> None:
    def seconds(strategy: str, count: int, **changes: Any) -> float:
        config = change(FAST, strategy=strategy, **changes)
        shape, dtype = (count, 2, 64, 64), np.dtype("uint16")
        run = RunInput(config=config, shape=shape, dtype=dtype, axes="ZCYX")
        return plan_run(run, Hardware()).seconds

    assert seconds("shared", 1) == seconds("independent", 1)
    assert seconds("shared", 40) < seconds("independent", 40) / 8
    once = 2 * seconds("shared", 40) - seconds("shared", 80)
    alone = seconds("independent", 1)
    assert alone < once < 1.6 * alone
    assert seconds("shared", 40) < seconds("tuned", 40) < seconds("independent", 40)
    assert seconds("tuned", 40, tuned_steps=0) == seconds("shared", 40)
