"""Which device computes, and how much memory it has free."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from napari_zssr.checks import check_device
from napari_zssr.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """One device that torch sees.

    Attributes
    ----------
    device : ``cpu``, ``cuda:N`` or ``mps``
    name : device in sentences, see `device_name`
    description : its name, and more of the hardware
    free_bytes : free memory, None where it is unknown
    bfloat16 : whether bfloat16 arithmetic is done by the hardware
    failure : why a first small computation failed, or empty
    """

    device: str
    name: str
    description: str
    free_bytes: int | None
    bfloat16: bool
    failure: str = ""


# As long as this costs nothing on two idle cores, and no longer.
SPIN_COUNT = "10000"


def share_cores() -> None:
    """Keep threads of torch from waiting busily; for programs that load torch.

    OpenMP's threads spin while they wait for each other: where something else computes
    too (a window being drawn, a second run) every step takes many times as long. Does
    nothing where torch is loaded already or the environment says how to wait.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if "torch" not in sys.modules and not chosen:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def resolve_device(name: str = "auto") -> str:
    """Device that a setting's name stands for, if it computes. Raises InputError."""
    device = name.strip().lower()
    if device == "cpu":
        return device
    names = available_devices()
    if device == "auto":
        return next(each for each in names if not failure_of(each))
    device = "cuda:0" if device == "cuda" else device
    if device in names:
        failure = failure_of(device)
        if failure:
            raise InputError(
                f"Device {name!r} was found but does not work ({failure}); choose "
                "cpu or auto, or run `napari-zssr doctor` for advice."
            )
        return device
    check_device(device)
    raise InputError(
        f"Device {name!r} is not available (PyTorch finds {', '.join(names)}); "
        "choose one of these, or run `napari-zssr doctor` for advice."
    )


def fallback_message(name: str) -> str:
    """Sentence on devices that "auto" had to pass over; empty where there is none."""
    if name.strip().lower() != "auto":
        return ""
    failed: list[str] = []
    for device in available_devices():
        why = failure_of(device)
        if not why and not failed:
            return ""
        if not why:
            return (
                f"Computed on the {device_name(device)}, because "
                f"{' and '.join(failed)} failed; run `napari-zssr doctor` for advice."
            )
        failed.append(f"{device} ({why})")
    return ""


@lru_cache(maxsize=16)
def failure_of(device: str) -> str:
    """Why a small convolution fails on a device; empty where it does not.

    It takes some memory of a GPU for as long as the process lasts.
    """
    import torch

    if device == "cpu":
        return ""
    try:
        ones = torch.ones(1, 1, 8, 8, device=device)
        float(torch.nn.functional.conv2d(ones, ones[..., :3, :3]).sum())
    # torch raises AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return " ".join(str(error).split())[:200]
    return ""


def release_memory() -> None:
    """Give unused memory of a GPU back to other programs."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def available_devices() -> tuple[str, ...]:
    """Devices that torch sees, the preferred one first."""
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def free_bytes(device: str) -> int | None:
    """Free memory of a device, None if unknown; of this machine, of its container."""
    if device == "cpu":
        import psutil

        free = int(psutil.virtual_memory().available)
        allowed = _container_bytes()
        return free if allowed is None else min(free, allowed)
    import torch

    if device.startswith("cuda"):
        cached = torch.cuda.memory_reserved(device)
        own = cached - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + own
    # Since torch 2.5.
    if not hasattr(torch.mps, "recommended_max_memory"):
        return None
    used = torch.mps.current_allocated_memory()
    return max(0, int(torch.mps.recommended_max_memory() - used))


def description(device: str) -> str:
    """Name of a device, and more of its hardware: memory, or instructions."""
    import torch

    name = device_name(device)
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        return f"{name}, {properties.total_memory / 2**30:.0f} GiB"
    if device == "mps":
        return name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def device_name(device: str) -> str:
    """Device in sentences: ``processor (2 cores)``, or a card's own name."""
    if device == "cpu":
        cores = os.cpu_count() or 1
        return f"processor ({cores} core{'s' * (cores != 1)})"
    if device == "mps":
        return "Apple GPU"
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(device).name
    return f"graphics card {device.partition(':')[2] or 0}"


def fast_bfloat16(device: str) -> bool:
    """Whether the hardware of a device multiplies bfloat16 faster than float32."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


def examine(device: str) -> DeviceReport:
    """Describe a device and try a small computation on it."""
    failure = failure_of(device)
    return DeviceReport(
        device=device,
        name=device_name(device),
        description=description(device),
        free_bytes=None if failure else free_bytes(device),
        bfloat16=fast_bfloat16(device),
        failure=failure,
    )


def described(device: str) -> DeviceReport:
    """Describe a device without using it."""
    return DeviceReport(
        device=device,
        name=device_name(device),
        description=description(device),
        free_bytes=None,
        bfloat16=fast_bfloat16(device),
    )


def _tried(device: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Devices that are tried for a setting: up to the one it stands for."""
    device = "cuda:0" if device == "cuda" else device
    if device in names:
        return device, "cpu"
    return *names[: names.index(resolve_device("auto")) + 1], "cpu"


def _container_bytes(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a Linux control group still allows, cached files not counted as used."""
    try:
        limit = int((root / "memory.max").read_text(encoding="ascii"))
        used = int((root / "memory.current").read_text(encoding="ascii"))
        statistics = (root / "memory.stat").read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    cached = re.search(r"^inactive_file (\d+)", statistics, re.MULTILINE)
    return max(0, limit - used + (int(cached[1]) if cached else 0))


WHEELS = "https://download.pytorch.org/whl"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu:
    """A GPU that the NVIDIA driver reports, whether or not torch can use it.

    Attributes
    ----------
    name : name of the product
    capability : compute capability (major, minor), (0, 0) where the driver does not
        tell
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
    """Say what keeps torch from an NVIDIA GPU, and how to mend it."""
    if usable or not gpus:
        return None
    name, wheel = gpus[0].name, wheel_tag(gpus, driver)
    if torch_cuda is None:
        problem = (
            f"torch {torch_version} was installed without support for the graphics "
            f"card {name}"
        )
    else:
        problem = (
            f"torch {torch_version} (CUDA {torch_cuda}) cannot use the graphics card "
            f"{name}"
        )
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A computer, as torch and the NVIDIA driver see it.

    Attributes
    ----------
    devices : the preferred one first, the processor last
    gpus : what the driver reports
    advice : what keeps torch from a GPU that is there
    slowness : how many times as long as usual the processor takes, also because it is
        busy; 1 where it was not tested
    """

    devices: tuple[DeviceReport, ...]
    gpus: tuple[NvidiaGpu, ...] = ()
    advice: Advice | None = None
    cores: int = 1
    slowness: float = 1.0

    @property
    def free_bytes(self) -> int | None:
        """Main memory that was free."""
        return self.devices[-1].free_bytes

    def chosen(self, name: str) -> DeviceReport:
        """The device that a name of the settings stands for. Raises InputError."""
        working = next(report for report in self.devices if not report.failure)
        device = {"auto": working.device, "cuda": "cuda:0"}.get(name, name)
        for report in self.devices:
            if report.device == device:
                return report
        names = ", ".join(report.device for report in self.devices)
        raise InputError(
            f"There is no device {name!r} on this computer; choose one of {names}."
        )


def examine_machine(device: str = "auto", *, every: bool = False) -> Machine:
    """Examine the devices; imports torch and takes seconds the first time.

    Of several GPUs the one that a setting names is tried, the others only with `every`.
    """
    import torch

    names = available_devices()
    tried = names if every else _tried(device, names)
    reports = tuple(
        examine(name) if name in tried else described(name) for name in names
    )
    gpus = nvidia_gpus()
    usable = any(d.device.startswith("cuda") and not d.failure for d in reports)
    hint = advice(
        gpus=gpus,
        driver=driver_cuda() if gpus else None,
        torch_version=torch.__version__,
        torch_cuda=torch.version.cuda,
        usable=usable,
    )
    return Machine(devices=reports, gpus=gpus, advice=hint, cores=os.cpu_count() or 1)
