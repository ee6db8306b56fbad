"""Zero-shot super-resolution: a network trained on the image that it enlarges.

The public names are imported when first used, so that importing the package loads
neither torch nor napari, Qt or dask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_zssr.api import (
        read,
        save_networks,
        upscale,
        upscale_lazy,
        upscale_steps,
        upscale_to_disk,
    )
    from napari_zssr.config import BALANCED, FAST, INSTANT, PAPER, Config
    from napari_zssr.errors import (
        Cancelled,
        ComputeError,
        ImageWarning,
        InputError,
        StorageError,
        ZSSRError,
    )
    from napari_zssr.execution.disk_run import Written
    from napari_zssr.io.contents import ImageEntry
    from napari_zssr.io.read import list_images
    from napari_zssr.io.write import write
    from napari_zssr.kernels import Kernel
    from napari_zssr.kernelspec import KernelSpec, Optics
    from napari_zssr.label_images import upscale_labels, upscale_labels_to_disk
    from napari_zssr.progress import Progress, drain
    from napari_zssr.stack.image import ImageStack
    from napari_zssr.stack.run import Upscaled

    __version__: str

__all__ = [
    "BALANCED",
    "FAST",
    "INSTANT",
    "PAPER",
    "Cancelled",
    "ComputeError",
    "Config",
    "ImageEntry",
    "ImageStack",
    "ImageWarning",
    "InputError",
    "Kernel",
    "KernelSpec",
    "Optics",
    "Progress",
    "StorageError",
    "Upscaled",
    "Written",
    "ZSSRError",
    "__version__",
    "drain",
    "list_images",
    "read",
    "save_networks",
    "upscale",
    "upscale_labels",
    "upscale_labels_to_disk",
    "upscale_lazy",
    "upscale_steps",
    "upscale_to_disk",
    "write",
]

_HOMES = {
    "api": (
        "read",
        "save_networks",
        "upscale",
        "upscale_lazy",
        "upscale_steps",
        "upscale_to_disk",
    ),
    "config": ("BALANCED", "FAST", "INSTANT", "PAPER", "Config"),
    "errors": (
        "Cancelled",
        "ComputeError",
        "ImageWarning",
        "InputError",
        "StorageError",
        "ZSSRError",
    ),
    "io.read": ("list_images",),
    "io.contents": ("ImageEntry",),
    "kernels": ("Kernel",),
    "kernelspec": ("KernelSpec", "Optics"),
    "label_images": ("upscale_labels", "upscale_labels_to_disk"),
    "progress": ("Progress", "drain"),
    "stack.image": ("ImageStack",),
    "execution.disk_run": ("Written",),
    "stack.run": ("Upscaled",),
    "io.write": ("write",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _version()
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Version of the installed package; '0+unknown' for a bare folder of sources."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-zssr")
    except PackageNotFoundError:
        return "0+unknown"
