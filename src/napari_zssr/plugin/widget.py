"""The dock widget: the form, a run, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import Container
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.execution.ledger import Ledger
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.plugin.check.panel import CheckPanel
from napari_zssr.plugin.controls import AfterFields, RunFields
from napari_zssr.plugin.copy_settings import as_command, as_python
from napari_zssr.plugin.cost import CostCard
from napari_zssr.plugin.form.form import Form
from napari_zssr.plugin.form.rows import Column, Scrolled, after_pause, heading
from napari_zssr.plugin.jobs import DiskJob, Enlarged, Job, MemoryJob
from napari_zssr.plugin.layers.layers import layer_file
from napari_zssr.plugin.layers.results import GrowingLayer
from napari_zssr.plugin.preview.preview import PreviewPanel
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.run_controller import RunController
from napari_zssr.plugin.summary import (
    cancelled_sentence,
    finished_sentence,
    form_sentence,
)
from napari_zssr.progress import Event, PlaneDone
from napari_zssr.zssr.checkpoint import Checkpoint, write_networks

UPDATE_MS = 150


class SuperResolutionWidget(Container[Any]):
    """Zero-shot super-resolution of a layer.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._growing: GrowingLayer | None = None
        self._failed = False
        self._request: Request | None = None
        self._can_run = False
        # Of the run that finished last, and where saving them is proposed.
        self._networks: tuple[Checkpoint | None, ...] = ()
        self._networks_file = Path()
        self.form = Form(napari_viewer)
        self.preview = PreviewPanel(napari_viewer, lambda: self._request)
        self.cost = CostCard()
        self.check = CheckPanel(napari_viewer)
        self.after = AfterFields()
        self.controls = RunFields()
        super().__init__(widgets=[self.controls], labels=False)
        self.margins = (4, 4, 4, 4)
        preview = [heading("Preview"), self.preview.view]
        cost = [heading("Cost"), self.cost.view]
        check = [heading("Check"), self.check.view]
        again = [heading("Again"), self.after]
        self._inner = Column([self.form, *preview, *cost, *check, *again])
        self.scrolled = Scrolled(self._inner)
        self.native.layout().insertWidget(0, self.scrolled, 1)
        self._later = after_pause(self.native, UPDATE_MS, self.refresh)
        self._run = RunController(
            native=self.native,
            controls=self.controls,
            on_event=self._on_event,
            on_result=self._on_result,
            on_error=self._on_error,
            on_job_end=self._on_job_end,
            on_end=self._on_end,
            on_leave=self._on_leave,
            on_delete=self._close_panels,
        )
        self._connect()
        self.refresh()

    def start(self, *, accepted: Request | None = None) -> None:
        """Run what the form asks for, or the request of a preview."""
        try:
            requests = [accepted] if accepted else self.form.requests()
            self.form.result.check(requests)
        except InputError as error:
            self.controls.show_reason(str(error))
            return
        if self._run.running:
            return
        self.preview.stop()
        self.cost.pause(True)
        requests = [replace(one, work=self.cost.work(one)) for one in requests]
        self._run.start(map(self._new_job, requests))

    def cancel(self) -> None:
        """Stop after the current step."""
        self._run.cancel()

    def run_like(self) -> None:
        """Set the form as it was for the result that is selected in the layer list."""
        try:
            self.form.show_recipe()
        except InputError as error:
            show_info(str(error))
        self.refresh()

    def refresh(self) -> None:
        """Read the form again: whether it can run, and if not, why."""
        self._request, self._can_run = None, False
        requests: list[Request] = []
        try:
            requests = self.form.requests()
            self.form.method.blur.follow(requests[0], self._viewer)
            # Cost and preview are possible even if the file cannot be written.
            self._request = requests[0]
            if not self._run.running:
                self.form.result.check(requests)
            self._can_run = True
        except InputError as error:
            self.controls.show_reason(form_sentence(str(error)))
        else:
            self.controls.show_reason("")
        request = self._request
        if request is None:
            self.form.method.blur.view.clear()
        self.form.method.advanced.say_start(request.begins if request else "")
        self.cost.update(requests)
        self.preview.update(None if self._run.running else request)
        self.check.update()
        self.after.python.enabled = self.after.command.enabled = request is not None
        self.after.again.enabled = bool(self.form.recipe())
        self.after.networks.enabled = bool(self._networks)
        self._enable_run()

    def _enable_run(self, *_: Any) -> None:
        self.controls.run.enabled = (
            self._can_run and not self.cost.problem and not self._run.running
        )

    def _refresh_later(self, *_: Any) -> None:
        self._later.start()

    def _new_job(self, request: Request) -> Job:
        job = MemoryJob(request) if request.target is None else DiskJob(request)
        self._growing = GrowingLayer(self._viewer, job)
        self._failed = False
        return job

    def _on_event(self, _: Job, event: Event) -> None:
        if isinstance(event, PlaneDone) and self._growing is not None:
            self._growing.show(event)

    def _on_result(self, job: Job, enlarged: Enlarged) -> None:
        assert self._growing is not None
        hidden = self._growing.complete(enlarged)
        self._networks = enlarged.networks
        source = layer_file(job.request.layer)
        folder = Path.home() if source is None else source.parent
        self._networks_file = folder / f"{Path(job.name).name}{NETWORKS_SUFFIX}"
        self.form.method.blur.seen.keep_all(job.request, enlarged.report)
        self.form.result.written()
        sentence = finished_sentence(
            job.name,
            enlarged.report,
            kernel=job.request.config.kernel,
            hidden=hidden,
            file=job.request.target,
        )
        self.controls.add_line(sentence)
        self._growing = None

    def _on_error(self, job: Job, error: ZSSRError) -> None:
        text = form_sentence(str(error))
        self.controls.add_line(f"{job.name}: {text}", problem=True)
        show_error(text)
        self._failed = True
        target = job.request.target
        if target is not None and isinstance(error, InputError):
            self.form.result.refused(target)

    def _on_job_end(self, job: Job) -> None:
        """Keep what a cancelled or failed job has finished, and ask whether to."""
        growing = self._growing
        if growing is None:
            return
        growing.keep_finished()
        if growing.finished or not self._failed:
            finished, black = growing.finished, growing.black
            if job.part is not None:
                # The folder holds the slices of earlier runs too.
                finished = max(finished, len(Ledger(job.part).finished()))
            left = cancelled_sentence(
                job.name, finished, growing.planes, black=black, part=job.part
            )
            self.controls.add_line(left)
        # A part on disk is always kept, and resumed by the next run.
        in_memory = job.part is None
        self.controls.question.visible = in_memory and growing.layer is not None

    def _on_end(self) -> None:
        self.cost.pause(False)
        self.refresh()

    def _on_leave(self) -> None:
        self.preview.stop()
        self.check.stop()
        self.cost.close()

    def _close_panels(self) -> None:
        self.preview.close()
        self.check.close()

    def _discard_finished(self) -> None:
        if self._growing is not None:
            self._growing.discard()
        self._keep_finished()

    def _keep_finished(self) -> None:
        self._growing = None
        self.controls.question.visible = False

    def _keep_blur(self, request: Request, channel: int, kernel: FineKernel) -> None:
        self.form.method.blur.seen.keep(request, channel, kernel)
        self._refresh_later()

    def _copy(self, to_text: Callable[[Request], str]) -> None:
        if self._request is None:
            return
        try:
            text = to_text(self._request)
        except InputError as error:
            show_info(str(error))
            return
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        show_info("Copied to the clipboard.")

    def _save_networks(self) -> None:
        chosen = ask_path(self.native, self._networks_file)
        if chosen is None:
            return
        try:
            # The dialog has asked whether to replace an existing file.
            path = write_networks(chosen, self._networks, overwrite=True)
        except ZSSRError as error:
            show_error(str(error))
        else:
            show_info(f"Saved the networks to {path}.")

    def _connect(self) -> None:
        self.controls.run.changed.connect(self.start)
        self.controls.question.keep.changed.connect(self._keep_finished)
        self.controls.question.discard.changed.connect(self._discard_finished)
        self.after.python.changed.connect(lambda: self._copy(as_python))
        self.after.command.changed.connect(lambda: self._copy(as_command))
        self.after.again.changed.connect(self.run_like)
        self.after.networks.changed.connect(self._save_networks)
        self.preview.accepted.connect(lambda request: self.start(accepted=request))
        self.preview.blur_estimated.connect(self._keep_blur)
        self.cost.changed.connect(self._enable_run)
        self.cost.timed.connect(self.form.method.show_times)
        self.form.changed.connect(self._refresh_later)
        self.form.layers_changed.connect(self._refresh_later)
        self._viewer.dims.events.point.connect(self._refresh_later)
        self._viewer.scene.camera.events.connect(self._refresh_later)
        garbage = self._run.garbage
        self._viewer.layers.events.removed.connect(garbage.include_all)


def ask_path(parent: Any, proposed: Path) -> str | None:
    """Ask for the file to save to, and whether to replace an existing one."""
    dialog = QFileDialog(parent, "Save networks", str(proposed.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(f"Networks (*{NETWORKS_SUFFIX})")
    dialog.setDefaultSuffix(NETWORKS_SUFFIX)
    dialog.selectFile(proposed.name)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    return chosen[0] if chosen else None
