"""The dock widget: a form, a run, and what came of it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, ProgressBar, PushButton
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.plugin._clock import Clock, seconds_left, status
from napari_zssr.plugin._form import HowFields, ImageFields, WhatFields
from napari_zssr.plugin._job import Enlarged, GrowingLayer, Job
from napari_zssr.plugin._layers import level0
from napari_zssr.plugin._request import Request
from napari_zssr.plugin._rows import Column, heading, tighten, words
from napari_zssr.plugin._summary import after, stopped
from napari_zssr.plugin._worker import Run
from napari_zssr.progress import Event, PlaneDone, Progress

if TYPE_CHECKING:
    from napari.viewer import Viewer

UPDATE_MS = 150
RESOLUTION = 1000


class SuperResolutionWidget(Container[Any]):
    """Zero-shot super-resolution of a layer.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._run = Run()
        self._waiting: deque[Request] = deque()
        self._job: Job | None = None
        self._growing: GrowingLayer | None = None
        self._clock: Clock | None = None
        self.image = ImageFields(napari_viewer)
        self.what = WhatFields(napari_viewer, self.image)
        self.how = HowFields()
        self.controls = RunFields()
        super().__init__(
            widgets=[
                heading("Image"),
                self.image,
                heading("What"),
                self.what,
                heading("How"),
                self.how,
                self.controls,
            ],
            labels=False,
            scrollable=True,
        )
        self.how.unfold(False)
        self._later = QTimer(self.native)
        self._later.setSingleShot(True)
        self._later.setInterval(UPDATE_MS)
        self._later.timeout.connect(self.refresh)
        self._listen()
        self.refresh()

    def requests(self) -> list[Request]:
        """What a press of Run would do, one request for each layer.

        Raises
        ------
        InputError
            It cannot run; the sentence says why.
        """
        config = self.how.config(self.what.factors)
        layers = self.image.layers()
        if not layers:
            raise InputError("Open an image, or choose a layer, to enlarge it.")
        made = []
        for layer in layers:
            axes = self.image.axes(layer)
            selection = self.what.selection(layer, axes)
            selection.slices(axes, level0(layer).shape)
            made.append(
                Request(
                    layer=layer,
                    axes=axes,
                    selection=selection,
                    config=config,
                    step=tuple(self._viewer.dims.current_step),
                )
            )
        return made

    def refresh(self) -> None:
        """Look at the form again: whether it can run, and if not, why."""
        try:
            self.requests()
        except InputError as error:
            reason = str(error)
        else:
            reason = ""
        self.controls.say_why(reason)
        self.controls.run.enabled = not reason and not self._run.running

    def start(self) -> None:
        """Run what the form asks for."""
        if self._run.running:
            return
        try:
            self._waiting.extend(self.requests())
        except InputError as error:
            self.controls.say_why(str(error))
            return
        self.controls.clear()
        self._next()

    def cancel(self) -> None:
        """Stop after the step that is being done."""
        self._waiting.clear()
        self._run.cancel()
        self.controls.stopping()

    def _next(self) -> None:
        request = self._waiting.popleft()
        self._job = Job(request)
        self._growing = GrowingLayer(self._viewer, self._job)
        shape = level0(request.layer).shape
        pixels = shape[request.axes.index("Y")] * shape[request.axes.index("X")]
        self._clock = Clock(request.config, pixels)
        self.controls.running(self._job.name)
        self._run.start(
            self._job.steps,
            on_event=self._tell,
            on_result=self._complete,
            on_error=self._fail,
            on_finished=self._end,
        )

    def _tell(self, event: Event) -> None:
        assert self._job is not None
        assert self._growing is not None
        assert self._clock is not None
        if isinstance(event, PlaneDone):
            self._growing.show(event)
        elif isinstance(event, Progress):
            share = self._clock.tell(event)
            left = seconds_left(share, time.monotonic() - self._job.started)
            self.controls.progress(share, event.message or status(event, left))

    def _complete(self, made: Enlarged) -> None:
        assert self._job is not None
        assert self._growing is not None
        self._growing.complete(made)
        self.controls.add_line(after(self._job.name, made.result.report))
        self._job = None

    def _fail(self, error: ZSSRError) -> None:
        assert self._job is not None
        self.controls.add_line(f"{self._job.name}: {error}", problem=True)
        show_error(str(error))
        if self._growing is not None:
            self._growing.keep_finished()
        self._job = None

    def _end(self) -> None:
        if self._job is not None:
            assert self._growing is not None
            growing = self._growing
            growing.keep_finished()
            line = stopped(self._job.name, growing.finished, growing.planes)
            self.controls.add_line(line)
        self._job = self._growing = None
        if self._waiting:
            self._next()
            return
        self.controls.idle()
        self.refresh()

    def _listen(self) -> None:
        """Follow form and viewer, and let go of them when the widget goes."""
        self.controls.run.changed.connect(self.start)
        self.controls.cancel.changed.connect(self.cancel)
        self.changed.connect(self._soon)
        layers = self._viewer.layers
        followed = [
            layers.events.inserted,
            layers.events.removed,
            layers.events.reordered,
            layers.events.renamed,
            layers.selection.events.changed,
        ]
        for signal in followed:
            signal.connect(self._follow_layers)
        dims = self._viewer.dims.events.point
        dims.connect(self._soon)
        self.native.destroyed.connect(self._run.close)

    def _follow_layers(self, *_: Any) -> None:
        self.image.refresh()
        self.what.refresh()
        self._soon()

    def _soon(self, *_: Any) -> None:
        self._later.start()


class RunFields(Column):
    """Run and Cancel, how far the run is, and what came of it."""

    def __init__(self) -> None:
        self.run = PushButton(
            text="Run",
            tooltip="Learns from the image alone and adds the enlarged layer. The "
            "window stays usable meanwhile.",
        )
        self.cancel = PushButton(
            text="Cancel", tooltip="Stops after the step that is being done."
        )
        buttons = Container(
            widgets=[self.run, self.cancel], layout="horizontal", labels=False
        )
        tighten(buttons)
        self._why = words()
        self._bar = ProgressBar(
            min=0, max=RESOLUTION, tooltip="How much of the run is done."
        )
        self._status = words()
        self._after = words()
        self._lines: list[str] = []
        super().__init__([self._why, buttons, self._bar, self._status, self._after])
        self.idle()

    def say_why(self, reason: str) -> None:
        """Why Run cannot be pressed, or nothing."""
        self._why.value = reason
        self._why.visible = bool(reason)

    def running(self, name: str) -> None:
        """Show that a run is on."""
        self.run.enabled, self.cancel.enabled = False, True
        self._bar.visible = self._status.visible = True
        self.progress(0.0, f"Starting with {name}")

    def stopping(self) -> None:
        """Show that Cancel was heard."""
        self.cancel.enabled = False
        self._status.value = "Stopping after this step"

    def idle(self) -> None:
        """Show that nothing runs."""
        self.cancel.enabled = False
        self._bar.visible = self._status.visible = False

    def progress(self, share: float, line: str) -> None:
        """Show how far the run is."""
        self._bar.value = int(RESOLUTION * share)
        self._status.value = line

    def clear(self) -> None:
        """Forget what came of earlier runs."""
        self._lines.clear()
        self._after.value = ""

    def add_line(self, line: str, problem: bool = False) -> None:
        """Say what came of a run."""
        self._lines.append(f"<b>{line}</b>" if problem else line)
        self._after.value = "<br>".join(self._lines)
