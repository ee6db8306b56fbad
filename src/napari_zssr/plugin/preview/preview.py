"""The preview: the result for a window of the current slice, before a run."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from magicgui.widgets import CheckBox, PushButton
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray
from psygnal import Signal

from napari_zssr.errors import InputError
from napari_zssr.plugin.clock import status
from napari_zssr.plugin.connections import Connections
from napari_zssr.plugin.form.rows import (
    Column,
    LatestRun,
    Row,
    after_pause,
    set_text,
    text_label,
)
from napari_zssr.plugin.form.split_slider import ORIGINAL, SplitSlider
from napari_zssr.plugin.layers.layers import current_slice, current_view, unwrapped
from napari_zssr.plugin.preview.detail import most_detailed
from napari_zssr.plugin.preview.scene import Scene, Target, nearest_target
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import advice, form_sentence
from napari_zssr.plugin.worker import Run
from napari_zssr.progress import Event, Progress, Snapshot, Steps
from napari_zssr.stack.preview import (
    BEFORE,
    AxialPreview,
    PreviewResult,
    axial_preview_steps,
    bicubic_window,
    preview_steps,
)

# Stage of the pause between the first snapshot and the training.
SETTLE = "settle"
# Who scrolls through slices has gone on after this pause, when nothing that takes long
# to stop has begun yet.
SETTLED_S = 0.7
NAP_S = 0.02


def preview_target(target: Target) -> Steps[PreviewResult]:
    """Preview a target, with a pause after the first snapshot of the network.

    Before all comes a `Snapshot` of step `BEFORE`, the window by plain interpolation.
    """
    import torch

    stack, config = target.stack, target.request.config
    region: dict[str, Any] = {
        "plane_index": target.plane_index,
        "window": target.window,
    }
    steps = preview_steps(stack, config, **region)
    threads = torch.get_num_threads()
    # Of many small computations, a thread that waits for a core in use by the window
    # would slow all down, tenfold in the worst case.
    _use_one_thread(threads)
    try:
        yield Progress(stage="read", step=0, total=1)
        yield Snapshot(image=bicubic_window(stack, config, **region), step=BEFORE)
        while True:
            event = next(steps)
            yield event
            if isinstance(event, Snapshot) and event.step == 0:
                torch.set_num_threads(threads)
                settled = time.monotonic() + SETTLED_S
                while time.monotonic() < settled:
                    time.sleep(NAP_S)
                    yield Progress(stage=SETTLE, step=0, total=1)
    except StopIteration as stop:
        result: PreviewResult = stop.value
        return result
    finally:
        torch.set_num_threads(threads)
        steps.close()


def progress_text(event: Progress) -> str:
    """Stage of a preview, with how much of it is done: ``Training, 40 %``."""
    line = status(event)
    return f"{line}, {100 * event.step // event.total} %" if event.total > 1 else line


def preview_columns(target: Target) -> Steps[AxialPreview]:
    """Preview the columns of a window along Z, after them by plain interpolation."""
    assert target.factor_z is not None
    return axial_preview_steps(
        target.stack,
        target.request.config,
        target.factor_z,
        plane_index=target.plane_index,
        window=target.window,
    )


def _use_one_thread(default: int) -> None:
    """Let torch compute on one core in this thread, on `default` in later ones.

    torch also hands the number on to threads that start later, perhaps those of a run.
    """
    import torch

    torch.set_num_threads(1)
    other = Thread(target=torch.set_num_threads, args=(default,))
    other.start()
    other.join()


# Pause after the window was moved.
MOVED_MS = 250
# Abandoned previews that may still be in their last step when another one starts.
MAX_ABANDONED = 1
RETRY_MS = 100
FIRST_LOOK = "First result, before training on this image. "
UNTRAINED = "First result; no training is needed. "
FINISHED = "Preview finished. "
ONLY_PLANES = " Z is not previewed; to see it, set the factor in XY to 1."
INTERPOLATED = "Cubic interpolation, while the network trains."
OPEN, CLOSE = "Preview", "Close preview"
# What the side before shows of an image that is enlarged.
SMOOTHED = "interpolated"
# Height that is kept for messages while a preview is open.
MESSAGE_LINES = 7


class PreviewPanel:
    """A window of the current slice, enlarged while the network learns.

    `get_request` returns the request of the form, None where it cannot run.
    `blur_estimated` is emitted with request, channel and blur.
    """

    blur_estimated = Signal(object, int, object)

    def __init__(
        self, viewer: Viewer, get_request: Callable[[], Request | None]
    ) -> None:
        self._viewer = viewer
        self._get_request = get_request
        self._abandoned: list[Run] = []
        self._target: Target | None = None
        self._plain: NDArray[Any] | None = None
        self._learned: NDArray[Any] | None = None
        self._prefix = ""
        self._interrupted = False
        self._add_fields()
        self._latest = LatestRun(self.view.native)
        self._later = after_pause(self.view.native, MOVED_MS, self._follow_window)
        self._retry = after_pause(self.view.native, RETRY_MS, self._launch)
        self._scene = Scene(viewer, self.view.native, on_moved=self._later.start)
        self._connections = Connections()
        self._connections.add([viewer.layers.events.removed], self._follow_layers)
        self._show_state()

    @property
    def active(self) -> bool:
        """Whether a preview is open."""
        return self._target is not None

    @property
    def computing(self) -> bool:
        """Whether a preview is being computed, or stops after its current step."""
        return any(run.running for run in (self._latest.run, *self._abandoned))

    def toggle(self) -> None:
        """Open a preview, or close it."""
        if self.active:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Open a preview where the view shows most detail."""
        request = self._get_request()
        if request is not None:
            self._follow(request)

    def stop(self, *, turned: bool = False) -> None:
        """Close the preview and remove its layers; the view may stay `turned`."""
        if turned:
            self._scene.stay()
        self._later.stop()
        self._abandon()
        self.sections.value = False
        self._target = self._plain = self._learned = None
        self._scene.clear()
        # The next one may be of another image.
        self.share.reset()
        self._say("")
        self._show_state()

    def update(self, request: Request | None) -> None:
        """Follow the form and the sliders."""
        self.button.enabled = self.active or request is not None
        if self.active and request is not None:
            self._follow(request)
        elif self.active:
            self._interrupted |= self._latest.run.running or self._retry.isActive()
            self._abandon()

    def settle(self) -> None:
        """Stay on the same pixels where the layer has been moved."""
        self._scene.follow()

    def close(self) -> None:
        """Stop, and ignore the viewer from now on."""
        self._connections.close()
        self.stop()

    def _add_fields(self) -> None:
        self.button = PushButton(
            text=OPEN,
            tooltip="Shows the result for a part of the current slice: a first one at "
            "once, better ones while the network trains. Drag it to another part. "
            "Key: Ctrl+P.",
        )
        self.share = SplitSlider(
            "Far left shows only the original: enlarged by interpolation, which has "
            "smooth pixels, or as it is with a factor of 1. Far right shows only the "
            "result. In between, the original is left of the line."
        )
        self.sections = CheckBox(
            name="sections",
            text="View from the side",
            tooltip="Turns the view so that X and Z are shown, and back again.",
        )
        self._turned = Row("", self.sections)
        # The height of most messages, so that nothing below jumps.
        self.message = text_label(least_lines=MESSAGE_LINES)
        self.view = Column(
            [
                self.share.view,
                self._turned,
                self.message,
            ]
        )
        self.button.changed.connect(self.toggle)
        self.share.changed.connect(self._draw)
        self.sections.changed.connect(self._turn)

    def _follow(self, request: Request) -> None:
        """Preview the current slice in the window, or in the view of another layer."""
        layer, axes, viewer = request.layer, request.axes, self._viewer
        # Under the user's hand it stays as it is.
        if self._scene.held:
            return
        target = self._target if self._shows(layer) else None
        try:
            if target is not None:
                box = self._scene.box
            else:
                box = most_detailed(request, current_view(layer, axes, viewer))
        except InputError as error:
            self._say(str(error))
            return
        target = nearest_target(request, {**box, **current_slice(layer, axes, viewer)})
        same = self._target is not None and self._target.key == target.key
        if same and not self._interrupted:
            self._scene.settle()
            return
        self._interrupted = False
        self._abandon()
        self._target, self._plain, self._learned = target, None, None
        self._prefix = ""
        self._launch()
        self._scene.aim(target)
        self._show_state()

    def _shows(self, layer: Image) -> bool:
        return self._target is not None and layer is self._target.request.layer

    def _launch(self) -> None:
        """Start, unless two earlier previews are still in their last steps."""
        if self._target is None or self._latest.run.running:
            return
        self._abandoned = [run for run in self._abandoned if run.running]
        if len(self._abandoned) > MAX_ABANDONED:
            self._retry.start()
            return
        preview: Any = preview_target
        if self._target.factor_z is not None:
            preview = preview_columns
        self._latest.run.start(
            partial(preview, self._target),
            on_event=self._show_event,
            on_result=self._complete,
            on_error=lambda error: self._say(form_sentence(str(error))),
        )

    def _abandon(self) -> None:
        """Stop the computation after the step that it is in."""
        self._retry.stop()
        self._abandoned.append(self._latest.replace())

    def _follow_window(self) -> None:
        if self.active:
            self.start()

    def _follow_layers(self, event: Any) -> None:
        if self._target is None:
            return
        parts = (self._scene.picture, self._target.request.layer)
        if unwrapped(event.value) in parts:
            self.stop()

    def _show_event(self, event: Event) -> None:
        if isinstance(event, Snapshot) and event.step == BEFORE:
            self._plain = self._learned = event.image
            self._draw()
            if self._target is not None and self._target.factor_z is not None:
                self._say(INTERPOLATED)
        elif isinstance(event, Snapshot):
            self._prefix = "" if event.step else self._first_look()
            self._show(event.image, self._prefix)
        elif isinstance(event, Progress) and event.stage != SETTLE:
            self._say(self._prefix + progress_text(event))

    def _first_look(self) -> str:
        trains = self._target is not None and self._target.request.trains
        return FIRST_LOOK if trains else UNTRAINED

    def _complete(self, result: PreviewResult | AxialPreview) -> None:
        target, sentence = self._target, form_sentence(result.report.sentence)
        if target is not None and isinstance(result, PreviewResult):
            sentence += self._advice(target, result)
        if target is not None and target.factor_z is None and target.request.factor_z:
            sentence += ONLY_PLANES
        self._show(result.image, FINISHED + sentence)
        if target is not None and isinstance(result, PreviewResult):
            channel = target.plane_index.channel
            self.blur_estimated.emit(target.request, channel, result.kernel)

    def _advice(self, target: Target, result: PreviewResult) -> str:
        """What may help where nothing was gained, after a sentence."""
        if result.report.returned == "learned":
            return ""
        return f" {advice([result.report], target.request.config)}"

    def _show(self, image: NDArray[Any], sentence: str) -> None:
        self._learned = image
        self._draw()
        self._say(sentence)

    def _draw(self) -> None:
        target, plain, learned = self._target, self._plain, self._learned
        if target is not None and plain is not None and learned is not None:
            self._scene.show(target, plain, learned, self.share.line)

    def _turn(self, from_side: bool) -> None:
        if from_side and self._target is not None:
            self._scene.turn(self._target)
        else:
            self._scene.turn_back()

    def _say(self, text: str) -> None:
        set_text(self.message, html.escape(text))
        # An empty line keeps its room while a preview is open.
        self.message.visible = self.active or bool(text)

    def _show_state(self) -> None:
        self.button.text = CLOSE if self.active else OPEN
        self.share.view.visible = self.active
        self.message.visible = self.active or bool(self.message.value)
        target = self._target
        if target is not None:
            is_plain = target.factor_z is None and max(target.factors) == 1
            self.share.before.value = ORIGINAL if is_plain else SMOOTHED
        self._turned.visible = target is not None and target.factor_z is not None
        if not self._turned.visible:
            self.sections.value = False
