"""Vendor formats (CZI, ND2, LIF and others) through bioio."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_zssr.errors import InputError
from napari_zssr.io.calibration import calibration_from
from napari_zssr.io.contents import FileImage, FileImages, ImageEntry, ReadOptions
from napari_zssr.stack.image import Channel

# Not part of the extra, as their licence is GPL.
_READERS = {".czi": " bioio-czi", ".lif": " bioio-lif"}


@contextmanager
def opened(path: Path) -> Iterator[FileImages]:
    """The scenes of a file; errors of bioio become one sentence."""
    try:
        bioio = importlib.import_module("bioio")
    except ImportError as error:
        raise InputError(
            f"{path.name} needs the bioio package; {_advice(path)}"
        ) from error
    try:
        image = bioio.BioImage(path)
        yield FileImages(_entries(image), partial(_load, image))
    except InputError:
        raise
    except Exception as error:
        text = textwrap.shorten(str(error), 120, placeholder="...")
        raise InputError(
            f"{path.name} cannot be read by bioio ({text}); {_advice(path)}"
        ) from error


def _advice(path: Path) -> str:
    reader = _READERS.get(path.suffix.lower(), "")
    return (
        f'run pip install "napari-zssr[formats]"{reader}, or export the image as '
        "OME-TIFF."
    )


def _entries(image: Any) -> tuple[ImageEntry, ...]:
    entries = []
    for index, scene in enumerate(image.scenes):
        image.set_scene(scene)
        entry = ImageEntry(
            index=index,
            name=str(scene),
            axes=str(image.dims.order).upper(),
            shape=tuple(image.shape),
            dtype=str(image.dtype),
        )
        entries.append(entry)
    return tuple(entries)


def _load(image: Any, entry: ImageEntry, _: ReadOptions) -> FileImage:
    """The pixels and metadata of a scene, without axes of size 1."""
    image.set_scene(image.scenes[entry.index])
    axes = str(image.dims.order).upper()
    data = np.asarray(image.data)
    kept = [i for i, a in enumerate(axes) if data.shape[i] > 1 or a in "YX"]
    sizes = {a: getattr(image.physical_pixel_sizes, a, None) for a in "ZYX"}
    interval = getattr(image, "time_interval", None)
    if interval is not None:
        sizes["T"] = getattr(interval, "total_seconds", lambda: interval)()
    return FileImage(
        data=data.reshape([data.shape[i] for i in kept]),
        axes="".join(axes[i] for i in kept),
        calibration=calibration_from(
            {a: (size, "s" if a == "T" else "um") for a, size in sizes.items()},
            channels=[Channel(name=str(n)) for n in image.channel_names or ()],
        ),
    )
