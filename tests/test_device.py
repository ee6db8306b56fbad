"""Devices: choosing one, its memory, and mending a torch that misses it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_zssr.errors import InputError
from napari_zssr.zssr import device
from napari_zssr.zssr import device as nvidia
from napari_zssr.zssr.device import NvidiaGpu, advice, wheel_tag

VOLTA = NvidiaGpu(name="V100", capability=(7, 0))
ADA = NvidiaGpu(name="RTX 4090", capability=(8, 9))
BLACKWELL = NvidiaGpu(name="RTX 5090", capability=(12, 0))


@pytest.mark.parametrize(
    ("gpus", "driver", "expected"),
    [
        ((ADA,), (13, 0), "cu130"),
        ((ADA,), (12, 8), "cu126"),
        ((ADA,), (12, 2), "cu126"),
        ((VOLTA,), (13, 1), "cu126"),
        ((BLACKWELL,), (13, 0), "cu130"),
        ((BLACKWELL,), (12, 9), "cu128"),
        ((BLACKWELL,), (12, 4), None),
        ((ADA,), (11, 8), None),
        ((ADA,), None, None),
        ((NvidiaGpu(name="unknown"),), (12, 8), "cu126"),
    ],
)
def test_wheels_suit_gpu_and_driver(
    gpus: tuple[NvidiaGpu, ...], driver: tuple[int, int] | None, expected: str | None
) -> None:
    assert wheel_tag(gpus, driver) == expected


def test_nothing_to_mend() -> None:
    known = {"driver": (13, 0), "torch_version": "2.13.0", "torch_cuda": "13.0"}
    assert advice(gpus=(), usable=False, **known) is None
    assert advice(gpus=(ADA,), usable=True, **known) is None


def test_cpu_build_beside_a_gpu_is_replaced() -> None:
    found = advice(
        gpus=(ADA,),
        driver=(13, 0),
        torch_version="2.13.0+cpu",
        torch_cuda=None,
        usable=False,
        python="/my env/python",
    )
    assert found is not None
    assert "without support for the graphics card" in found.sentence
    assert found.commands == (
        '"/my env/python" -m pip uninstall -y torch',
        '"/my env/python" -m pip install torch '
        "--index-url https://download.pytorch.org/whl/cu130",
    )


def test_old_driver_comes_first() -> None:
    found = advice(
        gpus=(ADA,),
        driver=(11, 4),
        torch_version="2.13.0",
        torch_cuda="13.0",
        usable=False,
    )
    assert found is not None
    assert "driver" in found.sentence
    assert found.commands == ()


def test_driver_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(*arguments: str) -> str:
        if arguments:
            return "NVIDIA H200, 9.0\nTesla, V, 7.0\n"
        return "| NVIDIA-SMI 580.1  Driver Version: 580.1  CUDA Version: 13.0 |"

    monkeypatch.setattr(nvidia, "_nvidia_smi", fake)
    assert nvidia.driver_cuda() == (13, 0)
    assert nvidia.nvidia_gpus() == (
        NvidiaGpu(name="NVIDIA H200", capability=(9, 0)),
        NvidiaGpu(name="Tesla, V", capability=(7, 0)),
    )


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia.shutil, "which", lambda _: None)
    assert nvidia.driver_cuda() is None
    assert nvidia.nvidia_gpus() == ()


def test_advice_needs_no_torch(loaded_by: Any) -> None:
    code = "from napari_zssr.zssr.device import advice, nvidia_gpus; nvidia_gpus()"
    assert "torch" not in loaded_by(code)


def test_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_devices", lambda: ("cuda:0", "cpu"))
    monkeypatch.setattr(device, "failure_of", lambda _: "")
    assert device.resolve_device("auto") == "cuda:0"
    assert device.resolve_device("CUDA") == "cuda:0"
    assert device.resolve_device("cpu") == "cpu"
    for wish, hint in (("cuda:3", "finds cuda:0, cpu"), ("gpu", "not known")):
        with pytest.raises(InputError, match=hint):
            device.resolve_device(wish)


def test_cpu_is_always_there() -> None:
    assert device.available_devices()[-1] == "cpu"
    found = device.examine("cpu")
    assert found.failure == ""
    assert found.description
    assert found.free_bytes is None or found.free_bytes > 0


def test_memory_of_a_container(tmp_path: Path) -> None:
    assert device._container_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 200\n")
    assert device._container_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert device._container_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, device.SPIN_COUNT),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_wait_idly_unless_the_user_says_how(
    given: dict[str, str], wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    device.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == wanted


def test_nothing_is_changed_once_torch_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setitem(sys.modules, "torch", object())
    device.share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
