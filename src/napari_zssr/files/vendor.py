"""Vendor formats (CZI, ND2, LIF and others) through bioio."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.errors import InputError
from napari_zssr.files.image import FileImage
from napari_zssr.stack.axes import Channel

# GPL, and so not part of the extra
_READERS = {".czi": " bioio-czi", ".lif": " bioio-lif"}


def read_vendor(path: Path) -> FileImage:
    """Read the largest scene.

    Raises
    ------
    InputError
        bioio or its reader for this format is not installed, or it cannot read the
        file.
    """
    try:
        bioio = importlib.import_module("bioio")
    except ImportError as error:
        raise InputError(
            f"{path.name} needs the bioio package; {_advice(path)}"
        ) from error
    try:
        image = bioio.BioImage(path)
        scenes = list(image.scenes)
        image.set_scene(max(scenes, key=lambda scene: _size(image, scene)))
        return _found(image)
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path.name} cannot be read by bioio ({text}); {_advice(path)}"
        ) from error


def _advice(path: Path) -> str:
    reader = _READERS.get(path.suffix.lower(), "")
    return (
        f'run pip install "napari-zssr[formats]"{reader}, or export the image as '
        "OME-TIFF."
    )


def _size(image: Any, scene: str) -> int:
    image.set_scene(scene)
    return math.prod(image.shape)


def _found(image: Any) -> FileImage:
    order = str(image.dims.order).upper()
    data = np.asarray(image.data)
    kept = [i for i, a in enumerate(order) if data.shape[i] > 1 or a in "YX"]
    sizes = {a: getattr(image.physical_pixel_sizes, a, None) for a in "ZYX"}
    interval = getattr(image, "time_interval", None)
    if interval is not None:
        sizes["T"] = getattr(interval, "total_seconds", lambda: interval)()
    spacing = {
        a: float(s) for a, s in sizes.items() if s and math.isfinite(s) and s > 0
    }
    units: dict[str, str | None] = {a: "s" if a == "T" else "um" for a in spacing}
    return FileImage(
        data=data.reshape([data.shape[i] for i in kept]),
        axes="".join(order[i] for i in kept),
        spacing=spacing,
        units=units,
        channels=tuple(Channel(name=str(n)) for n in image.channel_names or ()),
    )
