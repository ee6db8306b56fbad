"""How a result was made, in the paragraph for the methods section and in the table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.axial_blur import UNKNOWN_BLUR
from napari_zssr.progress import drain
from napari_zssr.stack.axial_channel import LEFT_OUT
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import check_files
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.methods import (
    legend,
    legend_unchecked,
    methods,
    methods_unchecked,
)
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import upscale_steps
from napari_zssr.units import counted, signed
from napari_zssr.zssr.messages import (
    NOTHING_TO_RESTORE,
    decibels,
    delivered_gains,
    side,
)

recipe_module = pytest.importorskip("napari_zssr.plugin.compare.recipe")
summary = pytest.importorskip("napari_zssr.plugin.summary")

GAINS = (0.89, 0.23, 0.4)
TOLD = "0.23 to 0.89 dB (median 0.56)"


def sheets(*shape: int, sigma: tuple[float, ...]) -> np.ndarray:
    draw = np.random.default_rng(0)
    clear = ndimage.gaussian_filter(draw.random(shape) ** 12 * 4000, sigma)
    return np.round(clear + 100 + draw.normal(0, 8, shape)).astype(np.uint16)


def stack_of(pixels: np.ndarray, axes: str, **known: Any) -> ImageStack:
    spacing = {"Z": 0.3, "Y": 0.1, "X": 0.1}
    given = {letter: spacing[letter] for letter in axes if letter in spacing}
    return labelled(pixels, axes=axes, spacing=given, units="um", **known)


def made(stack: ImageStack, config: Config, **given: Any) -> dict[str, Any]:
    return recipe(stack, drain(upscale_steps(stack, config)), **given)


def paragraph(given: dict[str, Any]) -> str:
    return methods_unchecked(given)[0]


def table(given: dict[str, Any]) -> dict[str, str]:
    return dict(recipe_module.recipe_rows(given))


@pytest.fixture(scope="module")
def along_z() -> dict[str, Any]:
    """Recipe of a stack of which only Z was enlarged, by pretrained networks."""
    stack = stack_of(sheets(12, 48, 48, sigma=(1.5, 1, 1)), "ZYX")
    config = change(FAST, factor=1, factor_z="isotropic", device="cpu")
    return made(stack, config)


def test_what_was_done_along_z_is_in_the_methods(along_z: dict[str, Any]) -> None:
    text, (report,) = paragraph(along_z), along_z["report"]["axial"]
    assert "enlarged ×3 along Z" in text
    assert "without enlargement" not in text
    before = "12 × 48 × 48 pixels of 0.3 × 0.1 × 0.1 µm"
    assert f"from {before} to 36 × 48 × 48 pixels of 0.1 × 0.1 × 0.1 µm" in text
    assert f"SD {report['width_slices']:.2g} slices" in text
    gain = f"{report['gain_db']:.2f} ± {report['gain_error_db']:.2f} dB"
    assert f"over cubic interpolation was {gain}" in text
    assert report["noise"] > 0
    assert f"Noise of {100 * report['noise']:.2g} %" in text
    assert "reduced" in text


@pytest.mark.parametrize("steps", [0, 40])
def test_training_is_told_as_it_was(along_z: dict[str, Any], steps: int) -> None:
    report = along_z["report"]
    assert report["axial"][0]["steps"] == 0
    assert "used without further training" in report["sentence"]
    axial = [{**report["axial"][0], "steps": steps}]
    text = paragraph({**along_z, "report": {**report, "axial": axial}})
    trained = "and then trained on the image itself (zero-shot super-resolution [2]; "
    assert (f"{trained}40 steps)" in text) == bool(steps)
    assert ("applied without training on the image" in text) != bool(steps)


@pytest.mark.parametrize("factor", [1, 2])
def test_along_z_the_pretrained_network_needs_no_steps(factor: int) -> None:
    """Only a network without a start must be trained."""
    stack = stack_of(sheets(12, 48, 48, sigma=(1.5, 1, 1)), "ZYX")
    given = {"factor": factor, "steps": 0, "device": "cpu"}
    found = made(stack, change(FAST, factor_z=2, **given))
    assert [one["steps"] for one in found["report"]["axial"]] == [0]
    with pytest.raises(InputError, match="steps is 0, but a network for 6× along Z"):
        made(stack, change(FAST, factor_z=6, **given))


def test_the_table_of_a_stack_enlarged_along_z(along_z: dict[str, Any]) -> None:
    rows, (report,) = table(along_z), along_z["report"]["axial"]
    assert rows["Result size"] == "Z 36 × Y 48 × X 48"
    assert rows["Pixel size"] == "0.3 × 0.1 × 0.1 → 0.1 µm"
    assert "3×" in rows["Enlarged"]
    assert rows["Noise"].endswith("found in the image, reduced")
    assert rows["Test along Z"].startswith(f"{report['gain_db']:.2f} ± ")
    assert f"SD {report['width_slices']:.2g} slices" in rows["Blur along Z"]
    assert rows["Start"] == (
        "network pretrained on synthetic images (drawn by a program)"
    )
    assert rows["Training"] == "none on this image along Z"
    assert "Blur" not in rows


def test_the_start_is_that_of_the_networks_along_z(along_z: dict[str, Any]) -> None:
    """A stack may be learned from random weights though the preset is pretrained."""
    report = along_z["report"]
    axial = [{**report["axial"][0], "began": "", "steps": 540, "most_steps": 900}]
    given = {**along_z, "report": {**report, "axial": axial}}
    assert table(given)["Start"] == "this image only"
    text = paragraph(given)
    assert (
        "neural networks trained on the image itself (zero-shot super-resolution [2]; "
        "540 of at most 900 steps, stopped early because more brought no gain)"
    ) in text
    assert "pretrained" not in text


def test_the_optics_along_z_are_in_the_methods() -> None:
    stack = stack_of(sheets(12, 48, 48, sigma=(1.5, 1, 1)), "ZYX")
    optics = "optics:na=0.8,wavelength_nm=520,modality=confocal"
    config = change(FAST, factor=1, factor_z="isotropic", kernel_z="optics")
    given = made(stack, change(config, kernel=optics, device="cpu"))
    for text in (paragraph(given), table(given)["Blur along Z"]):
        assert "confocal, NA 0.8, 520 nm" in text
        assert re.search(r"SD [\d.]+ µm along Z, [\d.]+ µm in XY", text)


def test_noise_is_one_figure_everywhere(channels: dict[str, Any]) -> None:
    """Of channels that differ the range, in the message, the table and the methods."""
    report = channels["report"]
    levels = (0.006, 0.018, 0.018)
    noisy = [
        {**plane, "noise": level}
        for plane, level in zip(report["planes"], levels, strict=True)
    ]
    given = {**channels, "report": {**report, "planes": noisy}}
    assert "0.6 to 1.8 % of the intensity range" in paragraph(given)
    assert table(given)["Noise"].startswith("0.6 to 1.8 % of the intensity range")
    told = summary._noise(levels)
    assert told == "Noise 0.6 to 1.8 % of the intensity range."


@pytest.mark.parametrize(
    ("factor", "kernel", "start"),
    [
        (2, "bicubic", "Blurred and shrunk again, the plane agreed"),
        (1, "gaussian:1", "Blurred again, the plane agreed"),
        (1, "bicubic", "The plane agreed"),
    ],
)
def test_the_residual_is_told_as_it_was_found(
    factor: int, kernel: str, start: str
) -> None:
    draw = np.random.default_rng(0)
    noisy = sheets(64, 64, sigma=(1.5, 1.5)) + draw.normal(0, 0.02, (64, 64))
    stack = stack_of(noisy, "YX")
    config = change(INSTANT, factor=factor, kernel=kernel, device="cpu")
    upscaled = drain(upscale_steps(stack, config))
    check = check_files(upscaled.as_stack(), stack, recipe=recipe(stack, upscaled))
    assert start in methods(check)[0] or "did not agree" in methods(check)[0]
    assert start.split("agreed")[0] in methods(check)[0]


def test_a_resolution_is_that_of_a_channel_or_their_median() -> None:
    """One whose halves agree on nothing does not count."""
    cells = sheets(3, 64, 64, sigma=(0, 1.5, 1.5))
    flat = np.full((64, 64), 500, np.uint16)
    for planes, told in (
        (cells, "in the median of 3 channels (Fourier"),
        (np.stack([*cells[:2], flat]), "in the median of 2 channels (Fourier"),
        (np.stack([flat, cells[0]]), "in channel 2 (Fourier"),
        (cells[0], "µm (Fourier"),
    ):
        stack = stack_of(planes, "CYX"[3 - planes.ndim :])
        assert told in methods(check_files(stack, stack))[0]


def test_regions_that_are_not_measured_are_not_counted() -> None:
    """Of two labelled regions one is no brighter than its noise."""
    draw = np.random.default_rng(0)
    image = 100 + draw.normal(0, 3, (64, 64))
    image[10:22, 10:22] += 400
    labels = np.zeros((64, 64), np.uint8)
    labels[10:22, 10:22], labels[40:44, 40:44] = 1, 2
    original = stack_of(image, "YX")
    check = check_files(original, original, labels=labelled(labels, axes="YX"))
    (plane,) = check.planes
    assert len(plane.flux.numbers) == 2
    assert np.isfinite(plane.flux.changes).sum() == 1
    assert "of 1 object changed" in plane.flux.sentence
    assert "of 1 object changed" in methods(check)[0]


def test_a_loss_is_called_a_loss(channels: dict[str, Any]) -> None:
    """A minus before a range would be read as that of its first figure."""
    report = channels["report"]
    losses = [
        {**plane, "returned": "bicubic", "gain_db": gain}
        for plane, gain in zip(report["planes"], (-0.42, -0.23, -0.35), strict=True)
    ]
    text = paragraph({**channels, "report": {**report, "planes": losses}})
    assert (
        "the loss against bicubic interpolation was 0.23 to 0.42 dB (median 0.35)"
        in text
    )
    assert "minus" not in text


@pytest.mark.parametrize(
    ("value", "told"), [(-0.001, "+0.00"), (0.0, "+0.00"), (-0.01, "-0.01")]
)
def test_there_is_no_minus_zero(value: float, told: str) -> None:
    assert signed(value) == told


def test_one_thing_has_no_plural() -> None:
    assert (counted(1, "plane"), counted(2, "plane")) == ("1 plane", "2 planes")


@pytest.fixture(scope="module")
def channels() -> dict[str, Any]:
    """Recipe of three channels, of which the third came back as bicubic."""
    stack = stack_of(sheets(3, 48, 48, sigma=(0, 1, 1)), "CYX")
    config = change(INSTANT, ensemble=False, always=True, device="cpu")
    found = made(stack, config, selection={"Y": (8, 56), "X": (3, 51)})
    for plane, gain in zip(found["report"]["planes"], GAINS, strict=True):
        plane["gain_db"] = gain
    found["report"]["planes"][2]["returned"] = "bicubic"
    return found


def test_what_was_tested_and_not_used_has_processed_nothing(
    channels: dict[str, Any],
) -> None:
    report = channels["report"]
    assert "Planes were processed by a linear filter" in paragraph(channels)
    planes = [{**plane, "returned": "bicubic"} for plane in report["planes"]]
    text = paragraph({**channels, "report": {**report, "planes": planes}})
    assert "Planes were processed" not in text
    assert "The program's filter was not used, because it brought no" in text


def test_nothing_is_said_to_be_trained_where_nothing_was() -> None:
    config = change(FAST, start="random", device="cpu")
    text = paragraph(made(stack_of(np.full((48, 48), 7, np.uint8), "YX"), config))
    assert "The plane has the same value everywhere" in text
    assert "trained" not in text
    assert "networks" not in text


def _of_planes(*planes: dict[str, Any], **config: Any) -> dict[str, Any]:
    """Recipe of planes, made by the preset 'balanced' of known versions."""
    report = {"planes": list(planes), "versions": {"napari-zssr": "1.2", "torch": "2"}}
    return {"config": Config(**config).to_dict(), "report": report}


def test_nothing_untrained_is_called_zero_shot() -> None:
    """ZSSR trains on the image itself: a reviewer knows that."""
    plane = {"returned": "learned", "began": "learned", "gain_db": 1.0, "steps": 0}
    text, references = methods_unchecked(_of_planes(plane))
    assert "zero-shot" not in text
    assert not any("Shocher" in reference for reference in references)
    assert (
        "neural networks pretrained on synthetic images (drawn by a program), applied "
        "without training on the image."
    ) in text
    trained = _of_planes({**plane, "steps": 125, "most_steps": 200})
    text, references = methods_unchecked(trained)
    assert "Shocher" in references[1]
    assert "trained on the image itself (zero-shot super-resolution [2]; 125 of" in text


def test_what_was_only_interpolated_is_told_so() -> None:
    plane = {"returned": "bicubic", "began": "learned", "steps": 0, "noise": 0.01}
    plane |= {"gain_db": -0.55, "gain_error_db": 0.07}
    given = _of_planes(plane)
    text, references = methods_unchecked(given)
    assert text == (
        "The image was enlarged ×2 along Y and X by bicubic interpolation with "
        "napari-zssr 1.2 [1]. The program's networks were not used, because they "
        "brought no improvement beyond chance on regions of the image kept aside for a "
        "test, shrunk and re-enlarged: the loss against bicubic interpolation was "
        "0.55 ± 0.07 dB (± one standard error)."
    )
    assert len(references) == 1
    rows = table(given)
    assert rows["Result"] == "bicubic interpolation"
    assert not rows.keys() & {"Start", "Training", "Blur", "Delivered"}
    doubted = {**plane, "assessment": {"share": 0.0, "reason": "edges overshoot"}}
    assert "did not support what they changed: edges overshoot." in paragraph(
        _of_planes(doubted)
    )


def test_a_legend_of_a_trained_result() -> None:
    """What a reader of the figure must know, in few words, without references."""
    draw = np.random.default_rng(0)
    noisy = sheets(64, 64, sigma=(1.5, 1.5)) + draw.normal(0, 0.02, (64, 64))
    stack = stack_of(noisy, "YX", name="cells")
    upscaled = drain(upscale_steps(stack, change(INSTANT, device="cpu")))
    given = recipe(stack, upscaled)
    check = check_files(upscaled.as_stack(), stack, recipe=given)
    text = legend(check, "both are shown with the contrast limits 0 to 9")
    version = given["report"]["versions"]["napari-zssr"]
    assert text.startswith(
        f"Input and result (cells). The image was enlarged ×2 along Y and X with "
        f"napari-zssr {version} by a linear filter fitted to the image itself "
        "(zero-shot super-resolution); pixels (Y, X) of 0.1 × 0.1 µm became pixels of "
        "0.05 × 0.05 µm. Assumed blur: that of bicubic shrinking (the default). Noise "
    )
    assert "not rescaled; both are shown with the contrast limits 0 to 9." in text
    assert " Check: " in text
    assert re.search(r"Detail finer than [\d.]+ µm, the resolution of the input", text)
    assert not re.search(r"\[\d", text)
    alone = legend_unchecked(given)
    assert alone.endswith(
        "Intensities were not rescaled. The result was not checked. Detail finer than "
        "two pixels of the input (0.2 µm) is not proven."
    )


def test_a_legend_tells_of_steps_and_of_planes_that_are_interpolated() -> None:
    plane = {"returned": "learned", "began": "", "gain_db": 1.0, "steps": 40}
    text = legend_unchecked(_of_planes({**plane, "most_steps": 40}))
    assert "by neural networks trained on the image itself (zero-shot" in text
    assert "super-resolution; 40 steps)." in text
    assert "Detail finer than two pixels of the input is not proven." in text
    text = legend_unchecked(_of_planes(plane, {**plane, "returned": "bicubic"}))
    assert "used for 1 of 2 planes, bicubic interpolation for 1 where" in text


def test_a_legend_of_an_interpolated_result() -> None:
    plane = {"returned": "bicubic", "steps": 200, "noise": 0.01, "gain_db": 0.8}
    assert legend_unchecked(_of_planes(plane)) == (
        "Input and result. The image was enlarged ×2 along Y and X by bicubic "
        "interpolation with napari-zssr 1.2. Intensities were not rescaled. The result "
        "was not checked. Interpolation adds no detail to that of the input."
    )


def test_a_legend_of_an_isotropic_result(along_z: dict[str, Any]) -> None:
    text, (report,) = legend_unchecked(along_z), along_z["report"]["axial"]
    assert "enlarged ×3 along Z with" in text
    assert "applied without training on the image; pixels (Z, Y, X) of 0.3 × " in text
    assert f"SD {report['width_slices']:.2g} slices" in text
    assert text.endswith("or, along Z, than two slices of the input is not proven.")


def test_an_input_that_was_returned_is_told_so() -> None:
    plane = {"returned": "bicubic", "gain_db": None, "sentence": NOTHING_TO_RESTORE}
    given = _of_planes(plane, factor=1)
    assert paragraph(given) == (
        f"The image was returned unchanged by napari-zssr 1.2 [1]. {NOTHING_TO_RESTORE}"
    )
    assert table(given)["Result"] == "unchanged input"


def test_what_was_interpolated_along_z_is_told_with_its_reason() -> None:
    cubic = {"factor": 3.0, "returned": "cubic", "width_slices": 1.0, "channel": 0}
    reason = f"{LEFT_OUT.format('no')} {UNKNOWN_BLUR.sentence}"
    cubic["sentence"] = f"{reason} Cubic interpolation was returned."
    given = _of_planes(factor=1, factor_z="isotropic")
    given["report"]["axial"] = [cubic]
    text, references = methods_unchecked(given)
    assert text == (
        "The image was enlarged ×3 along Z by cubic interpolation with napari-zssr 1.2 "
        "[1]. Cubic interpolation was used along Z, because slices left out for a test "
        "were predicted no better than by cubic interpolation."
    )
    assert len(references) == 1
    assert not table(given).keys() & {"Start", "Training", "Blur along Z"}
    learned = {**cubic, "returned": "learned", "steps": 9, "channel": 1}
    given["report"]["axial"] = [cubic, learned]
    text = paragraph(given)
    assert "used along Z in channel 1, because slices left out" in text
    assert "9 steps) in channel 2." in text


def test_a_size_that_is_kept_assumes_no_blur() -> None:
    plane = {"returned": "learned", "began": "learned", "denoised": True, "noise": 0.02}
    given = _of_planes(plane, factor=1)
    assert "blur" not in paragraph(given)
    assert "Blur" not in table(given)
    blurred = _of_planes(plane, factor=1, kernel="gaussian:1.5")
    assert "Assumed blur: Gaussian, SD 1.5" in paragraph(blurred)
    assert table(blurred)["Blur"].startswith("Gaussian, given")


def test_steps_are_told_with_the_reason_why_they_are_few() -> None:
    plane = {"returned": "learned", "began": "learned", "gain_db": 1.0}
    early = "75 of at most 200 steps, stopped early because more brought no gain"
    noisy = "50 steps, a quarter of the usual number, as for every image with noise"
    for steps, most, told in (
        (75, 200, early),
        (50, 50, noisy),
        (200, 200, "200 steps"),
    ):
        given = _of_planes({**plane, "steps": steps, "most_steps": most})
        assert f"; {told})" in paragraph(given)
        assert table(given)["Training"] == told


def test_one_gain_is_told_everywhere(channels: dict[str, Any]) -> None:
    from napari_zssr.stack.plane_result import PlaneReport
    from napari_zssr.stack.report import _tested
    from napari_zssr.zssr.messages import ENLARGED

    assert TOLD in paragraph(channels)
    assert table(channels)["Test"].startswith(
        f"{TOLD} closer to the original than bicubic"
    )
    assert table(channels)["Test"].endswith("(2 channels)")
    planes = [PlaneReport.from_dict(one) for one in channels["report"]["planes"]]
    assert TOLD in _tested(planes, ENLARGED)

    class Told:
        axial = ()
        kernels = (None,) * 3
        only_interpolated = False

    Told.planes = planes  # type: ignore[attr-defined]
    # There is room for the median only.
    headline = f"{np.median(GAINS[:2]):.2f} dB closer in 2 of 3 channels"
    assert summary._outcome(Told, INSTANT) == headline


def test_gains_beside_losses_are_not_called_closer() -> None:
    assert side([-0.47, 0.04, -0.04]) == "compared with"
    assert side([-0.5, -0.2]) == "farther off than"
    assert side([-0.001, 0.3]) == "closer than"


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ([0.5], "0.50 dB"),
        ([0.501, 0.499], "0.50 dB"),
        ([0.9, 0.2, 0.5], "0.20 to 0.90 dB (median 0.50)"),
        ([-0.47, 0.04, -0.04], "-0.47 to +0.04 dB (median -0.04)"),
        ([-0.001, 0.3], "0.00 to 0.30 dB (median 0.15)"),
        ([-0.1, 0.4, 0.6], "-0.10 to +0.60 dB (median +0.40)"),
        ([-0.5, -0.2, -0.3], "0.20 to 0.50 dB (median 0.30)"),
    ],
)
def test_gains_have_a_range_and_a_median(gains: list[float], told: str) -> None:
    assert decibels(gains) == told


def test_gains_of_what_was_not_delivered_do_not_count() -> None:
    assert delivered_gains([("learned", 0.5), ("bicubic", -1.0)]) == [0.5]
    assert delivered_gains([("bicubic", -1.0), ("constant", None)]) == [-1.0]


def test_channels_and_part_are_in_the_methods(channels: dict[str, Any]) -> None:
    text = paragraph(channels)
    assert "bicubic interpolation for 1 (channel 3)" in text
    assert "for 2 of 3 planes (channels 1 and 2)" in text
    assert "Only a part of the image was processed (Y 8 to 55, X 3 to 50)" in text
    assert "(channel 3)" in table(channels)["Result"]


def test_untrained_networks_have_no_trained_result() -> None:
    planes = [
        {"plane": 0, "returned": "learned", "steps": 0, "began": "learned"}
        | {"noise": 0.02, "denoised": True, "gain_db": 1.0, "quality": {"grain": 0.07}}
    ]
    given = {
        "config": {"factor": [1, 1], "start": "learned", "noise": "auto"},
        "report": {"planes": planes},
    }
    text = paragraph(given)
    assert "applied without training on the image" in text
    assert "trained result" not in text
    assert "not used for training" not in text
    assert "2 % of the intensity range" in text
    assert "and reduced (fine grain in flat areas -93 %)" in text
    del planes[0]["denoised"]
    assert "not reduced" in paragraph(given)


def test_pretrained_channels_are_told_as_untrained_in_both() -> None:
    stack = stack_of(sheets(2, 48, 48, sigma=(0, 1.3, 1.3)), "CYX")
    found = made(stack, change(FAST, always=True, device="cpu"))
    report = found["report"]
    trained = any(plane["steps"] for plane in report["planes"])
    for text, told in (
        (report["sentence"], "used without further training"),
        (paragraph(found), "applied without training on the image"),
    ):
        assert (told in text) != trained


@pytest.mark.parametrize("method", ["gaussian"])
def test_optics_are_in_the_methods(method: str) -> None:
    stack = stack_of(sheets(48, 48, sigma=(1.5, 1.5)), "YX")
    optics = f"optics:na=1.2,wavelength_nm=520,index=1.33,method={method}"
    config = change(INSTANT, kernel=optics, ensemble=False, device="cpu")
    found = made(stack, config)
    text, blur = paragraph(found), table(found)["Blur"]
    for told in ("widefield", "NA 1.2", "520 nm", "refractive index 1.33"):
        assert told in text
        assert told in blur
    assert "for result pixels of 0.05 × 0.05 µm" in text


def test_a_blur_of_optics_has_one_width_in_micrometres() -> None:
    """That of the PSF; the kernel is narrower, and told in pixels alone."""
    stack = stack_of(sheets(48, 48, sigma=(1.5, 1.5)), "YX")
    config = change(INSTANT, kernel="optics:na=1.2,wavelength_nm=520,index=1.33")
    from napari_zssr.stack.channels import kernels_of

    (kernel,) = kernels_of(stack, config)
    lines = summary.lines(kernel)
    assert not any(
        line.startswith("=") and line.count("µm") and "×" not in line for line in lines
    )
    found = {"config": config.to_dict(), "report": {"kernels": [kernel.to_dict()]}}
    width = table(found)["Blur"].split("FWHM ")[1].split(" µm")[0]
    assert f"FWHM {width} µm" in kernel.sentence
    assert f"FWHM {width} µm" in paragraph(found)
    assert table(found)["Blur"].count("µm") == 1
