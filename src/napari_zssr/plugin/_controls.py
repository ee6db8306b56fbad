"""Run and Cancel, how far the run is, and what came of it."""

from __future__ import annotations

import html

from magicgui.widgets import ProgressBar, PushButton

from napari_zssr.plugin._loss import LossCurve
from napari_zssr.plugin._rows import Column, red, say, side_by_side, words

RESOLUTION = 100
MOST_LINES = 4


class RunFields(Column):
    """The part of the widget that is always in sight."""

    def __init__(self) -> None:
        self.run = PushButton(
            text="Run",
            tooltip="Learns from the image alone and adds the enlarged layer. The "
            "window stays usable meanwhile.",
        )
        self.cancel = PushButton(
            text="Cancel",
            tooltip="Stops after the step that is being done. Slices that are finished "
            "can be kept.",
        )
        self._why = words()
        self._bar = ProgressBar(
            min=0, max=RESOLUTION, tooltip="How much of the run is done."
        )
        self._status = words()
        self.loss = LossCurve()
        self.question = Question()
        self._after = words()
        self._lines: list[str] = []
        super().__init__(
            [
                self._why,
                side_by_side(self.run, self.cancel),
                self._bar,
                self._status,
                self._after,
                self.question,
            ]
        )
        self.native.layout().insertWidget(4, self.loss)
        self.idle()

    def say_why(self, reason: str) -> None:
        """Why Run cannot be pressed, or nothing."""
        say(self._why, html.escape(reason))

    def running(self, name: str) -> None:
        """Show that a run is on."""
        self.run.enabled, self.cancel.enabled = False, True
        self._bar.visible = self._status.visible = True
        self.loss.clear()
        self.loss.setVisible(True)
        self.progress(0.0, f"Starting with {name}")

    def stopping(self) -> None:
        """Show that Cancel was heard."""
        self.cancel.enabled = False
        self._status.value = "Stopping after this step"

    def idle(self) -> None:
        """Show that nothing runs."""
        self.cancel.enabled = False
        self._bar.visible = self._status.visible = False
        self.loss.setVisible(False)
        self._after.visible = bool(self._lines)

    def progress(self, share: float, line: str) -> None:
        """Show how far the run is."""
        self._bar.value = int(RESOLUTION * share)
        self._status.value = html.escape(line)

    def clear(self) -> None:
        """Forget what came of earlier runs."""
        self._lines.clear()
        self._after.visible = False
        self.question.visible = False

    def add_line(self, line: str, problem: bool = False) -> None:
        """Say what came of a run."""
        text = html.escape(line)
        self._lines.append(red(text, self._after) if problem else text)
        self._after.value = "<br>".join(self._lines[-MOST_LINES:])
        self._after.visible = True


class Question(Column):
    """Whether the finished slices of a run that was stopped are wanted."""

    def __init__(self) -> None:
        self.keep = PushButton(
            text="Keep them", tooltip="Leaves the finished slices in their layer."
        )
        self.discard = PushButton(
            text="Discard them", tooltip="Takes the layer of finished slices away."
        )
        super().__init__([side_by_side(self.keep, self.discard)])
        self.visible = False


class AfterFields(Column):
    """What can be done with the settings and with what was learned."""

    def __init__(self) -> None:
        self.python = PushButton(
            text="Copy as Python",
            tooltip="Copies lines that do the same in napari's console.",
        )
        self.command = PushButton(
            text="Copy as command",
            tooltip="Copies a line that does the same in a terminal, for the file that "
            "the layer was read from.",
        )
        self.again = PushButton(
            text="Run again like this layer",
            tooltip="Sets the form as it was for the result that is selected in the "
            "layer list.",
        )
        self.networks = PushButton(
            text="Save networks...",
            tooltip="Saves the networks of the run that finished last, so that a "
            "sister image can start from them (Advanced, Start from).",
            enabled=False,
        )
        super().__init__([self.again, self.python, self.command, self.networks])
