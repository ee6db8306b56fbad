"""The dock widget: a form, a run, and what came of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.plugin.controls import (
    AfterFields,
    Clock,
    RunFields,
    seconds_left,
    status,
)
from napari_zssr.plugin.copy_settings import as_command, as_python
from napari_zssr.plugin.cost import CostCard
from napari_zssr.plugin.form.form import Form
from napari_zssr.plugin.form.rows import Column, Leaving, Scrolled, after_pause, heading
from napari_zssr.plugin.jobs import DiskJob, Enlarged, Job, LastNetworks, MemoryJob
from napari_zssr.plugin.layers.layers import lazy_stack
from napari_zssr.plugin.layers.results import GrowingLayer
from napari_zssr.plugin.preview.preview import PreviewPanel
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import after, in_the_form
from napari_zssr.plugin.worker import Run, ShortSearches
from napari_zssr.progress import Event, PlaneDone, Progress

if TYPE_CHECKING:
    from napari.viewer import Viewer

UPDATE_MS = 150


class SuperResolutionWidget(Container[Any]):
    """Zero-shot super-resolution of a layer.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._run = Run()
        self._searches = ShortSearches()
        self._waiting: deque[Request] = deque()
        self._job: Job | None = None
        self._growing: GrowingLayer | None = None
        self._failed = self._left = False
        self._clock: Clock | None = None
        self._request: Request | None = None
        self._able = False
        self.networks = LastNetworks()
        self.form = Form(napari_viewer)
        self.preview = PreviewPanel(napari_viewer, lambda: self._request)
        self.cost = CostCard()
        self.after = AfterFields()
        self.controls = RunFields()
        super().__init__(widgets=[self.controls], labels=False)
        self.margins = (4, 4, 4, 4)
        self._inner = Column([self.form, *self._sections()])
        self.native.layout().insertWidget(0, Scrolled(self._inner), 1)
        self._later = after_pause(self.native, UPDATE_MS, self.refresh)
        self._listen()
        self.refresh()

    def start(self) -> None:
        """Run what the form asks for."""
        try:
            requests = self.form.requests()
            self.form.check(requests)
        except InputError as error:
            self.controls.say_why(str(error))
        else:
            self._start(requests)

    def cancel(self) -> None:
        """Stop after the step that is being done."""
        self._waiting.clear()
        self._run.cancel()
        self.controls.stopping()

    def run_like(self) -> None:
        """Set the form as it was for the result that is selected in the layer list."""
        try:
            self.form.show_recipe()
        except InputError as error:
            show_info(str(error))
        self.refresh()

    def refresh(self) -> None:
        """Look at the form again: whether it can run, and if not, why."""
        self._request, self._able = None, False
        try:
            requests = self.form.requests()
            # Cost and preview can be told also where the file cannot be written.
            self._request = requests[0]
            self._show_blur()
            if not self._run.running:
                self.form.check(requests)
            self._able = True
        except InputError as error:
            self.controls.say_why(in_the_form(str(error)))
        else:
            self.controls.say_why("")
        if self._request is None:
            self.form.how.blur.view.clear()
        begins = "" if self._request is None else self._request.begins
        self.form.how.advanced.say_start(begins)
        self.cost.update(self._request)
        self.preview.update(None if self._run.running else self._request)
        self.after.python.enabled = self.after.command.enabled = bool(self._request)
        self.after.again.enabled = self.form.has_recipe()
        self.after.networks.enabled = bool(self.networks)
        self._gate()

    def _show_blur(self) -> None:
        """Show the blur; what cannot run because of it is no request."""
        request, self._request = self._request, None
        dims, units = self._viewer.dims, self._viewer.layers.extent.units
        self.form.how.blur.follow(request, dims.point, units)
        self._request = request

    def _accept(self, request: Request) -> None:
        """Run what the preview has shown."""
        try:
            self.form.check([request])
        except InputError as error:
            self.controls.say_why(str(error))
        else:
            self._start([request])

    def _keep_blur(self, request: Request, channel: int, kernel: FineKernel) -> None:
        self.form.how.blur.seen.keep(request, channel, kernel)
        self._soon()

    def _gate(self, *_: Any) -> None:
        """Let Run be pressed only where it can run."""
        able = self._able and not self.cost.problem
        self.controls.run.enabled = able and not self._run.running

    def _start(self, requests: list[Request]) -> None:
        if self._run.running:
            return
        self.preview.stop()
        self.cost.pause(True)
        self.controls.clear()
        self._searches.begin()
        self._waiting.extend(requests)
        self._next()

    def _next(self) -> None:
        request = self._waiting.popleft()
        self._failed = False
        to_disk = request.target is not None
        self._job = DiskJob(request) if to_disk else MemoryJob(request)
        self._growing = GrowingLayer(self._viewer, self._job)
        part = lazy_stack(request.layer, request.axes, request.selection)
        self._clock = Clock(request.config, request.starts, part.data.shape, part.axes)
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
            self.controls.loss.clear()
        elif isinstance(event, Progress):
            share = self._clock.tell(event)
            elapsed = time.monotonic() - self._job.started
            left = seconds_left(self._clock.of_rest, elapsed)
            self.controls.progress(share, event.message or status(event, left))
            if event.loss is not None:
                self.controls.loss.add(event.step, event.loss)

    def _complete(self, made: Enlarged) -> None:
        assert self._job is not None
        assert self._growing is not None
        self._growing.complete(made)
        self.networks.keep(self._job, made.networks)
        self.form.how.blur.seen.keep_all(self._job.request, made.report)
        self.form.result.written()
        hidden, file = self._growing.hides, self._job.request.target
        line = after(
            self._job.name,
            made.report,
            kernel=self._job.request.config.kernel,
            hidden=hidden,
            file=file,
        )
        self.controls.add_line(line)
        self._job = None

    def _fail(self, error: ZSSRError) -> None:
        assert self._job is not None
        text = in_the_form(str(error))
        self.controls.add_line(f"{self._job.name}: {text}", problem=True)
        show_error(text)
        self._failed = True
        target = self._job.request.target
        if target is not None and isinstance(error, InputError):
            self.form.result.refused(target)

    def _end(self) -> None:
        """Called last, whatever happened; what is not complete yet was stopped."""
        if self._job is not None and self._growing is not None:
            self._leave(self._job, self._growing)
        else:
            self._growing = None
        self._job = None
        if self._waiting:
            self._next()
            return
        self._searches.end()
        if self._left and self.native.parent() is None:
            self._delete()
            return
        self.controls.idle()
        self.cost.pause(False)
        self.refresh()

    def _leave(self, job: Job, growing: GrowingLayer) -> None:
        """Keep what is finished, and ask whether it is wanted."""
        growing.keep_finished()
        if growing.finished or not self._failed:
            left = job.left(growing.finished, growing.planes, growing.black)
            self.controls.add_line(left)
        # What is on disk is kept, and gone on from.
        in_memory = not job.part
        self.controls.question.visible = in_memory and growing.layer is not None

    def _discard(self) -> None:
        if self._growing is not None:
            self._growing.discard()
        self._answered()

    def _answered(self) -> None:
        self._growing = None
        self.controls.question.visible = False

    def _copy(self, make: Callable[[Request], str]) -> None:
        if self._request is None:
            return
        try:
            text = make(self._request)
        except InputError as error:
            show_info(str(error))
            return
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        show_info("Copied to the clipboard.")

    def _save_networks(self) -> None:
        try:
            path = self.networks.ask_and_save(self.native)
        except ZSSRError as error:
            show_error(str(error))
            return
        if path is not None:
            show_info(f"Saved the networks to {path}.")

    def _sections(self) -> list[Any]:
        return [
            heading("Preview"),
            self.preview.view,
            heading("Cost"),
            self.cost.view,
            heading("Again"),
            self.after,
        ]

    def _listen(self) -> None:
        """Follow form and viewer, and let go of them when the widget goes."""
        self.controls.run.changed.connect(self.start)
        self.controls.cancel.changed.connect(self.cancel)
        self.controls.question.keep.changed.connect(self._answered)
        self.controls.question.discard.changed.connect(self._discard)
        self.after.python.changed.connect(lambda: self._copy(as_python))
        self.after.command.changed.connect(lambda: self._copy(as_command))
        self.after.again.changed.connect(self.run_like)
        self.after.networks.changed.connect(self._save_networks)
        self.preview.accepted.connect(self._accept)
        self.preview.blur_found.connect(self._keep_blur)
        self.cost.changed.connect(self._gate)
        self.form.changed.connect(self._soon)
        self.form.layers_changed.connect(self._soon)
        self._viewer.dims.events.point.connect(self._soon)
        self._viewer.scene.camera.events.connect(self._soon)
        self._viewer.layers.events.removed.connect(self._searches.let_go)
        self.native.destroyed.connect(self._run.close)
        self.native.destroyed.connect(self._searches.end)
        self._leaving = Leaving(self.native, self._go)

    def _soon(self, *_: Any) -> None:
        self._later.start()

    def _go(self) -> None:
        """The widget was taken out of the window: stop, keep what is finished."""
        self._left = True
        self._waiting.clear()
        self._run.cancel()
        self.preview.stop()
        self.cost.close()
        QTimer.singleShot(0, self._delete)

    def _delete(self) -> None:
        """Delete what is shown, unless it was put back or a run has yet to end.

        Python would do so whenever it collects garbage, also in a worker thread, where
        Qt crashes.
        """
        if self.native.parent() is None and not self._run.running:
            self.preview.close()
            self.native.deleteLater()
