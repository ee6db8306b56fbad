"""What is said of runs: lines, names with signs of HTML, the activity dock."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RIDGE, Desk

pytest.importorskip("napari")

from napari.layers import Image
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QApplication, QLabel, QWidget

from napari_zssr.config import INSTANT, change
from napari_zssr.errors import InputError
from napari_zssr.plugin import run_controller
from napari_zssr.plugin.messages import (
    DONE,
    NOTHING_GAINED,
    OPENED,
    PROBLEM,
    STOPPED,
    VISIBLE,
    Message,
    Messages,
)
from napari_zssr.plugin.summary import finished_message, stopped_message
from napari_zssr.progress import Progress, drain
from napari_zssr.stack import run as engine
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.run import upscale_steps

ODD = "A & B <b>x</b> &amp;"


def rings(*shape: int) -> Any:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = 1000 * (1.5 + np.sin(np.hypot(y - 9, x - 14) / 2))
    return np.broadcast_to(waves, shape).astype(np.uint16)


@pytest.fixture
def messages(qtbot: Any) -> Messages:
    made = Messages()
    qtbot.addWidget(made)
    made.resize(300, 100)
    return made


@pytest.mark.parametrize("learned", [2, 1])
def test_what_a_run_has_gained_fits_the_line(messages: Messages, learned: int) -> None:
    stack = np.random.default_rng(0).random((2, 24, 24))
    config = change(INSTANT, noise="off", always=True, device="cpu")
    report = drain(upscale_steps(labelled(stack, axes="ZYX"), config)).report
    kinds = ["learned"] * learned + ["bicubic"] * (2 - learned)
    planes = [
        replace(plane, gain_db=gain, returned=kind)
        for plane, gain, kind in zip(report.planes, (0.6, 1.2), kinds, strict=True)
    ]
    told = replace(report, planes=tuple(planes), seconds=75)
    messages.add(finished_message("cells x2 instant", told, config))
    (row,) = messages.rows
    gain, _, _ = row.message.line.rpartition(" (")
    room = messages.width() - row.arrow.width() - row.layout().spacing()
    assert row.headline.fontMetrics().horizontalAdvance(f"{gain} ...") <= room


@pytest.mark.parametrize(
    ("name", "shown"),
    [("cells", "(cells)"), ("a_very_long_name_of_cells x2 balanced", "…")],
)
def test_only_the_name_is_cut_in_its_middle(
    messages: Messages, qtbot: Any, name: str, shown: str
) -> None:
    outcome = "0.73 dB closer than bicubic, 78 s"
    # napari's style keeps room beside texts, too.
    messages.setStyleSheet("QLabel { padding: 4px; }")
    messages.add(Message(outcome, name=name))
    (row,) = messages.rows
    messages.show()
    messages.resize(320, 60)
    qtbot.wait(20)
    line = row.headline.text()
    assert line.startswith(f"{DONE} {outcome} (")
    assert shown in line
    assert line.endswith(f"{name[-1]})")
    assert row.headline.sizeHint().width() <= row.headline.width()
    assert name in row.text
    # Where there is no room for it, the name is left out.
    messages.resize(row.headline.fontMetrics().horizontalAdvance(outcome) + 50, 60)
    qtbot.wait(20)
    assert row.headline.text() == f"{DONE} {outcome}"
    # And where there is none for the outcome, it is open, until it is closed.
    messages.resize(row.headline.fontMetrics().horizontalAdvance(outcome) - 10, 60)
    qtbot.waitUntil(row.details.isVisible)
    row.arrow.setChecked(False)
    messages.resize(messages.width() - 5, 60)
    qtbot.wait(20)
    assert not row.details.isVisible()


@pytest.mark.parametrize(
    ("sign", "opened"),
    [(DONE, False), (NOTHING_GAINED, True), (STOPPED, True), (PROBLEM, True)],
)
def test_what_says_what_to_do_is_open(
    messages: Messages, sign: str, opened: bool
) -> None:
    messages.add(Message("cells", "What to do.", sign))
    (row,) = messages.rows
    assert row.arrow.isChecked() is opened


def test_the_newest_is_on_top_and_few_are_seen(messages: Messages) -> None:
    heights = []
    for number in range(6):
        messages.add(Message(f"cells {number}: done", "Much more to say. " * 20))
        heights.append(messages.sizeHint().height())
    assert messages.text.startswith("\u2713 cells 5: done\nMuch more")
    line = messages.fontMetrics().lineSpacing() + 6
    assert heights[0] <= line + 2
    assert heights[-1] == VISIBLE * line
    assert messages.isVisibleTo(messages.parentWidget())


def test_a_click_opens_the_details(messages: Messages, qtbot: Any) -> None:
    messages.add(Message("cells: done", "Much more to say. " * 20))
    messages.show()
    (row,) = messages.rows
    assert not row.details.isVisible()
    low = messages.sizeHint().height()
    qtbot.mouseClick(row.headline, Qt.MouseButton.LeftButton)
    assert row.details.isVisible()
    line = messages.fontMetrics().lineSpacing() + 6
    assert low < messages.sizeHint().height() <= OPENED * line
    qtbot.mouseClick(row.arrow, Qt.MouseButton.LeftButton)
    assert not row.details.isVisible()


def test_problems_are_open_and_have_a_sign(messages: Messages) -> None:
    messages.add(Message("The kernel is odd.", sign=PROBLEM))
    messages.add(Message("cells: cancelled", sign=STOPPED))
    stopped, problem = messages.rows
    assert problem.arrow.isChecked()
    assert stopped.arrow.isChecked()
    assert problem.text.startswith("\u26a0 ")
    assert problem.arrow.accessibleName() == "Details: The kernel is odd."


def test_messages_go_with_their_layers(messages: Messages) -> None:
    source, result, other = (Image(np.zeros((4, 4)), name=n) for n in "abc")
    messages.add(Message("of a"), [result, source])
    messages.add(Message("of c"), [other])
    messages.add(Message("of none"))

    def kept() -> list[str]:
        return [row.message.headline for row in messages.rows]

    messages.keep_of([source, other])
    assert kept() == ["of none", "of c", "of a"]
    messages.keep_of([other])
    assert kept() == ["of none", "of c"]
    del other
    gc.collect()
    messages.keep_of([])
    assert kept() == ["of none"]
    messages.remove_without_layers()
    assert messages.rows == []
    assert messages.isHidden()


def test_in_the_widget_they_go_when_source_and_result_are_removed(desk: Desk) -> None:
    layers = [desk.add(rings(24, 24), name) for name in ("a", "b", "c")]
    desk.viewer.layers.selection = set(layers)
    desk.widget.form.image.fields["in_turn"].value = True
    desk.run()
    rows = desk.widget.controls.messages.rows
    names = [row.message.name for row in rows]
    assert names == [f"{name} x2 instant" for name in "cba"]
    desk.viewer.layers.remove("a")
    assert len(desk.widget.controls.messages.rows) == 3
    desk.viewer.layers.remove("a x2 instant")
    assert len(desk.widget.controls.messages.rows) == 2
    desk.viewer.layers.clear()
    assert desk.said == ""


# ---- names with signs of HTML


def shown(label: QLabel) -> str:
    """The text of a label as it is read."""
    text = label.text()
    rich = label.textFormat() == Qt.TextFormat.RichText or (
        label.textFormat() == Qt.TextFormat.AutoText and Qt.mightBeRichText(text)
    )
    if not rich:
        return str(text)
    document = QTextDocument()
    document.setHtml(text)
    return str(document.toPlainText())


def texts(widget: QWidget) -> Iterator[str]:
    for label in widget.findChildren(QLabel):
        yield shown(label)
        yield label.accessibleName()


def check_names(widget: QWidget, fewest: int = 1) -> None:
    """The odd name is read as it was given, wherever it is."""
    # Long words may break at places of no width.
    found = [text.replace("\u200b", "") for text in texts(widget)]
    found = [text for text in found if "A & B" in text or "amp" in text]
    assert len(found) >= fewest
    for text in found:
        assert text.count(ODD) == text.count("A & B")
        assert "&amp;amp" not in text


def test_an_odd_name_is_read_through_a_run_and_a_check(desk: Desk) -> None:
    desk.add(rings(48, 48), ODD)
    desk.run()
    assert desk.names[-1] == f"{ODD} x2 instant"
    check_names(desk.widget.native, fewest=2)
    desk.viewer.layers.selection = {desk.viewer.layers[-1]}
    desk.widget.check.start()
    desk.qtbot.waitUntil(
        lambda: not desk.widget.check.body.running.visible, timeout=30_000
    )
    check_names(desk.widget.native, fewest=3)


def test_an_odd_name_is_read_in_errors_and_after_cancelling(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add(rings(24, 24), ODD)

    def fail(*_: Any, **__: Any) -> Any:
        yield Progress(stage="train", step=0, total=2, message=f"Look at {ODD}")
        raise InputError(f"Layer {ODD} is odd.")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "upscale_steps", fail)
        desk.run()
    check_names(desk.widget.native, fewest=2)
    desk.widget.controls.show_reason(f"Layer {ODD} is odd.")
    desk.widget.controls.show_progress(0.5, f"{ODD} is worked on")
    check_names(desk.widget.native, fewest=4)
    desk.widget.start()
    desk.widget.cancel()
    desk.wait()
    assert f"({ODD})" in desk.said
    check_names(desk.widget.native)


def test_an_odd_name_is_read_in_tooltips_of_a_batch(qtbot: Any) -> None:
    from napari_zssr.plugin.batch import BatchRow, BatchTable
    from napari_zssr.plugin.batch_form import Source

    table = BatchTable()
    qtbot.addWidget(table)
    source = Source(Path("/there/<b>a & b</b>.tif"))
    table.show_rows([BatchRow(image=source, target=Path("/there/out.tif"))])
    item = table.item(0, 0)
    assert item is not None
    document = QTextDocument()
    document.setHtml(item.toolTip())
    assert document.toPlainText() == str(source.path)


# ---- one figure for a run, and the activity dock


def bars() -> list[Any]:
    return [bar for bar in progress._all_instances if bar.desc == "Super-resolution"]


def test_one_bar_for_all_layers_in_the_activity_dock_too(desk: Desk) -> None:
    layers = [desk.add(rings(3, 24, 24), n, axis_labels="zyx") for n in ("a", "b")]
    desk.viewer.layers.selection = set(layers)
    desk.widget.form.image.fields["in_turn"].value = True
    shares, dock, lines = [], [], []
    controls = desk.widget.controls
    show = controls.show_progress

    def look(share: float, line: str) -> None:
        show(share, line)
        shares.append(share)
        lines.append(line)
        dock.append([bar.n for bar in bars()])

    controls.show_progress = look  # type: ignore[method-assign]
    desk.run()
    assert shares == sorted(shares)
    assert any(line.startswith("Layer 1 of 2 \u00b7 slice 3 of 3") for line in lines)
    assert any(line.startswith("Layer 2 of 2 \u00b7 slice 2 of 3") for line in lines)
    second = [s for s, line in zip(shares, lines, strict=True) if "2 of 2" in line]
    assert min(second) == pytest.approx(0.5)
    assert max(shares) == pytest.approx(1, abs=0.02)
    # It was looked at before it followed.
    assert dock[1:] == [[int(100 * share)] for share in shares[:-1]]
    assert bars() == []


@pytest.mark.parametrize("end", ["cancel", "error", "delete"])
def test_the_activity_ends_however_the_run_does(
    window: Desk, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    window.add(rings(200, 24, 24), axis_labels="zyx")
    if end == "error":

        def fail(*_: Any, **__: Any) -> Any:
            yield Progress(stage="train", step=0, total=2)
            raise InputError("It is odd.")

        monkeypatch.setattr(engine, "upscale_steps", fail)
    window.set(RIDGE)
    window.widget.start()
    assert len(bars()) == 1
    if end == "cancel":
        window.widget.cancel()
    elif end == "delete":
        window.viewer.window.remove_dock_widget(window.widget.native)
    window.wait()
    QApplication.processEvents()
    assert bars() == []


@pytest.mark.parametrize(("least", "told"), [(0.0, True), (3600.0, False)])
def test_napari_tells_of_the_end_of_a_long_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, least: float, told: bool
) -> None:
    monkeypatch.setattr(run_controller, "NOTIFIED_S", least)
    before = len(notification_manager.records)
    desk.add(rings(24, 24))
    desk.run()
    said = [record.message for record in list(notification_manager.records)[before:]]
    outcome = desk.widget.controls.messages.rows[0].message.named
    assert (f"Super-resolution: {outcome}." in said) == told


def test_a_cancelled_run_is_not_told_as_ready(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_controller, "NOTIFIED_S", 0.0)
    before = len(notification_manager.records)
    desk.add(rings(100, 24, 24), axis_labels="zyx")
    desk.set(change(RIDGE, strategy="independent"))
    desk.widget.start()
    desk.widget.cancel()
    desk.wait()
    assert len(notification_manager.records) == before


def test_a_cancelled_run_of_several_layers_says_how_many_are_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_controller, "NOTIFIED_S", 0.0)
    layers = [desk.add(rings(24, 24), name) for name in ("c1", "c2", "c3")]
    desk.viewer.layers.selection = set(layers)
    desk.widget.form.image.fields["in_turn"].value = True
    told, follow = len(notification_manager.records), desk.widget._run._follow

    def cancel_last(event: Any) -> None:
        follow(event)
        if desk.widget._run.counts[0] == 2:
            desk.widget.cancel()

    desk.widget._run._follow = cancel_last  # type: ignore[method-assign]
    desk.run()
    assert desk.names[3:] == ["c1 x2 instant", "c2 x2 instant"]
    newest = desk.widget.controls.messages.rows[0]
    assert newest.text == f"{STOPPED} Cancelled, 2 of 3 layers done"
    assert newest.details.isVisibleTo(newest)
    # Nothing else is said of it elsewhere.
    assert len(notification_manager.records) == told


def test_what_is_done_of_the_layer_that_was_cancelled_is_told_as_well() -> None:
    left = stopped_message("c3", 1, 4, layers=(2, 3))
    assert (
        left.named
        == "Cancelled, 2 of 3 layers done, and 1 of 4 slices of the next (c3)"
    )
    failed = stopped_message("c3", 1, 4, failed=True, layers=(2, 3))
    assert failed.named == "Stopped, 1 of 4 slices done (c3)"


def test_one_black_slice_has_no_plural() -> None:
    assert stopped_message("cells", 2, 3, black=1).details == (
        "The last slice of the layer is not done and is black."
    )
    assert "last 2 slices of the layer are" in (
        stopped_message("cells", 1, 3, black=2).details
    )
