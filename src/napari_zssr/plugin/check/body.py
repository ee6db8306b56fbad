"""What an open check shows: verdict, table, plots and buttons."""

from __future__ import annotations

import html
import time
from typing import Any

from magicgui.widgets import Container, ProgressBar, PushButton

from napari_zssr.plugin.check import readings
from napari_zssr.plugin.check.job import State
from napari_zssr.plugin.check.plot import Plot, Style
from napari_zssr.plugin.check.subject import Place, Subject
from napari_zssr.plugin.clock import seconds_left, status
from napari_zssr.plugin.controls import RESOLUTION
from napari_zssr.plugin.form.rows import (
    Column,
    Row,
    SideBySide,
    red,
    set_text,
    text_label,
)
from napari_zssr.plugin.form.split_slider import SplitSlider
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.progress import Progress
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.recipe import part_text
from napari_zssr.stack.verdict import LIMITS, verdict

NO_LINE = (
    "Press 'Draw a line' and drag the ends of the yellow line across the structure to "
    "compare, or draw a line in any Shapes layer."
)
FINER = "period ({unit}), finer to the right"


class Body(Column):
    """Verdict, table, plots and buttons of an open check."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.title = text_label()
        self.verdict = text_label()
        self.note = text_label()
        self.values = {name: text_label() for name in readings.TOOLTIPS}
        table = []
        for name, label in self.values.items():
            label.tooltip = readings.TOOLTIPS[name]
            table.append(Row(name, label))
        self.spectrum = Plot(
            Style(
                title="Power spectrum",
                y="power, fraction of the intensity range squared",
                log=True,
                periods=True,
            ),
            "How strong detail of each size is. Where the line of the result lies "
            "above that of the original, it was made sharper; beyond the end of the "
            "original its detail is inferred.",
        )
        self.correlation = Plot(
            Style(
                title="Fourier ring correlation",
                y="correlation",
                periods=True,
                level=(1 / 7, "1/7"),
            ),
            "How well two halves of the image with independent noise agree, by size "
            "of detail. Below 1/7 there is mostly noise: the resolution is where the "
            "smoothed curve first falls so close to 1/7 that the difference may be "
            "chance.",
        )
        self.profile = Plot(
            Style(title="Line profile", y="intensity, as in the image"),
            "Intensities along the yellow line in the viewer.",
        )
        self.bar = ProgressBar(min=0, max=RESOLUTION, tooltip="Progress of the check.")
        self.cancel = PushButton(
            text="Stop check", tooltip="Ends the check and keeps the figures so far."
        )
        self.progress = text_label()
        self.residual = PushButton(
            text="Show residual",
            tooltip="Adds a map of the differences: where the result, blurred and "
            "shrunk again, is brighter (red) or darker (blue) than the original, in "
            "standard deviations of its noise. A second layer, hidden at first, marks "
            "what noise does not explain.",
        )
        self.compare = PushButton(
            text="Before / after",
            tooltip="Shows the original left of a line and the result right of it, "
            "over the whole image.",
        )
        self.share = SplitSlider(
            "Far left shows only the original, far right only the result. In between, "
            "the original is left of the line."
        )
        self.draw = PushButton(
            text="Draw a line",
            tooltip="Adds a line to the image and plots the intensities along it. "
            "Drag its ends to move it.",
        )
        self.save = PushButton(
            text="Save report...",
            tooltip="Writes a page with all figures and a paragraph for the methods "
            "section, and a picture of this panel beside it.",
        )
        self.running = SideBySide([self.bar, self.cancel])
        self.plots: Container[Any] = Column([])
        for plot in (self.spectrum, self.correlation, self.profile):
            self.plots.native.layout().addWidget(plot)
        super().__init__(
            [
                self.title,
                self.verdict,
                self.running,
                self.progress,
                self.note,
                *table,
                self.plots,
                SideBySide([self.draw, self.residual]),
                SideBySide([self.compare, self.save]),
                self.share.view,
            ]
        )

    def begin(self, subject: Subject) -> None:
        """Show what is compared, and that nothing is known yet."""
        names = (subject.result.name, subject.original.name)
        result, original = (f"<i>{html.escape(name)}</i>" for name in names)
        part = part_text(subject.recipe)
        of = f" ({html.escape(part)})" if part else ""
        self.title.value = f"{result}, made from {original}{of}"
        self.verdict.value = "Comparing the result with its original."
        set_text(self.note, "")
        for label in self.values.values():
            label.value = "..."
        self.spectrum.show_curves([], "", "...")
        self.correlation.show_curves([], "", "...")
        self.profile.show_curves([], "", NO_LINE)
        self.residual.enabled = self.save.enabled = False
        self.show_toggles(residual=False, split=False)
        self.bar.value = 0
        self.running.visible = True
        self.cancel.enabled = True
        self._began = time.monotonic()

    def show_progress(self, event: Progress) -> None:
        """Show how far the check is, and how long the rest takes."""
        share = event.step / max(1, event.total)
        left = seconds_left(share, time.monotonic() - self._began)
        self.bar.value = int(RESOLUTION * share)
        set_text(self.progress, html.escape(status(event, left)))

    def show_cancelling(self) -> None:
        """Show that the check will stop after the current step."""
        self.cancel.enabled = False
        set_text(self.progress, "Cancelling ...")

    def show_idle(self) -> None:
        """Show that the check has ended, and if nothing is known, that too."""
        if not self.save.enabled:
            self.verdict.value = "Stopped before the first result."
        self.running.visible = False
        set_text(self.progress, "")

    def show_verdict(self, check: Check, state: State) -> None:
        """Show which planes are checked so far, and the verdict on them."""
        found = verdict(check, so_far=state == "running")
        text = html.escape(found.text)
        bold = red(text, self.verdict) if found.is_good is False else f"<b>{text}</b>"
        checked = readings.checked(check, state)
        lines = [html.escape(checked)] if checked else []
        lines += [bold, *map(html.escape, readings.notes(check)), LIMITS]
        self.verdict.value = "<br>".join(lines)
        self.residual.enabled = self.save.enabled = True

    def show_plane(self, plane: PlaneCheck, subject: Subject, shown: Place) -> None:
        """Show table and plots of one plane, the nearest to the one that is shown."""
        set_text(self.note, html.escape(readings.shown_plane(plane, subject, shown)))
        for name, value in readings.rows(plane, subject.pixel_um).items():
            self.values[name].value = html.escape(value)
        x = FINER.format(unit=plane.detail.unit_text)
        self.spectrum.show_curves(readings.spectra(plane), x)
        self.correlation.show_curves(
            readings.correlations(plane),
            x,
            form_sentence(readings.missing_correlation(plane)),
        )

    def show_toggles(self, *, residual: bool, split: bool) -> None:
        """Name the buttons after what they would do."""
        self.residual.text = "Hide residual" if residual else "Show residual"
        self.compare.text = "Close comparison" if split else "Before / after"
        self.share.view.visible = split
