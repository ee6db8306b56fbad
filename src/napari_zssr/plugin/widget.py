"""The dock widget: the form for layers, a run and its outcome, and a tab for files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import Container
from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.execution.ledger import Ledger
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.plugin.batch import BatchWidget
from napari_zssr.plugin.check.panel import CheckPanel
from napari_zssr.plugin.compare.panel import ResultPanel
from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.controls import AfterFields, RunFields
from napari_zssr.plugin.copy_settings import as_command, as_python
from napari_zssr.plugin.cost import CostCard
from napari_zssr.plugin.form.form import Form
from napari_zssr.plugin.form.rows import Column, Foldable, Scrolled, after_pause
from napari_zssr.plugin.help import HelpRow
from napari_zssr.plugin.jobs import DiskJob, Enlarged, Job, MemoryJob
from napari_zssr.plugin.keys import Shortcuts
from napari_zssr.plugin.layers.aids import KeptSlice
from napari_zssr.plugin.layers.files import write_ome_tiff
from napari_zssr.plugin.layers.layers import (
    layer_file,
    lazy_stack,
    level0,
    unwrapped,
)
from napari_zssr.plugin.layers.opened import complete_placement
from napari_zssr.plugin.layers.pixel_size import view_kept
from napari_zssr.plugin.layers.results import GrowingLayer
from napari_zssr.plugin.measurements import Measurements
from napari_zssr.plugin.messages import PROBLEM, Message
from napari_zssr.plugin.preview.preview import PreviewPanel
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.run_controller import RunController
from napari_zssr.plugin.summary import (
    finished_message,
    form_sentence,
    stopped_message,
)
from napari_zssr.plugin.tabs import Tabs
from napari_zssr.progress import Event, PlaneDone
from napari_zssr.zssr.checkpoint import Checkpoint, write_networks

UPDATE_MS = 150
# What is saved, and its suffix.
NETWORKS_FILES = "networks", NETWORKS_SUFFIX
TIFF_FILES = "OME-TIFF", ".ome.tif"
LAYERS_BUSY = "A layer is being enlarged; wait, or press Cancel in the tab Layers."
FILES_BUSY = "Files are being enlarged; wait, or press Cancel in the tab Files."
CANNOT_RUN = "Not available until the form is complete and correct."
NO_RECIPE = "Select a result of this plugin in the layer list first."
NO_NETWORKS = (
    "No networks to save: run a layer first, in memory, with a preset other than "
    "Instant."
)


class SuperResolutionWidget(Container[Any]):
    """Zero-shot super-resolution of layers, and in a second tab of files.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._growing: GrowingLayer | None = None
        self._failed = False
        self._runs = 0
        self._request: Request | None = None
        self._can_run = False
        # Of the run that finished last, and where saving them is proposed.
        self._networks: tuple[Checkpoint | None, ...] = ()
        self._networks_file = Path()
        self.form = Form(napari_viewer)
        self.preview = PreviewPanel(napari_viewer, self._request_to_preview)
        self.cost = CostCard(lambda: self.preview.computing)
        self.check = CheckPanel(napari_viewer)
        self.result = ResultPanel(napari_viewer, self.check.job_of)
        self.help = HelpRow()
        self.measurements = Measurements(
            napari_viewer,
            self.form.method,
            lambda: self._request,
            on_blur=self._refresh_later,
        )
        self.after = AfterFields()
        self.controls = RunFields(self.preview.button)
        # Built when its tab is first shown.
        self.files: BatchWidget | None = None
        self._add_folds()
        self.scrolled = Scrolled(Column([self.form, *self.folds.values(), self.help]))
        self.tabs = Tabs()
        self.tabs.add(
            "Layers",
            "Enlarge layers of the viewer.",
            (self.scrolled, 1),
            (self.preview.view.native, 0),
            (self.controls.native, 0),
        )
        self.tabs.add_later(
            "Files", "Enlarge a folder of images, file by file.", self._add_files
        )
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self.native.layout().addWidget(self.tabs)
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
            is_busy=lambda: self._files_running,
        )
        acts = {
            "run": self._run_by_key,
            "preview": self.preview.toggle,
            "flip": self.result.toggle_flip,
        }
        self._shortcuts = Shortcuts(napari_viewer, self.native, acts)
        self._kept_slice = KeptSlice(napari_viewer)
        with view_kept(napari_viewer, self.form.image.layer):
            for layer in map(unwrapped, self._viewer.layers):
                self._complete_placement(layer)
        self._connect()
        self.refresh()

    def start(self) -> None:
        """Run what the form asks for; an open preview is closed."""
        try:
            requests = self.form.requests()
            self.form.result.check(requests)
            self._check_free()
        except InputError as error:
            self.controls.show_reason(str(error))
            return
        if self._run.running:
            return
        # Who has seen it from the side goes on looking from there.
        self.preview.stop(turned=True)
        self.cost.pause(True)
        requests = [replace(one, work=self.cost.work(one)) for one in requests]
        self.result.begin([request.layer for request in requests])
        self._forget_messages()
        self._runs += 1
        self._run.start(map(self._new_job, requests), _weights(requests))
        self.preview.update(None)
        self._refresh_files()

    def _run_by_key(self) -> None:
        run = self.controls.run
        if run.enabled and run.native.isVisibleTo(self.native):
            self.start()

    def cancel(self) -> None:
        """Stop after the current step."""
        self._run.cancel()

    def use_settings(self) -> None:
        """Set the form to the settings of the result selected in the layer list."""
        try:
            name = self.form.show_recipe()
        except InputError as error:
            show_info(str(error))
        else:
            show_info(f"The form now has the settings of '{name}'.")
        self.refresh()

    def refresh(self) -> None:
        """Read the form again: whether it can run, and if not, why."""
        self._request, self._can_run = None, False
        requests: list[Request] = []
        try:
            requests = self.form.requests()
            chosen, blur = self.form.chosen(requests), self.form.method.blur
            blur.follow(chosen, self._viewer, layers=len(requests))
            # Cost and preview are possible even if the file cannot be written.
            self._request = chosen
            if not self._run.running:
                self.form.result.check(requests)
            self._check_free()
            self._can_run = True
        except InputError as error:
            self.controls.show_reason(form_sentence(str(error)))
        else:
            self.controls.show_reason("")
        request = self._request
        if request is None:
            self.form.method.blur.view.clear()
        self.form.method.advanced.show_start(
            request.begins if request else "",
            has_training=request is None or request.has_training,
        )
        self.cost.update(requests)
        self.preview.update(self._request_to_preview())
        self.check.update()
        self.result.update()
        for name in ("result", "check"):
            self.folds[name].visible = self.result.has_results
        self.measurements.update(request)
        self._offer_reuse()
        self._enable_run()

    def _offer_reuse(self) -> None:
        """Enable the buttons that reuse settings and networks, or say why not."""
        offer, after = self.after.offer, self.after
        offer(after.settings, "" if self.form.recipe() else NO_RECIPE)
        offer(after.networks, "" if self._networks else NO_NETWORKS)
        if self._request is None:
            offer(after.python, CANNOT_RUN)
            offer(after.command, CANNOT_RUN)
        else:
            offer(after.python)
            offer(after.command, _no_command(self._request))

    def _add_folds(self) -> None:
        """Add the sections that are folded away at first."""
        self.folds = {
            "cost": Foldable(
                "Cost",
                [self.cost.view],
                tooltip="Shows or hides what the run needs: size of the result, "
                "memory, time and device.",
                always=[self.cost.brief],
            ),
            "result": Foldable(
                "Result",
                [self.result.view],
                tooltip="Shows or hides how the selected result was made.",
                always=[self.result.buttons],
            ),
            "check": Foldable(
                "Check",
                [self.check.view],
                tooltip="Shows or hides the comparison of a result with its original.",
            ),
            "reuse": Foldable(
                "Reuse settings",
                [self.after],
                tooltip="Shows or hides buttons to reuse settings and networks.",
            ),
        }

    def _add_files(self) -> QWidget:
        self.files = BatchWidget(
            self._viewer,
            busy=lambda: LAYERS_BUSY if self._run.running else "",
            on_run=self._follow_files,
        )
        native: QWidget = self.files.native
        return native

    @property
    def _files_running(self) -> bool:
        return self.files is not None and self.files.running

    def _check_free(self) -> None:
        """InputError while files are being enlarged."""
        if self._files_running:
            raise InputError(FILES_BUSY)

    def _request_to_preview(self) -> Request | None:
        """The request of the form, unless a run needs the device."""
        return None if self._run.running or self._files_running else self._request

    def _follow_files(self) -> None:
        """A run of files has begun or ended."""
        if not self._run.running:
            self.cost.pause(self._files_running)
            self.refresh()
        self._run.delete_if_left()

    def _refresh_files(self) -> None:
        if self.files is not None:
            self.files.refresh()

    def _enable_run(self, *_: Any) -> None:
        self.controls.run.enabled = (
            self._can_run and not self.cost.problem and not self._run.running
        )

    def _refresh_later(self, *_: Any) -> None:
        self._later.start()

    def _new_job(self, request: Request) -> Job:
        job = MemoryJob(request) if request.target is None else DiskJob(request)
        self._growing = GrowingLayer(self._viewer, job, self._runs)
        self._failed = False
        return job

    def _on_event(self, _: Job, event: Event) -> None:
        if isinstance(event, PlaneDone) and self._growing is not None:
            self._growing.show(event)

    def _on_result(self, job: Job, enlarged: Enlarged) -> str:
        assert self._growing is not None
        self.cost.note_taken(job.request, self._run.elapsed)
        hidden = self._growing.complete(enlarged)
        self.result.undo.add(self._growing.added)
        self._networks = enlarged.networks
        source = layer_file(job.request.layer)
        folder = Path.home() if source is None else source.parent
        self._networks_file = folder / f"{Path(job.name).name}{NETWORKS_SUFFIX}"
        self.form.method.blur.seen.keep_all(job.request, enlarged.report)
        self.form.result.finished(job.request.target)
        result = self._growing.layer
        message = finished_message(
            job.kwargs["name"] if result is None else result.name,
            enlarged.report,
            job.request.config,
            hidden=hidden,
            file=job.request.target,
        )
        self.controls.show_message(message, self._growing.layers)
        self._growing = None
        return message.named

    def _on_error(self, job: Job, error: ZSSRError) -> None:
        text = form_sentence(str(error))
        message = Message(f"{job.name}: {text}", sign=PROBLEM)
        self.controls.show_message(message, [job.request.layer])
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
        self.result.undo.add(growing.added)
        if growing.finished or not self._failed:
            finished, black = growing.finished, growing.black
            if job.part is not None:
                # The folder holds the slices of earlier runs too.
                finished = max(finished, len(Ledger(job.part).finished()))
            left = stopped_message(
                job.name,
                finished,
                growing.planes,
                channels=job.request.sizes.get("C", 1),
                failed=self._failed,
                black=black,
                part=job.part,
                layers=self._run.counts,
            )
            self.controls.show_message(left, growing.layers)
        # A part on disk is always kept, and resumed by the next run.
        in_memory = job.part is None
        self.controls.question.visible = in_memory and growing.layer is not None

    def _complete_placement(self, layer: Any) -> None:
        """Give a file that another reader has opened its pixel size."""
        if isinstance(layer, Image) and complete_placement(layer):
            # napari draws nothing after units were set until it slices again.
            layer.refresh()
            show_info(f"Pixel size of {layer.name} taken from its file.")

    def _add_layer(self, event: Any) -> None:
        layer = unwrapped(event.value)
        # Where there are others, the view is theirs.
        alone = layer if len(self._viewer.layers) == 1 else self.form.image.layer
        with view_kept(self._viewer, alone):
            self._complete_placement(layer)

    def _forget_messages(self, *_: Any) -> None:
        """Remove what was said of layers that are gone for good."""
        layers = map(unwrapped, self._viewer.layers)
        self.controls.messages.keep_of([*layers, *self.result.undo.removed])

    def _on_end(self) -> None:
        self.cost.pause(False)
        self.refresh()
        self._refresh_files()

    def _on_leave(self) -> None:
        if self.files is not None and self.files.running:
            self.files.cancel()
        self.preview.stop()
        self.check.stop()
        self.result.comparison.stop()
        self.measurements.stop()
        self.cost.close()

    def _close_panels(self) -> None:
        self._connections.close()
        self.form.close()
        self.preview.close()
        self.check.close()
        self.result.close()
        self._shortcuts.close()
        self._kept_slice.close()

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
        if self._request is not None:
            self.after.copied.copy(to_text(self._request))

    def _save_networks(self) -> None:
        chosen = ask_path(self.native, self._networks_file, NETWORKS_FILES)
        if chosen is None:
            return
        try:
            # The dialog has asked whether to replace an existing file.
            path = write_networks(chosen, self._networks, overwrite=True)
        except ZSSRError as error:
            show_error(str(error))
        else:
            show_info(f"Saved the networks to {path}.")

    def _save_result(self) -> None:
        """Save the selected results in one file that keeps the pixel size, if known."""
        layers = self.result.saved_layers()
        proposed = self.form.result.file_beside(layers)
        chosen = ask_path(self.native, proposed, TIFF_FILES)
        if chosen is None:
            return
        try:
            tuples = [layer.as_layer_data_tuple() for layer in layers]
            (path,) = write_ome_tiff(chosen, tuples)
        except ZSSRError as error:
            show_error(form_sentence(str(error)))
        else:
            content = "with pixel size and recipe"
            if None in (lazy_stack(layers[0]).size_um(letter) for letter in "YX"):
                content = "with recipe, but without pixel size, which is not known"
            show_info(f"Saved as {path}, {content}.")

    def _connect(self) -> None:
        self.controls.run.changed.connect(self.start)
        self.controls.question.keep.changed.connect(self._keep_finished)
        self.controls.question.discard.changed.connect(self._discard_finished)
        self.after.python.changed.connect(lambda: self._copy(as_python))
        self.after.command.changed.connect(lambda: self._copy(as_command))
        self.after.settings.changed.connect(self.use_settings)
        self.after.networks.changed.connect(self._save_networks)
        self.result.save.changed.connect(self._save_result)
        self.preview.blur_estimated.connect(self._keep_blur)
        self.cost.changed.connect(self._enable_run)
        self.cost.timed.connect(self.form.method.show_times)
        self.cost.noise.connect(self.form.region.show_noise)
        self.form.changed.connect(self._refresh_later)
        self.form.layers_changed.connect(self._refresh_later)
        self.form.layers_changed.connect(self.preview.settle)
        viewer, self._connections = self._viewer, Connections()
        moved = viewer.dims.events.point, viewer.scene.camera.events
        self._connections.add(moved, self._refresh_later)
        removed = [viewer.layers.events.removed]
        self._connections.add(removed, self._run.garbage.include_all)
        self._connections.add(removed, self._forget_messages)
        self._connections.add([viewer.layers.events.inserted], self._add_layer)


def _weights(requests: Sequence[Request]) -> list[float]:
    """Expected costs of layers: seconds, or pixels where one's are unknown."""
    seconds = [0.0 if one.work is None else one.work.seconds for one in requests]
    return seconds if min(seconds) > 0 else [_pixels(one) for one in requests]


def _pixels(request: Request) -> float:
    """Size of the part of a layer that is enlarged, a measure of its cost."""
    shape = level0(request.layer).shape
    return float(math.prod(request.selection.shape(request.axes, shape)))


def _no_command(request: Request) -> str:
    """Why there is no command for a request; empty where there is one."""
    try:
        as_command(request)
    except InputError as error:
        return str(error)
    return ""


def ask_path(parent: Any, proposed: Path, files: tuple[str, str]) -> str | None:
    """Ask for the file to save to, and whether to replace an existing one.

    `files` are what is saved and its suffix.
    """
    kind, suffix = files
    dialog = QFileDialog(parent, f"Save {kind}", str(proposed.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(f"{kind} (*{suffix})")
    dialog.setDefaultSuffix(suffix.lstrip("."))
    dialog.selectFile(proposed.name)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    return chosen[0] if chosen else None
