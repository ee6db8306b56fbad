from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("qtpy")

from napari_zssr.config import FAST, PAPER, Config, change
from napari_zssr.plugin.curve import LABEL, NOTE, GainCurve
from napari_zssr.progress import Progress, drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import upscale_steps

pytestmark = pytest.mark.usefixtures("qapp")


def train(step: int, gain: float | None = None, stage: str = "train") -> Progress:
    return Progress(stage=stage, step=step, total=100, gain_db=gain)


def curve(*gains: float) -> GainCurve:
    made = GainCurve()
    for number, gain in enumerate(gains):
        made.follow(train(20 * number, gain))
    return made


def test_a_rising_gain_rises_on_the_screen() -> None:
    (line,) = curve(0.0, 0.5, 0.8).scaled()
    assert [x for x, _ in line] == pytest.approx([0, 0.5, 1.0])
    heights = [y for _, y in line]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("gains", [(0.3, 0.9), (-0.4, -0.2), (-3.0, 2.0), (0.0,)])
def test_everything_and_zero_are_within_the_plot(gains: tuple[float, ...]) -> None:
    made = curve(*gains)
    heights = [y for line in made.scaled() for _, y in line]
    assert all(0 <= y <= 1 for y in heights)
    high, span = made._range()
    assert 0 <= high / span <= 1


def test_a_new_training_begins_a_new_line_to_the_right() -> None:
    made = curve(0.1, 0.5)
    made.follow(train(1))
    made.follow(train(20, 0.2))
    made.follow(train(40, 0.4))
    first, second = made.scaled()
    assert first[-1][0] == pytest.approx(1 / 3)
    assert [x for x, _ in second] == pytest.approx([2 / 3, 1.0])


def test_the_test_at_the_end_is_a_point_of_its_network() -> None:
    made = GainCurve()
    made.follow(train(30))
    made.follow(train(0, 0.7, stage="check"))
    assert made.scaled() == [[(1.0, 0.0)]]
    assert made.text() == "+0.70 dB"
    # Slices on which nothing more was trained add nothing.
    made.follow(train(0, 0.9, stage="check"))
    assert [len(line) for line in made.lines] == [1]
    made.follow(train(1))
    made.follow(train(30, 0.2))
    assert [len(line) for line in made.lines] == [1, 1]


def test_the_test_after_training_is_the_last_point() -> None:
    """At the same step, both made a vertical drop at the end of each network."""
    made = curve(0.1, 0.6)
    made.follow(Progress(stage="check", step=0, total=1, gain_db=0.4))
    (line,) = made.lines
    assert [(point.step, point.gain) for point in line] == [(0, 0.1), (20, 0.4)]
    assert made.latest == 0.4


@pytest.mark.parametrize("gain", [math.nan, math.inf, None])
def test_what_cannot_be_drawn_is_left_out(gain: float | None) -> None:
    made = curve(0.1)
    made.follow(train(40, gain))
    assert [len(line) for line in made.lines] == [1]


def test_the_curve_does_not_stand_for_the_verdict() -> None:
    """A gain of +0.8 dB on the way is followed by tests that may discard it."""
    made = curve(0.1, 0.8)
    assert LABEL.startswith("Interim")
    assert made.accessibleDescription() == f"+0.80 dB. {NOTE}"
    assert "decide" in NOTE
    assert "whatever this curve shows" in made.toolTip()


def test_what_is_not_known_is_said() -> None:
    assert GainCurve().scaled() == []
    assert GainCurve().text() == f"{LABEL}: not measured yet"
    assert curve(-0.1).text() == "-0.10 dB"
    assert curve(0.2).accessibleDescription() == f"+0.20 dB. {NOTE}"


def test_the_widget_draws_and_forgets(qtbot: object) -> None:
    widget = GainCurve()
    qtbot.addWidget(widget)  # type: ignore[attr-defined]
    widget.resize(200, 60)
    empty = widget.grab().toImage()
    for step, gain in ((20, 0.1), (40, 0.3), (60, 0.5)):
        widget.follow(train(step, gain))
    drawn = widget.grab().toImage()
    widget.clear()
    assert drawn != empty
    assert widget.grab().toImage() == empty


SMALL: dict[str, Any] = {
    "width": 4,
    "blocks": 1,
    "batch": 1,
    "crop_px": 8,
    "noise": "off",
    "always": True,
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("config", "fewest"),
    [
        (change(FAST, **SMALL, start="random", steps=100), 3),
        (change(FAST, **SMALL, start="learned", steps=50), 4),
        (change(PAPER, **SMALL, steps=50), 1),
    ],
    ids=["one cycle", "pretrained start", "paper"],
)
def test_the_engine_tells_the_gain_and_ends_with_that_of_the_report(
    config: Config, fewest: int, shipped: object
) -> None:
    y, x = np.mgrid[:48, :48] / 4
    gains: list[float] = []

    def look(event: Any) -> None:
        if isinstance(event, Progress) and event.gain_db is not None:
            gains.append(event.gain_db)

    stack = labelled(np.sin(y) + np.cos(x * y / 20), axes="YX")
    report = drain(upscale_steps(stack, config), look).report
    assert len(gains) >= fewest
    assert gains[-1] == report.planes[0].gain_db


def test_the_gain_along_z_is_told_too(shipped: object) -> None:
    config = change(FAST, **SMALL, factor=1, factor_z=2, kernel_z="gaussian:0.6")
    z, y, x = np.mgrid[:10, :48, :48] / 3
    stack = labelled(
        np.sin(z) + np.cos(y * x / 20),
        axes="ZYX",
        spacing={"Z": 0.4, "Y": 0.1, "X": 0.1},
    )
    made = GainCurve()

    def look(event: Any) -> None:
        if isinstance(event, Progress):
            made.follow(event)

    report = drain(upscale_steps(stack, config), look).report
    assert made.latest == report.axial[0].gain_db
