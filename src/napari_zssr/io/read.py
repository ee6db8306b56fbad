"""Reading images with their axes and spacing.

Read are TIFF, OME-TIFF, ImageJ hyperstacks, OME-Zarr (0.4 and 0.5), plain Zarr arrays,
PNG, JPEG and BMP; vendor formats through bioio where it is installed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path

from napari_zssr.errors import InputError
from napari_zssr.io.contents import (
    FileImage,
    ImageEntry,
    ReadOptions,
    choose,
    sole_entry,
)
from napari_zssr.stack.axis_labels import (
    NEAREST_ADVICE,
    Spacing,
    check_pixels,
    guess_message,
    labelled,
    parse_axes,
    settle_axes,
    spacing_per_axis,
)
from napari_zssr.stack.image import ImageStack

WHOLE_BYTES = 1_000_000_000
BLOCKS = 64
BLOCK_BYTES = 1 << 20
LISTED_FILES = 10_000

_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def checksum(path: Path) -> str:
    """First 16 hexadecimal digits of a SHA-256; copies of an input agree.

    Parameters
    ----------
    path : Path
        Of a file all bytes count, over 1 GB its size and 64 blocks of 1 MiB spread
        evenly from the first byte to the last. Of a Zarr folder count names and sizes
        of its files (the first 10 000 in alphabetical order), and their bytes: all of
        them, over 1 GB the metadata and the first MiB of 64 files spread over these.
    """
    digest = hashlib.sha256()
    for part in _folder(path) if path.is_dir() else _file(path):
        digest.update(part)
    return digest.hexdigest()[:16]


def _file(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= WHOLE_BYTES:
            while chunk := stream.read(BLOCK_BYTES):
                yield chunk
            return
        yield str(size).encode()
        for number in range(BLOCKS):
            stream.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            yield stream.read(BLOCK_BYTES)


def _folder(path: Path) -> Iterator[bytes]:
    for place in (path, path / "0"):
        for mark in _MARKS:
            if (place / mark).is_file():
                yield (place / mark).read_bytes()
    files = list(islice(_listed(path), LISTED_FILES))
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        yield f"{file.relative_to(path).as_posix()} {size}\n".encode()
    if sum(sizes) <= WHOLE_BYTES:
        for file in files:
            yield from _file(file)
        return
    for file in files[:: -(-len(files) // BLOCKS)]:
        with file.open("rb") as stream:
            yield stream.read(BLOCK_BYTES)


def _listed(folder: Path) -> Iterator[Path]:
    """Files below a folder in alphabetical order, found one by one."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _listed(Path(entry.path))
        else:
            yield Path(entry.path)


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"BM")
_VENDOR = {".czi", ".nd2", ".lif", ".lof", ".oir", ".oib", ".vsi", ".dv", ".sldy"}


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
    """Read an image with axes, spacing and channels.

    Parameters
    ----------
    path : str or Path
        File, or the folder of a Zarr image.
    axes : str, optional
        One letter of TCZYXS for each axis; overrides what the file says.
    spacing : mapping, sequence or float, optional
        Pixel size in micrometres (T: seconds) by letter, one for each axis, or one
        number for Y and X; overrides what the file says.
    image : int or str, optional
        Index or name of one of several images in the file; the largest unless given.
    partial : bool
        Keep the complete planes of an acquisition that was stopped, instead of
        refusing the file.
    lazy : bool
        Leave the pixels of TIFF and Zarr in the file: they are read when `data` is
        indexed, and those that cannot be decoded are told then. Other kinds are read
        whole.
    labels : bool
        Read label images and masks too, which are refused otherwise.

    Returns
    -------
    ImageStack
        Its `messages` say what was assumed, chosen or converted.

    Raises
    ------
    InputError
        The file is missing, broken, empty, of an unknown kind, or of a pixel type
        that cannot be used.
    """
    source = Path(path).expanduser()
    kind = _kind(source)
    options = ReadOptions(image=image, partial=partial, lazy=lazy, labels=labels)
    stack = _overridden(_find(source, kind, options), axes, spacing, labels)
    return replace(
        stack,
        name=" ".join(filter(None, (_stem(source), stack.name))),
        source=str(source),
        checksum=checksum(source),
    )


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
    source = Path(path).expanduser()
    kind = _kind(source)
    if kind == "tiff":
        from napari_zssr.io.tiff import list_tiff

        return list_tiff(source)
    if kind == "zarr":
        from napari_zssr.io.zarr_read import list_zarr

        return list_zarr(source)
    if kind == "picture":
        from napari_zssr.io.pictures import read_picture

        return (sole_entry(read_picture(source)),)
    from napari_zssr.io.vendor import list_vendor

    return list_vendor(source)


def _kind(path: Path) -> str:
    """One of tiff, picture, zarr, vendor."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name and the folder.")
    if path.is_dir():
        return _folder_kind(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}).") from error
    if not head:
        raise InputError(f"{path.name} is an empty file; save or copy it again.")
    if path.suffix.lower() in _VENDOR:
        return "vendor"
    if head.startswith(_TIFF) or path.suffix.lower() == ".ome":
        return "tiff"
    if head.startswith(_PICTURE):
        return "picture"
    raise InputError(
        f"{path.name} is not an image that can be read; give a TIFF, OME-Zarr, PNG or "
        "JPEG."
    )


def _folder_kind(path: Path) -> str:
    marks = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    if any((path / mark).is_file() for mark in marks):
        return "zarr"
    raise InputError(
        f"{path} is a folder and no OME-Zarr image; give a file, or the folder that "
        "holds zarr.json or .zattrs."
    )


def _find(path: Path, kind: str, options: ReadOptions) -> FileImage:
    """Read by the reader of that kind, imported only now."""
    if kind == "tiff":
        from napari_zssr.io.tiff import read_tiff

        return read_tiff(path, options)
    if kind == "zarr":
        from napari_zssr.io.zarr_read import read_zarr

        return read_zarr(path, options)
    if kind == "picture":
        from napari_zssr.io.pictures import read_picture

        found = read_picture(path)
        choose([sole_entry(found)], options.image, path.name)
        return found
    from napari_zssr.io.vendor import read_vendor

    return read_vendor(path, options)


def _overridden(
    found: FileImage, axes: str | None, spacing: Spacing | None, labels: bool
) -> ImageStack:
    if found.labels and not labels:
        raise InputError(
            "The metadata say that this is a label image; enlarge "
            f"{NEAREST_ADVICE}, or give the image they were made from."
        )
    data = check_pixels(found.data, labels=labels)
    guessed = False
    if axes is not None:
        letters = parse_axes(axes, data.ndim)
    elif len(found.axes) == data.ndim:
        letters, guessed = settle_axes(found.axes, data.shape, data.dtype)
    else:
        letters, guessed = settle_axes("", data.shape, data.dtype)
    sizes = {a: found.spacing[a] for a in letters if a in found.spacing}
    starts = dict(found.origin)
    units = {a: found.units.get(a) for a in sizes}
    for letter, size in zip(letters, spacing_per_axis(letters, spacing), strict=True):
        if size is not None:
            sizes[letter] = size
            units[letter] = "s" if letter == "T" else "um"
            starts.pop(letter, None)
    stack = labelled(
        data,
        axes=letters,
        spacing=sizes,
        units=units,
        channels=found.channels,
        labels=labels,
    )
    origin = tuple(starts.get(a, 0.0) for a in letters) if starts else ()
    guessed = guessed and data.ndim > 2
    guess = (guess_message(letters, data.shape),) if guessed else ()
    return replace(
        stack,
        guessed=guessed,
        origin=origin,
        messages=(*found.messages, *guess),
        labels=found.labels or stack.labels,
        name=found.entry.title if found.entry else "",
        image_index=found.entry.index if found.entry else None,
        image_name=found.entry.name if found.entry else "",
    )


def _stem(path: Path) -> str:
    """Name without the folder and without known endings (``.ome.tif`` is one)."""
    name = path.resolve().name
    for ending in (".companion.ome", ".ome.tiff", ".ome.tif", ".ome.zarr", ".zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem
