"""Blurs in Python: from optics, beads and the image, for every channel, kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from test_beads import LONELY, SIGMAS_PX, SPACING, beads

from napari_zssr import Kernel, KernelSpec, Optics, upscale_steps, write
from napari_zssr.config import INSTANT, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.beads import MeasuredPsf
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.optics import FWHM
from napari_zssr.io.kernel_files import loaded_kernel, psf_of, spec_of_psf
from napari_zssr.io.read import read
from napari_zssr.io.write import read_provenance
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack
from napari_zssr.stack.report import recipe
from training.dead_leaves import sharp_scene

PIXEL = 0.1
OIL = Optics(na=1.4, index=1.515)
COLOURS = (
    Channel(name="DNA", emission_nm=461, na=1.4, index=1.515),
    Channel(name="actin", emission_nm=620, na=1.4, index=1.515),
)


def cells(channels: tuple[Channel, ...] = COLOURS, px: float = PIXEL) -> ImageStack:
    """Two channels of 40 x 44 pixels."""
    draw = np.random.default_rng(0)
    data = draw.integers(100, 900, (2, 40, 44)).astype(np.uint16)
    named = labelled(data, axes="CYX", spacing=px)
    return replace(named, channels=channels, name="cells")


def bead_stack() -> NDArray[np.uint16]:
    return beads(LONELY, [900, 700, 500, 800]).astype(np.uint16)


@pytest.fixture
def measured(tmp_path: Path) -> MeasuredPsf:
    tifffile.imwrite(tmp_path / "beads.tif", bead_stack())
    return psf_of(read(tmp_path / "beads.tif"), SPACING)


def width(kernel: FineKernel) -> float:
    assert kernel.widths_px is not None
    return kernel.widths_px[0]


# ---- from optics


def test_every_channel_has_the_blur_of_its_colour() -> None:
    blue, red = Kernel.of(cells(), Kernel.from_optics())
    assert width(red) / width(blue) == pytest.approx(620 / 461)
    assert "461 nm" in blue.sentence
    assert "620 nm" in red.sentence
    assert blue.fine_um == (PIXEL / 2, PIXEL / 2)


def test_what_is_given_goes_before_metadata() -> None:
    given = Kernel.from_optics(na=0.7, wavelength_nm=520, index=1, modality="confocal")
    one, other = Kernel.of(cells(), given)
    assert width(one) == width(other)
    assert (
        "confocal, NA 0.7, 520 nm assumed for excitation too, refractive index 1)"
        in one.sentence
    )


def test_kernel_is_that_of_the_formula() -> None:
    """0.225 lambda / NA, less what the finer pixels still blur."""
    found = Kernel.of(cells(), "optics:wavelength_nm=500", factor=4)[0]
    sigma_um = np.sqrt(2) * 0.5 / (2 * np.pi * 1.4)
    assert width(found) == pytest.approx(sigma_um / 0.025 * np.sqrt(15 / 16), rel=1e-3)
    assert found.fwhm_um == pytest.approx((FWHM * width(found) * 0.025,) * 2)


def test_fine_pixels_are_told() -> None:
    (found, _) = Kernel.of(cells(px=0.02), "optics:wavelength_nm=520")
    assert "shows no finer detail" in found.sentence


def test_excitation_is_for_confocals() -> None:
    """That of the metadata is left out in silence, that of the user is not."""
    seen = tuple(replace(channel, excitation_nm=400) for channel in COLOURS)
    (found, _) = Kernel.of(cells(seen), "optics")
    assert "excitation" not in found.sentence
    (found, _) = Kernel.of(cells(seen), "optics:modality=confocal")
    assert "400/461 nm" in found.sentence
    (found, _) = Kernel.of(cells(), "optics:excitation_nm=400")
    assert "the excitation wavelength does not matter in widefield" in found.sentence


# ---- from beads


def test_beads_in_an_array_and_in_a_file(tmp_path: Path) -> None:
    stack = bead_stack()
    tifffile.imwrite(tmp_path / "beads.tif", stack)
    one = Kernel.from_beads(stack, spacing_um=SPACING)
    other = Kernel.from_beads(tmp_path / "beads.tif", spacing_um=SPACING)
    named = labelled(stack, axes="ZYX", spacing=SPACING)
    assert one == other == Kernel.from_beads(named)
    assert (one.kind, one.spacing_um) == ("psf", SPACING[1:])


@pytest.mark.parametrize("factor", [2, 3, (1, 2)])
def test_a_psf_follows_factor_and_pixel(measured: MeasuredPsf, factor: Any) -> None:
    psf = spec_of_psf(measured)
    (found, _) = Kernel.of(cells(), psf, factor=factor)
    y, x = found.factors
    wanted = [
        FWHM * sigma * s / (PIXEL / f) * np.sqrt(1 - 1 / f**2)
        for sigma, s, f in zip(SIGMAS_PX[1:], SPACING[1:], (y, x), strict=True)
        if f > 1
    ]
    assert min(found.fwhm_px[: len(wanted)]) == pytest.approx(min(wanted), rel=0.08)
    assert max(found.fwhm_px) == pytest.approx(max(wanted), rel=0.08)
    assert found.sentence.startswith("From a measured point spread function, FWHM ")


@pytest.mark.parametrize(
    ("px", "said"),
    [(0.05, "shows no finer detail"), (0.3, "a factor above 1."), (0.5, "")],
)
def test_pixels_that_beads_show_to_be_fine(
    measured: MeasuredPsf, px: float, said: str
) -> None:
    """FWHM is 0.35 um, so that pixels of 0.17 um hold it."""
    (found, _) = Kernel.of(cells(px=px), spec_of_psf(measured))
    assert ("Nyquist" in found.sentence) == bool(said)
    assert said in found.sentence


def test_a_saved_psf_is_the_same_blur(measured: MeasuredPsf, tmp_path: Path) -> None:
    saved = labelled(measured.array, axes="ZYX", spacing=measured.spacing_um)
    write(tmp_path / "psf.tif", saved)
    again = psf_of(read(tmp_path / "psf.tif"))
    np.testing.assert_allclose(again.fwhm_um, measured.fwhm_um, rtol=0.05)
    spec = loaded_kernel(KernelSpec.parse(tmp_path / "psf.tif"))
    one, other = (Kernel.of(cells(), s)[0] for s in (spec, spec_of_psf(measured)))
    assert one.fwhm_px == pytest.approx(other.fwhm_px, rel=0.05)


def test_a_flat_saved_psf_is_the_same_blur(tmp_path: Path) -> None:
    measured = psf_of(labelled(bead_stack()[12], axes="YX", spacing=0.1))
    saved = labelled(measured.array, axes="YX", spacing=measured.spacing_um)
    write(tmp_path / "psf.tif", saved)
    again = psf_of(read(tmp_path / "psf.tif"))
    assert again.fwhm_um[1:] == pytest.approx(measured.fwhm_um[1:], rel=0.05)


def test_a_small_flat_tiff_holds_weights(tmp_path: Path) -> None:
    weights = np.outer([1.0, 2, 1], [1.0, 2, 1]).astype(np.float32)
    tifffile.imwrite(tmp_path / "k.tif", weights)
    spec = loaded_kernel(KernelSpec.parse(str(tmp_path / "k.tif")))
    assert spec == KernelSpec.parse(weights)
    np.save(tmp_path / "k.npy", weights)
    assert loaded_kernel(KernelSpec.parse(str(tmp_path / "k.npy"))) == spec


# ---- from the image


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for the estimate: a Gaussian, wider with every image that it sees."""
    asked: list[Any] = []

    def estimated(planes: list[Any], factors: tuple[float, float]) -> FineKernel:
        asked.append(planes)
        sigma = 1 + 0.1 * len(asked)
        spec = KernelSpec(kind="gaussian", sigma_px=(sigma, sigma))
        return FineKernel(
            spec=spec, factors=factors, sentence="Guessed.", spread_px=(0.1, 0.1)
        )

    monkeypatch.setattr("napari_zssr.stack.channels.estimated_blur", estimated)
    monkeypatch.setattr("napari_zssr.stack.channels._estimates", {})
    return asked


def test_every_channel_is_estimated_by_itself(guess: list[Any]) -> None:
    one, other = Kernel.of(cells(), "estimate")
    assert (width(one), width(other)) == pytest.approx((1.1, 1.2))
    assert one.fine_um == (PIXEL / 2, PIXEL / 2)
    assert width(Kernel.estimate(cells())) == width(one)
    assert len(guess) == 2


def test_an_image_that_tells_nothing() -> None:
    found = Kernel.estimate(np.full((40, 40), 7, dtype=np.uint8))
    assert found.spec == KernelSpec()
    assert "the default blur was used" in found.sentence


# ---- what is kept of it


KEPT = [
    "optics",
    KernelSpec(kind="optics", optics=replace(OIL, wavelength_nm=520)),
    "estimate",
    "gaussian:1.2,0.8,30",
    "psf",
]


@pytest.mark.parametrize("kernel", KEPT, ids=str)
def test_report_and_file_tell_the_blur(
    kernel: Any, measured: MeasuredPsf, guess: list[Any], tmp_path: Path
) -> None:
    spec = spec_of_psf(measured) if kernel == "psf" else KernelSpec.parse(kernel)
    config = change(INSTANT, kernel=spec, noise="off", device="cpu")
    result = drain(upscale_steps(cells(), config))
    shown = Kernel.of(cells(), spec)
    assert [k["sentence"] for k in result.report.kernels] == [k.sentence for k in shown]
    for told, each in zip(result.report.kernels, shown, strict=True):
        assert KernelSpec.from_dict(told["kernel"]) == each.spec
    target = tmp_path / "fine.ome.tif"
    write(target, result.as_stack(), provenance=recipe(cells(), result))
    kept = read_provenance(target)
    assert kept is not None
    assert Config.from_dict(kept["config"]) == config
    assert kept["report"]["kernels"][1]["sentence"] == shown[1].sentence


def test_the_blur_of_a_file_is_kept_whole(tmp_path: Path) -> None:
    """A recipe does not need the file again."""
    tifffile.imwrite(tmp_path / "beads.tif", bead_stack()[:, :, :60])
    from napari_zssr import upscale_steps as steps

    spec = loaded_kernel(KernelSpec.parse(tmp_path / "beads.tif"), SPACING)
    result = drain(steps(cells(), "instant", kernel=spec, noise="off"))
    (tmp_path / "beads.tif").unlink()
    assert Config.from_dict(result.config.to_dict()).kernel == spec


def test_width_at_half_maximum() -> None:
    """Of sampled Gaussians it is the formula's, whatever lies far away."""
    y, x = np.mgrid[-30:31, -30:31]
    weights = np.exp(-(y**2) / (2 * 5**2) - x**2 / (2 * 3**2))
    found = FineKernel(
        spec=KernelSpec.parse(weights), factors=(2, 2), sentence="", fine_um=(0.1, 0.2)
    )
    assert found.fwhm_px == pytest.approx((5 * FWHM, 3 * FWHM), rel=0.01)
    assert found.fwhm_um == pytest.approx((0.5 * FWHM, 0.6 * FWHM), rel=0.01)


# ---- what cannot be


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A blur that cannot be used, and what is said of it."""

    kernel: Any
    said: str
    spacing: Any = PIXEL


BAD = [
    Bad(kernel=-np.ones((3, 3)), said="sum to -9; give values with a positive sum"),
    Bad(kernel=np.zeros((3, 3)), said="with a positive sum"),
    Bad(kernel=np.full((3, 3), np.inf), said="NaN or infinite values"),
    Bad(kernel=np.ones(3), said=r"axes \(Y, X\)"),
    Bad(kernel=np.ones((201, 201)), said="give a smaller kernel"),
    Bad(kernel="optics:na=1.4,wavelength_nm=0.52", said="did you mean 520 nm"),
    Bad(
        kernel="optics:na=1.6,wavelength_nm=520", said="NA 1.6 is larger than the refr"
    ),
    Bad(kernel="optics:na=1.4", said="The emission wavelength is not"),
    Bad(kernel="optics:wavelength_nm=520", said="The numerical aperture is not"),
    Bad(
        kernel="optics:na=1.4,wavelength_nm=520",
        spacing=None,
        said="give --spacing in µm",
    ),
    Bad(
        kernel=KernelSpec(kind="psf", array=np.ones((3, 3)), spacing_um=(0.1, 0.1)),
        spacing=None,
        said="give --spacing in µm",
    ),
    Bad(kernel="optics:aperture=1.4", said="is not understood"),
    Bad(kernel="gone.tif", said="does not exist"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.said[:24])
def test_blurs_that_cannot_be(bad: Bad) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 36)).astype(np.uint8)
    with pytest.raises(InputError, match=bad.said):
        Kernel.of(image, bad.kernel, spacing=bad.spacing)


def in_colour(shape: tuple[int, ...], axes: str) -> ImageStack:
    return labelled(np.ones(shape, dtype=np.uint8), axes=axes)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.ones((12, 60, 60)), "No beads were found"),
        (in_colour((3, 60, 60), "CYX"), "has axes CYX and .* give one channel"),
        (in_colour((60, 60, 3), "YXS"), "has axes YXS and .* give one channel"),
        (in_colour((2, 5, 9, 9), "TZYX"), "give one channel and one time point"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_images_that_are_no_beads(image: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Kernel.from_beads(image, spacing_um=SPACING)


def test_the_size_of_beads_is_asked_for(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "beads.tif", bead_stack())
    with pytest.raises(InputError, match=r"give --kernel-spacing .* \(Z, Y, X\)"):
        Kernel.of(cells(), str(tmp_path / "beads.tif"))
    with pytest.raises(InputError, match="is not known"):
        Kernel.from_beads(bead_stack())


def test_a_given_pixel_size_leaves_the_optics_of_the_file() -> None:
    optics = Channel(emission_nm=520.0, na=0.7)
    stack = replace(labelled(np.ones((32, 32))), channels=(optics,))
    (found,) = Kernel.of(stack, "optics", spacing=0.2)
    assert "NA 0.7, 520 nm" in found.sentence


def test_of_a_large_plane_windows_are_looked_at() -> None:
    scene = sharp_scene(np.random.default_rng(4), 512)
    blurred = degrade_array(scene, KernelSpec.parse("gaussian:1.4"), (2, 2))
    large = np.tile(np.round(255 * blurred).astype(np.uint8), (7, 7))
    (one,) = Kernel.of(large[:1024, :1024], "estimate")
    (found,) = Kernel.of(large, "estimate")
    assert found.widths_px == pytest.approx(one.widths_px, rel=0.1)
