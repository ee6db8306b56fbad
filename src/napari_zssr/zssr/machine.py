"""What this computer computes with, found without being told. torch when looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass

from napari_zssr.errors import InputError
from napari_zssr.zssr import device, nvidia
from napari_zssr.zssr.device import DeviceReport
from napari_zssr.zssr.nvidia import Advice, NvidiaGpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A computer, as torch and the NVIDIA driver see it.

    Attributes
    ----------
    devices : tuple of DeviceReport
        The preferred one first, the processor last.
    gpus : tuple of NvidiaGpu
        What the driver reports.
    advice : Advice or None
        What keeps torch from a GPU that is there.
    cores : int
    """

    devices: tuple[DeviceReport, ...]
    gpus: tuple[NvidiaGpu, ...] = ()
    advice: Advice | None = None
    cores: int = 1

    @property
    def free_bytes(self) -> int | None:
        """Main memory that was free."""
        return self.devices[-1].free_bytes

    def chosen(self, wish: str) -> DeviceReport:
        """The device that a name of the settings stands for.

        Raises
        ------
        InputError
            There is no such device.
        """
        if wish == "auto":
            return self.devices[0]
        name = "cuda:0" if wish == "cuda" else wish
        for found in self.devices:
            if found.device == name:
                return found
        seen = ", ".join(found.device for found in self.devices)
        raise InputError(f"There is no device {wish!r} here; torch sees {seen}.")


def look_at_machine() -> Machine:
    """Examine the devices; imports torch and takes seconds the first time."""
    import torch

    seen = tuple(device.examine(name) for name in device.available_devices())
    gpus = nvidia.nvidia_gpus()
    usable = any(d.device.startswith("cuda") and not d.failure for d in seen)
    advice = nvidia.advice(
        gpus=gpus,
        driver=nvidia.driver_cuda() if gpus else None,
        torch_version=torch.__version__,
        torch_cuda=torch.version.cuda,
        usable=usable,
    )
    return Machine(devices=seen, gpus=gpus, advice=advice, cores=os.cpu_count() or 1)
