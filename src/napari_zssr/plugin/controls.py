"""The run controls: Run and Cancel, progress and messages."""

from __future__ import annotations

import html
from collections.abc import Sequence

from magicgui.widgets import ProgressBar, PushButton
from napari.layers import Layer

from napari_zssr.plugin.curve import GainCurve
from napari_zssr.plugin.form.rows import Column, say, side_by_side, words
from napari_zssr.plugin.messages import Message, Messages

# Steps of the progress bar.
RESOLUTION = 1000


class RunFields(Column):
    """Run, Cancel, progress and messages; always visible below the form."""

    def __init__(self) -> None:
        self.run = PushButton(
            text="Run",
            tooltip="Trains on this image, then adds the result as a layer. You can "
            "go on working meanwhile.",
        )
        self.cancel = PushButton(
            text="Cancel",
            tooltip="Stops after the current step. You can keep the slices that are "
            "finished.",
        )
        self._reason = words()
        self._bar = ProgressBar(
            min=0, max=RESOLUTION, tooltip="How much of the whole run is done."
        )
        self._status = words()
        self.curve = GainCurve()
        self.question = Question()
        self.messages = Messages()
        buttons = side_by_side(self.run, self.cancel)
        super().__init__([self._reason, buttons, self._bar, self._status])
        layout = self.native.layout()
        layout.addWidget(self.curve)
        layout.addWidget(self.question.native)
        layout.addWidget(self.messages)
        self.show_idle()

    def show_reason(self, reason: str) -> None:
        """Show why Run is disabled; an empty text hides the line."""
        say(self._reason, html.escape(reason))

    def show_running(self) -> None:
        """Show that a run has started."""
        self.run.enabled, self.cancel.enabled = False, True
        self._bar.visible = self._status.visible = True
        self.curve.clear()
        self.curve.setVisible(True)
        self.show_progress(0.0, "Starting")

    def show_stopping(self) -> None:
        """Show that the run is being cancelled."""
        self.cancel.enabled = False
        self._status.value = "Cancelling after this step"

    def show_idle(self) -> None:
        """Show that no run is active."""
        self.cancel.enabled = False
        self._bar.visible = self._status.visible = False
        self.curve.setVisible(False)

    def show_progress(self, share: float, line: str) -> None:
        """Show the completed fraction of the whole run and a status line."""
        self._bar.value = int(RESOLUTION * share)
        self._status.value = html.escape(line)

    def clear(self) -> None:
        """Remove the messages of earlier runs that have left no result."""
        self.messages.remove_without_layers()
        self.question.visible = False

    def say(self, message: Message, layers: Sequence[Layer] = ()) -> None:
        """Add a message on the outcome of a run on these layers."""
        self.messages.add(message, layers)


class Question(Column):
    """Asks whether to keep the finished slices of a run that was cancelled."""

    def __init__(self) -> None:
        self.keep = PushButton(
            text="Keep slices", tooltip="Leaves the finished slices in their layer."
        )
        self.discard = PushButton(
            text="Discard slices", tooltip="Removes the layer of finished slices."
        )
        super().__init__([side_by_side(self.keep, self.discard)])
        self.visible = False


class AfterFields(Column):
    """Buttons that reuse the settings and the trained networks."""

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
