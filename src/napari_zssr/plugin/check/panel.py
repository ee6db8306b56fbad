"""The panel that answers whether a result can be relied on."""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from magicgui.widgets import PushButton
from napari.layers import Image, Shapes
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.plugin.check import readings
from napari_zssr.plugin.check.body import NO_LINE, Body
from napari_zssr.plugin.check.job import CheckJob
from napari_zssr.plugin.check.maps import MAPS, SPLIT, CheckLayers
from napari_zssr.plugin.check.plot import Curve
from napari_zssr.plugin.check.profile import (
    LINE_NAME,
    ends_in,
    line_layer,
    new_line,
    profile,
)
from napari_zssr.plugin.check.subject import (
    Place,
    Subject,
    original_of,
    result_layer,
    subject_of,
)
from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.form.rows import (
    Column,
    LatestRun,
    after_pause,
    red,
    set_text,
    text_label,
)
from napari_zssr.plugin.layers.layers import unwrapped
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.progress import Event, Progress, Steps
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.check_planes import plane_at
from napari_zssr.stack.image import ImageStack

OPEN, CLOSE = "Start check", "Close check"
MOVED_MS = 30


class CheckPanel:
    """Checks the result that is selected, and shows what comes of it."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.subject: Subject | None = None
        self.job: CheckJob | None = None
        self.layers: CheckLayers | None = None
        self._line: Shapes | None = None
        self._planes: tuple[Place, NDArray[Any], NDArray[Any]] | None = None
        self.button = PushButton(
            text=OPEN,
            tooltip="Compares the result that is selected in the layer list with its "
            "original: intensities, positions, agreement, resolution.",
        )
        self.message = text_label()
        self.body: Body | None = None
        self.view = Column([self.button, self.message])
        self._latest = LatestRun(self.view.native)
        self._reading = LatestRun(self.view.native)
        self._writing = LatestRun(self.view.native)
        self._later = after_pause(self.view.native, MOVED_MS, self._show_profile)
        self.button.changed.connect(self._toggle)
        events, self._connections = viewer.layers.events, Connections()
        self._connections.add([events.removed], self._follow_removed)
        self._connections.add([events.inserted], self._follow_lines)
        self._connections.add([viewer.dims.events.point], self._follow_slice)
        self.update()

    @property
    def active(self) -> bool:
        """Whether a check is open."""
        return self.subject is not None

    def update(self) -> None:
        """Follow the selection: whether the selected layer can be checked, or why not.

        A check that is open stays that of its result.
        """
        if self.active:
            return
        try:
            original_of(
                result_layer(self._viewer.layers.selection.active), self._viewer
            )
        except InputError as error:
            self.button.enabled = False
            set_text(self.message, html.escape(str(error)))
        else:
            self.button.enabled = True
            set_text(self.message, "")

    def start(self) -> None:
        """Open the check of the selected layer."""
        try:
            subject = subject_of(self._viewer.layers.selection.active, self._viewer)
        except ZSSRError as error:
            set_text(self.message, html.escape(form_sentence(str(error))))
            return
        self.stop()
        if self.body is None:
            self._add_body()
        assert self.body is not None
        self.subject = subject
        self.layers = CheckLayers(self._viewer, subject)
        self.job = CheckJob(subject, subject.place(self._viewer), subject.networks)
        self.body.begin(subject)
        self.body.visible = True
        self.button.text = CLOSE
        set_text(self.message, "")
        self._latest.run.start(
            self.job.steps,
            on_event=self._show_event,
            on_result=lambda _: self._show_check(),
            on_error=self._fail,
            on_finished=self._end,
        )
        self._follow_lines()
        self._read_planes()

    def job_of(self, result: Image) -> CheckJob | None:
        """The open check of a result."""
        if self.subject is None or self.subject.result is not result:
            return None
        return self.job

    def cancel(self) -> None:
        """Stop after the current step, and keep what is known."""
        self._latest.run.cancel()
        if self.body is not None and self._latest.run.running:
            self.body.show_cancelling()

    def stop(self) -> None:
        """Close the check and remove its layers."""
        for latest in (self._latest, self._reading, self._writing):
            latest.replace()
        self._forget_line()
        if self.layers is not None:
            self.layers.remove()
        self.subject = self.job = self.layers = self._planes = None
        if self.body is not None:
            self.body.visible = False
        self.button.text = OPEN
        self.update()

    def close(self) -> None:
        """Stop, and ignore the viewer from now on."""
        self._connections.close()
        self.stop()

    def _add_body(self) -> None:
        self.body = Body()
        self.view.append(self.body)
        self.body.cancel.changed.connect(self.cancel)
        self.body.residual.changed.connect(self._toggle_maps)
        self.body.compare.changed.connect(self._toggle_split)
        self.body.share.changed.connect(self._slide)
        self.body.draw.changed.connect(self._draw_line)
        self.body.save.changed.connect(self._save)

    def _toggle(self) -> None:
        if self.active:
            self.stop()
        else:
            self.start()

    # What the check has found.

    def _show_event(self, event: Event) -> None:
        assert self.body is not None
        if isinstance(event, Progress):
            self.body.show_progress(event)
            self._show_check()

    def _show_error(self, error: ZSSRError) -> None:
        text = html.escape(form_sentence(str(error)))
        set_text(self.message, red(text, self.message))

    def _fail(self, error: ZSSRError) -> None:
        self.stop()
        self._show_error(error)

    def _end(self) -> None:
        if self.body is not None:
            self.body.show_idle()
            self._show_check()

    def _show_check(self) -> None:
        """Show what is known so far."""
        if self.job is None or self.job.check is None:
            return
        assert self.body is not None
        self.body.show_verdict(self.job.check, self.job.state)
        self._show_plane()

    def shown_plane(self) -> PlaneCheck | None:
        """The checked plane that is nearest to the sliders."""
        if self.job is None or self.job.check is None or self.subject is None:
            return None
        at = self.subject.place(self._viewer)

        def distance(plane: PlaneCheck) -> tuple[int, int]:
            apart = {a: abs(plane.place[a] - n) for a, n in at.items()}
            return apart.pop("C", 0), sum(apart.values())

        return min(self.job.check.planes, key=distance)

    def _show_plane(self) -> None:
        plane = self.shown_plane()
        if plane is None or self.subject is None:
            return
        assert self.body is not None
        self.body.show_plane(plane, self.subject, self.subject.place(self._viewer))
        if self.layers is not None and any(map(self.layers.has, MAPS)):
            self._show_maps()

    # The layers in the viewer.

    def _show_maps(self) -> None:
        assert self.layers is not None
        if self.job is not None and self.job.check is not None:
            self.layers.show_maps(self.job.check.planes)

    def _toggle_maps(self) -> None:
        if self.layers is None:
            return
        if self.layers.has("residual"):
            self.layers.remove(*MAPS)
        else:
            self._show_maps()
        self._show_toggles()

    def _toggle_split(self) -> None:
        if self.layers is None or self.body is None:
            return
        if self.layers.has(SPLIT):
            self.layers.remove(SPLIT)
        else:
            self.layers.show_split(self.body.share.line)
        self._show_toggles()

    def _slide(self) -> None:
        if self.body is None or self.layers is None:
            return
        if self.layers.has(SPLIT):
            self.layers.show_split(self.body.share.line)

    def _show_toggles(self) -> None:
        assert self.layers is not None
        assert self.body is not None
        self.body.show_toggles(
            residual=self.layers.has("residual"), split=self.layers.has(SPLIT)
        )

    def _follow_removed(self, event: Any) -> None:
        if self.subject is None:
            return
        removed = unwrapped(event.value)
        parts = (self.subject.result, self.subject.original)
        if any(removed is part for part in parts):
            name = removed.name
            self.stop()
            set_text(
                self.message, html.escape(f"Check closed, because {name} was removed.")
            )
            return
        self._show_toggles()
        self._follow_lines()

    # The profile.

    def _follow_slice(self, _event: Any = None) -> None:
        if self.active:
            self._show_plane()
            self._read_planes()

    def _read_planes(self) -> None:
        """Read the planes that the sliders show, in the worker thread."""
        if self.subject is None:
            return
        place = self.subject.place(self._viewer)
        if self._planes is not None and self._planes[0] == place:
            return
        self._reading.replace()
        self._reading.run.start(
            partial(_read, self.subject.lazy_stacks(), place),
            on_result=self._keep_planes,
            on_error=self._show_error,
        )

    def _keep_planes(self, planes: tuple[Place, NDArray[Any], NDArray[Any]]) -> None:
        self._planes = planes
        self._show_profile()

    def _draw_line(self) -> None:
        if self.subject is None:
            return
        line = line_layer(self._viewer) or self._hidden_line()
        if line is None:
            line = new_line(self.subject)
            if line is None:
                show_info(
                    "Line profiles need an image whose last axes are Y and X; "
                    "reorder its axes and run again."
                )
                return
            self._viewer.add_layer(line)
        line.visible = True
        # Its ends can be dragged.
        line.mode = "direct"
        self._viewer.layers.selection.active = line
        self._follow_lines()

    def _hidden_line(self) -> Shapes | None:
        """The line of an earlier check."""
        for layer in map(unwrapped, self._viewer.layers):
            if isinstance(layer, Shapes) and layer.name == LINE_NAME:
                return layer
        return None

    def _follow_lines(self, _event: Any = None) -> None:
        """Listen to the topmost line."""
        if not self.active:
            return
        for layer in map(unwrapped, self._viewer.layers):
            # A line may yet be drawn in any of them.
            if isinstance(layer, Shapes):
                layer.events.set_data.connect(self._move)
                layer.events.visible.connect(self._move)
        self._move()

    def _forget_line(self) -> None:
        self._later.stop()
        for layer in map(unwrapped, self._viewer.layers):
            if isinstance(layer, Shapes):
                layer.events.set_data.disconnect(self._move)
                layer.events.visible.disconnect(self._move)
                if layer.name == LINE_NAME:
                    layer.visible = False

    def _move(self, _event: Any = None) -> None:
        # Not a pause: the plot follows a line that is being dragged.
        if not self._later.isActive():
            self._later.start()

    def _show_profile(self) -> None:
        if self.subject is None or self.body is None:
            return
        line = line_layer(self._viewer)
        ends = None if line is None else ends_in(self.subject, line)
        if ends is None or self._planes is None:
            self.body.profile.show_curves([], "", NO_LINE)
            return
        _, original, result = self._planes
        pixel = self.subject.pixel_um
        found = profile(
            original, result, ends, self.subject.factors, pixel or (1.0, 1.0)
        )
        curves = [
            Curve(name=name, x=found.distance, y=y, colour=number)
            for number, (name, y) in enumerate(
                zip(readings.NAMES, (found.before, found.after), strict=True)
            )
        ]
        unit = "pixels of the original" if pixel is None else "µm"
        self.body.profile.show_curves(curves, f"along the line ({unit})")

    # The report.

    def _save(self) -> None:
        if self.subject is None:
            return
        source = Path(self.subject.original.source.path or Path.home() / "x")
        proposed = source.parent / f"{Path(self.subject.result.name).name}_check.html"
        chosen = ask_report(self.view.native, proposed)
        if chosen is not None:
            self.write_report(chosen)

    def write_report(self, path: Path) -> None:
        """Write the page to a file, and a picture of the panel beside it."""
        if self.job is None or self.job.check is None or self.body is None:
            return
        picture = path.with_suffix(".png")
        rest = readings.unfinished(self.job)
        self.body.native.grab().save(str(picture))
        self._writing.replace()
        self._writing.run.start(
            partial(_write_page, path, self.job.check, self.job.stacks),
            on_result=lambda _: show_info(
                f"Saved {path} and {picture.name}. {rest}".rstrip()
            ),
            on_error=lambda error: show_error(str(error)),
        )


def _read(
    stacks: dict[str, ImageStack], place: Place
) -> Steps[tuple[Place, NDArray[Any], NDArray[Any]]]:
    """Planes (Y, X) of original and result at a place."""
    yield Progress(stage="read", step=0, total=1)
    original, result = (
        np.asarray(plane_at(stacks[name], place)) for name in ("original", "result")
    )
    return place, original, result


def _write_page(path: Path, check: Check, stacks: dict[str, ImageStack]) -> Steps[Path]:
    from napari_zssr.atomic import atomic_write
    from napari_zssr.stack.check_page import page

    yield Progress(stage="report", step=0, total=1)
    with atomic_write(path.expanduser().resolve()) as draft:
        draft.write_text(page(check, stacks), encoding="utf-8")
    return path


def ask_report(parent: Any, proposed: Path) -> Path | None:
    """Ask for the file of the report, and whether to replace an existing one."""
    dialog = QFileDialog(parent, "Save report", str(proposed.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter("Web page (*.html)")
    dialog.setDefaultSuffix("html")
    dialog.selectFile(proposed.name)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    return Path(chosen[0]) if chosen else None
