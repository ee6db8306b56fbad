from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import io, signal

from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import (
    FineKernel,
    center_of_mass,
    check_fits,
    covariance,
    kernel_for_factors,
    loaded_kernel,
    sampled_kernel,
)
from napari_zssr.kernelspec import KernelSpec

PHASES = [(0.0, 0.0), (0.5, 0.5), (0.5, 0.0), (0.25, -0.4)]


def sampled(spec: KernelSpec, phase: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    kernel = sampled_kernel(spec, phase)
    assert kernel is not None
    return kernel


def blob(shape: tuple[int, int], center: tuple[float, float]) -> np.ndarray:
    y = np.arange(shape[0])[:, None] - center[0]
    x = np.arange(shape[1])[None, :] - center[1]
    return np.exp(-(y * y + x * x) / (2 * 1.3**2))


def offset_of_mass(kernel: np.ndarray) -> tuple[float, float]:
    """Centre of mass seen from the middle pixel."""
    y, x = center_of_mass(kernel)
    return y - kernel.shape[0] // 2, x - kernel.shape[1] // 2


def test_bicubic_is_no_array() -> None:
    assert sampled_kernel(KernelSpec()) is None


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("text", ["gaussian:1.2", "gaussian:2,0.9,30", "gaussian:0.5"])
def test_gaussians_stand_at_their_phase(text: str, phase: tuple[float, float]) -> None:
    kernel = sampled(KernelSpec.parse(text), phase)
    assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
    assert kernel.sum() == pytest.approx(1)
    assert offset_of_mass(kernel) == pytest.approx(phase, abs=0.03)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_gaussians_have_the_widths_asked_for(angle: float) -> None:
    spec = KernelSpec(kind="gaussian", sigma_px=(2.0, 1.0), angle_deg=angle)
    turn = math.radians(angle)
    axis = np.array([math.cos(turn), math.sin(turn)])
    moments = covariance(sampled(spec))
    assert axis @ moments @ axis == pytest.approx(4, rel=0.02)
    assert np.trace(moments) == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("phase", PHASES)
def test_narrow_gaussians_are_finite(sigma: float, phase: tuple[float, float]) -> None:
    kernel = sampled(KernelSpec(kind="gaussian", sigma_px=(sigma, sigma)), phase)
    assert np.isfinite(kernel).all()
    assert kernel.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("shape", "center"),
    [((9, 9), (4, 4)), ((8, 10), (3.5, 4.5)), ((13, 12), (3.2, 7.6)), ((9, 8), (7, 1))],
)
def test_arrays_are_recentred(
    shape: tuple[int, int], center: tuple[float, float]
) -> None:
    spec = KernelSpec.parse(7 * blob(shape, center))
    for phase in PHASES:
        kernel = sampled(spec, phase)
        assert kernel.sum() == pytest.approx(1), f"phase {phase}"
        assert offset_of_mass(kernel) == pytest.approx(phase, abs=1e-3)


def test_whole_moves_keep_the_weights() -> None:
    weights = np.zeros((5, 7))
    weights[0, 6] = 2
    kernel = sampled(KernelSpec.parse(weights))
    assert kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] == 1
    assert np.count_nonzero(kernel) == 1


@pytest.fixture
def weights() -> np.ndarray:
    return blob((7, 5), (3, 2))


def saved(path: Path, weights: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, weights)
    elif path.suffix == ".mat":
        io.savemat(path, {"kernel": weights, "name": "psf", "sigma": 1.0})
    elif path.suffix == ".csv":
        np.savetxt(path, weights, delimiter=",")
    else:
        tifffile.imwrite(path, weights.astype(np.float32))
    return path


def loaded(path: Path) -> np.ndarray:
    array = loaded_kernel(KernelSpec(kind="file", path=str(path))).array
    assert array is not None
    return array


@pytest.mark.parametrize(
    "name", ["k.npy", "k.csv", "k.tif", "k.tiff", "k.mat", "K.NPY"]
)
def test_files_hold_kernels(tmp_path: Path, name: str, weights: np.ndarray) -> None:
    path = saved(tmp_path / name.lower(), weights).rename(tmp_path / name)
    np.testing.assert_allclose(loaded(path), weights, rtol=1e-6)
    spec = KernelSpec.parse(str(path))
    np.testing.assert_allclose(
        sampled(loaded_kernel(spec)), sampled(KernelSpec.parse(weights)), atol=1e-6
    )


def test_leading_axes_of_one_are_dropped(tmp_path: Path, weights: np.ndarray) -> None:
    assert loaded(saved(tmp_path / "k.npy", weights[None])).shape == (7, 5)


def write_pickle(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def write_text(path: Path) -> None:
    path.write_text("no kernel")


def write_matlab_7_3(path: Path) -> None:
    """What MATLAB saves with -v7.3, as far as its header tells."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124)
    path.write_bytes(text + b"\x00\x02IM" + bytes(400))


def write_two(path: Path) -> None:
    io.savemat(path, {"a": np.eye(3), "b": np.eye(4)})


def write_volume(path: Path) -> None:
    np.save(path, np.ones((3, 3, 3)))


def write_nothing(path: Path) -> None:
    np.save(path, np.zeros((3, 3)))


def write_complex(path: Path) -> None:
    np.save(path, np.ones((3, 3), dtype=complex))


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("k.npy", write_pickle, "without pickle"),
        ("k.npy", write_text, "cannot be read"),
        ("k.tif", write_text, "cannot be read"),
        ("k.mat", write_text, "cannot be read"),
        ("k.mat", write_matlab_7_3, "cannot be read"),
        ("k.mat", write_two, "2 two-dimensional arrays"),
        ("k.txt", write_text, "not a .npy, .csv, .tif or .mat"),
        ("k.npy", write_volume, "shape"),
        ("k.npy", write_nothing, "sum"),
        ("k.npy", write_complex, "real numbers"),
    ],
)
def test_what_is_no_kernel_is_refused(
    tmp_path: Path, name: str, write: Any, says: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=says) as caught:
        loaded(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.npy' does not exist"):
        loaded(tmp_path / "gone.npy")


def dilated(kernel: np.ndarray, step: int) -> np.ndarray:
    wide = np.zeros([(n - 1) * step + 1 for n in kernel.shape])
    wide[::step, ::step] = kernel
    return wide


@pytest.mark.parametrize(
    "text", ["gaussian:1", "gaussian:1.4,0.8", "gaussian:1.5,0.8,30"]
)
def test_the_kernel_of_four_is_that_of_two_twice(text: str) -> None:
    """Blurring and halving twice equals one blur and one quartering."""
    spec = KernelSpec.parse(text)
    once = sampled(spec)
    twice = signal.convolve2d(once, dilated(once, 2))
    direct = sampled(kernel_for_factors(spec, (2.0, 2.0), (4.0, 4.0)))
    np.testing.assert_allclose(
        covariance(direct), covariance(twice), rtol=0.02, atol=0.02
    )


def test_there_and_back_is_the_same_kernel() -> None:
    spec = KernelSpec.parse("gaussian:1.5,0.8,30")
    there = kernel_for_factors(spec, (2.0, 2.0), (3.0, 3.0))
    back = kernel_for_factors(there, (3.0, 3.0), (2.0, 2.0))
    np.testing.assert_allclose(sampled(back), sampled(spec), atol=1e-9)


def test_each_axis_has_its_own_width() -> None:
    spec = KernelSpec.parse("gaussian:1.2")
    moments = covariance(sampled(kernel_for_factors(spec, (2.0, 2.0), (2.0, 4.0))))
    assert moments[0, 0] == pytest.approx(1.44, rel=0.02)
    assert moments[1, 1] == pytest.approx(5 * 1.44, rel=0.02)


def test_array_kernels_widen_alike() -> None:
    array = sampled(KernelSpec.parse("gaussian:1.2"))
    wide = sampled(kernel_for_factors(KernelSpec.parse(array), (2.0, 2.0), (4.0, 4.0)))
    assert covariance(wide)[0, 0] == pytest.approx(5 * 1.44, rel=0.05)


@pytest.mark.parametrize("wanted", [(1.0, 1.5), (1.5, 1.0), (1.5, 1.5), (2.0, 1.0)])
@pytest.mark.parametrize("text", ["gaussian:1.2", "array"])
def test_gradual_factors_have_kernels(text: str, wanted: tuple[float, float]) -> None:
    """On the way to the factor, one axis may not be enlarged at all."""
    spec = KernelSpec.parse(blob((9, 9), (4, 4)) if text == "array" else text)
    kernel = sampled(kernel_for_factors(spec, (2.0, 2.0), wanted))
    assert np.isfinite(kernel).all()
    for axis in (0, 1):
        if wanted[axis] == 1:
            assert covariance(kernel)[axis, axis] < 0.3
        else:
            assert covariance(kernel)[axis, axis] > 0.4


def test_nothing_to_do_for_the_same_factors_and_bicubic() -> None:
    spec = KernelSpec.parse("gaussian:1.2")
    assert kernel_for_factors(spec, (2.0, 2.0), (2.0, 2.0)) == spec
    assert kernel_for_factors(KernelSpec(), (2.0, 2.0), (4.0, 4.0)) == KernelSpec()


def test_kernels_larger_than_the_plane_are_refused() -> None:
    spec = KernelSpec.parse(np.ones((33, 5)))
    check_fits(spec, (33, 5))
    check_fits(KernelSpec(), (1, 1))
    with pytest.raises(InputError, match="33 × 5 pixels"):
        check_fits(spec, (32, 64))


@pytest.mark.parametrize(
    ("text", "widths", "angle"),
    [
        ("gaussian:1.2", (1.2, 1.2), None),
        ("gaussian:0.8,1.6", (1.6, 0.8), 90),
        ("gaussian:1.6,0.8,30", (1.6, 0.8), 30),
        ("gaussian:0.8,1.6,30", (1.6, 0.8), -60),
    ],
)
def test_widths_and_direction_of_a_kernel(
    text: str, widths: tuple[float, float], angle: float | None
) -> None:
    spec = KernelSpec.parse(text)
    weights = sampled_kernel(spec)
    assert weights is not None
    for given in (spec, KernelSpec.parse(weights)):
        found = FineKernel(spec=given, factors=(2, 2), sentence="")
        assert found.widths_px == pytest.approx(widths, rel=0.02)
        if angle is not None:
            assert abs((found.angle_deg - angle + 90) % 180 - 90) < 1


def test_the_bicubic_kernel_has_weights_but_no_widths() -> None:
    found = FineKernel(spec=KernelSpec(), factors=(2, 3), sentence="")
    assert found.widths_px is None
    assert found.array.shape == (9, 13)
    assert found.array.sum() == pytest.approx(1)
    assert found.to_dict()["kernel"] == {"kind": "bicubic"}
