"""Looks at the image before a run, when a button asks for them: blur and noise."""

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
from napari_zssr.plugin.form.rows import LatestRun, red, say
from napari_zssr.plugin.layers.layers import current_slice
from napari_zssr.plugin.request import Request
from napari_zssr.plugin.summary import CLEAN, form_sentence
from napari_zssr.progress import Progress, Steps
from napari_zssr.stack.image import ImageStack, PlaneIndex, planes

Key = tuple[Any, ...]


class Looks:
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
        self._texts = {each: each.text for each in (self._blur.look, self._noise_look)}
        self._blur.offer_look()
        self._advanced.offer_look()
        self._blur.look.changed.connect(self.estimate_blur)
        self._noise_look.changed.connect(self.measure_noise)

    @property
    def _noise_look(self) -> PushButton:
        return self._advanced.look

    def estimate_blur(self) -> None:
        """Estimate the blur of every channel, in the worker thread."""
        request = self._get_request()
        if request is None:
            return
        self._busy(self._blur.look, "Estimating...")
        self._blur_run.replace().cancel()
        self._blur_run.run.start(
            partial(_blur_steps, request),
            on_result=partial(self._keep_blur, request),
            on_error=self._refuse_blur,
            on_finished=partial(self._idle, self._blur.look),
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
        self._busy(self._noise_look, "Measuring...")
        self._noise_run.replace().cancel()
        self._noise_run.run.start(
            partial(_noise_steps, stack, request, plane_index),
            on_result=partial(self._show_noise, several=count > 1),
            on_error=self._refuse_noise,
            on_finished=partial(self._idle, self._noise_look),
        )

    def update(self, request: Request | None) -> None:
        """Follow the form: the noise of another image is not shown any longer."""
        for look in (self._blur.look, self._noise_look):
            if look.text == self._texts[look]:
                look.enabled = request is not None
        if request is None or self._key(request) != self._noise_key:
            self._noise_key = ()
            say(self._advanced.noise_message, "")

    def stop(self) -> None:
        """Forget what is being computed."""
        for latest, look in (
            (self._blur_run, self._blur.look),
            (self._noise_run, self._noise_look),
        ):
            latest.replace()
            self._idle(look)

    def _keep_blur(self, request: Request, kernels: tuple[FineKernel, ...]) -> None:
        for channel, kernel in enumerate(kernels):
            self._blur.seen.keep(request, channel, kernel)
        self._on_blur()

    def _refuse_blur(self, error: ZSSRError) -> None:
        text = html.escape(form_sentence(str(error)))
        say(self._blur.view.sentence, red(text, self._blur.view.sentence))

    def _show_noise(self, level: float | None, *, several: bool) -> None:
        if self._noise_key:
            sentence = noise_sentence(level, several=several)
            self._advanced.show_noise(level, sentence)

    def _refuse_noise(self, error: ZSSRError) -> None:
        message = self._advanced.noise_message
        say(message, red(html.escape(form_sentence(str(error))), message))

    def _key(self, request: Request) -> Key:
        """What the measured noise belongs to."""
        slices = current_slice(request.layer, request.axes, self._viewer)
        parts = (sorted(r.items()) for r in (request.selection.ranges, slices))
        return (id(request.layer), request.axes, *map(str, parts))

    def _busy(self, look: PushButton, text: str) -> None:
        look.text, look.enabled = text, False

    def _idle(self, look: PushButton) -> None:
        look.text, look.enabled = self._texts[look], True


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
    from napari_zssr.stack.noise_level import plane_noise_level

    yield Progress(stage="read", step=0, total=1)
    return plane_noise_level(stack, request.config, plane_index)
