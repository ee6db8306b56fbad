from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_zssr.errors import InputError
from napari_zssr.imaging import optics as vectorial
from napari_zssr.imaging.kernel import center_of_mass, covariance
from napari_zssr.imaging.optics import (
    FWHM,
    checked_optics,
    checked_spacing,
    gaussian_psf,
    half_width,
    nyquist_um,
    sampling_sentence,
    vectorial_psf,
)
from napari_zssr.imaging.psf import gaussian_kernel_sigma, psf_kernel
from tools import measure_optics

needs_psf_generator = pytest.mark.skipif(
    not find_spec("psf_generator"), reason="no psf-generator here"
)
OIL = {"na": 1.4, "wavelength_nm": 520.0, "index": 1.515}
OBJECTIVES = [
    (0.3, 1.0),
    (0.69, 1.0),
    (0.95, 1.0),
    (0.8, 1.33),
    (1.2, 1.33),
    (0.69, 1.515),
    (1.4, 1.515),
    (1.49, 1.515),
]


def gaussian(
    sigma_um: tuple[float, float], pixel_um: float, angle: float = 0.0
) -> NDArray[np.float64]:
    """Sampled out to 4.5 sigma, odd."""
    reach = int(np.ceil(4.5 * max(sigma_um) / pixel_um))
    place = np.arange(-reach, reach + 1) * pixel_um
    y, x = np.meshgrid(place, place, indexing="ij")
    along = (y * np.cos(angle) - x * np.sin(angle)) / sigma_um[0]
    across = (y * np.sin(angle) + x * np.cos(angle)) / sigma_um[1]
    return np.asarray(np.exp(-(along**2 + across**2) / 2))


# ---- widths


@pytest.mark.parametrize(("na", "index"), OBJECTIVES)
@pytest.mark.parametrize("modality", ["widefield", "confocal"])
@needs_psf_generator
def test_gaussians_are_as_wide_as_vectorial_psfs(
    na: float, index: float, modality: str
) -> None:
    optics: dict[str, Any] = {
        "na": na,
        "wavelength_nm": 520,
        "excitation_nm": 488,
        "index": index,
        "modality": modality,
    }
    guess = gaussian_psf(**optics)
    made = vectorial_psf(**optics)
    depth, width = (
        100 * (g / m - 1) for g, m in zip(guess.fwhm_um, made.fwhm_um[:2], strict=True)
    )
    assert abs(width) < (5 if na < 0.7 else 12)
    assert abs(depth) < 20
    told = re.findall(r"as wide|\d+ % too (?:wide|narrow)", guess.sentence)
    said = [0 if "as" in t else int(t.split()[0]) for t in told]
    said = [-n if "narrow" in t else n for n, t in zip(said, told, strict=True)]
    np.testing.assert_allclose(said, [width, depth], atol=1.0)


def test_widths_by_hand() -> None:
    wide = gaussian_psf(**OIL)
    assert wide.sigma_um == pytest.approx(0.2251 * 0.52 / 1.4, rel=1e-3)
    assert wide.fwhm_um == (FWHM * wide.sigma_z_um, FWHM * wide.sigma_um)
    # Axially the two formulas meet where the aperture is small.
    low = gaussian_psf(na=0.05, wavelength_nm=520)
    paraxial = 2 * np.sqrt(6) * 0.52 / (2 * np.pi * 0.05**2)
    assert low.sigma_z_um == pytest.approx(paraxial, rel=5e-3)
    lowest = gaussian_psf(na=0.0499, wavelength_nm=520)
    above = gaussian_psf(na=0.0501, wavelength_nm=520)
    assert lowest.sigma_z_um == pytest.approx(above.sigma_z_um, rel=0.01)


def test_confocal_is_excitation_times_emission() -> None:
    seen = gaussian_psf(**OIL)
    exciting = gaussian_psf(**OIL | {"wavelength_nm": 488})
    both = gaussian_psf(**OIL, excitation_nm=488, modality="confocal")
    for name in ("sigma_um", "sigma_z_um"):
        parts = [getattr(p, name) ** -2 for p in (seen, exciting)]
        assert getattr(both, name) ** -2 == pytest.approx(sum(parts))
    assert "488/520 nm" in both.sentence
    alone = gaussian_psf(**OIL, modality="confocal")
    assert alone.sigma_um == pytest.approx(seen.sigma_um / np.sqrt(2))
    assert "520 nm assumed for excitation too" in alone.sentence


def test_light_sheet_is_widefield_laterally() -> None:
    sheet = gaussian_psf(**OIL, modality="lightsheet", excitation_nm=900)
    wide = gaussian_psf(**OIL)
    assert sheet.sigma_um == wide.sigma_um
    assert sheet.nyquist_um == wide.nyquist_um
    assert "without the light sheet" in sheet.sentence


@pytest.mark.parametrize(
    ("na", "index"), [(0.3, 1.0), (0.95, 1.0), (1.0, 1.33), (1.2, 1.33), (1.4, 1.515)]
)
def test_index_is_guessed_and_said(na: float, index: float) -> None:
    psf = gaussian_psf(na=na, wavelength_nm=520)
    assert psf.index == index
    assert f"assumed refractive index {index:g}" in psf.sentence
    assert "assumed" not in gaussian_psf(na=na, wavelength_nm=520, index=1.52).sentence


def test_an_aperture_as_large_as_the_index() -> None:
    psf = gaussian_psf(na=1.33, wavelength_nm=520, index=1.33)
    assert np.isfinite(psf.fwhm_um).all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"na": None}, r"numerical aperture is not .* give it, as in --na"),
    ({"wavelength_nm": None}, r"emission wavelength is not .* as in --wavelength-nm"),
    ({"wavelength_nm": 0.52}, r"0\.52 nm, .* like µm; did you mean 520 nm\?"),
    ({"wavelength_nm": 5200}, r"5200 nm, .* like angstrom; did you mean 520 nm\?"),
    ({"wavelength_nm": 520e-9}, r"looks like m; did you mean 520 nm\?"),
    ({"wavelength_nm": 52}, r"52 nm; give 200 to 2000 nm"),
    ({"wavelength_nm": "green"}, r"'green'; give a number"),
    ({"wavelength_nm": -520}, r"-520; give a number"),
    ({"na": 0}, r"aperture is 0; give a number"),
    ({"na": float("nan")}, r"aperture is nan; give a number"),
    ({"na": True}, r"aperture is True; give a number"),
    ({"na": 1.4, "index": 1.33}, r"NA 1\.4 is larger than the refractive index 1\.33"),
    ({"na": 1.6, "index": None}, r"NA 1\.6 is larger than the refractive index 1\.515"),
    ({"index": 15.15}, r"index is 15\.15; give 1 \(air\) to 2"),
    ({"index": 0.9}, r"index is 0\.9; give 1"),
    ({"modality": "confocal", "excitation_nm": 0.488}, r"excitation .* mean 488 nm"),
    (
        {"modality": "confocal", "excitation_nm": 900},
        r"longer than that of the emission",
    ),
    ({"modality": "tem"}, r"tem"),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=lambda v: str(v)[:40])
def test_optics_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_optics(**OIL | given)


@pytest.mark.parametrize(
    ("spacing", "dims", "said"),
    [
        (None, 2, r"not known; give --spacing .* \(Y, X\)"),
        ((0.1, 0.1), 3, r"not known; .* \(Z, Y, X\)"),
        ((None, 0.1), 2, r"not known; give"),
        ((0.1, 0.0), 2, r"give --spacing in µm, above 0"),
        ((0.1, float("inf")), 2, r"give --spacing in µm, above 0"),
    ],
)
def test_pixels_of_unknown_size(spacing: Any, dims: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_spacing(spacing, dims)


def test_pixels_of_known_size() -> None:
    assert checked_spacing((0.3, 0.1, 0.2)) == (0.1, 0.2)
    assert checked_spacing((0.3, 0.1, 0.2), 3) == (0.3, 0.1, 0.2)


# ---- sampling


def test_nyquist() -> None:
    wide = nyquist_um(checked_optics(**OIL))
    assert wide == pytest.approx(0.52 / (4 * 1.4))
    confocal = checked_optics(**OIL, modality="confocal", excitation_nm=488)
    assert nyquist_um(confocal) == pytest.approx(0.488 / (8 * 1.4))


def test_finer_than_nyquist() -> None:
    assert sampling_sentence((0.2, 0.2), (2, 2), 0.1) is None
    enough = sampling_sentence((0.15, 0.1), (3, 3), 0.1)
    assert enough is not None
    assert "a factor above 1.5 shows no finer detail" in enough
    nothing = sampling_sentence((0.0225, 0.0225), (2, 2), 0.093)
    assert nothing == (
        "The image has pixels of 0.0225 µm, and this objective resolves no more with "
        "pixels below 0.093 µm (Nyquist), so enlarging it shows no finer detail."
    )


# ---- vectorial


@needs_psf_generator
def test_vectorial_psf() -> None:
    psf = vectorial_psf(**OIL)
    assert psf.array.shape[0] % 2 == psf.array.shape[1] % 2 == 1
    assert psf.array.sum() == pytest.approx(1)
    middle = tuple((n - 1) / 2 for n in psf.array.shape)
    np.testing.assert_allclose(center_of_mass(psf.array), middle, atol=1e-3)
    np.testing.assert_allclose(psf.array, psf.array.T, atol=1e-6 * psf.array.max())
    row = psf.array[len(psf.array) // 2]
    assert half_width(row, psf.spacing_um[1]) == pytest.approx(psf.fwhm_um[1], 1e-3)
    assert "psf-generator" in psf.sentence
    # Like the light, so the widths.
    red = vectorial_psf(**OIL | {"wavelength_nm": 1040})
    np.testing.assert_allclose(red.fwhm_um, 2 * np.array(psf.fwhm_um), rtol=1e-3)


@needs_psf_generator
def test_airy_disk_where_the_aperture_is_small() -> None:
    psf = vectorial_psf(na=0.05, wavelength_nm=500)
    assert psf.fwhm_um[1] == pytest.approx(0.5145 * 0.5 / 0.05, rel=3e-3)
    assert psf.fwhm_um[0] == pytest.approx(1.772 * 0.5 / 0.05**2, rel=5e-3)


def test_without_psf_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psf_generator", None)
    with pytest.raises(InputError, match=r"napari-zssr\[optics\]"):
        vectorial_psf(**OIL)
    assert "psf_generator" not in vars(vectorial)


@needs_psf_generator
def test_the_table_of_the_formulas_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(measure_optics.OBJECTIVES) > 10
    few = ((0.1, 1.0), (1.49, 1.515))
    monkeypatch.setattr(measure_optics, "OBJECTIVES", few)
    measure_optics.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    kinds = [(kind, na) for kind in ("widefield", "confocal") for na, _ in few]
    for row, (kind, na) in zip(rows, kinds, strict=True):
        assert row.startswith(f"| {kind} | {na:g} |")


# ---- kernels


ROUND, LONG = (0.1, 0.1), (0.3, 0.12)
SQUARE, OBLONG = (0.04, 0.04), (0.1, 0.05)


@pytest.mark.parametrize(
    ("factors", "pixel", "sigma", "fine"),
    [
        ((2, 2), 0.03, ROUND, SQUARE),
        ((2, 2), 0.06, LONG, OBLONG),
        ((4, 3), 0.06, ROUND, SQUARE),
        ((4, 3), 0.03, LONG, OBLONG),
        ((1, 2), 0.06, ROUND, OBLONG),
        ((1, 2), 0.03, LONG, SQUARE),
        ((1.5, 1), 0.06, ROUND, OBLONG),
        ((1.5, 1), 0.03, LONG, SQUARE),
        ((2.5, 8), 0.06, ROUND, OBLONG),
        ((2.5, 8), 0.03, LONG, SQUARE),
    ],
)
def test_kernel_of_a_gaussian_psf(
    factors: tuple[float, float],
    pixel: float,
    sigma: tuple[float, float],
    fine: tuple[float, float],
) -> None:
    kernel = psf_kernel(gaussian(sigma, pixel), (pixel, pixel), fine, factors)
    widths = gaussian_kernel_sigma(sigma, fine, factors)
    y, x = (
        np.exp(-(((np.arange(n) - n // 2) / w) ** 2) / 2)
        for n, w in zip(kernel.shape, widths, strict=True)
    )
    wanted = np.outer(y, x) / np.outer(y, x).sum()
    np.testing.assert_allclose(kernel, wanted, atol=0.02 * wanted.max())
    measured, expected = (np.sqrt(np.diag(covariance(k))) for k in (kernel, wanted))
    np.testing.assert_allclose(measured, expected, rtol=0.02, atol=0.005)


def test_kernel_of_a_turned_gaussian() -> None:
    psf = gaussian((0.25, 0.1), 0.04, angle=0.5)
    kernel = psf_kernel(psf, (0.04, 0.04), (0.05, 0.05), (2, 2))
    wanted = covariance(psf / psf.sum()) * (0.04 / 0.05) ** 2 * 0.75
    np.testing.assert_allclose(covariance(kernel), wanted, rtol=0.02)


@pytest.mark.parametrize(
    ("shape", "fine", "factors"),
    [
        ((1, 1), 0.01, (1.05, 1.05)),
        ((1, 1), 5.0, (1, 16)),
        ((1, 5), 0.1, (2, 2)),
        ((1, 5), 0.01, (1, 16)),
        ((2, 2), 5.0, (2, 2)),
        ((3, 8), 0.1, (1, 16)),
        ((16, 15), 0.1, (1.05, 1.05)),
        ((64, 64), 0.01, (1.05, 1.05)),
        ((64, 64), 0.01, (1, 16)),
        ((64, 64), 5.0, (1.05, 1.05)),
        ((64, 64), 5.0, (1, 16)),
    ],
)
def test_kernel_of_anything(
    shape: tuple[int, int], fine: float, factors: tuple[float, float]
) -> None:
    psf = np.random.default_rng(0).random(shape)
    kernel = psf_kernel(psf, (0.1, 0.1), (fine, fine), factors)
    assert np.isfinite(kernel).all()
    assert (kernel >= 0).all()
    assert kernel.sum() == pytest.approx(1)
    assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
    if factors[0] == 1:
        assert kernel.shape[0] == 1


def test_kernel_lies_in_the_middle_wherever_the_psf_does() -> None:
    psf = np.zeros((40, 51))
    psf[3:36, 10:43] = gaussian((0.1, 0.1), 0.03)
    kernel = psf_kernel(psf, (0.03, 0.03), (0.05, 0.05), (2, 2))
    middle = [(n - 1) / 2 for n in kernel.shape]
    np.testing.assert_allclose(center_of_mass(kernel), middle, atol=0.02)


def test_kernel_of_a_noisy_psf() -> None:
    """The noise of the PSF is not enlarged by the division."""
    psf = gaussian((0.1, 0.1), 0.03)
    noise = np.random.default_rng(0).normal(scale=0.02, size=psf.shape)
    pixel = (0.03, 0.03)
    clean, noisy = (psf_kernel(p, pixel, pixel, (2, 2)) for p in (psf, psf + noise))
    reach = [min(a, b) // 2 for a, b in zip(clean.shape, noisy.shape, strict=True)]
    middle, other = (
        k[
            tuple(
                slice(n // 2 - r, n // 2 + r + 1)
                for n, r in zip(k.shape, reach, strict=True)
            )
        ]
        for k in (clean, noisy)
    )
    assert middle.sum() > 0.99
    np.testing.assert_allclose(other, middle, atol=0.15 * middle.max())


@needs_psf_generator
def test_kernel_of_a_vectorial_psf() -> None:
    """Seen finely and blurred by the kernel, an image is as it was seen coarsely."""
    psf = vectorial_psf(**OIL)
    step = psf.spacing_um[0]
    fine = 2 * step
    kernel = psf_kernel(psf.array, psf.spacing_um, (fine, fine), (2, 2))
    frequency = np.fft.fftfreq(128)
    wide = _spectrum(psf.array, 0.5 * frequency)
    narrow = _spectrum(psf.array, 0.25 * frequency)
    again = narrow * _spectrum(kernel, frequency)
    np.testing.assert_allclose(np.abs(wide), np.abs(again), atol=0.03)


def _spectrum(array: NDArray[np.float64], frequency: NDArray[Any]) -> NDArray[Any]:
    y, x = (
        np.exp(-2j * np.pi * np.outer(frequency, np.arange(n) - n // 2))
        for n in array.shape
    )
    return np.asarray(y @ array @ x.T)


@pytest.mark.parametrize(
    ("psf", "said"),
    [
        (np.zeros((5, 5)), "sum to 0"),
        (-np.ones((5, 5)), "sum to -25"),
        (np.full((5, 5), np.nan), "NaN or infinite"),
        (np.ones((2, 5, 5)), r"axes \(Y, X\), but shape \(2, 5, 5\)"),
        (np.ones((0, 5)), r"but shape \(0, 5\)"),
        (np.ones((128, 128)), "covers 12800 result pixels"),
    ],
)
def test_psfs_that_cannot_be(psf: NDArray[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        psf_kernel(psf, (0.1, 0.1), (0.001, 0.001), (2, 2))


def test_gaussian_kernel_widths() -> None:
    y, x = gaussian_kernel_sigma(0.1, (0.05, 0.1), (2, 4))
    assert y == pytest.approx(2 * np.sqrt(0.75))
    assert x == pytest.approx(np.sqrt(15 / 16))
    assert 0 < gaussian_kernel_sigma(0.1, (0.05, 0.1), (1, 2))[0] < 1e-3
