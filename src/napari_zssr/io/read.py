"""Reading of images with their axes and pixel size.

TIFF, OME-TIFF, ImageJ hyperstacks, OME-Zarr, plain Zarr arrays, PNG, JPEG and BMP;
vendor formats through bioio where it is installed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import import_module
from itertools import islice
from os import PathLike
from pathlib import Path

from napari_zssr.atomic import ZARR_MARKS
from napari_zssr.errors import InputError
from napari_zssr.io.contents import (
    FileImage,
    FileImages,
    ImageEntry,
    ReadOptions,
    choose,
)
from napari_zssr.stack.axis_labels import (
    NEAREST_ADVICE,
    Spacing,
    check_pixels,
    chosen_axes,
    guess_message,
    labelled,
    spacing_per_axis,
)
from napari_zssr.stack.image import ImageStack

WHOLE_BYTES = 1_000_000_000
BLOCKS = 64
BLOCK_BYTES = 1 << 20
LISTED_FILES = 10_000

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"BM")
_VENDOR = {".czi", ".nd2", ".lif", ".lof", ".oir", ".oib", ".vsi", ".dv", ".sldy"}
_SUFFIXES = (".companion.ome", ".ome.tiff", ".ome.tif", ".ome.zarr", ".zarr")


def read(
    path: str | PathLike[str],
    *,
    axes: str | None = None,
    spacing: Spacing | None = None,
    image: int | str | None = None,
    partial: bool = False,
    lazy: bool = False,
    labels: bool = False,
) -> ImageStack:
    """Read an image with axes, spacing and channels, as `napari_zssr.read` does.

    With `lazy`, the pixels of TIFF and Zarr stay in the file until they are indexed.
    """
    source = Path(path).expanduser()
    options = ReadOptions(partial=partial, lazy=lazy, labels=labels)
    with _opened(source) as (entries, load):
        entry, chosen = choose(entries, image, source.name)
        loaded = load(entry, options)
    stack = _with_overrides(loaded, axes, spacing, labels)
    is_one_of_several = len(entries) > 1
    return replace(
        stack,
        name=f"{_stem(source)} {entry.title}" if is_one_of_several else _stem(source),
        source=str(source),
        checksum=checksum(source),
        messages=(*chosen, *stack.messages),
        image_index=entry.index if is_one_of_several else None,
        image_name=entry.name if is_one_of_several else "",
    )


def read_metadata(path: Path) -> tuple[ImageEntry, ImageStack]:
    """The image that `read` takes, its pixels in the file, and its entry there."""
    options = ReadOptions(partial=False, lazy=True, labels=False)
    with _opened(path) as (entries, load):
        entry, _ = choose(entries, None, path.name)
        return entry, _with_overrides(load(entry, options), None, None, labels=False)


def list_images(path: str | PathLike[str]) -> tuple[ImageEntry, ...]:
    """List the images in a file, without reading pixels.

    Parameters
    ----------
    path : str or Path
        File, or the folder of a Zarr image, plate, well or collection.

    Returns
    -------
    tuple of ImageEntry
        Positions, scenes, series or fields; their `index` or `name` is what
        ``image=`` takes.

    Raises
    ------
    InputError
        The file is missing, broken, empty or of an unknown kind.
    """
    with _opened(Path(path).expanduser()) as (entries, _):
        return entries


def _opened(path: Path) -> AbstractContextManager[FileImages]:
    """The images of a file, whose format is imported only now."""
    module = import_module(f"napari_zssr.io.{_module_of(path)}")
    images: AbstractContextManager[FileImages] = module.opened(path)
    return images


def _module_of(path: Path) -> str:
    """Name of the module that reads a file; InputError where there is none."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name and the folder.")
    if path.is_dir():
        if any((path / name).is_file() for name in ZARR_MARKS):
            return "zarr_read"
        raise InputError(
            f"{path} is a folder, but not an OME-Zarr image; give a file, or the "
            "folder that holds zarr.json or .zattrs."
        )
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}); check its permissions."
        ) from error
    if not head:
        raise InputError(f"{path.name} is an empty file; save or copy it again.")
    if path.suffix.lower() in _VENDOR:
        return "vendor"
    if head.startswith(_TIFF) or path.suffix.lower() == ".ome":
        return "tiff"
    if head.startswith(_PICTURE):
        return "pictures"
    raise InputError(
        f"{path.name} is not an image that can be read; give a TIFF, OME-Zarr, PNG or "
        "JPEG."
    )


def _with_overrides(
    image: FileImage, axes: str | None, spacing: Spacing | None, labels: bool
) -> ImageStack:
    """The stack with the axes and the spacing that the user gives."""
    if image.labels and not labels:
        raise InputError(
            "This is a label image, according to its metadata; enlarge "
            f"{NEAREST_ADVICE}, or give the image they were made from."
        )
    data = check_pixels(image.data, labels=labels)
    stated = image.axes if len(image.axes) == data.ndim else ""
    letters, guessed = chosen_axes(axes, stated, data)
    known = image.calibration
    sizes = {a: known.spacing[a] for a in letters if a in known.spacing}
    units = {a: known.units.get(a) for a in sizes}
    origin = dict(known.origin)
    for letter, size in zip(letters, spacing_per_axis(letters, spacing), strict=True):
        if size is not None:
            sizes[letter] = size
            units[letter] = "s" if letter == "T" else "um"
            origin.pop(letter, None)
    stack = labelled(
        data,
        axes=letters,
        spacing=sizes,
        units=units,
        channels=known.channels,
        labels=labels,
    )
    guess = (guess_message(letters, data.shape),) if guessed else ()
    return replace(
        stack,
        guessed=guessed,
        origin=tuple(origin.get(a, 0.0) for a in letters) if origin else (),
        messages=(*known.messages, *guess),
        labels=image.labels or stack.labels,
    )


def _stem(path: Path) -> str:
    """File name without its known suffixes (``.ome.tif`` is one)."""
    name = path.resolve().name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def checksum(path: Path) -> str:
    """First 16 hexadecimal digits of a SHA-256; copies of an input agree.

    Of a Zarr folder the names, sizes and bytes of its first 10 000 files count. Over
    1 GB only 64 blocks of 1 MiB do, spread evenly over the file or the files.
    """
    digest = hashlib.sha256()
    for part in _folder_content(path) if path.is_dir() else _file_content(path):
        digest.update(part)
    return digest.hexdigest()[:16]


def _file_content(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= WHOLE_BYTES:
            while block := stream.read(BLOCK_BYTES):
                yield block
            return
        yield str(size).encode()
        for number in range(BLOCKS):
            stream.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            yield stream.read(BLOCK_BYTES)


def _folder_content(path: Path) -> Iterator[bytes]:
    for metadata in (
        folder / name for folder in (path, path / "0") for name in ZARR_MARKS
    ):
        if metadata.is_file():
            yield metadata.read_bytes()
    files = list(islice(_files_below(path), LISTED_FILES))
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        yield f"{file.relative_to(path).as_posix()} {size}\n".encode()
    if sum(sizes) <= WHOLE_BYTES:
        for file in files:
            yield from _file_content(file)
        return
    for file in files[:: -(-len(files) // BLOCKS)]:
        with file.open("rb") as stream:
            yield stream.read(BLOCK_BYTES)


def _files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder in alphabetical order, lazily."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files_below(Path(entry.path))
        else:
            yield Path(entry.path)
