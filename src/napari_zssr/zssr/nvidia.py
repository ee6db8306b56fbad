"""What the NVIDIA driver reports, and how to mend a torch that misses it. No torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

WHEELS = "https://download.pytorch.org/whl"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu:
    """A GPU that the NVIDIA driver reports, whether or not torch can use it.

    Attributes
    ----------
    name : str
        Name of the product.
    capability : tuple of int
        Compute capability (major, minor), (0, 0) where the driver does not tell.
    """

    name: str
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is wrong with the installation of torch, and the commands that mend it."""

    sentence: str
    commands: tuple[str, ...] = ()


def nvidia_gpus() -> tuple[NvidiaGpu, ...]:
    """GPUs that the driver's ``nvidia-smi`` reports; empty without a driver."""
    fields = _nvidia_smi("--query-gpu=name,compute_cap", "--format=csv,noheader")
    if "," not in fields:
        fields = _nvidia_smi("--query-gpu=name", "--format=csv,noheader")
    return tuple(_parse_gpu(line) for line in fields.splitlines() if line.strip())


def driver_cuda() -> tuple[int, int] | None:
    """Newest CUDA version that the NVIDIA driver supports, None without a driver."""
    match = re.search(r"CUDA (?:\w+ )?Version\s*:\s*(\d+)\.(\d+)", _nvidia_smi())
    return (int(match[1]), int(match[2])) if match else None


def advice(
    *,
    gpus: tuple[NvidiaGpu, ...],
    driver: tuple[int, int] | None,
    torch_version: str,
    torch_cuda: str | None,
    usable: bool,
    python: str = sys.executable,
) -> Advice | None:
    """Say what keeps torch from an NVIDIA GPU, and how to mend it.

    Parameters
    ----------
    gpus : tuple of NvidiaGpu
        What the driver reports.
    driver : tuple of int, optional
        Newest CUDA version that the driver supports.
    torch_version, torch_cuda : str
        Version of torch, and the CUDA version it was built for (None: CPU only).
    usable : bool
        Whether torch computes on a GPU.
    python : str
        Interpreter whose torch is to be replaced.

    Returns
    -------
    Advice or None
        None when there is nothing to mend.
    """
    if usable or not gpus:
        return None
    name, wheel = gpus[0].name, wheel_tag(gpus, driver)
    if torch_cuda is None:
        problem = f"torch {torch_version} is a CPU build beside the GPU {name}"
    else:
        problem = f"torch {torch_version} (CUDA {torch_cuda}) cannot use the GPU {name}"
    if wheel is None:
        return Advice(sentence=f"{problem}; update the NVIDIA driver first.")
    quoted = f'"{python}"' if " " in python else python
    return Advice(
        sentence=f"{problem}; replace it with these commands.",
        commands=(
            f"{quoted} -m pip uninstall -y torch",
            f"{quoted} -m pip install torch --index-url {WHEELS}/{wheel}",
        ),
    )


def wheel_tag(
    gpus: tuple[NvidiaGpu, ...], driver: tuple[int, int] | None
) -> str | None:
    """Folder of torch's wheels that suits GPUs and driver, None for too old a driver.

    CUDA 13 has no code for GPUs below compute capability 7.5, CUDA 12.6 none for those
    from 10.0 up.
    """
    known = [gpu.capability for gpu in gpus if gpu.capability > (0, 0)]
    oldest, newest = min(known, default=(8, 0)), max(known, default=(8, 0))
    if driver is None or driver < (12, 0):
        return None
    if driver >= (13, 0) and oldest >= (7, 5):
        return "cu130"
    if newest < (10, 0):
        return "cu126"
    return "cu128" if driver >= (12, 8) else None


def _nvidia_smi(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _parse_gpu(line: str) -> NvidiaGpu:
    name, _, capability = line.rpartition(",") if "," in line else (line, "", "")
    match = re.fullmatch(r"(\d+)\.(\d+)", capability.strip())
    pair = (int(match[1]), int(match[2])) if match else (0, 0)
    return NvidiaGpu(name=name.strip(), capability=pair)
