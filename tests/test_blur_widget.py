from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import RIDGE, Desk
from numpy.typing import NDArray

pytest.importorskip("napari")

from napari.layers import Image
from qtpy.QtWidgets import QApplication

from napari_zssr.config import Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.plugin.copy_settings import as_command, as_python
from napari_zssr.plugin.form.beads import BeadImage, check_layer, voxel_size
from napari_zssr.plugin.form.blur import LATER, BlurFields
from napari_zssr.plugin.layers.layers import (
    KEY,
    file_metadata,
    layer_channels,
    lazy_stack,
)
from napari_zssr.plugin.request import kernel_from
from napari_zssr.plugin.summary import lines, picture
from napari_zssr.stack.image import Channel

PLACE: dict[str, Any] = {
    "axis_labels": ("z", "y", "x"),
    "scale": (0.3, 0.1, 0.1),
    "units": ("um", "um", "um"),
}
FWHM = 2.3548


def rings(*shape: int) -> NDArray[np.uint16]:
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    waves = np.sin(np.hypot(y - 9, x - 14) / 2)
    return np.broadcast_to(1000 * (1.5 + waves), shape).astype(np.uint16)


def beads(sigma: tuple[float, float, float] = (2.0, 1.6, 1.6)) -> NDArray[np.float32]:
    """Four beads on a dark ground, (Z, Y, X)."""
    grid = np.indices((21, 64, 64), dtype=np.float32)
    image = np.zeros(grid.shape[1:], np.float32)
    for center in ((10, 16, 16), (10, 16.3, 47), (9.6, 47.2, 16), (10, 48, 48.4)):
        parts = zip(grid, center, sigma, strict=True)
        image += np.exp(-sum((g - c) ** 2 / (2 * s * s) for g, c, s in parts))
    noise = np.random.default_rng(0).normal(0, 0.2, image.shape)
    return (100 * image + 10 + noise).astype(np.float32)


def blur(desk: Desk) -> BlurFields:
    return desk.widget.form.method.blur


def choose(desk: Desk, kind: str, **given: str) -> None:
    fields = blur(desk).fields
    fields["kernel"].value = kind
    for name, value in given.items():
        fields[name].value = value
    desk.widget.refresh()


def fine(spec: KernelSpec, **given: Any) -> FineKernel:
    return FineKernel(spec=spec, factors=(2, 2), sentence="So it is.", **given)


# ---- a blur in numbers


@pytest.mark.parametrize("angle", [0, 30, 120])
def test_widths_are_those_of_a_gaussian(angle: float) -> None:
    given = KernelSpec(kind="gaussian", sigma_px=(2.0, 1.2), angle_deg=angle)
    wide, narrow = fine(given).fwhm_px
    assert (wide, narrow) == pytest.approx((2 * FWHM, 1.2 * FWHM), rel=1e-3)
    sampled = KernelSpec(kind="array", array=fine(given).array)
    measured = fine(sampled).fwhm_px
    assert measured == pytest.approx((wide, narrow), rel=0.03)


def test_widths_of_the_bicubic_kernel_grow_with_the_factor() -> None:
    two = fine(KernelSpec()).fwhm_px
    four = FineKernel(spec=KernelSpec(), factors=(4, 4), sentence="").fwhm_px
    assert two[0] == pytest.approx(two[1])
    assert four[0] == pytest.approx(2 * two[0], rel=0.05)


def test_a_blur_along_one_axis_has_a_picture() -> None:
    one = fine(KernelSpec(kind="array", array=np.array([[1.0, 2, 1]])))
    assert picture(one).shape == (1, 3)
    assert all("nan" not in line for line in lines(one))


def test_size_is_told_in_um_where_it_is_known() -> None:
    given = KernelSpec.parse("gaussian:1")
    assert lines(fine(given)) == ["FWHM 2.4 px", "Shown: 7 × 7 result pixels"]
    told = lines(fine(given, fine_um=(0.1, 0.1), spread_px=(0.1, 0.05)))
    assert told[0] == "FWHM 2.4 ± 0.2 px (± one standard error)"
    assert told[1] == "= 0.24 µm"
    assert told[3] == "= 0.7 × 0.7 µm"


def test_widths_in_um_follow_their_direction() -> None:
    given = KernelSpec(kind="gaussian", sigma_px=(2.0, 1.0))
    told = lines(fine(given, fine_um=(0.1, 0.3)))
    assert told[1] == "= 0.47 × 0.71 µm"


def test_a_blur_of_a_recipe_is_the_same() -> None:
    given = fine(KernelSpec.parse("gaussian:1.2"), fine_um=(0.1, None))
    again = kernel_from(given.to_dict())
    assert again.to_dict() == given.to_dict()


# ---- what is chosen


@pytest.mark.parametrize(
    "given",
    [
        KernelSpec(),
        KernelSpec(kind="estimate"),
        KernelSpec.parse("gaussian:1.2,0.8,30"),
        KernelSpec(kind="optics"),
        KernelSpec.parse("optics:na=1.4,wavelength_nm=520,index=1.518"),
        KernelSpec.parse("optics:na=0.8,modality=confocal,excitation_nm=488"),
        KernelSpec.parse("optics:na=0.8,method=vectorial,modality=lightsheet"),
        KernelSpec(kind="array", array=np.ones((3, 3))),
        KernelSpec(kind="psf", array=np.ones((5, 3)), spacing_um=(0.1, 0.2)),
    ],
    ids=lambda spec: spec.kind,
)
def test_the_form_shows_what_it_is_given(qtbot: Any, given: KernelSpec) -> None:
    fields = BlurFields()
    fields.show_kernel(given)
    assert fields.kernel() == given
    fields.native.deleteLater()
    qtbot.wait(1)


def test_only_what_counts_is_shown(window: Desk) -> None:
    window.add(rings(3, 24, 32), **PLACE)
    window.viewer.window._qt_window.show()
    fields = blur(window)
    shown = {
        "bicubic": set(),
        "estimate": set(),
        "optics": {"modality", "na", "wavelength_nm", "index", "method"},
        "beads": {"beads"},
        "gaussian": {"sigma"},
        "file": {"kernel_file"},
    }
    for kind, names in shown.items():
        choose(window, kind)
        QApplication.processEvents()
        seen = {name for name, row in fields.rows.items() if row.visible}
        assert seen == names | {"kernel"}, kind
    choose(window, "optics", modality="confocal")
    assert fields.rows["excitation_nm"].visible
    assert window.widget.native.minimumSizeHint().width() <= 320


def test_planes_that_keep_their_size_can_be_sharpened(window: Desk) -> None:
    window.add(rings(6, 24, 32), **PLACE)
    window.viewer.window._qt_window.show()
    region, method = window.widget.form.region, window.widget.form.method
    choose(window, "gaussian", sigma="1.4")
    region.fields["factor_y"].value = 1
    window.widget.refresh()
    (request,) = window.widget.form.requests()
    assert request.config.kernel == KernelSpec.parse("gaussian:1.4")
    assert method.blur.rows["kernel"].native.isVisible()
    assert not method.blur.no_planes.native.isVisible()
    # Planes that are left as they are have no blur to take back, which is said.
    region.fields["along_z"].value = "by a number"
    window.widget.refresh()
    (request,) = window.widget.form.requests()
    assert request.config.kernel == KernelSpec()
    assert not method.blur.rows["kernel"].native.isVisible()
    assert "Slices are added and noise is removed" in method.blur.no_planes.value
    assert method.blur.no_planes.native.isVisible()
    region.fields["along_z"].value = "as it is"
    window.widget.refresh()
    (request,) = window.widget.form.requests()
    assert request.config.kernel == KernelSpec.parse("gaussian:1.4")
    assert not method.blur.no_planes.native.isVisible()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "write it into 'NA'"),
        ({"na": "1.4"}, "write it into 'Emission'"),
        ({"na": "1.4", "wavelength_nm": "0.52"}, "did you mean 520 nm?"),
        ({"na": "1.4", "wavelength_nm": "5200"}, "did you mean 520 nm?"),
        ({"na": "1.4", "wavelength_nm": "3"}, "give 200 to 2000 nm."),
        ({"na": "much", "wavelength_nm": "520"}, "NA: 'much' is not a number"),
        (
            {"na": "1.4", "wavelength_nm": "520", "index": "1"},
            "larger than the refractive",
        ),
        ({"na": "-1", "wavelength_nm": "520"}, "na"),
    ],
    ids=["nothing", "na", "um", "angstrom", "far", "word", "index", "negative"],
)
def test_wrong_optics_are_met_in_the_form(
    desk: Desk, given: dict[str, str], says: str
) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    choose(desk, "optics", **given)
    assert says in desk.why.replace("&#x27;", "'")
    assert "--" not in desk.why
    assert not desk.widget.controls.run.enabled
    choose(desk, "optics", na="1,4", wavelength_nm="520", index="")
    assert desk.why == ""
    assert desk.widget.controls.run.enabled


@pytest.mark.parametrize("kernel", ["bicubic", "gaussian", "estimate"])
@pytest.mark.parametrize("factor", [1, 2])
def test_optics_are_asked_for_along_z_too(
    window: Desk, kernel: str, factor: int
) -> None:
    """Blur along Z from the optics, whatever the blur of the planes is."""
    window.add(rings(6, 24, 32), **PLACE)
    window.viewer.window._qt_window.show()
    region, blur_fields = window.widget.form.region, blur(window)
    choose(window, kernel)
    region.fields["factor_y"].value = factor
    region.fields["along_z"].value = "by a number"
    window.widget.refresh()
    na = blur_fields.rows["na"].native
    assert not na.isVisible()
    blur_fields.fields["kernel_z"].value = "optics"
    window.widget.refresh()
    assert na.isVisible()
    # There is one model along Z.
    assert not blur_fields.rows["method"].native.isVisible()
    assert "'NA'" in window.why.replace("&#x27;", "'")
    blur_fields.fields["na"].value = "0.8"
    blur_fields.fields["wavelength_nm"].value = "520"
    window.widget.refresh()
    assert window.why == ""
    (request,) = window.widget.form.requests()
    made = request.config.kernel
    assert made.optics == Optics(na=0.8, wavelength_nm=520)
    assert made.kind == (kernel if factor == 2 else "optics")
    # Both come back, and are copied.
    assert Config.from_dict(request.config.to_dict()) == request.config
    assert "0.8" in as_python(request)
    blur_fields.show_kernel(KernelSpec(kind="bicubic"))
    blur_fields.show_kernel(made)
    assert window.widget.form.requests()[0].config.kernel == made
    blur_fields.fields["kernel_z"].value = "section"
    window.widget.refresh()
    assert not na.isVisible()
    assert window.widget.form.requests()[0].config.kernel.optics is None


@pytest.mark.parametrize("scale", [(1, 1), (0.1, 0.1)])
def test_optics_ask_for_the_pixel_size(desk: Desk, scale: tuple[float, float]) -> None:
    desk.add(rings(24, 32), scale=scale)
    choose(desk, "optics", na="0.8", wavelength_nm="520")
    assert "into 'Pixel size' under Image" in desk.why.replace("&#x27;", "'")
    size = desk.widget.form.image.fields["spacing"]
    size.value = "0.1"
    size.native.editingFinished.emit()
    desk.widget.refresh()
    assert desk.why == ""


def test_typed_optics_stay_unless_the_file_states_them(desk: Desk) -> None:
    """The microscope is that of the user, whatever file is opened next."""
    size = {"scale": (0.1, 0.1)}
    first = desk.add(rings(24, 32), **size)
    choose(desk, "optics", na="0.8", wavelength_nm="520", modality="confocal")
    choose(desk, "optics", excitation_nm="488")
    fields = blur(desk).fields

    def shown() -> tuple[Any, ...]:
        desk.widget.refresh()
        names = ("na", "wavelength_nm", "excitation_nm", "modality")
        return tuple(fields[name].value for name in names)

    typed = ("0.8", "520", "488", "confocal")
    desk.add(rings(24, 32), "silent", **size)
    assert shown() == typed
    told = Channel(emission_nm=600.0, na=1.2)
    stating = desk.add(rings(24, 32), "other", metadata=file_metadata([told]), **size)
    assert shown() == ("", "", "488", "confocal")
    assert fields["na"].native.placeholderText() == "from the image: 1.2"
    (request,) = desk.widget.form.requests()
    assert request.config.kernel.optics == Optics(
        excitation_nm=488, modality="confocal"
    )
    desk.viewer.layers.selection = {first}
    assert shown() == typed
    # What corrects a file is that of its layer.
    desk.viewer.layers.selection = {stating}
    fields["na"].value = "1.1"
    microscope = Channel(modality="widefield")
    metadata = file_metadata([microscope])
    desk.add(rings(24, 32), "widefield", metadata=metadata, **size)
    assert shown()[3] is None
    desk.viewer.layers.selection = {stating}
    assert shown() == ("1.1", "", "488", "confocal")
    # So does what a recipe says.
    desk.widget.form._show_config(change(RIDGE, kernel="optics:na=0.9"))
    desk.viewer.layers.selection = {first}
    assert shown() == ("0.9", "", "", None)


def test_one_emission_for_several_channels_is_said(window: Desk) -> None:
    window.add(rings(24, 32), "red", scale=(0.1, 0.1))
    window.add(rings(3, 24, 32), axis_labels=("c", "y", "x"), scale=(1, 0.1, 0.1))
    choose(window, "optics", na="0.8", wavelength_nm="520")
    shared = blur(window).optics.shared
    assert shared.value == "520 nm is used for all 3 channels."
    window.widget.form.region.fields["channel"].value = 1
    window.widget.refresh()
    assert shared.value == ""
    window.viewer.layers.select_all()
    window.widget.form.image.fields["in_turn"].value = True
    window.widget.refresh()
    assert shared.value == "520 nm is used for both layers."


# ---- what the image tells


def test_what_the_file_tells_is_taken(desk: Desk, tmp_path: Path) -> None:
    told = Channel(name="GFP", emission_nm=520.0, na=1.2, index=1.33)
    layer = desk.add(rings(3, 24, 32), metadata=file_metadata([told]), **PLACE)
    assert layer_channels(layer) == (Channel(emission_nm=520.0, na=1.2, index=1.33),)
    choose(desk, "optics")
    assert desk.why == ""
    fields = blur(desk).fields
    assert fields["na"].native.placeholderText() == "from the image: 1.2"
    assert fields["index"].native.placeholderText() == "from the image: 1.33"
    assert desk.widget.form.requests()[0].config.kernel == KernelSpec(kind="optics")
    first = picture_of(desk)
    choose(desk, "optics", wavelength_nm="700")
    assert picture_of(desk).shape > first.shape
    desk.viewer.layers.clear()
    desk.add(rings(3, 24, 32), **PLACE)
    desk.widget.refresh()
    assert "'NA'" in desk.why.replace("&#x27;", "'")


def test_every_channel_has_its_own_wavelength(desk: Desk) -> None:
    told = [Channel(emission_nm=450.0, na=0.8), Channel(emission_nm=700.0, na=0.8)]
    layer = desk.add(
        rings(2, 24, 32),
        metadata=file_metadata(told),
        **PLACE | {"axis_labels": ("c", "y", "x")},
    )
    choose(desk, "optics")
    first = blur(desk).view.size.value
    desk.viewer.dims.set_current_step(0, 1)
    desk.widget.refresh()
    second = blur(desk).view.size.value
    assert first != second
    desk.widget.form.region.fields["channel"].value = 0
    desk.widget.refresh()
    assert blur(desk).view.size.value == first
    (request,) = desk.widget.form.requests()
    assert lazy_stack(layer, request.axes, request.selection).channels == (told[0],)


def test_metadata_of_others_are_no_channels() -> None:
    layer = Image(rings(24, 32), metadata={"napari_zssr_channels": [{"nm": 3}]})
    assert layer_channels(layer) == ()
    assert file_metadata([Channel(name="DNA", color=3)]) == {}


# ---- seen


def picture_of(desk: Desk) -> NDArray[np.uint8]:
    return blur(desk).view.grey


def test_the_picture_follows_the_settings(window: Desk) -> None:
    window.add(rings(3, 24, 32), **PLACE)
    choose(window, "gaussian", sigma="1")
    view = blur(window).view
    small = picture_of(window).shape
    choose(window, "gaussian", sigma="3")
    assert picture_of(window).shape > small
    window.widget.form.region.fields["factor_y"].value = 4
    choose(window, "gaussian", sigma="2,1,0")
    height, width = picture_of(window).shape
    assert height > width
    assert "FWHM 4.7 × 2.4 px" in view.size.value
    assert "= 0.12 × 0.059 µm" in view.size.value
    assert view.sentence.value
    window.viewer.window._qt_window.show()
    QApplication.processEvents()
    shot = view.picture.grab().toImage()
    middle = shot.pixelColor(shot.width() // 2, shot.height() // 2)
    assert middle.lightness() > 240
    choose(window, "gaussian", sigma="wide")
    assert not view._picture_row.isVisible()


def test_an_estimate_is_shown_when_it_was_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    choose(desk, "estimate")
    view = blur(desk).view
    assert view.sentence.value == LATER["estimate"]
    (request,) = desk.widget.form.requests()
    found = fine(KernelSpec.parse("gaussian:1.3"), spread_px=(0.1, 0.1))
    desk.widget.preview.blur_estimated.emit(request, 0, found)
    desk.widget.refresh()
    assert view.sentence.value == "So it is."
    assert "FWHM 3.1 ± 0.2 px" in view.size.value
    assert not view._picture_row.isHidden()
    # What was not found has no picture that looks measured.
    desk.widget.preview.blur_estimated.emit(request, 0, fine(KernelSpec()))
    desk.widget.refresh()
    assert view.sentence.value == "So it is."
    assert view._picture_row.isHidden()
    desk.widget.form.region.fields["factor_y"].value = 3
    desk.widget.refresh()
    assert view.sentence.value == LATER["estimate"]


def test_a_preview_tells_its_blur(window: Desk) -> None:
    window.add(rings(3, 48, 48), **PLACE)
    window.set(change(RIDGE, kernel="gaussian:1.1"))
    told: list[Any] = []
    window.widget.preview.blur_estimated.connect(lambda *seen: told.append(seen))
    window.widget.preview.start()
    window.qtbot.waitUntil(lambda: bool(told), timeout=30_000)
    request, channel, kernel = told[0]
    assert (request.config.kernel, channel) == (KernelSpec.parse("gaussian:1.1"), 0)
    assert kernel.spec == request.config.kernel
    choose(window, "gaussian", sigma="1.4")
    window.qtbot.waitUntil(lambda: len(told) == 2, timeout=30_000)
    assert told[1][2].spec == KernelSpec.parse("gaussian:1.4")
    window.widget.preview.stop()


@pytest.mark.parametrize(
    ("text", "says"),
    [("gaussian:1.3", "(FWHM 3.1 px)"), ("bicubic", "(not found, default used)")],
)
def test_an_estimate_comes_with_preview_and_run(
    window: Desk, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    from napari_zssr.stack import channels as channel_blur

    asked: list[Any] = []

    def estimate(seen: Any, factors: tuple[float, float]) -> FineKernel:
        asked.append(seen)
        return fine(KernelSpec.parse(text))

    monkeypatch.setattr(channel_blur, "estimated_blur", estimate)
    monkeypatch.setattr(channel_blur, "_estimates", {})
    window.add(rings(3, 48, 48), **PLACE)
    window.set(change(RIDGE, kernel="estimate"))
    view = blur(window).view
    assert view.sentence.value == LATER["estimate"]
    window.widget.preview.start()
    window.qtbot.waitUntil(lambda: view.sentence.value == "So it is.", timeout=30_000)
    window.widget.preview.stop()
    window.widget.start()
    window.wait()
    assert f"Blur estimated from the image {says}." in window.said
    assert len(asked) == 1
    assert window.viewer.layers[-1].metadata[KEY]["config"]["kernel"] == {
        "kind": "estimate"
    }


def test_a_preview_goes_on_after_a_wrong_word(window: Desk) -> None:
    window.add(rings(3, 48, 48), **PLACE)
    window.set(change(RIDGE, kernel="gaussian:1.4"))
    told: list[Any] = []
    window.widget.preview.blur_estimated.connect(lambda *seen: told.append(seen))
    window.widget.preview.start()
    for text in ("", "1.4,1.4,0"):
        choose(window, "gaussian", sigma=text)
    window.qtbot.waitUntil(lambda: bool(told), timeout=30_000)
    window.widget.preview.stop()


def test_the_cost_is_not_measured_anew_for_every_width(desk: Desk) -> None:
    from napari_zssr.plugin.cost import _workload
    from napari_zssr.plugin.estimate import Cost, planned
    from napari_zssr.zssr.device import examine_machine

    desk.add(rings(3, 24, 32), **PLACE)
    keys = set()
    machine = examine_machine()
    optics = {"na": "0.8", "wavelength_nm": "520"}
    for kind, given in (
        ("optics", optics),
        ("optics", optics | {"na": "0.9"}),
        ("gaussian", {"sigma": "1.3"}),
    ):
        choose(desk, kind, **given)
        assert desk.widget._request is not None
        workload = _workload(desk.widget._request)
        plans = [planned(workload, machine)]
        cost = Cost(workloads=[workload], plans=plans, cores=machine.cores, known={})
        keys |= set(cost.unmeasured())
    assert len(keys) == 1


def test_vectorial_optics_wait_but_are_checked(desk: Desk) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    choose(desk, "optics", na="0.8", wavelength_nm="520", method="vectorial")
    assert blur(desk).view.sentence.value == LATER["optics"]
    choose(desk, "optics", wavelength_nm="0.52")
    assert "did you mean 520 nm" in desk.why


# ---- beads


def measured(desk: Desk) -> None:
    fields = blur(desk).beads
    desk.qtbot.waitUntil(
        lambda: fields._psf is not None or bool(fields._problem), timeout=30_000
    )
    desk.widget.refresh()


def test_beads_of_a_layer_give_the_blur(desk: Desk) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    layer = desk.add(beads(), "beads", **PLACE)
    choose(desk, "beads")
    assert "Choose the layer" in desk.why
    choose(desk, "beads", beads=layer)
    assert "being measured" in desk.why
    measured(desk)
    assert desk.why == ""
    said = blur(desk).beads._message.value
    assert "4 beads" in said
    assert "µm (Z, Y, X)" in said
    kernel = desk.widget.form.requests()[0].config.kernel
    assert (kernel.kind, kernel.spacing_um) == ("psf", (0.1, 0.1))
    found = blur(desk).seen.kernel(desk.widget._request, 0)
    wide, _ = found.fwhm_px
    # Of a Gaussian, in pixels half as large.
    assert wide == pytest.approx(2 * 1.6 * FWHM * math.sqrt(3 / 4), rel=0.05)
    desk.viewer.layers.remove(layer)
    desk.widget.refresh()
    assert desk.widget.form.requests()[0].config.kernel == kernel


def test_beads_without_a_voxel_size_ask_for_it(window: Desk) -> None:
    window.add(rings(3, 24, 32), **PLACE)
    layer = window.add(beads(), "beads")
    window.viewer.window._qt_window.show()
    choose(window, "beads", beads=layer)
    assert "voxel size of the bead image is not known" in window.why
    voxel = blur(window).fields["voxel"]
    assert blur(window).rows["voxel"].visible
    for text in ("0.1", "0.3, 0.1, small", "0.3, 0.1, -0.1"):
        voxel.value = text
        voxel.native.editingFinished.emit()
        assert "not understood" in blur(window).beads._message.value
    voxel.value = "0.3, 0.1, 0.1"
    voxel.native.editingFinished.emit()
    np.testing.assert_allclose(layer.scale, (0.3, 0.1, 0.1))
    window.widget.refresh()
    measured(window)
    assert window.why == ""
    assert not blur(window).rows["voxel"].visible


def test_an_image_without_beads_says_so(desk: Desk) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    empty = desk.add(np.zeros((9, 32, 32), np.uint8), "empty", **PLACE)
    choose(desk, "beads", beads=empty)
    measured(desk)
    assert "No beads were found" in desk.why
    several = desk.add(np.zeros((2, 9, 32, 32), np.uint8), "several")
    choose(desk, "beads", beads=several)
    assert "one channel and one time point" in desk.why


@pytest.mark.parametrize("told", [True, False])
def test_beads_of_a_file_give_the_blur(desk: Desk, tmp_path: Path, told: bool) -> None:
    desk.add(rings(3, 24, 32), **PLACE)
    path = tmp_path / "beads.ome.tif"
    sizes = {"PhysicalSizeZ": 0.3, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.1}
    given = sizes if told else {}
    tifffile.imwrite(path, beads(), metadata={"axes": "ZYX"} | given)
    choose(desk, "beads", beads="file")
    assert "Choose the file" in desk.why
    choose(desk, "beads", bead_file=path)
    measured(desk)
    if not told:
        assert "is not known; write it" in desk.why
        choose(desk, "beads", voxel="0.3, 0.1, 0.1")
        measured(desk)
    assert desk.why == ""
    assert desk.widget.form.requests()[0].config.kernel.spacing_um == (0.1, 0.1)


def test_what_is_no_bead_image_is_refused() -> None:
    with pytest.raises(InputError, match="more axes than Z, Y and X"):
        check_layer(Image(np.zeros((32, 32, 3), np.uint8), rgb=True))
    check_layer(Image(np.zeros((1, 9, 32, 32)), scale=(1, 1, 1, 1), units="um"))
    for text in ("0.2;0.1", "0,2; 0,1", "0.2 × 0.1 µm"):
        assert voxel_size(text) == (0.2, 0.1)
    one, other = (Image(beads(), units="um") for _ in range(2))
    assert BeadImage(source=one).key == BeadImage(source=one).key
    assert BeadImage(source=one).key != BeadImage(source=other).key


def test_an_empty_field_says_what_is_used_instead(desk: Desk) -> None:
    desk.add(rings(24, 32))
    choose(desk, "optics", modality="confocal")
    desk.widget.refresh()
    fields = blur(desk).fields
    told = {n: fields[n].native.placeholderText() for n in ("na", "excitation_nm")}
    assert told == {"na": "required", "excitation_nm": "as the emission"}
    excitation = fields["excitation_nm"]
    assert "the emission wavelength is used instead" in excitation.tooltip


def test_a_batch_measures_beads_of_a_file(qtbot: Any, tmp_path: Path) -> None:
    from napari_zssr.plugin.batch_form import BatchForm

    path = tmp_path / "beads.ome.tif"
    sizes = {"PhysicalSizeZ": 0.3, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.1}
    tifffile.imwrite(path, beads(), metadata={"axes": "ZYX"} | sizes)
    form = BatchForm()
    fields = form.method.blur.fields
    assert set(fields["beads"].choices) == {None, "file"}
    assert fields["na"].native.placeholderText() == "from each image"
    fields["kernel"].value, fields["beads"].value = "beads", "file"
    fields["bead_file"].value = path
    told: list[Any] = []
    with pytest.raises(InputError, match="being measured"):
        form.method.config((2, 2))
    form.changed.connect(told.append)
    qtbot.waitUntil(lambda: bool(told), timeout=30_000)
    assert form.method.config((2, 2)).kernel.kind == "psf"
    form.native.deleteLater()
    qtbot.wait(1)


# ---- a run, and again


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (KernelSpec.parse("optics:na=0.8,wavelength_nm=520"), "Blur from the optics"),
        (
            KernelSpec(kind="psf", array=np.ones((3, 3)), spacing_um=(0.1, 0.1)),
            "Blur from beads",
        ),
        (KernelSpec.parse("gaussian:1.1"), "Blur as given (FWHM 2.6 px)."),
        (KernelSpec(), ""),
    ],
    ids=["optics", "psf", "gaussian", "bicubic"],
)
def test_a_result_keeps_its_blur(desk: Desk, kernel: KernelSpec, says: str) -> None:
    desk.add(rings(40, 44), scale=(0.1, 0.1), units=("um", "um"))
    desk.run(change(RIDGE, kernel=kernel))
    made = desk.viewer.layers[1]
    assert says in desk.said
    assert ("Blur" in desk.said) == bool(says)
    recipe = made.metadata[KEY]
    assert KernelSpec.from_dict(recipe["config"]["kernel"]) == kernel
    (told,) = recipe["report"]["kernels"]
    assert kernel_from(told).sentence
    desk.set(RIDGE)
    desk.viewer.layers.selection = {made}
    desk.widget.use_settings()
    assert desk.widget.form.requests()[0].config.kernel == kernel


def test_copies_hold_the_optics(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, rings(24, 32))
    (layer,) = desk.viewer.open(path, plugin="napari")
    layer.scale, layer.units = (0.1, 0.1), ("um", "um")
    layer.metadata.update(file_metadata([Channel(emission_nm=520.0, na=0.8)]))
    choose(desk, "optics")
    (request,) = desk.widget.form.requests()
    made = as_python(request)
    assert "kernel='optics:na=0.8,wavelength_nm=520'" in made
    assert "spacing={'Y': 0.1, 'X': 0.1}" in made
    words = shlex.split(as_command(request))
    assert words[words.index("--kernel") + 1] == "optics"
    assert words[words.index("--spacing") + 1] == "Y=0.1,X=0.1"
    choose(desk, "optics", na="1.2")
    words = shlex.split(as_command(desk.widget.form.requests()[0]))
    assert words[words.index("--kernel") + 1] == "optics:na=1.2"
    choose(desk, "estimate")
    words = shlex.split(as_command(desk.widget.form.requests()[0]))
    assert words[words.index("--kernel") + 1] == "estimate"


def test_a_measured_blur_is_copied_as_python(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, rings(24, 32))
    (layer,) = desk.viewer.open(path, plugin="napari")
    layer.scale, layer.units = (0.1, 0.1), ("um", "um")
    psf = KernelSpec(kind="psf", array=np.ones((3, 3)), spacing_um=(0.1, 0.1))
    desk.set(change(RIDGE, kernel=psf))
    (request,) = desk.widget.form.requests()
    with pytest.raises(InputError, match="copy as Python"):
        as_command(request)
    exec(compile(as_python(request), "copied", "exec"), {"viewer": desk.viewer})
    assert desk.viewer.layers[-1].data.shape == (48, 64)


def test_a_saved_layer_keeps_its_light(tmp_path: Path) -> None:
    from napari_zssr.io.read import read

    told = file_metadata([Channel(emission_nm=520.0)])
    layer = Image(rings(24, 32), name="GFP", metadata=told)
    path = tmp_path / "gfp.ome.tif"
    layer.save(str(path), plugin="napari-zssr")
    (channel,) = read(path).channels
    assert (channel.name, channel.emission_nm) == ("GFP", 520.0)


def test_optics_are_read_with_the_file(tmp_path: Path) -> None:
    from napari_zssr.plugin.layers.files import _layers
    from napari_zssr.stack.axis_labels import labelled

    told = (Channel(name="a", emission_nm=450.0, na=1.2), Channel(name="b"))
    stack = labelled(rings(2, 24, 32), axes="CYX", channels=told)
    first, second = (given["metadata"] for _, given, _ in _layers(stack))
    assert layer_channels(Image(rings(24, 32), metadata=first)) == (
        Channel(emission_nm=450.0, na=1.2),
    )
    assert second == {}
    assert Optics().text == "optics"
