from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config, change
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.clock import Clock, JobsClock, Pace, seconds_left, status
from napari_zssr.plugin.messages import NOTHING_GAINED
from napari_zssr.plugin.summary import (
    CONFIRMED,
    EVENLY_SPACED,
    STRONG_NOISE,
    VERY_NOISY,
    finished_message,
    form_sentence,
    stopped_message,
)
from napari_zssr.progress import PlaneDone, Progress, drain
from napari_zssr.stack.axial_channel import AxialReport
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.channels import channel_starts
from napari_zssr.stack.run import upscale_steps
from napari_zssr.units import duration_text
from napari_zssr.zssr.checkpoint import write_networks
from napari_zssr.zssr.cost import Work, assumed_work

SMALL: dict[str, Any] = {
    "steps": 20,
    "width": 4,
    "blocks": 1,
    "batch": 1,
    "crop_px": 8,
    "noise": "off",
    "always": True,
    "device": "cpu",
    "strategy": "independent",
    "start": "random",
}


@pytest.mark.parametrize(
    "config",
    [
        change(INSTANT, noise="off", always=True, device="cpu"),
        change(FAST, **SMALL),
        change(BALANCED, **SMALL),
        change(PAPER, **SMALL, gradual=2),
    ],
    ids=lambda config: config.preset,
)
def test_the_share_grows_to_the_whole(config: Config) -> None:
    plane = np.random.default_rng(0).random((24, 24))
    clock, shares, done = Clock(assumed_work(config, (), (2, 24, 24), "ZYX")), [0.0], []

    def look(event: Any) -> None:
        if isinstance(event, Progress):
            shares.append(clock.update(event))
        elif isinstance(event, PlaneDone):
            done.append(shares[-1])

    drain(upscale_steps(labelled(np.stack([plane] * 2), axes="ZYX"), config), look)
    assert shares == sorted(shares)
    np.testing.assert_allclose(done, (0.5, 1.0), atol=0.01)


@pytest.mark.parametrize(
    ("noise", "grain", "steps", "moves"),
    [("off", 0, 20, 20), ("auto", 0, 20, 20), ("auto", 0.05, 100, 25)],
)
def test_the_share_grows_with_every_step_whether_or_not_there_is_noise(
    noise: str, grain: float, steps: int, moves: int, shipped: Path
) -> None:
    """With it a quarter of the steps are taken."""
    y, x = np.mgrid[:112, :112] / 7
    plane = 0.5 + 0.2 * np.sin(y) + 0.2 * np.cos(x)
    plane += np.random.default_rng(0).normal(0, grain, plane.shape)
    config = change(BALANCED, **SMALL | {"start": "learned", "noise": noise})
    config = change(config, steps=steps)
    starts = channel_starts(config, "YX", (112, 112))
    clock, shares = Clock(assumed_work(config, starts, (112, 112), "YX")), []

    def look(event: Any) -> None:
        if isinstance(event, Progress):
            share = clock.update(event)
            if event.stage == "train" and event.step:
                shares.append(share)

    drain(upscale_steps(labelled(plane, axes="YX"), config), look)
    assert len(shares) == moves
    assert np.diff(shares).min() > 0


def test_the_share_grows_where_nothing_is_trained(tmp_path: Path) -> None:
    plane = np.random.default_rng(0).random((24, 24))
    config = change(PAPER, **SMALL, gradual=2)
    stack = labelled(np.stack([plane] * 2), axes="ZYX")
    learned = drain(upscale_steps(stack, change(config, steps=1))).networks
    path = write_networks(tmp_path / "n.safetensors", learned)
    config = change(config, start=str(path), steps=0)
    clock, shares, done = (
        Clock(assumed_work(config, learned, (2, 24, 24), "ZYX")),
        [0.0],
        [],
    )

    def look(event: Any) -> None:
        if isinstance(event, Progress):
            shares.append(clock.update(event))
        elif isinstance(event, PlaneDone):
            done.append(shares[-1])

    drain(upscale_steps(stack, config), look)
    np.testing.assert_allclose(done, (0.5, 1.0), atol=0.01)


def test_time_left_is_told_when_it_is_known() -> None:
    assert seconds_left(0.5, 1) is None
    assert seconds_left(0.01, 100) is None
    assert seconds_left(0.25, 10) == pytest.approx(30)
    # Half of it is what was estimated, later nothing.
    assert seconds_left(0.25, 10, expected=20) == pytest.approx(20)
    assert seconds_left(0.5, 10, expected=90) == pytest.approx(10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9, "9.0 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


def test_slices_that_are_done_tell_the_pace() -> None:
    """Whatever was learned before, and whatever a slice was expected to take."""
    pace = Pace()
    pace.note(Progress(stage="shared train", step=1, total=9, planes=5), 1)
    pace.note(Progress(stage="shared check", step=1, total=1, planes=5), 20)
    assert pace.left(20) is None
    pace.note(PlaneDone(plane=0, planes=5, done=1), 24)
    assert pace.left(24) == pytest.approx(16)
    assert pace.left(26) == pytest.approx(14)
    pace.note(PlaneDone(plane=1, planes=5, done=2), 30)
    assert pace.left(30) == pytest.approx(15)
    # After the last slice the columns along Z may follow, which no slice tells of.
    pace.note(PlaneDone(plane=4, planes=5, done=5), 40)
    assert pace.left(40) is None


def test_the_blur_along_z_counts_as_done_before_training_begins() -> None:
    work = Work(
        shared={},
        plane={},
        axial={"axial blur": (4.0, 1), "axial predict": (6.0, 1)},
        planes=0,
    )
    clock = Clock(work)
    assert clock.update(Progress(stage="axial blur", step=0, total=1)) == 0
    assert clock.update(Progress(stage="axial predict", step=0, total=6)) == 0.4


def test_where_a_run_stands() -> None:
    train = Progress(stage="train", step=40, total=400, plane=2, planes=40)
    assert status(train, 130) == "Slice 3 of 40 · training · about 2 min left"
    assert status(train, 0.04) == "Slice 3 of 40 · training · nearly done"
    assert status(Progress(stage="read", step=0, total=1)) == "Reading"
    whole = status(train, 130, job="layer 2 of 3", network=(1, 3))
    assert whole == (
        "Layer 2 of 3 · slice 3 of 40 · network 1 of 3 · training · about 2 min left"
    )


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"Z": 1, "C": 6, "Y": 9, "X": 8}, "Channel 5 of 6 · training"),
        ({"Z": 3, "C": 2, "Y": 9, "X": 8}, "Slice 3 of 3 · channel 1 of 2 · training"),
        ({"C": 2, "T": 3, "Y": 9, "X": 8}, "Slice 2 of 3 · channel 2 of 2 · training"),
        ({"T": 2, "Z": 3, "Y": 9, "X": 8}, "Slice 5 of 6 · training"),
    ],
)
def test_channels_are_not_counted_as_slices(sizes: dict[str, int], words: str) -> None:
    train = Progress(stage="train", step=40, total=400, plane=4, planes=6)
    assert status(train, sizes=sizes) == words


def test_layers_share_one_figure_by_their_sizes() -> None:
    """The second of two layers takes three quarters of the run."""
    clock = Clock(assumed_work(change(FAST, **SMALL), (), (24, 24), "YX"))
    jobs, shares, waiting = JobsClock([1.0, 3.0]), [], []
    for share in (0.0, 1.0, 0.0, 0.5, 1.0):
        if share == 0:
            jobs.begin_job()
            waiting.append(jobs.waiting)
        clock.share = share
        shares.append(jobs.update(clock))
    assert shares == [0, 0.25, 0.25, 0.625, 1]
    assert (jobs.number, jobs.count) == (2, 2)
    assert waiting == [3, 0]


def test_networks_that_slices_share_are_counted() -> None:
    config = change(FAST, **SMALL | {"strategy": "shared"})
    y, x = np.mgrid[:32, :32] / 3
    stack = np.stack([[np.sin(y + n), np.cos(x * y / 9 - n)] for n in range(3)])
    clock, seen = Clock(assumed_work(config, (), stack.shape, "ZCYX")), []

    def look(event: Any) -> None:
        if isinstance(event, Progress):
            clock.update(event)
            seen.append(clock.network(event))

    drain(upscale_steps(labelled(stack, axes="ZCYX"), config), look)
    assert set(seen) == {None, (1, 2), (2, 2)}


def test_what_came_of_it() -> None:
    config = change(INSTANT, noise="off", always=True, device="cpu")
    plane = np.random.default_rng(0).random((24, 24))
    report = drain(upscale_steps(labelled(plane, axes="YX"), config)).report
    message = finished_message("cells x2", report, config)
    gain = report.planes[0].gain_db
    assert gain is not None
    closer = "closer than" if gain >= 0 else "farther off than"
    assert message.headline.startswith(f"{abs(gain):.2f} dB {closer} bicubic")
    assert report.sentence in message.details
    assert "No noise found." in message.details
    assert "on the processor (" in message.details
    assert not message.problem


GAUSSIAN = KernelSpec(kind="gaussian", sigma_px=(0.8, 0.8))


@pytest.mark.parametrize(
    ("changes", "advised"),
    [
        ({}, "'estimate from image' under Blur, or the preset Balanced;"),
        ({"kernel": GAUSSIAN}, "You may try the preset Balanced;"),
        ({"preset": "balanced", "kernel": GAUSSIAN}, "details. More pixels will"),
    ],
)
def test_nothing_gained_is_no_success(changes: dict[str, Any], advised: str) -> None:
    config = change(INSTANT, noise="off", device="cpu")
    plane = np.random.default_rng(0).random((24, 24))
    report = drain(upscale_steps(labelled(plane, axes="YX"), config)).report
    (made,) = report.planes
    told = replace(
        report, planes=(replace(made, returned="bicubic"),), sentence="The details."
    )
    message = finished_message("cells", told, change(config, **changes))
    assert message.sign == NOTHING_GAINED
    (noisy,) = (replace(plane, noise=0.02) for plane in told.planes)
    details = finished_message("cells", replace(told, planes=(noisy,)), config).details
    assert "a factor of 1, which removes the noise" in details
    assert "factor of 1" not in message.details
    assert not message.problem
    assert advised in message.details.replace("The details", "details")


def test_what_may_mislead_is_shown_at_once() -> None:
    """Before all else: that noise may be lines, and what is only evenly spaced."""
    config = change(INSTANT, noise="off", device="cpu")
    plane = np.random.default_rng(0).random((24, 24))
    report = drain(upscale_steps(labelled(plane, axes="YX"), config)).report
    (made,) = (replace(one, returned="learned") for one in report.planes)
    strong = replace(made, denoised=True, noise=STRONG_NOISE)
    for shown, warns in (
        (strong, True),
        (replace(strong, denoised=False), False),
        (replace(strong, noise=0.9 * STRONG_NOISE), False),
        (replace(strong, returned="bicubic"), False),
    ):
        message = finished_message("cells", replace(report, planes=(shown,)), config)
        assert message.details.startswith(VERY_NOISY.format(CONFIRMED)) is warns
        assert message.warns is warns
        assert message.opened is (warns or shown.returned == "bicubic")
    along = AxialReport(
        channel=0, factor=3, returned="learned", width_slices=None, sentence=""
    )
    for axial, warns in ((along, True), (replace(along, width_slices=0.5), False)):
        told = replace(report, planes=(), axial=(axial,))
        message = finished_message("cells", told, config)
        assert message.details.startswith(EVENLY_SPACED) is message.opened is warns
    # Along Z nothing can be confirmed, so it is not promised.
    noisy = replace(report, planes=(), axial=(replace(along, noise=STRONG_NOISE),))
    details = finished_message("cells", noisy, config).details
    assert details.startswith(VERY_NOISY.format(""))
    assert "confirmed" not in details


@pytest.mark.parametrize(
    ("gain", "denoised"), [(0.3, False), (0.3, True), (0.9, False)]
)
def test_the_line_says_what_can_hardly_be_seen(gain: float, denoised: bool) -> None:
    config = change(INSTANT, noise="off", always=True, device="cpu")
    plane = np.random.default_rng(0).random((24, 24))
    report = drain(upscale_steps(labelled(plane, axes="YX"), config)).report
    (made,) = report.planes
    (made,) = (replace(made, gain_db=gain, denoised=denoised, returned="learned"),)
    headline = finished_message(
        "cells", replace(report, planes=(made,)), config
    ).headline
    assert ("rarely visible" in headline) == (gain < 0.5 and not denoised)
    assert made.quality is not None
    same = replace(made, quality=replace(made.quality, change=0.001))
    told = replace(report, planes=(same,))
    assert finished_message("cells", told, config).headline.count("rarely visible")


def test_what_was_not_delivered_is_not_praised() -> None:
    config = change(INSTANT, noise="off", device="cpu")
    plane = np.random.default_rng(0).random((24, 24))
    report = drain(upscale_steps(labelled(plane, axes="YX"), config)).report
    (made,) = report.planes
    for changes, says in (
        ({"returned": "bicubic"}, "No improvement, bicubic returned"),
        (
            {
                "returned": "bicubic",
                "gain_db": 0.8,
                "assessment": {"share": 0.0, "reason": "x"},
            },
            "Checks doubt the gain, bicubic returned",
        ),
        (
            {"returned": "learned", "assessment": {"share": 0.4, "reason": "x"}},
            "Partly improved",
        ),
    ):
        told = replace(report, planes=(replace(made, **changes),))
        headline = finished_message("cells", told, config).headline
        assert says in headline
        assert "closer" not in headline


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (0, "Cancelled, nothing was finished (cells)"),
        (1, "Cancelled, 1 of 9 slices done (cells)"),
        (3, "Cancelled, 3 of 9 slices done (cells)"),
    ],
)
def test_what_is_left(finished: int, words: str) -> None:
    assert stopped_message("cells", finished, 9).named == words


@pytest.mark.parametrize(("planes", "name"), [(2, "channels"), (8, "planes")])
def test_what_is_left_of_channels(planes: int, name: str) -> None:
    left = stopped_message("cells", 1, planes, channels=2).named
    assert left == f"Cancelled, 1 of {planes} {name} done (cells)"


def test_the_way_out_is_a_field_of_the_form() -> None:
    from napari_zssr.errors import InputError

    plane = np.full((24, 24), np.nan)
    with pytest.raises(InputError) as caught:
        drain(upscale_steps(labelled(plane, axes="YX"), INSTANT))
    told = form_sentence(str(caught.value))
    assert "Missing pixels: fill" in told
    assert "--" not in told
