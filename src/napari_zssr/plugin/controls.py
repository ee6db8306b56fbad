"""The run controls: Run and Cancel, progress and messages."""

from __future__ import annotations

import html
from collections.abc import Sequence

from magicgui.widgets import ProgressBar, PushButton
from napari.layers import Layer

from napari_zssr.plugin.copied import CopiedText
from napari_zssr.plugin.curve import GainCurve
from napari_zssr.plugin.form.rows import Column, SideBySide, set_text, text_label
from napari_zssr.plugin.messages import Message, Messages

# Steps of the progress bar.
RESOLUTION = 1000


class RunFields(Column):
    """Messages, progress, Run and Cancel; always visible below the form.

    The buttons come last, so that nothing that comes and goes moves them under the
    mouse. Other buttons may stand before Run.
    """

    def __init__(self, *buttons: PushButton) -> None:
        self.run = PushButton(
            text="Run",
            tooltip="Trains on this image, then adds the result as a layer. Closes the "
            "preview. You can keep using napari meanwhile. Key: Ctrl+Enter.",
        )
        self.cancel = PushButton(
            text="Cancel",
            tooltip="Stops after the current step. You can keep the slices that are "
            "finished.",
        )
        self._reason = text_label()
        self._bar = ProgressBar(
            min=0, max=RESOLUTION, tooltip="How much of the whole run is done."
        )
        self._bar.native.setAccessibleName("Progress")
        self._status = text_label()
        self.curve = GainCurve()
        self.question = Question()
        self.messages = Messages()
        row = SideBySide([*buttons, self.run, self.cancel])
        super().__init__([self._bar, self._status, self._reason, self.question, row])
        layout = self.native.layout()
        layout.insertWidget(0, self.messages)
        layout.insertWidget(1, self.curve)
        self.show_idle()

    def show_reason(self, reason: str) -> None:
        """Show why Run is disabled; an empty text hides the line."""
        set_text(self._reason, html.escape(reason))

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

    def show_message(self, message: Message, layers: Sequence[Layer] = ()) -> None:
        """Add a message on the outcome of a run on these layers."""
        self.messages.add(message, layers)


class Question(Column):
    """Asks whether to keep the finished slices of a run that was cancelled."""

    def __init__(self) -> None:
        self.keep = PushButton(
            text="Keep slices", tooltip="Keeps the layer with the finished slices."
        )
        self.discard = PushButton(
            text="Discard slices",
            tooltip="Removes the layer with the finished slices.",
        )
        super().__init__([SideBySide([self.keep, self.discard])])
        self.visible = False


class AfterFields(Column):
    """Buttons that reuse the settings and the trained networks."""

    def __init__(self) -> None:
        self.settings = PushButton(
            text="Use these settings",
            tooltip="Fills the form with the settings of the result that is selected "
            "in the layer list.",
        )
        self.python = PushButton(
            text="Copy as Python",
            tooltip="Copies Python code that does the same in napari's console.",
        )
        self.command = PushButton(
            text="Copy as command",
            tooltip="Copies a command that does the same in a terminal, for the file "
            "that the layer was read from.",
        )
        self.networks = PushButton(
            text="Save networks...",
            tooltip="Saves the networks of the latest run, so that a similar image can "
            "start from them (Advanced, Start from).",
        )
        buttons = [self.settings, self.python, self.command, self.networks]
        self._tooltips = [(button, button.tooltip) for button in buttons]
        self.copied = CopiedText()
        super().__init__([*buttons, self.copied])

    def offer(self, button: PushButton, refusal: str = "") -> None:
        """Enable a button, or disable it with the reason in its tooltip."""
        (tooltip,) = (text for known, text in self._tooltips if known is button)
        button.enabled = not refusal
        button.tooltip = refusal or tooltip
        button.native.setAccessibleDescription(button.tooltip)
