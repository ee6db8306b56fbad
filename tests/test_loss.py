from __future__ import annotations

import math

import pytest

pytest.importorskip("qtpy")

from napari_zssr.plugin.controls import LossCurve

pytestmark = pytest.mark.usefixtures("qapp")


def curve(*losses: float) -> LossCurve:
    made = LossCurve()
    for number, loss in enumerate(losses, start=1):
        made.add(20 * number, loss)
    return made


def test_a_falling_loss_falls_on_the_screen() -> None:
    (line,) = curve(0.1, 0.05, 0.02).scaled()
    assert [x for x, _ in line] == pytest.approx([1 / 3, 2 / 3, 1.0])
    heights = [y for _, y in line]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0.0, 1.0)


def test_a_new_training_begins_a_new_line_to_the_right() -> None:
    made = curve(0.1, 0.05)
    made.add(20, 0.09)
    made.add(40, 0.04)
    first, second = made.scaled()
    assert first[-1][0] == pytest.approx(0.5)
    assert [x for x, _ in second] == pytest.approx([0.75, 1.0])


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, -1.0])
def test_what_cannot_be_drawn_is_left_out(loss: float) -> None:
    made = curve(0.1)
    made.add(40, loss)
    assert [len(line) for line in made.lines] == [1]


def test_one_point_and_none_can_be_scaled() -> None:
    assert LossCurve().scaled() == []
    assert LossCurve().latest() is None
    assert curve(0.1).scaled() == [[(1.0, 0.0)]]
    assert curve(0.1).latest() == pytest.approx(0.1)


def test_the_widget_draws_and_forgets(qtbot: object) -> None:
    widget = LossCurve()
    qtbot.addWidget(widget)  # type: ignore[attr-defined]
    widget.resize(200, 60)
    empty = widget.grab().toImage()
    for step, loss in ((20, 0.1), (40, 0.03), (60, 0.02)):
        widget.add(step, loss)
    drawn = widget.grab().toImage()
    widget.clear()
    assert drawn != empty
    assert widget.grab().toImage() == empty
