"""Measurements of the image before a run, on a button: blur and noise."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from typing import Any

from magicgui.widgets import PushButton
from napari.viewer import Viewer

from napari_zssr.errors import ZSSRError
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.plugin.form.fields import MethodFields
from napari_zssr.plugin.form.rows import LatestRun, red, set_text
from napari_zssr.plugin.layers.layers import current_slice
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import form_sentence
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.image import ImageStack, PlaneIndex, planes
from napari_zssr.stack.recipe import CLEAN

Key = tuple[Any, ...]


class Measurements:
    """Estimates the blur or measures the noise of what the form asks to enlarge.

    `get_request` gives what that is; `on_blur` is called when a blur is known, which
    the form then has in `BlurFields.seen`.
    """

    def __init__(
        self,
        viewer: Viewer,
        method: MethodFields,
        get_request: Callable[[], Request | None],
        on_blur: Callable[[], object],
    ) -> None:
        self._viewer = viewer
        self._blur, self._advanced = method.blur, method.advanced
        self._get_request = get_request
        self._on_blur = on_blur
        self._noise_key: Key = ()
        self._blur_run = LatestRun(method.blur.native)
        self._noise_run = LatestRun(method.advanced.native)
        self._texts = {
            each: each.text for each in (self._blur.measure, self._noise_button)
        }
        self._blur.offer_measuring()
        self._advanced.offer_measuring()
        self._blur.measure.changed.connect(self.estimate_blur)
        self._noise_button.changed.connect(self.measure_noise)

    @property
    def _noise_button(self) -> PushButton:
        return self._advanced.measure

    def estimate_blur(self) -> None:
        """Estimate the blur of every channel, in the worker thread."""
        request = self._get_request()
        if request is None:
            return
        self._busy(self._blur.measure, "Estimating...")
        self._blur_run.replace().cancel()
        self._blur_run.run.start(
            partial(_blur_steps, request),
            on_result=partial(self._keep_blur, request),
            on_error=self._refuse_blur,
            on_finished=partial(self._idle, self._blur.measure),
        )

    def measure_noise(self) -> None:
        """Measure the noise of the slice and channel that are shown."""
        request = self._get_request()
        if request is None:
            return
        stack = request.lazy_stack()
        plane_index = shown_plane(request, stack, self._viewer)
        count = len(planes(stack.axes, stack.data.shape))
        self._noise_key = self._key(request)
        self._busy(self._noise_button, "Measuring...")
        self._noise_run.replace().cancel()
        self._noise_run.run.start(
            partial(_noise_steps, stack, request, plane_index),
            on_result=partial(self._show_noise, several=count > 1),
            on_error=self._refuse_noise,
            on_finished=partial(self._idle, self._noise_button),
        )

    def update(self, request: Request | None) -> None:
        """Follow the form: the noise of another image is not shown any longer."""
        for button in (self._blur.measure, self._noise_button):
            if button.text == self._texts[button]:
                button.enabled = request is not None
        if request is None or self._key(request) != self._noise_key:
            self._noise_key = ()
            set_text(self._advanced.noise_message, "")

    def stop(self) -> None:
        """Forget what is being computed."""
        for latest, button in (
            (self._blur_run, self._blur.measure),
            (self._noise_run, self._noise_button),
        ):
            latest.replace()
            self._idle(button)

    def _keep_blur(self, request: Request, kernels: tuple[FineKernel, ...]) -> None:
        for channel, kernel in enumerate(kernels):
            self._blur.seen.keep(request, channel, kernel)
        self._on_blur()

    def _refuse_blur(self, error: ZSSRError) -> None:
        text = html.escape(form_sentence(str(error)))
        set_text(self._blur.view.sentence, red(text, self._blur.view.sentence))

    def _show_noise(self, level: float | None, *, several: bool) -> None:
        if self._noise_key:
            sentence = noise_sentence(level, several=several)
            self._advanced.show_noise(level, sentence)

    def _refuse_noise(self, error: ZSSRError) -> None:
        message = self._advanced.noise_message
        set_text(message, red(html.escape(form_sentence(str(error))), message))

    def _key(self, request: Request) -> Key:
        """What the measured noise belongs to."""
        slices = current_slice(request.layer, request.axes, self._viewer)
        parts = (sorted(r.items()) for r in (request.selection.ranges, slices))
        return (id(request.layer), request.axes, *map(str, parts))

    def _busy(self, button: PushButton, text: str) -> None:
        button.text, button.enabled = text, False

    def _idle(self, button: PushButton) -> None:
        button.text, button.enabled = self._texts[button], True


def shown_plane(request: Request, stack: ImageStack, viewer: Viewer) -> PlaneIndex:
    """The plane of a request that the sliders show, or the nearest one."""
    shown = current_slice(request.layer, request.axes, viewer)
    starts = request.selection.starts(stack.axes)

    def distance(plane: PlaneIndex) -> int:
        return sum(
            abs(at + start - shown[letter][0])
            for letter, at, start in zip(stack.axes, plane.index, starts, strict=True)
            if isinstance(at, int)
        )

    return min(planes(stack.axes, stack.data.shape), key=distance)


def noise_sentence(level: float | None, *, several: bool = False) -> str:
    """What was measured, in the image or in the one of several slices that is shown."""
    where = "slice that is shown" if several else "image"
    if level is None:
        return f"Only noise was found in the {where}, no structures."
    if level < CLEAN:
        return f"No noise was found in the {where}."
    return f"The noise of the {where} is {100 * level:.2g} % of its intensity range."


def _blur_steps(request: Request) -> Steps[tuple[FineKernel, ...]]:
    from napari_zssr.stack.channels import kernels_of

    yield Progress(stage="read", step=0, total=1)
    return kernels_of(request.lazy_stack(), request.config)


def _noise_steps(
    stack: ImageStack, request: Request, plane_index: PlaneIndex
) -> Steps[float | None]:
    from napari_zssr.stack.noise_estimate import plane_noise_level

    yield Progress(stage="read", step=0, total=1)
    return plane_noise_level(stack, request.config, plane_index)
