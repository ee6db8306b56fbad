"""The preview: what the method does to the part that is looked at."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSlider, PushButton
from numpy.typing import NDArray
from psygnal import Signal

from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.plugin.controls import status
from napari_zssr.plugin.form.rows import (
    Column,
    Row,
    after_pause,
    say,
    side_by_side,
    words,
)
from napari_zssr.plugin.layers.selection import current_slice, current_view
from napari_zssr.plugin.preview.scene import Scene, Target, target
from napari_zssr.plugin.summary import in_the_form
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Event, Progress, Snapshot, Steps

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_zssr.plugin.request import Request
    from napari_zssr.stack.preview import PreviewResult

# Step of the picture that nothing was learned for.
BEFORE = -1
# Stage of the pause between the first look and the training.
SETTLE = "settle"
# The first look stands for so long before training begins: who scrolls through slices
# has gone on by then, and nothing is under way that takes long to stop.
SETTLED_S = 0.7
NAP_S = 0.02


def previewed(found: Target) -> Steps[PreviewResult]:
    """Preview a target; a pause after the first look is ready to be stopped.

    Before all comes a `Snapshot` of step `BEFORE`, the plainly enlarged window.
    """
    import torch

    steps = _steps(found)
    usual = torch.get_num_threads()
    # It is made of many small computations: a thread that waits for a core which the
    # window needs would slow all of them down, tenfold in the worst case.
    _compute_alone(usual)
    try:
        while True:
            event = next(steps)
            yield event
            if isinstance(event, Snapshot) and event.step == 0:
                torch.set_num_threads(usual)
                yield from _pause()
    except StopIteration as stop:
        result: PreviewResult = stop.value
        return result
    finally:
        torch.set_num_threads(usual)
        steps.close()


def _steps(found: Target) -> Steps[PreviewResult]:
    """Everything that is done in the worker."""
    from napari_zssr.stack.preview import bicubic_window, preview_steps

    stack, config = found.stack, found.request.config
    yield Progress(stage="read", step=0, total=1)
    plain = bicubic_window(
        stack, config, plane_index=found.plane_index, window=found.window
    )
    yield Snapshot(image=plain, step=BEFORE)
    return (
        yield from preview_steps(
            stack, config, plane_index=found.plane_index, window=found.window
        )
    )


def _compute_alone(usual: int) -> None:
    """Let torch use one thread for what is computed in this one.

    torch also keeps the number for threads that begin later; those, of a run perhaps,
    get the usual one back.
    """
    import torch

    torch.set_num_threads(1)
    other = Thread(target=torch.set_num_threads, args=(usual,))
    other.start()
    other.join()


def _pause() -> Steps[None]:
    settled = time.monotonic() + SETTLED_S
    while time.monotonic() < settled:
        time.sleep(NAP_S)
        yield Progress(stage=SETTLE, step=0, total=1)


# The window is left alone for so long before it is computed anew.
MOVED_MS = 250
# Previews that have been told to stop but are still in their last step.
MOST_DYING = 1
RETRY_MS = 100
FIRST_LOOK = "A first look, before training on this image. "
OPEN, CLOSE = "Preview", "Close preview"


class PreviewPanel:
    """A window of the current slice, enlarged while the network learns.

    Parameters
    ----------
    viewer : Viewer
    get_request : callable
        What the form asks for, None where it cannot run.

    Attributes
    ----------
    view : Column
        What is shown in the form.
    accepted : Signal
        Emitted with the request whose preview was accepted.
    blur_found : Signal
        Emitted with request, channel and blur of a preview that has finished.
    """

    accepted = Signal(object)
    blur_found = Signal(object, int, object)

    def __init__(
        self, viewer: Viewer, get_request: Callable[[], Request | None]
    ) -> None:
        self._viewer = viewer
        self._get_request = get_request
        self._run = Run()
        self._live = [self._run]
        self._dying: list[Run] = []
        self._target: Target | None = None
        self._plain: NDArray[Any] | None = None
        self._made: NDArray[Any] | None = None
        self._shown = ""
        self._broken_off = False
        self._scene = Scene(viewer, on_moved=self._moved)
        self._fields()
        self._later = after_pause(self.view.native, MOVED_MS, self._follow_window)
        self._retry = after_pause(self.view.native, RETRY_MS, self._launch)
        viewer.layers.events.removed.connect(self._follow_layers)
        # Qt may tell after the panel itself has been emptied by the collector.
        self.view.native.destroyed.connect(partial(_close, self._live))
        self._show_state()

    @property
    def active(self) -> bool:
        """Whether a preview is open."""
        return self._target is not None

    def start(self) -> None:
        """Open a preview in the middle of the view."""
        request = self._get_request()
        if request is None:
            return
        try:
            view = current_view(request.layer, request.axes, self._viewer)
        except InputError as error:
            self._say(str(error))
            return
        self._begin(request, dict(view.ranges))

    def stop(self) -> None:
        """Close the preview and take its layers away."""
        self._later.stop()
        self._let_go()
        self._target = self._plain = self._made = None
        self._scene.clear()
        self._say("")
        self._show_state()

    def update(self, request: Request | None) -> None:
        """Follow the form and the sliders."""
        self.button.enabled = self.active or request is not None
        self.accept.enabled = request is not None
        if not self.active:
            return
        if request is None:
            self._broken_off |= self._run.running or self._retry.isActive()
            self._let_go()
            return
        self._follow(request)

    def close(self) -> None:
        """Stop, and hear no more of the viewer."""
        self._viewer.layers.events.removed.disconnect(self._follow_layers)
        self.stop()

    def _fields(self) -> None:
        self.button = PushButton(
            text=OPEN,
            tooltip="Shows a window of the current slice as it would come out: a first "
            "look at once, then better ones while the network learns. Drag the yellow "
            "rectangle of the layer 'Preview window' to look elsewhere.",
        )
        self.accept = PushButton(
            text="Accept",
            tooltip="Runs with the settings of this preview. The result is that of the "
            "preview, for all that is chosen above.",
        )
        self.share = FloatSlider(
            name="share",
            value=0.5,
            min=0,
            max=1,
            readout=False,
            tooltip="Left of the line is plain bicubic enlargement, right of it what "
            "was learned.",
        )
        self._slider = Row("Before / after", self.share)
        self._words = words()
        self.view = Column(
            [side_by_side(self.button, self.accept), self._slider, self._words]
        )
        self.button.changed.connect(self._toggle)
        self.accept.changed.connect(self._accept)
        self.share.changed.connect(self._draw)

    def _toggle(self) -> None:
        if self.active:
            self.stop()
        else:
            self.start()

    def _accept(self) -> None:
        if self._target is not None:
            request = self._target.request
            self.stop()
            self.accepted.emit(request)

    def _begin(self, request: Request, here: dict[str, tuple[int, int]]) -> None:
        """Preview a window, unless it is the one that is previewed already."""
        found = target(request, here)
        if found.same(self._target) and not self._broken_off:
            return
        self._broken_off = False
        self._let_go()
        self._target, self._plain, self._made = found, None, None
        self._shown = ""
        self._launch()
        self._scene.aim(found)
        self._show_state()

    def _launch(self) -> None:
        """Start beside one that is still in its last step, but not beside two."""
        if self._target is None or self._run.running:
            return
        self._dying = [run for run in self._dying if run.running]
        if len(self._dying) > MOST_DYING:
            self._retry.start()
            return
        self._run.start(
            partial(previewed, self._target),
            on_event=self._tell,
            on_result=self._complete,
            on_error=self._fail,
        )

    def _let_go(self) -> None:
        """Tell what is on to stop; it does so after the step it is in."""
        self._retry.stop()
        self._run.close()
        self._dying.append(self._run)
        self._run = Run()
        self._live[:] = [self._run]

    def _follow(self, request: Request) -> None:
        layer, axes = request.layer, request.axes
        units = self._viewer.layers.extent.units
        here = current_slice(layer, axes, self._viewer.dims.point, units)
        assert self._target is not None
        try:
            if layer is self._target.request.layer:
                box = self._scene.box()
            else:
                box = dict(current_view(layer, axes, self._viewer).ranges)
        except InputError as error:
            self._say(str(error))
            return
        self._begin(request, {**box, **here.ranges})

    def _moved(self) -> None:
        self._later.start()

    def _follow_window(self) -> None:
        request = self._get_request()
        if request is not None and self.active:
            self._follow(request)

    def _follow_layers(self, event: Any) -> None:
        layer = getattr(event.value, "__wrapped__", event.value)
        if self.active and self._scene.depends_on(layer):
            self.stop()

    def _tell(self, event: Event) -> None:
        if isinstance(event, Snapshot):
            self._take(event)
        elif isinstance(event, Progress) and event.stage != SETTLE:
            self._say(self._shown + status(event, None))

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot.step == BEFORE:
            self._plain = snapshot.image
            return
        self._shown = "" if snapshot.step else FIRST_LOOK
        self._say(self._shown)
        self._made = snapshot.image
        self._draw()

    def _complete(self, result: PreviewResult) -> None:
        self._made = result.image
        self._draw()
        self._say(result.report.sentence)
        if self._target is not None:
            shown = self._target
            self.blur_found.emit(
                shown.request, shown.plane_index.channel, result.kernel
            )

    def _fail(self, error: ZSSRError) -> None:
        self._say(in_the_form(str(error)))

    def _draw(self, *_: Any) -> None:
        if self._plain is not None and self._made is not None and self.active:
            self._scene.show(self._plain, self._made, self.share.value)

    def _say(self, text: str) -> None:
        say(self._words, html.escape(text))

    def _show_state(self) -> None:
        self.button.text = CLOSE if self.active else OPEN
        self.accept.visible = self._slider.visible = self.active


def _close(runs: list[Run], *_: object) -> None:
    for run in runs:
        run.close()
