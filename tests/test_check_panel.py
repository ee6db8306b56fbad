from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("napari")

from conftest import Desk
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from qtpy.QtGui import QImage

from napari_zssr import upscale_to_disk
from napari_zssr.config import FAST, INSTANT, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.confirmation import Confirmation, DetailConfirmation
from napari_zssr.imaging.resolution import Outcome
from napari_zssr.io.write import write
from napari_zssr.plugin.check import body as _body
from napari_zssr.plugin.check import job as _job
from napari_zssr.plugin.check import panel as _panel
from napari_zssr.plugin.check import readings
from napari_zssr.plugin.check.job import CheckJob, recipe_at
from napari_zssr.plugin.check.maps import SPLIT, PlanesOfMaps
from napari_zssr.plugin.check.panel import CheckPanel
from napari_zssr.plugin.check.plot import (
    Curve,
    Plot,
    Style,
    period_ticks,
    round_ticks,
)
from napari_zssr.plugin.check.profile import profile
from napari_zssr.plugin.check.subject import NO_RESULT, Subject, places, subject_of
from napari_zssr.plugin.layers.aids import NearestPixels, SplitPixels, is_aid
from napari_zssr.plugin.layers.files import read_image
from napari_zssr.plugin.layers.layers import KEY, WHOLE, Selection, result_kwargs
from napari_zssr.progress import Progress, Steps, drain
from napari_zssr.stack import check as _check
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import check_files, check_steps
from napari_zssr.stack.detail import Detail, Finest
from napari_zssr.stack.methods import legend, methods
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import upscale_steps
from napari_zssr.stack.verdict import LIMITS, _kept, verdict

CONFIG = change(INSTANT, ensemble=False, always=True, device="cpu")
UM = 0.2


def blobs(seed: int = 0, size: int = 96) -> np.ndarray:
    """Spots of a few photons a count on an offset, (Y, X)."""
    draw = np.random.default_rng(seed)
    points = np.zeros((size, size))
    places = draw.integers(8, size - 8, (2, 14))
    points[tuple(places)] = draw.uniform(3e4, 6e4, 14)
    clear = 100 + ndimage.gaussian_filter(points, 2.5)
    return np.round(clear + draw.normal(0, 12, clear.shape)).astype(np.uint16)


def enlarged(
    layer: Image, axes: str, selection: Selection = WHOLE, **given: Any
) -> Image:
    """The layer of a result, made as the plugin makes it."""
    config = change(CONFIG, **given)
    parts = selection.slices(axes, layer.data.shape)
    stack = labelled(
        layer.data[parts], axes=axes, spacing=UM, units="um", name=layer.name
    )
    result = drain(upscale_steps(stack, config))
    kwargs = result_kwargs(layer, axes, selection, config.factors, {})
    kwargs["metadata"] = {KEY: recipe(stack, result, selection=selection.ranges)}
    return Image(result.image, **kwargs)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, Image]:
    """An original, and the layer of its result."""
    image = blobs()
    layer = Image(image, name="cells", scale=(UM, UM), units=("um", "um"))
    return image, enlarged(layer, "YX")


class Bench:
    """A viewer with an original, its result, and the panel."""

    def __init__(self, viewer: Any, qtbot: Any, original: Image, result: Image) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.original, self.result = original, result
        viewer.add_layer(original)
        viewer.add_layer(result)
        self.select(result)
        self.panel = CheckPanel(viewer)

    def select(self, layer: Any) -> None:
        self.viewer.layers.selection.active = layer

    def until(self, check: Callable[[], object]) -> None:
        self.qtbot.waitUntil(lambda: bool(check()), timeout=60_000)

    def quiet(self) -> None:
        panel = self.panel
        runs = (panel._latest, panel._reading, panel._writing)
        self.until(lambda: not any(latest.run.running for latest in runs))

    def start(self) -> None:
        self.panel.start()
        self.quiet()

    @property
    def body(self) -> Any:
        assert self.panel.body is not None
        return self.panel.body

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers]

    def value(self, name: str) -> str:
        return str(self.body.values[name].value)


def copied(layer: Image) -> Image:
    data, kwargs, _ = layer.as_layer_data_tuple()
    return Image(data, **kwargs)


@pytest.fixture
def bench(qtbot: Any, pair: tuple[np.ndarray, Image]) -> Iterator[Bench]:
    from napari.components import ViewerModel

    image, result = pair
    original = Image(image, name="cells", scale=(UM, UM), units=("um", "um"))
    made = Bench(ViewerModel(), qtbot, original, copied(result))
    yield made
    made.panel.close()
    made.quiet()
    made.panel.view.native.deleteLater()
    qtbot.wait(1)


# ---- a check


def test_it_opens_at_once_and_fills_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def watched(*given: Any, **named: Any) -> Any:
        threads.append(threading.current_thread())
        return check_steps(*given, **named)

    monkeypatch.setattr(_job, "check_steps", watched)
    started = time.monotonic()
    bench.panel.start()
    bench.panel.view.native.show()
    bench.qtbot.wait(1)
    assert time.monotonic() - started < 1
    assert bench.body.cancel.enabled
    assert bench.body.title.value == "<i>cells x2</i>, made from <i>cells</i>"
    bench.quiet()
    assert threads
    assert threading.main_thread() not in threads
    assert "These checks found no problem" in bench.body.verdict.value
    assert LIMITS in bench.body.verdict.value
    assert "%" in bench.value(readings.FLUX)
    assert "µm" in bench.value(readings.SPOTS)
    assert "of the area" in bench.value(readings.RESIDUAL)
    before, after = bench.value(readings.RESOLUTION).split(";")
    assert "µm" in before
    assert "not measured" in after
    spectra, correlations = bench.body.spectrum.curves, bench.body.correlation.curves
    assert [curve.name for curve in spectra] == ["original", "result"]
    assert [curve.name for curve in correlations] == ["original"]
    assert "'instant' is not saved" in bench.body.correlation.text
    assert not bench.body.running.visible
    # The finest period of the result's pixels is half that of the original's.
    ends = [float(curve.x[-1]) for curve in spectra]
    assert ends[1] == pytest.approx(2 * ends[0], rel=0.03)


def test_what_moved_is_told(bench: Bench) -> None:
    bench.result.data = np.roll(bench.result.data, 3, axis=1)
    bench.start()
    said = bench.body.verdict.value
    assert "Look again before you publish" in said
    assert "spots moved" in said
    assert "differs from the original by more than its noise" in said
    # And why.
    assert "is shifted by" in said


def test_every_number_explains_itself(bench: Bench) -> None:
    bench.start()
    body = bench.body
    fields = [*body.values.values(), body.residual, body.compare, body.draw, body.save]
    assert all(len(field.tooltip) > 40 for field in fields)
    plots = (body.spectrum, body.correlation, body.profile)
    assert all(len(plot.toolTip()) > 40 for plot in plots)
    limits = re.compile("is not detected|are not checked|is not checked")
    assert all(limits.search(readings.TOOLTIPS[n]) for n in list(body.values)[:3])


@pytest.mark.parametrize("kind", ["nothing", "original", "unfinished", "points"])
def test_only_finished_results_are_checked(bench: Bench, kind: str) -> None:
    chosen = {"nothing": None, "original": bench.original}.get(kind, bench.result)
    wanted = NO_RESULT
    if kind == "unfinished":
        bench.result.metadata[KEY] = {**bench.result.metadata[KEY], "finished": 1}
        wanted = "is not finished"
    if kind == "points":
        chosen = bench.viewer.add_points()
    bench.select(chosen)
    bench.panel.update()
    assert not bench.panel.button.enabled
    assert wanted in bench.panel.message.value
    bench.panel.start()
    assert not bench.panel.active
    assert wanted in bench.panel.message.value


def test_without_its_original_a_result_is_not_checked(bench: Bench) -> None:
    bench.viewer.layers.remove(bench.original)
    bench.select(bench.result)
    bench.panel.update()
    assert not bench.panel.button.enabled
    assert "open cells again" in bench.panel.message.value


def isotropic(bench: Bench, slices: int = 6, factor: float = 2.5) -> Image:
    """A stack and its result with more slices, added to the viewer."""
    volume = np.stack([blobs(seed, 64) for seed in range(slices)])
    scale, units = (factor * UM, UM, UM), ("um", "um", "um")
    original = bench.viewer.add_image(volume, name="z", scale=scale, units=units)
    size = {"Z": factor * UM, "Y": UM, "X": UM}
    stack = labelled(volume, axes="ZYX", spacing=size, units="um", name="z")
    config = change(CONFIG, factor=1, factor_z="isotropic", kernel_z="gaussian:1")
    made = drain(upscale_steps(stack, config))
    factors = (factor, 1.0, 1.0)
    kwargs = result_kwargs(original, "ZYX", WHOLE, factors, {})
    kwargs["metadata"] = {KEY: recipe(stack, made)}
    result = bench.viewer.add_image(made.image, **kwargs)
    bench.select(result)
    return result


def test_an_isotropic_result_is_checked_in_the_slices_of_its_original(
    bench: Bench,
) -> None:
    result = isotropic(bench)
    assert result.data.shape == (15, 64, 64)
    bench.panel.update()
    assert bench.panel.button.enabled
    # Slice 9 of the result lies at 3.3 of the original.
    bench.viewer.dims.set_point(0, result.data_to_world((9, 0, 0))[0])
    bench.start()
    check, body = bench.panel.job.check, bench.body
    assert check.count == 6
    assert [plane.place["Z"] for plane in check.planes] == [3, 0, 1, 2, 4, 5]
    assert "reduced along Z to the slices of the original" in body.verdict.value
    assert all(plane.agreement.unit for plane in check.planes)
    assert "% of the area differs" in bench.value(readings.RESIDUAL)
    assert "not measured" in bench.value(readings.RESOLUTION)
    # The map lies on the original, before and after on the result.
    body.residual.changed.emit(True)
    shown = bench.viewer.layers[f"{result.name} residual"]
    assert shown.data.shape == (6, 64, 64)
    body.compare.changed.emit(True)
    mixed = np.asarray(bench.viewer.layers[f"{result.name} {SPLIT}"].data)
    half, original = 32, bench.viewer.layers["z"].data
    np.testing.assert_array_equal(mixed[9, :, :half], original[3, :, :half])
    np.testing.assert_array_equal(
        mixed[9, :, half + 1 :], result.data[9, :, half + 1 :]
    )


def test_slices_that_no_run_made_are_refused(bench: Bench) -> None:
    result = isotropic(bench)
    result.data = result.data[:-1]
    wanted = "has 14 slices along Z, but enlarging its original makes 15"
    with pytest.raises(InputError, match=wanted):
        subject_of(result, bench.viewer)
    # The button says so, not a press on it.
    bench.panel.update()
    assert not bench.panel.button.enabled
    assert wanted in bench.panel.message.value


@pytest.mark.parametrize("which", ["result", "original"])
@pytest.mark.parametrize("when", ["running", "finished"])
def test_a_layer_that_is_removed_closes_it(bench: Bench, which: str, when: str) -> None:
    bench.panel.start()
    if when == "finished":
        bench.quiet()
        bench.body.residual.changed.emit(True)
        bench.body.compare.changed.emit(True)
    bench.viewer.layers.remove(getattr(bench, which))
    assert not bench.panel.active
    bench.quiet()
    assert not any(map(is_aid, bench.viewer.layers))
    assert not bench.body.visible


def test_a_check_can_be_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled, stacks = threading.Event(), Subject.stacks

    def slow(subject: Subject) -> Any:
        cancelled.wait(30)
        return stacks(subject)

    monkeypatch.setattr(Subject, "stacks", slow)
    bench.panel.start()
    bench.body.cancel.changed.emit(True)
    cancelled.set()
    bench.quiet()
    assert bench.panel.active
    assert "Stopped before" in bench.body.verdict.value
    assert not bench.body.save.enabled
    assert not bench.body.running.visible
    bench.panel.button.changed.emit(True)
    assert not bench.panel.active


def test_a_check_stops_within_a_long_stage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps what it has found before."""
    taken = threading.Event()

    def endless(*_: Any) -> Steps[Detail]:
        taken.set()
        while True:
            yield Progress(stage="resolution", step=0, total=1)
            time.sleep(0.01)

    monkeypatch.setattr("napari_zssr.stack.check.detail_steps", endless)
    bench.panel.start()
    bench.until(lambda: taken.is_set() and bench.body.save.enabled)
    assert "of the area" in bench.value(readings.RESIDUAL)
    assert bench.value(readings.RESOLUTION) == readings.NOT_YET
    assert "easuring the resolution" in bench.body.progress.value
    assert bench.body.bar.value > 0
    bench.body.cancel.changed.emit(True)
    assert bench.body.progress.value == "Cancelling ..."
    assert not bench.body.cancel.enabled
    started = time.monotonic()
    bench.quiet()
    assert time.monotonic() - started < 5
    assert bench.panel.active
    assert "%" in bench.value(readings.FLUX)


def test_a_check_says_how_long_it_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start()
    now = 100.0
    monkeypatch.setattr(_body.time, "monotonic", lambda: now)
    assert bench.panel.subject is not None
    bench.body.begin(bench.panel.subject)
    now += 25
    bench.body.show_progress(Progress(stage="resolution", step=250, total=1000))
    assert bench.body.bar.value == 250
    assert bench.body.progress.value.endswith("about 75 s left")


def test_what_cannot_be_checked_is_told(bench: Bench) -> None:
    data = bench.original.data.astype(np.float32)
    data[3, 3] = np.nan
    bench.original.data = data
    bench.start()
    assert not bench.panel.active
    assert "1 NaN or Inf" in bench.panel.message.value


def test_closed_and_opened_again_it_begins_anew(bench: Bench) -> None:
    for _ in range(3):
        bench.panel.start()
        bench.panel.stop()
    bench.start()
    assert "found no problem" in bench.body.verdict.value


# ---- layers of a check


def corners(layer: Image) -> np.ndarray:
    """Outer edges of the first and the last pixel, in the world."""
    last = np.array(layer.data.shape[: layer.ndim]) - 0.5
    low = np.full(layer.ndim, -0.5)
    return np.array([layer.data_to_world(low), layer.data_to_world(last)])


def test_the_residual_lies_on_the_original(bench: Bench) -> None:
    bench.original.translate = (3, 5)
    bench.start()
    bench.body.residual.changed.emit(True)
    assert bench.names[-2:] == ["cells x2 residual", "cells x2 flagged"]
    shown, flagged = list(bench.viewer.layers)[-2:]
    np.testing.assert_allclose(corners(shown), corners(bench.original))
    np.testing.assert_allclose(corners(flagged), corners(bench.original))
    assert shown.contrast_limits == [-4, 4]
    assert shown.visible
    assert not flagged.visible
    values = np.asarray(shown.data)
    assert values.shape == bench.original.data.shape
    assert 0.02 < values.std() < 1.5
    # They are no images to be enlarged, and the result stays selected.
    assert is_aid(shown)
    assert bench.viewer.layers.selection.active is bench.result
    bench.body.residual.changed.emit(True)
    assert bench.names == ["cells", "cells x2"]


def test_the_residual_of_a_part_lies_on_that_part(bench: Bench) -> None:
    part = Selection(ranges={"Y": (10, 80), "X": (20, 90)})
    made = enlarged(bench.original, "YX", part, factor=1.5)
    bench.viewer.add_layer(made)
    bench.start()
    assert bench.panel.active
    bench.body.residual.changed.emit(True)
    shown = bench.viewer.layers[f"{made.name} residual"]
    edges = [[9.5, 19.5], [79.5, 89.5]]
    wanted = [bench.original.data_to_world(edge) for edge in edges]
    np.testing.assert_allclose(corners(shown), wanted)


def test_before_and_after_share_the_whole_result(bench: Bench) -> None:
    bench.start()
    assert not bench.body.share.view.visible
    bench.body.compare.changed.emit(True)
    layer = bench.viewer.layers[f"cells x2 {SPLIT}"]
    np.testing.assert_allclose(corners(layer), corners(bench.result))
    result = bench.result.data
    half = result.shape[1] // 2
    mixed = np.asarray(layer.data)
    twice = bench.original.data.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(mixed[:, :half], twice[:, :half])
    np.testing.assert_array_equal(mixed[:, half + 1 :], result[:, half + 1 :])
    bench.body.share.slider.value = 1
    np.testing.assert_array_equal(np.asarray(layer.data), bench.result.data)
    bench.body.compare.changed.emit(True)
    assert bench.names == ["cells", "cells x2"]


@pytest.mark.parametrize(
    "index",
    [
        (1, slice(None), slice(None)),
        (slice(None), 2, slice(None)),
        (slice(None), slice(3, 9), 7),
        (slice(0, 2), slice(None), slice(None, None, 2)),
        (0, 0, 0),
        ...,
    ],
)
def test_split_pixels_are_those_of_arrays(index: Any) -> None:
    draw = np.random.default_rng(0)
    before, after = draw.integers(0, 9, (2, 2, 6, 9)), draw.integers(10, 19, (2, 9, 14))
    after = draw.integers(10, 19, (2, 9, 14))
    before = draw.integers(0, 9, (2, 6, 9))
    factors = (1.0, 1.5, 1.5)
    source = [
        np.minimum(((np.arange(n) + 0.5) / f).astype(int), m - 1)
        for n, m, f in zip(after.shape, before.shape, factors, strict=True)
    ]
    nearest = NearestPixels(before, after.shape, factors)
    wide = before[np.ix_(*source)]
    np.testing.assert_array_equal(nearest[index], wide[index])
    split = SplitPixels(nearest, after, x=2, share=0.4, lines=(77, 0))
    edge = round(0.4 * 14)
    mixed = after.copy()
    mixed[..., :edge] = wide[..., :edge]
    mixed[..., edge] = 77
    for _ in range(2):
        np.testing.assert_array_equal(split[index], mixed[index])


@pytest.mark.parametrize("axes", ["ZYX", "CZYX", "TXY"])
def test_maps_of_planes_stand_in_their_stack(axes: str) -> None:
    sizes = {"T": 4, "C": 2, "Z": 4, "Y": 6, "X": 5}
    stack = labelled(np.zeros([sizes[a] for a in axes], np.uint8), axes=axes)
    plane = np.arange(30, dtype=np.float32).reshape(6, 5)
    place = {a: 1 for a in axes if a in "TCZ"}
    pixels = PlanesOfMaps(stack, [(place, plane)])
    assert pixels.shape == stack.data.shape
    whole = np.asarray(pixels)
    here = tuple(1 if a in "TCZ" else slice(None) for a in axes)
    drawn = plane if axes.index("Y") < axes.index("X") else plane.T
    np.testing.assert_array_equal(whole[here], drawn)
    np.testing.assert_array_equal(pixels[here], drawn)
    assert np.isfinite(whole).sum() == plane.size
    assert np.isnan(pixels[tuple(0 if a in "TCZ" else slice(None) for a in axes)]).all()


# ---- stacks


@pytest.fixture(scope="module")
def stacks() -> tuple[Image, Image]:
    data = np.stack([[blobs(seed), blobs(seed + 9)] for seed in range(4)])
    layer = Image(
        data,
        name="stack",
        scale=(1, 1, UM, UM),
        units=("um", "pixel", "um", "um"),
        axis_labels=("z", "c", "y", "x"),
    )
    return layer, enlarged(layer, "ZCYX")


def test_a_stack_is_checked_as_by_the_command(
    stacks: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    monkeypatch.setattr(_job, "MOST_PLANES", 3)
    original, result = stacks
    viewer = ViewerModel()
    viewer.add_layer(copied(original))
    viewer.add_layer(copied(result))
    subject = subject_of(viewer.layers[-1], viewer)
    job = CheckJob(subject, {"Z": 3, "C": 1}, ())
    seen = []
    drain(job.steps(), lambda _: seen.append(job.check and len(job.check.planes)))
    assert list(dict.fromkeys(seen)) == [None, 1, 2, 3, 4, 5, 6]
    assert job.check is not None
    assert job.check.count == 8
    assert [p.place["Z"] for p in job.check.planes] == [3, 3, 0, 0, 2, 2]
    # Also the channel.
    assert job.check.planes[0].name == "channel 2, Z 3"
    whole = check_files(
        job.stacks["result"], job.stacks["original"], recipe=job.check.recipe
    )
    by_place = {tuple(sorted(p.place.items())): p for p in whole.planes}
    for plane in job.check.planes:
        same = by_place[tuple(sorted(plane.place.items()))]
        assert plane.flux.median == pytest.approx(same.flux.median, abs=1e-9)
        assert plane.spots == same.spots
        assert plane.agreement.reasons == same.agreement.reasons


def test_the_shown_slice_is_checked_first_and_once() -> None:
    stack = labelled(np.zeros((10, 4, 4), np.uint8), axes="ZYX")
    listed = [place["Z"] for place in places(stack, {"Z": 6}, 4)]
    assert listed[0] == 6
    assert len(listed) == len(set(listed)) == 4
    assert places(labelled(np.zeros((4, 4)), axes="YX"), {}, 8) == [{}]


def test_planes_of_a_position_are_numbered_anew(stacks: tuple[Image, Image]) -> None:
    made = stacks[1].metadata[KEY]
    stack = labelled(stacks[0].data, axes="ZCYX")
    entries = recipe_at(made, stack, {"Z": 2})["report"]["planes"]
    assert [entry["plane"] for entry in entries] == [0, 1]
    old = made["report"]["planes"]
    assert [e["noise"] for e in entries] == [old[4]["noise"], old[5]["noise"]]


# ---- the line profile


def ends_of(curve: Curve) -> tuple[float, float]:
    return float(curve.y[0]), float(curve.y[-1])


def test_a_profile_is_that_of_the_ramp() -> None:
    ramp = np.tile(10.0 * np.arange(40), (30, 1))
    fine = np.tile(10.0 * ((np.arange(80) + 0.5) / 2 - 0.5), (60, 1))
    ends = np.array([[4.0, 5.0], [12.0, 20.0]])
    found = profile(ramp, fine, ends, (2, 2), (UM, UM))
    np.testing.assert_allclose(found.before, np.linspace(50, 200, len(found.before)))
    np.testing.assert_allclose(found.after, found.before)
    assert found.distance[-1] == pytest.approx(17 * UM)
    outside = profile(ramp, fine, ends + np.array([0, 30]), (2, 2), (UM, UM))
    assert np.isnan(outside.before[-1])


def drag(layer: Shapes, start: Any, end: Any) -> Callable[[], None]:
    """Press the mouse and move it; returns what lets it go."""
    from types import SimpleNamespace

    from napari.utils import interactions
    from napari.utils._proxies import ReadOnlyWrapper

    def event(kind: str, position: Any) -> Any:
        told = SimpleNamespace(
            type=kind,
            is_dragging=kind == "mouse_move",
            position=tuple(position),
            pos=tuple(position),
            modifiers=[],
            view_direction=None,
            dims_displayed=[0, 1],
            dims_point=(0, 0),
        )
        return ReadOnlyWrapper(told)

    interactions.mouse_press_callbacks(layer, event("mouse_press", start))
    interactions.mouse_move_callbacks(layer, event("mouse_move", end))
    return lambda: interactions.mouse_release_callbacks(
        layer, event("mouse_release", end)
    )


def test_the_profile_follows_the_line(bench: Bench) -> None:
    x = np.arange(96)
    bench.original.data = np.tile(x.astype(np.uint16) * 10, (96, 1))
    bench.start()
    plot = bench.body.profile
    assert not plot.curves
    assert "Draw a line" in plot.text
    bench.body.draw.changed.emit(True)
    line = bench.viewer.layers.selection.active
    assert isinstance(line, Shapes)
    bench.until(lambda: plot.curves)
    assert [curve.name for curve in plot.curves] == ["original", "result"]
    first = ends_of(plot.curves[0])
    start, end = line.data[0].copy()
    finish = drag(line, end, end + np.array([0, 10 * UM]))
    # The button of the mouse is still held down.
    bench.until(lambda: ends_of(plot.curves[0]) != first)
    assert ends_of(plot.curves[0]) == pytest.approx((first[0], first[1] + 100))
    assert plot.curves[0].x[-1] == pytest.approx(end[1] + 10 * UM - start[1])
    finish()
    assert "µm" in plot._x
    line.visible = False
    bench.until(lambda: not plot.curves)


def test_any_line_will_do(bench: Bench) -> None:
    bench.start()
    shapes = bench.viewer.add_shapes(name="mine", units=("um", "um"))
    assert not bench.body.profile.curves
    shapes.add_lines(np.array([[2.0, 2.0], [8.0, 11.0]]))
    bench.until(lambda: bench.body.profile.curves)
    assert bench.body.profile.curves[0].x[-1] == pytest.approx(np.hypot(6, 9))
    bench.viewer.layers.remove(shapes)
    bench.until(lambda: not bench.body.profile.curves)


def test_closing_hides_the_line(bench: Bench) -> None:
    bench.start()
    bench.body.draw.changed.emit(True)
    line = bench.viewer.layers.selection.active
    bench.panel.stop()
    assert not line.visible
    bench.select(bench.result)
    bench.start()
    bench.body.draw.changed.emit(True)
    assert bench.viewer.layers.selection.active is line
    assert line.visible
    assert sum(isinstance(layer, Shapes) for layer in bench.viewer.layers) == 1


# ---- plots


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.41, [0.2, 0.3, 0.4]),
        (-4, 4, [-4, -2, 0, 2, 4]),
    ],
)
def test_ticks_are_round(low: float, high: float, wanted: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(wanted)


def test_ticks_of_periods_are_round_and_inside() -> None:
    ticks = period_ticks(1 / 0.17)
    assert max(ticks) == pytest.approx(1 / 0.2)
    assert max(ticks) <= 1 / 0.17


@pytest.mark.parametrize("log", [True, False])
def test_plots_draw_whatever_comes(qtbot: Any, log: bool) -> None:
    plot = Plot(Style(title="Title", y="y", log=log), "A tooltip.")
    qtbot.addWidget(plot)
    plot.resize(300, 160)
    blank = plot.grab().toImage()
    x = np.linspace(0, 1, 50)
    odd = [np.zeros(50), np.full(50, np.nan), 1e9 * x, np.array([1.0])]
    for y in odd:
        plot.show_curves([Curve(name="original", x=x[: len(y)], y=y, colour=0)], "x")
        plot.grab()
    plot.show_curves([Curve(name="result", x=x, y=x + 0.1, colour=1)], "x")
    drawn = plot.grab().toImage()
    assert drawn != blank
    plot.show_curves([], "", "Nothing yet.")
    assert plot.grab().toImage() != drawn


# ---- in the widget


def test_after_a_run_the_result_can_be_checked(desk: Desk) -> None:
    layer = desk.add(blobs(), scale=(UM, UM), units=("um", "um"))
    panel = desk.widget.check
    assert not panel.button.enabled
    quick = change(
        FAST,
        start="random",
        steps=20,
        width=4,
        blocks=1,
        batch=1,
        crop_px=16,
        ensemble=False,
        always=True,
        device="cpu",
    )
    desk.run(quick)
    layer.name = "renamed"
    desk.widget.refresh()
    assert panel.button.enabled
    panel.button.changed.emit(True)
    desk.qtbot.waitUntil(lambda: not panel._latest.run.running, timeout=60_000)
    assert panel.subject is not None
    assert panel.subject.original is layer
    assert panel.body is not None
    # The networks of the run are known.
    assert readings.WITHOUT not in panel.body.values[readings.RESOLUTION].value
    names = [curve.name for curve in panel.body.correlation.curves]
    assert names == ["original", "result"]
    # A map of the check is no image to be enlarged.
    panel.body.residual.changed.emit(True)
    images = desk.widget.form.image.images()
    assert [image.name for image in images] == ["renamed", "cells x2 fast"]
    panel.close()


def test_the_file_of_an_original_that_was_closed_is_read(
    desk: Desk, tmp_path: Path
) -> None:
    path = str(tmp_path / "cells.ome.tif")
    Image(blobs(), name="cells", scale=(UM, UM), units=("um", "um")).save(
        path, plugin="napari-zssr"
    )
    from napari_zssr.plugin.layers.files import read_image

    reader = read_image(path)
    assert reader is not None
    ((data, kwargs, _),) = reader(path)
    layer = Image(data, **kwargs)
    layer._source = layer.source.model_copy(update={"path": path})
    desk.viewer.add_layer(layer)
    desk.run(CONFIG)
    result = desk.viewer.layers[-1]
    desk.viewer.layers.remove(layer)
    desk.viewer.layers.selection.active = result
    desk.widget.refresh()
    panel = desk.widget.check
    assert panel.button.enabled
    panel.start()
    desk.qtbot.waitUntil(lambda: not panel._latest.run.running, timeout=60_000)
    assert "These checks found no problem" in panel.body.verdict.value  # type: ignore[union-attr]
    Path(path).unlink()
    panel.stop()
    desk.widget.refresh()
    assert not panel.button.enabled


def test_the_report_is_written(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    path = tmp_path / "report.html"
    bench.panel.write_report(path)
    bench.quiet()
    page = path.read_text("utf-8")
    assert "<h1>Check of cells x2</h1>" in page
    picture = QImage(str(tmp_path / "report.png"))
    assert picture.width() > 100
    assert picture.height() > 300


def test_a_report_before_the_end_says_what_it_lacks(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_panel, "show_info", said.append)
    release = held(monkeypatch)
    bench.panel.start()
    bench.until(lambda: bench.panel.job and bench.panel.job.check)
    bench.panel.write_report(tmp_path / "early.html")
    bench.until(lambda: said)
    assert said[0].endswith(
        "early.png. The check is not finished: this covers the image, except for the "
        "resolution."
    )
    release.set()
    bench.quiet()
    bench.panel.write_report(tmp_path / "late.html")
    bench.until(lambda: len(said) > 1)
    assert said[1].endswith("late.png.")


def test_the_button_asks_where(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(_: Any, proposed: Path) -> Path:
        asked.append(proposed.name)
        return tmp_path / "mine.html"

    monkeypatch.setattr(_panel, "ask_report", ask)
    bench.start()
    bench.body.save.changed.emit(True)
    bench.quiet()
    assert asked == ["cells x2_check.html"]
    assert (tmp_path / "mine.html").exists()


# ---- words


def finest(period: float, outcome: Outcome = "found") -> Finest:
    return Finest(period=period, outcome=outcome, method="Fourier ring correlation")


def channels(count: int, size: int = 96) -> Image:
    """An image of several channels, the second of which has one large object."""
    data = np.stack([blobs(seed, size) for seed in range(count)])
    y, x = np.mgrid[:size, :size] - size // 2
    draw = np.random.default_rng(9)
    disc = 200 + 3000 / (1 + np.exp((np.hypot(y, x) - size / 4) / 3))
    data[1] = disc + draw.normal(0, 12, disc.shape)
    return Image(
        data,
        name="channels",
        scale=(1, UM, UM),
        units=("pixel", "um", "um"),
        axis_labels=("c", "y", "x"),
    )


def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold every check where the detail of a plane is measured, until it is set."""
    release, detail_steps = threading.Event(), _check.detail_steps

    def waiting(*given: Any) -> Steps[Detail]:
        while not release.is_set():
            yield Progress(stage="resolution", step=0, total=1)
            time.sleep(0.01)
        return (yield from detail_steps(*given))

    monkeypatch.setattr(_check, "detail_steps", waiting)
    return release


def test_all_channels_are_judged_and_the_shown_one_first(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    release = held(monkeypatch)
    original = channels(3)
    bench = Bench(ViewerModel(), qtbot, original, enlarged(original, "CYX"))
    bench.viewer.dims.set_current_step(0, 2)
    bench.panel.start()
    bench.until(lambda: "Checked" in bench.body.verdict.value)
    assert bench.body.verdict.value.startswith(
        "Checked so far: channel 3 (1 of 3 channels).<br>"
    )
    assert "found no problem" not in bench.body.verdict.value
    assert bench.body.note.value == (
        "Figures and plots are of channel 3. napari counts channels from 0: its slider "
        "shows 2."
    )
    assert bench.panel.job is not None
    assert readings.unfinished(bench.panel.job) == (
        "The check is not finished: this covers channel 3 (1 of 3 channels), except "
        "for the resolution of channel 3."
    )
    release.set()
    bench.quiet()
    assert readings.unfinished(bench.panel.job) == ""
    assert bench.body.verdict.value.startswith("Checked: all 3 channels.<br>")
    bench.viewer.dims.set_current_step(0, 0)
    bench.quiet()
    assert "are of channel 1. napari" in bench.body.note.value
    assert "slider shows 0" in bench.body.note.value
    bench.panel.close()
    bench.panel.view.native.deleteLater()
    qtbot.wait(1)


def test_a_check_that_was_stopped_says_what_it_lacks(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    held(monkeypatch)
    original = channels(2)
    bench = Bench(ViewerModel(), qtbot, original, enlarged(original, "CYX"))
    bench.viewer.dims.set_current_step(0, 1)
    bench.panel.start()
    bench.until(lambda: "Checked" in bench.body.verdict.value)
    bench.panel.cancel()
    bench.quiet()
    assert bench.panel.job is not None
    assert "The check was stopped: this covers channel 2" in readings.unfinished(
        bench.panel.job
    )
    assert bench.body.verdict.value.startswith(
        "Checked: channel 2 (1 of 2 channels). Close the check and start it "
        "again for the others.<br>"
    )
    bench.viewer.dims.set_current_step(0, 0)
    bench.quiet()
    assert bench.body.note.value == (
        "Figures and plots are of channel 2, because channel 1, which is "
        "shown, is not checked."
    )
    bench.panel.close()
    bench.panel.view.native.deleteLater()
    qtbot.wait(1)


def test_a_part_is_named_as_in_the_whole(
    qtbot: Any, stacks: tuple[Image, Image]
) -> None:
    from napari.components import ViewerModel

    part = Selection(ranges={"Z": (2, 4), "C": (1, 2)})
    original = copied(stacks[0])
    bench = Bench(ViewerModel(), qtbot, original, enlarged(original, "ZCYX", part))
    bench.viewer.dims.set_current_step(0, 3)
    bench.start()
    assert bench.body.title.value.endswith("<i>stack</i> (Z 2 to 3, channel 2)")
    assert bench.body.verdict.value.startswith("Checked: both slices.")
    assert bench.body.note.value == "Figures and plots are of Z 3."
    bench.panel.close()
    bench.panel.view.native.deleteLater()
    qtbot.wait(1)


def test_an_interpolated_channel_is_told() -> None:
    entries = [{"plane": 0, "returned": "bicubic"}, {"plane": 1, "returned": "learned"}]
    stack = labelled(channels(2).data, axes="CYX")
    made = enlarged(channels(2), "CYX")
    result = labelled(made.data, axes="CYX")
    kept = {**made.metadata[KEY], "report": {"planes": entries}}
    check = check_files(result, stack, recipe=kept)
    assert readings.checked(check, "finished") == (
        "Checked: both channels. In channel 1 the result is bicubic interpolation."
    )


def test_a_verdict_says_on_how_little_it_rests(qtbot: Any) -> None:
    image = channels(2).data[1]
    made = np.repeat(np.repeat(image, 2, 0), 2, 1)
    check = check_files(labelled(made, axes="YX"), labelled(image, axes="YX"))
    (plane,) = check.planes
    assert len(plane.flux.numbers) == 1
    assert (
        "no object's intensity changed by more than 1 % beyond its noise (only 1 "
        "object)"
    ) in _kept(check)[0]
    assert readings.rows(plane, None)[readings.FLUX].endswith(
        "in only 1 object (within its noise)"
    )
    few = replace(plane.spots, spots=2, lost=0, mean=(0.0, 0.0), rms=0.076, moved=False)
    check = replace(check, planes=(replace(plane, spots=few),))
    kept, unknown = _kept(check)
    assert not any("spots" in sentence for sentence in kept)
    assert "positions (only 2 spots found)" in unknown
    one = replace(check, planes=(replace(plane, spots=replace(few, spots=1)),))
    assert readings.rows(one.planes[0], None)[readings.SPOTS] == (
        "only 1 spot (too few to judge) shifted by less than 0.01 pixels"
    )
    assert (
        "1 bright spot was shifted by less than 0.01 input pixels (" in methods(one)[0]
    )
    assert readings.rows(check.planes[0], None)[readings.SPOTS].startswith(
        "only 2 spots (too few to judge) shifted by"
    )


def test_the_shift_of_spots_is_the_same_in_the_panel_and_the_methods(
    pair: tuple[np.ndarray, Image],
) -> None:
    image, result = pair
    stack = labelled(image, axes="YX")
    check = check_files(labelled(result.data, axes="YX"), stack)
    (plane,) = check.planes
    told = replace(plane.spots, spots=40, mean=(0.001, -0.002), rms=0.076, moved=False)
    check = replace(check, planes=(replace(plane, spots=told),))
    assert readings.rows(check.planes[0], (0.1, 0.1))[readings.SPOTS] == (
        "40 spots shifted by less than 0.01 pixels (0.001 µm) on average; single "
        "spots scatter by 0.076 pixels, including the noise of their positions"
    )
    assert (
        "40 bright spots were shifted by less than 0.01 input pixels on average "
        "(+0.001 along Y, -0.002 along X); single spots scattered by 0.076 pixels, "
        "including the noise of their positions."
    ) in methods(check)[0]


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (
            finest(0.4),
            finest(0.3),
            "original: 0.4 µm; result: unknown, hardly finer than 0.3 µm (no proof of "
            "a gain)",
        ),
        (finest(0.4), None, "original: 0.4 µm; result: not measured"),
        # Halves that agree down to the pixels are no better resolution.
        (
            finest(0.4),
            finest(0.1, "pixel limit"),
            "original: 0.4 µm; result: no bound found down to its pixels",
        ),
        (
            finest(0.2, "pixel limit"),
            None,
            "original: 0.2 µm (limit of its pixels); result: not measured",
        ),
        (
            finest(math.nan, "nothing"),
            None,
            "original: nothing resolved; result: not measured",
        ),
        (
            finest(0.4),
            finest(math.nan, "nothing"),
            "original: 0.4 µm; result: nothing resolved",
        ),
        (None, None, "not measured"),
    ],
)
def test_resolution_is_told_with_its_bounds(
    before: Finest | None, after: Finest | None, wanted: str
) -> None:
    assert readings.resolution(Detail(unit="um", before=before, after=after)) == wanted


def test_an_interpolation_has_the_detail_of_its_original() -> None:
    halves = {"before": finest(0.4), "after": finest(0.1, "pixel limit")}
    told = readings.resolution(Detail(unit="um", interpolated=True, **halves))
    assert told == "0.4 µm, unchanged by interpolation"


def test_a_flat_image_gets_no_good_word(qtbot: Any) -> None:
    original = np.full((64, 64), 100, np.uint16)
    flat = labelled(original, axes="YX")
    made = labelled(np.full((128, 128), 100, np.uint16), axes="YX")
    found = verdict(check_files(made, flat))
    assert found.is_good is not False
    assert "no object's intensity" not in found.text
    assert "spots have not" not in found.text


# ---- other images, other windows


def test_figures_and_profile_follow_the_slice(
    qtbot: Any, stacks: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    monkeypatch.setattr(_job, "MOST_PLANES", 2)
    bench = Bench(ViewerModel(), qtbot, *map(copied, stacks))
    bench.viewer.dims.set_current_step(0, 0)
    bench.start()
    bench.body.draw.changed.emit(True)
    bench.until(lambda: bench.body.profile.curves)
    assert "Checked: 4 of 8 planes. To check another slice" in bench.body.verdict.value
    shown = bench.panel.shown_plane()
    assert shown is not None
    assert shown.place["Z"] == 0
    first = bench.body.profile.curves[0].y
    bench.body.residual.changed.emit(True)
    residual = bench.viewer.layers["stack x2 residual"]
    assert residual.data.shape == bench.original.data.shape
    np.testing.assert_allclose(corners(residual), corners(bench.original))
    bench.viewer.dims.set_current_step(0, 3)
    bench.viewer.dims.set_current_step(1, 1)
    bench.quiet()
    assert shown is not bench.panel.shown_plane()
    shown = bench.panel.shown_plane()
    assert shown is not None
    note = bench.body.note.value
    assert f"are of {shown.name}" in note
    assert ("channel 2, Z 3, which is shown, is not checked" in note) == (
        shown.place["Z"] != 3
    )
    assert (bench.body.profile.curves[0].y != first).any()
    bench.panel.close()
    bench.panel.view.native.deleteLater()
    qtbot.wait(1)


def test_colours_are_checked(qtbot: Any) -> None:
    from napari.components import ViewerModel

    data = np.stack([blobs(n).clip(0, 5000) // 20 for n in (0, 0, 1)], axis=-1)
    original = Image(data.astype(np.uint8), name="slide", rgb=True)
    bench = Bench(ViewerModel(), qtbot, original, enlarged(original, "YXS"))
    bench.start()
    assert "µm" not in bench.value(readings.SPOTS)
    assert "pixels" in bench.value(readings.SPOTS)
    bench.body.residual.changed.emit(True)
    bench.body.compare.changed.emit(True)
    (split,) = (x for x in bench.viewer.layers if x.name.endswith(SPLIT))
    assert split.rgb
    np.testing.assert_array_equal(
        np.asarray(split.data)[:, 0], data.repeat(2, 0)[:, 0].astype(np.uint8)
    )
    bench.panel.close()
    bench.panel.view.native.deleteLater()
    qtbot.wait(1)


def test_it_stays_narrow_with_large_letters(
    window: Desk, pair: tuple[np.ndarray, Image]
) -> None:
    from napari.settings import get_settings

    image, result = pair
    window.add(image, scale=(UM, UM), units=("um", "um"))
    made = window.viewer.add_layer(copied(result))
    window.viewer.layers.selection.active = made
    panel = window.widget.check
    get_settings().appearance.font_size = round(
        1.5 * get_settings().appearance.font_size
    )
    panel.start()
    window.qtbot.waitUntil(lambda: not panel._latest.run.running, timeout=60_000)
    assert panel.body is not None
    panel.body.residual.changed.emit(True)
    panel.body.compare.changed.emit(True)
    window.viewer.window._qt_window.show()
    window.qtbot.wait(50)
    assert window.widget.native.minimumSizeHint().width() <= 320
    panel.close()


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_a_result_that_is_opened_again_can_be_checked(
    tmp_path: Path, ending: str
) -> None:
    original = labelled(blobs(), axes="YX")
    source = tmp_path / "cells.tif"
    write(source, original)
    target = tmp_path / f"cells_x2.{ending}"
    upscale_to_disk(source, target, CONFIG, error_map=True)
    viewer = ViewerModel()
    for path in (source, target, tmp_path / f"cells_x2_error.{ending}"):
        for content in read_image(path)(path):  # type: ignore[misc]
            viewer.add_layer(Image.create(*content))
    result, errors = viewer.layers[1], viewer.layers[2]
    subject = subject_of(result, viewer)
    assert subject.original is viewer.layers[0]
    assert subject.factors == (2, 2)
    # The map of errors is no result.
    with pytest.raises(InputError, match="Select a result"):
        subject_of(errors, viewer)


@pytest.mark.parametrize(
    ("share", "error", "said"),
    [
        (0.91, 0.04, "91 % of the fine detail is confirmed"),
        (1.3, 0.04, "100 % of the fine detail is confirmed"),
        (0.65, 0.04, "65 % of the fine detail is confirmed"),
        (0.58, 0.04, "42 % of the fine detail is not confirmed and may be noise"),
    ],
)
def test_detail_that_is_invented_is_a_problem(
    pair: tuple[np.ndarray, Image], share: float, error: float, said: str
) -> None:
    """Less than 70 % of it, beyond twice the error."""
    image, result = pair
    stack = labelled(image, axes="YX")
    check = check_files(
        labelled(result.data, axes="YX"), stack, recipe=result.metadata[KEY]
    )
    (plane,) = check.planes
    assert readings.confirmed(plane.detail).startswith("not measured, because the")
    found = DetailConfirmation(all=Confirmation(share=share, error=error), faint=None)
    plane = replace(plane, detail=replace(plane.detail, confirmed=found))
    told = verdict(replace(check, planes=(plane,)))
    assert said in told.text
    assert told.is_good is (share > 0.6)
    shown = f"{min(100, 100 * share):.0f} ± 4 % is confirmed by the other half"
    assert readings.confirmed(plane.detail) == shown
    figure = legend(replace(check, planes=(plane,)))
    assert (
        f"{min(100, 100 * share):.0f} % was found in both of two halves of the input"
        in figure
    )
