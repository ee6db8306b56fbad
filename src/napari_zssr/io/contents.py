"""The images that a file holds, and which of them is meant."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_zssr.checks import nearest
from napari_zssr.errors import InputError
from napari_zssr.stack.image import Channel, Pixels

ALL = "all"
_LISTED = 8
_LABEL_LENGTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One image in a file: a position, scene, series, field of a well or stack.

    Attributes
    ----------
    index : int
        By which `image` chooses it.
    name : str
        By which `image` chooses it too; empty where the file names none.
    axes : str
        Letters that the file states, also unknown ones; empty when it states none.
    shape : tuple of int
        Size along each axis.
    dtype : str
        Name of the pixels' type, such as ``"uint16"``.
    """

    index: int
    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> str:
        """Shape in words: ``6 x 40 x 48``."""
        return " x ".join(str(n) for n in self.shape)

    @property
    def title(self) -> str:
        """Name, or number where it has none."""
        return self.name or f"image {self.index}"

    def __str__(self) -> str:
        if self.name:
            return f"{self.name!r} (index {self.index}, {self.size})"
        return f"index {self.index} ({self.size})"


def choose(
    entries: Sequence[ImageEntry], wanted: int | str | None, file: str
) -> tuple[ImageEntry, tuple[str, ...]]:
    """Choose one of the images in a file.

    Parameters
    ----------
    entries : sequence of ImageEntry
        All images of the file, at least one.
    wanted : int, str or None
        Index, name, or an index as text; None takes the one with the most pixels.
    file : str
        Name of the file.

    Returns
    -------
    tuple of (ImageEntry, tuple of str)
        The image, and a sentence where it was one of several taken by default.

    Raises
    ------
    InputError
        There is no such image, or the name fits several.
    """
    if wanted is not None:
        return _named(entries, wanted, file), ()
    entry = max(entries, key=lambda each: np.prod(each.shape, dtype=float))
    if len(entries) == 1:
        return entry, ()
    return entry, (
        f"{file} holds {len(entries)} images; {entry} was taken; choose with "
        "--image / image=.",
    )


def file_labels(entries: Sequence[ImageEntry]) -> tuple[str, ...]:
    """What distinguishes the images of a file in the names of other files.

    Parameters
    ----------
    entries : sequence of ImageEntry
        All images of the file.

    Returns
    -------
    tuple of str
        The name with letters, digits, dots, dashes and underscores only, or the index
        where that is empty, too long or not unique.
    """
    plain = [re.sub(r"[^\w.-]+", "-", entry.name).strip("-.") for entry in entries]
    counts = Counter(name.casefold() for name in plain)
    return tuple(
        name
        if 0 < len(name) <= _LABEL_LENGTH and counts[name.casefold()] == 1
        else str(entry.index)
        for name, entry in zip(plain, entries, strict=True)
    )


def labelled_paths(path: Path, entries: Sequence[ImageEntry]) -> tuple[Path, ...]:
    """Names of files for all images of a file: ``a_Pos1.ome.tif`` for ``a.ome.tif``.

    Parameters
    ----------
    path : Path
        Name of the file if there were only one image.
    entries : sequence of ImageEntry
        All images of the file; a single one gets the name as it is.
    """
    if len(entries) == 1:
        return (path,)
    return tuple(labelled_path(path, label) for label in file_labels(entries))


def labelled_path(path: Path, label: str) -> Path:
    """Put a label into the name of a file, before its ending or endings.

    Parameters
    ----------
    path : Path
    label : str
    """
    stem = path.stem.removesuffix(".ome")
    return path.with_name(f"{stem}_{label}{path.name[len(stem) :]}")


def _named(entries: Sequence[ImageEntry], wanted: int | str, file: str) -> ImageEntry:
    """The image with that name or index."""
    if wanted == ALL:
        raise InputError(
            "image='all' means several images, but one is asked for here; give an "
            "index or a name (list_images and `napari-zssr info` list them)."
        )
    named = [entry for entry in entries if entry.name and entry.name == wanted]
    if len(named) > 1:
        indices = ", ".join(str(entry.index) for entry in named)
        raise InputError(
            f"{len(named)} images of {file} have the name {wanted!r}; give one of the "
            f"indices {indices}."
        )
    text = str(wanted)
    if not named:
        # As the image is called in the names of results.
        labels = zip(entries, file_labels(entries), strict=True)
        named = [entry for entry, label in labels if label == text]
    by_index = [entry for entry in entries if text == str(entry.index)]
    for entry in (*named, *by_index):
        return entry
    raise InputError(_unknown(entries, wanted, file))


def _unknown(entries: Sequence[ImageEntry], wanted: int | str, file: str) -> str:
    """Sentence that lists the images, those with the nearest names first."""

    def distance(entry: ImageEntry) -> float:
        return -difflib.SequenceMatcher(None, entry.name, str(wanted)).ratio()

    hint = nearest(wanted, [entry.name for entry in entries if entry.name])
    ordered = sorted(entries, key=distance) if isinstance(wanted, str) else entries
    listed = ", ".join(str(entry) for entry in ordered[:_LISTED])
    more = len(entries) - _LISTED
    rest = f" and {more} more" if more > 0 else ""
    return f"{file} has no image {wanted!r}{hint}; it holds {listed}{rest}."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a file is read, whatever its format.

    Attributes
    ----------
    image : int, str or None
        Index or name of one of several images in the file; None takes the largest.
    partial : bool
        Keep the complete planes of an acquisition that was stopped, instead of
        refusing the file.
    lazy : bool
        Leave the pixels in the file until they are indexed, where that is possible.
    labels : bool
        Label images and masks are wanted.
    """

    image: int | str | None = None
    partial: bool = False
    lazy: bool = False
    labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImage:
    """One image of a file, before the user's overrides.

    Attributes
    ----------
    data : ndarray or Pixels
        In memory, or read when indexed.
    axes : str
        Letters that the file states, also unknown ones; empty when it states none.
    spacing, units : dict
        By letter, only where known.
    channels : tuple of Channel
        One for each index of C, or empty.
    origin : dict
        Centre of the first pixel by letter, only where it is not 0.
    entry : ImageEntry or None
        Which image of the file it is, where there are several.
    messages : tuple of str
        Sentences on what was assumed, chosen or converted.
    labels : bool
        True when the file says that the pixels are numbers of objects.
    """

    data: Pixels
    axes: str = ""
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    origin: dict[str, float] = field(default_factory=dict)
    entry: ImageEntry | None = None
    messages: tuple[str, ...] = ()
    labels: bool = False


def sole_entry(image: FileImage) -> ImageEntry:
    """Entry of the one image of a file.

    Parameters
    ----------
    image : FileImage
    """
    return ImageEntry(
        index=0,
        name="",
        axes=image.axes,
        shape=tuple(image.data.shape),
        dtype=str(image.data.dtype),
    )
