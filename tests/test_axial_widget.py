"""Isotropic stacks in napari: rows, questions, preview, the layer of the result."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zssr.config import INSTANT, Config, change
from napari_zssr.io.read import read
from napari_zssr.plugin.copy_settings import as_command, as_python
from napari_zssr.plugin.estimate import Cost, Measured, Workload, estimate, planned
from napari_zssr.plugin.layers.layers import KEY, lazy_stack
from napari_zssr.progress import drain
from napari_zssr.stack import axial
from napari_zssr.stack.run import upscale_steps
from napari_zssr.zssr.cost import Rates, assumed_work
from napari_zssr.zssr.device import DeviceReport, Machine
from napari_zssr.zssr.training_plan import NoiseEstimate

ISOTROPIC = change(
    INSTANT, factor=1, factor_z="isotropic", kernel_z="gaussian:1.2", device="cpu"
)
GIVEN = {"axis_labels": ("z", "y", "x"), "scale": (2, 1, 1), "units": ("um",) * 3}


def cells(z: int = 8, y: int = 40, x: int = 44) -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.normal(size=(z, y, x)), (0.8, 1.5, 1.5))
    return np.asarray((soft - soft.min()) * 4000, np.uint16)


def in_memory(layer: Image, config: Config = ISOTROPIC) -> Any:
    return drain(upscale_steps(lazy_stack(layer), config)).image


def test_a_layer_becomes_isotropic(desk: Any) -> None:
    layer = desk.add(cells(), translate=(10, 5, 3), **GIVEN)
    desk.run(ISOTROPIC)
    made = desk.viewer.layers[-1]
    assert made.name == "cells z2 instant"
    assert made.data.shape == (16, 40, 44)
    np.testing.assert_allclose(made.scale, (1, 1, 1))
    # Half a fine slice before the first one.
    np.testing.assert_allclose(made.translate, (9.5, 5, 3))
    np.testing.assert_array_equal(made.data, in_memory(layer))
    assert "Along Z, ×2" in desk.said
    assert "noise" not in desk.said.lower()


def test_planes_and_z_in_one_run(desk: Any) -> None:
    desk.add(cells(), **GIVEN)
    desk.run(change(ISOTROPIC, factor=2))
    made = desk.viewer.layers[-1]
    assert made.name == "cells x2 z4 instant"
    assert made.data.shape == (32, 80, 88)
    np.testing.assert_allclose(made.scale, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("starts_with", ["t", ""])
def test_side_by_side_shows_more_slices_from_the_side(
    desk: Any, starts_with: str
) -> None:
    stack, labels = cells(), ("z", "y", "x")
    scale = (2, 1, 1)
    if starts_with:
        stack, labels, scale = stack[None], ("t", *labels), (1, *scale)
    desk.add(stack, axis_labels=labels, scale=scale, units=("um",) * len(scale))
    desk.run(change(ISOTROPIC, factor=2))
    viewer, panel = desk.viewer, desk.widget.result
    viewer.layers.selection.active = viewer.layers[-1]
    viewer.dims.set_point(-3, 6)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 20, 30), 9
    dims, camera = viewer.dims, viewer.scene.camera
    before = dims.order, dims.point, camera.center, camera.zoom
    desk.widget.refresh()
    panel.toggle_side_by_side()
    last = dims.ndim - 1
    assert dims.displayed == (last - 2, last)
    # The plane in the middle of what was seen.
    assert dims.point[last - 1] == pytest.approx(20, abs=0.5)
    # All slices and the whole width, each in half of the canvas.
    height, width = np.array(viewer.canvas.size) / camera.zoom
    assert height > 16
    assert width / 2 > 44
    assert camera.center[-2:] == pytest.approx((7, 21.5), abs=1)
    assert "From the side" in panel.message.value
    panel.toggle_side_by_side()
    assert (dims.order, dims.point, camera.center, camera.zoom) == before
    assert "From the side" not in panel.message.value


def test_the_rows_are_those_of_stacks(desk: Any) -> None:
    rows = desk.widget.form.region.rows
    blur = desk.widget.form.method.blur.axial
    desk.add(cells()[0], name="flat")
    assert not rows["along_z"].visible
    desk.add(cells(), **GIVEN)
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[-1]
    desk.widget.native.show()
    desk.set(change(ISOTROPIC, factor_z=3))
    assert rows["along_z"].visible
    assert rows["factor_z"].visible
    assert blur.visible
    assert blur.fields["gaussian_z"].value == "1.2"
    desk.set(INSTANT)
    assert not rows["factor_z"].visible
    assert not blur.visible
    # What is set for stacks does not follow to planes.
    desk.set(ISOTROPIC)
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[0]
    desk.widget.refresh()
    assert desk.why == ""
    assert not rows["along_z"].visible


def test_factors_that_are_mistaken_are_explained(desk: Any) -> None:
    region = desk.widget.form.region
    desk.add(cells()[0], name="flat")
    desk.add(cells(), **GIVEN)
    desk.widget.native.show()
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[-1]
    desk.set(change(ISOTROPIC, factor=2))
    assert "cubes, 1/2 of a pixel wide. With factor 1" in region.meaning.value
    desk.set(ISOTROPIC)
    assert not region.meaning.visible
    # The factor stays for an image without Z, where it does something else.
    desk.widget.form.image.fields["layer"].value = desk.viewer.layers[0]
    assert "keeps the size" in region.meaning.value
    assert region.meaning.visible
    desk.set(INSTANT)
    assert not region.meaning.visible


def test_the_distance_of_slices_is_asked_for(desk: Any) -> None:
    layer = desk.add(cells(), axis_labels=("z", "y", "x"))
    desk.widget.native.show()
    desk.set(ISOTROPIC)
    image = desk.widget.form.image
    assert "'Pixel size' under Image" in unescape(desk.why)
    assert image.rows["spacing"].visible
    assert not desk.widget.controls.run.enabled
    image.fields["spacing"].value = "0.6, 0.2, 0.2"
    image.fields["spacing"].native.editingFinished.emit()
    desk.widget.refresh()
    assert desk.why == ""
    np.testing.assert_allclose(layer.scale, (0.6, 0.2, 0.2))
    assert desk.widget._request.factor_z == pytest.approx(3)


def test_a_guessed_axis_is_asked_about(desk: Any) -> None:
    layer = desk.add(cells(), scale=(2, 1, 1), units=("um",) * 3)
    desk.set(ISOTROPIC)
    assert "press Enter in 'Axes, guessed'" in unescape(desk.why)
    axes = desk.widget.form.image.fields["axes"]
    axes.native.editingFinished.emit()
    desk.widget.refresh()
    assert desk.why == ""
    axes.value = "TYX"
    desk.widget.refresh()
    assert desk.why == ""
    # Frames of a film are restored.
    assert desk.widget._request.factor_z is None
    assert layer.ndim == 3


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (change(ISOTROPIC, factor_z=2), "at least 4 slices"),
        (change(ISOTROPIC, preset="paper", network="paper"), "leave Z as it is"),
    ],
)
def test_what_is_impossible_is_said(desk: Any, config: Config, why: str) -> None:
    desk.add(cells(3 if "slices" in why else 8), **GIVEN)
    desk.set(config)
    assert why in unescape(desk.why)
    assert "factor_z" not in unescape(desk.why)


def test_a_file_of_the_result(desk: Any, tmp_path: Path) -> None:
    layer = desk.add(cells(), **GIVEN)
    desk.set(ISOTROPIC)
    fields = desk.widget.form.result.fields
    assert fields["file"].value.name == "cells_isotropic.ome.zarr"
    fields["where"].value = "disk"
    fields["file"].value = tmp_path / "fine.ome.zarr"
    desk.widget.start()
    desk.wait()
    made = desk.viewer.layers[-1]
    np.testing.assert_allclose(made.scale, (1, 1, 1))
    np.testing.assert_array_equal(np.asarray(made.data), in_memory(layer))
    assert read(tmp_path / "fine.ome.zarr").size_um("Z") == 1


def test_settings_come_back_and_are_copied(desk: Any, tmp_path: Path) -> None:
    from napari_zssr.io.write import write

    path = tmp_path / "cells.ome.tif"
    write(path, lazy_stack(Image(cells(), **GIVEN)))
    (layer,) = desk.viewer.open(path, plugin="napari-zssr")
    desk.run(ISOTROPIC)
    made = desk.viewer.layers[-1]
    assert made.metadata[KEY]["config"]["factor_z"] == "isotropic"
    request = desk.widget._request
    command = as_command(request)
    assert "--factor-z isotropic" in command
    assert "--kernel-z gaussian:1.2" in command
    assert "--spacing Z=2,Y=1,X=1" in command
    scope: dict[str, Any] = {"viewer": desk.viewer}
    exec(as_python(request), scope)
    np.testing.assert_array_equal(scope["larger"], made.data)
    copied = desk.viewer.layers[-1]
    np.testing.assert_allclose(copied.scale, made.scale)
    np.testing.assert_allclose(copied.translate, made.translate)
    desk.set(INSTANT)
    desk.viewer.layers.selection.active = made
    desk.widget.use_settings()
    assert desk.widget.form.region.factor_z == "isotropic"
    assert desk.widget.form.method.blur.axial.text == "gaussian:1.2"
    assert layer.name == "cells"


def test_the_cost_is_that_of_all_slices() -> None:
    machine = Machine(
        devices=(
            DeviceReport(
                device="cpu",
                name="processor",
                description="",
                free_bytes=10**10,
                bfloat16=False,
            ),
        ),
        cores=2,
    )
    rates = Rates(step_s=0.01 / 512**2, pairs_s=1e-6, version_s=1e-6)
    texts, seconds, works = {}, {}, {}
    for name, config in {
        "planes": change(ISOTROPIC, factor=2, factor_z=1),
        "z": change(ISOTROPIC, factor_z=4),
        "both": change(ISOTROPIC, factor=2, factor_z=4),
    }.items():
        workload = Workload(
            config=config,
            shape=(8, 512, 512),
            dtype=np.dtype(np.uint16),
            axes="ZYX",
            factor_z=None if name == "planes" else 4.0,
        )
        workload = replace(workload, noise_estimates=(NoiseEstimate(),))
        plans = [planned(workload, machine)]
        cost = Cost(workloads=[workload], plans=plans, cores=2, known={})
        known = {
            key: Measured(plan=plan, rates=rates)
            for key, plan in cost.unmeasured().items()
        }
        texts[name] = dict(estimate([workload], machine, known).rows)
        seconds[name] = replace(cost, known=known).seconds[0]
        works[name] = replace(cost, known=known).work(0)
    assert texts["z"]["Result"].startswith("Z 32 × Y 512 × X 512")
    assert texts["both"]["Result"].startswith("Z 32 × Y 1024 × X 1024")
    # Both orientations of 2.1 million pixels, in four flips each.
    columns, _ = works["z"].axial["axial columns"]
    assert columns == pytest.approx(8 * 8 * 512**2 * 1e-6)
    assert seconds["both"] > seconds["planes"] + 2 * seconds["z"]


def test_a_preview_shows_the_columns(
    desk: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = desk.add(cells(), **GIVEN)
    desk.set(ISOTROPIC)
    panel = desk.widget.preview
    panel.share.slider.value = 1
    panel.start()
    # Slices by cubic interpolation come first.
    qtbot.waitUntil(lambda: "cubic" in panel.message.value, timeout=30_000)
    assert panel._scene.picture.data.shape == (16, 40, 44)
    qtbot.waitUntil(lambda: "closer" in panel.message.value, timeout=30_000)
    picture = panel._scene.picture
    assert picture.data.shape == (16, 40, 44)
    np.testing.assert_allclose(picture.scale, (1, 1, 1))
    np.testing.assert_allclose(picture.translate, (-0.5, 0, 0))
    wanted = in_memory(layer).astype(float)
    # But for the frame.
    error = np.abs(picture.data - wanted)[:, 3:-3, 3:-3]
    assert error.max() <= 0.002 * np.ptp(wanted)
    # Elsewhere it need not be learned again.
    monkeypatch.setattr(axial, "axial_channel", None)
    panel.stop()
    panel.start()
    qtbot.waitUntil(lambda: "closer" in panel.message.value, timeout=30_000)
    order = desk.viewer.dims.order
    panel.sections.value = True
    assert desk.viewer.dims.displayed == (0, 2)
    panel.sections.value = False
    assert desk.viewer.dims.order == order
    panel.sections.value = True
    panel.stop()
    assert desk.viewer.dims.order == order


def test_the_view_from_the_side_loses_no_slice(desk: Any, qtbot: Any) -> None:
    desk.add(cells(), **GIVEN)
    desk.set(ISOTROPIC)
    panel, dims = desk.widget.preview, desk.viewer.dims
    dims.set_current_step(0, 2)
    panel.start()
    qtbot.waitUntil(lambda: panel._scene.picture is not None, timeout=30_000)
    point, order = dims.point, dims.order
    panel.sections.value = True
    panel.sections.value = False
    assert (dims.point, dims.order) == (pytest.approx(point), order)
    # Who runs what is seen from the side goes on looking from there.
    panel.sections.value = True
    turned, point = dims.order, dims.point
    desk.widget.start()
    assert not panel.active
    assert (dims.point, dims.order) == (pytest.approx(point), turned)
    desk.wait()
    assert dims.order == turned


def test_the_slice_stays_while_layers_come_and_go(window: Any, qtbot: Any) -> None:
    """napari's slider keeps its number, which is another slice where they are finer."""
    window.add(cells(), **GIVEN)
    window.set(ISOTROPIC)
    panel, dims, widget = window.widget.preview, window.viewer.dims, window.widget
    dims.set_current_step(0, 5)
    # The slice at 10 µm, which ends in the middle to the next one.
    here = pytest.approx(10, abs=1)

    def previewed() -> bool:
        scene = panel._scene
        return scene.picture is not None and scene._pictured is panel._target

    for blur in ("gaussian:1.2", "gaussian:1.5"):
        widget.form.method.show_config(change(ISOTROPIC, kernel_z=blur))
        widget.refresh()
        panel.start()
        qtbot.waitUntil(previewed, timeout=30_000)
        assert (dims.point[0], dims.nsteps[0]) == (here, 16)
    panel.stop()
    assert (dims.point[0], dims.nsteps[0]) == (here, 8)
    window.run(ISOTROPIC)
    assert (dims.point[0], dims.nsteps[0]) == (here, 16)
    window.viewer.layers.remove(window.viewer.layers[-1])
    assert (dims.point[0], dims.nsteps[0]) == (here, 8)


def test_planes_are_previewed_alone_and_it_is_said(desk: Any, qtbot: Any) -> None:
    desk.add(cells(), **GIVEN)
    desk.set(change(ISOTROPIC, factor=2))
    panel = desk.widget.preview
    panel.start()
    qtbot.waitUntil(lambda: "Z is not previewed" in panel.message.value, timeout=30_000)
    assert panel._scene.picture.data.shape == (1, 80, 88)
    assert not panel._turned.visible


def test_the_share_of_a_run_grows_to_the_whole() -> None:
    from napari_zssr.plugin.clock import Clock
    from napari_zssr.progress import Progress
    from napari_zssr.stack.axis_labels import labelled

    stack = labelled(cells(), axes="ZYX", spacing={"Z": 2, "Y": 1, "X": 1})
    for factor, factor_z in ((1, 2.0), (2, 4.0)):
        config = change(ISOTROPIC, factor=factor, factor_z=factor_z)
        clock = Clock(assumed_work(config, (), stack.data.shape, "ZYX", factor_z))
        steps = upscale_steps(stack, config)
        shares = [clock.update(e) for e in steps if isinstance(e, Progress)]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1, abs=0.02)
        assert len({round(share, 1) for share in shares}) >= 3
