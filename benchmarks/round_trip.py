"""Every image file through reading, enlarging, writing and reading again."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

from benchmarks.job import Job
from benchmarks.table import Cell, Table
from napari_zssr import api
from napari_zssr.config import Config
from napari_zssr.errors import InputError, ZSSRError
from napari_zssr.io.read import read
from napari_zssr.io.write import write
from napari_zssr.progress import drain
from napari_zssr.stack.image import ImageStack, output_shape

FOLDERS = ("tiff", "rgb", "bundle_candidates")
ENDINGS = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}


def files(job: Job) -> Table:
    """Shape, dtype, axes and spacing of every image, before and after.

    Parameters
    ----------
    job : Job
        Data with images in ``microscopy/{tiff,rgb,bundle_candidates}``, or lying in
        the folder itself.
    """
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory(prefix="napari-zssr-") as folder:
        for path in job.each(images(job.data)):
            target = Path(folder) / f"{len(rows)}.ome.tif"
            rows.append((path.name, *_case(job, path, target)))
    return Table(
        title=job.title,
        columns=("file", "before", "after", "faults", "seconds"),
        rows=tuple(rows),
        notes=("Written as OME-TIFF and read again; no faults is an empty cell.",),
    )


def images(data: Path) -> list[Path]:
    """Image files of the three folders, or of the folder itself.

    Raises
    ------
    InputError
        There are none.
    """
    folders = [data / "microscopy" / name for name in FOLDERS]
    chosen = [folder for folder in folders if folder.is_dir()] or [data]
    found = [
        path
        for folder in chosen
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in ENDINGS
    ]
    if not found:
        raise InputError(f"No TIFF, PNG or JPG lies in {data}; give another folder.")
    return found


def faults(before: ImageStack, after: ImageStack, config: Config) -> list[str]:
    """What an enlarged file got wrong: shape, dtype, axes, spacing.

    Parameters
    ----------
    before, after : ImageStack
        The image as read, and its enlarged file as read.
    config : Config
        Settings; its factors are expected.
    """
    factors = config.factors
    shape = output_shape(before.data.shape, before.axes, factors)
    expected = dict(zip(before.axes, shape, strict=True))
    found = dict(zip(after.axes, after.data.shape, strict=True))
    wrong = []
    if found != expected:
        wrong.append(f"shape {found} instead of {expected}")
    if after.data.dtype != before.data.dtype:
        wrong.append(f"dtype {after.data.dtype} instead of {before.data.dtype}")
    return wrong + _spacing_faults(before, after, dict(zip("YX", factors, strict=True)))


def _spacing_faults(
    before: ImageStack, after: ImageStack, factors: dict[str, float]
) -> list[str]:
    old = dict(zip(before.axes, before.spacing, strict=True))
    new = dict(zip(after.axes, after.spacing, strict=True))
    wrong = []
    for letter, size in old.items():
        wanted = None if size is None else size / factors.get(letter, 1.0)
        found = new.get(letter)
        same = (wanted is None and found is None) or (
            wanted is not None
            and found is not None
            and math.isclose(wanted, found, rel_tol=1e-4)
        )
        if not same:
            wrong.append(f"spacing {letter} {found} instead of {wanted}")
    return wrong


def _case(job: Job, path: Path, target: Path) -> tuple[Cell, ...]:
    start = time.perf_counter()
    try:
        before = read(path)
        upscaled = drain(api.upscale_steps(path, job.config), job.on_event)
        write(target, upscaled.as_stack())
        after = read(target)
    except (ZSSRError, OSError, ValueError, RuntimeError) as error:
        return (None, None, f"{type(error).__name__}: {error}", None)
    finally:
        seconds = time.perf_counter() - start
    wrong = "; ".join(faults(before, after, job.config))
    target.unlink()
    return (_text(before), _text(after), wrong, seconds)


def _text(stack: ImageStack) -> str:
    sizes = ",".join(
        f"{letter}={size:.4g} {unit or ''}".strip()
        for letter, size, unit in zip(
            stack.axes, stack.spacing, stack.units, strict=True
        )
        if size is not None
    )
    shape = "x".join(map(str, stack.data.shape))
    return f"{stack.axes} {shape} {stack.data.dtype} {sizes}".strip()
