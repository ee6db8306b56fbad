"""The images that a file holds, and the choice of one of them."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_zssr.checks import nearest
from napari_zssr.errors import InputError
from napari_zssr.stack.image import Channel, Pixels

ALL = "all"
_MAX_LISTED = 8
_MAX_LABEL_LENGTH = 60


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
        return " × ".join(str(n) for n in self.shape)

    @property
    def title(self) -> str:
        """Name, or number where it has none."""
        return self.name or f"image {self.index}"

    def __str__(self) -> str:
        if self.name:
            return f"{self.name!r} (index {self.index}, {self.size})"
        return f"index {self.index} ({self.size})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a file of any format is read; see `read`."""

    partial: bool = False
    lazy: bool = False
    labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one metadata source says about an image; dictionaries by axis letter.

    The origin is the centre of the first pixel; `channels` has one per index of C.
    """

    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    origin: dict[str, float] = field(default_factory=dict)
    name: str = ""
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImage:
    """One image of a file, before the user's overrides."""

    data: Pixels
    axes: str = ""  # as in `ImageEntry`
    calibration: Calibration = Calibration()
    labels: bool = False  # the file marks it as a label image


class FileImages(NamedTuple):
    """The images of an open file, and what loads one of them."""

    entries: tuple[ImageEntry, ...]
    load: Callable[[ImageEntry, ReadOptions], FileImage]


def choose(
    entries: Sequence[ImageEntry], wanted: int | str | None, file: str
) -> tuple[ImageEntry, tuple[str, ...]]:
    """Choose an image by its index or name, else the largest, with a message.

    InputError where `wanted` is unknown or ambiguous.
    """
    if wanted is not None:
        return _named(entries, wanted, file), ()
    entry = max(entries, key=lambda each: np.prod(each.shape, dtype=float))
    if len(entries) == 1:
        return entry, ()
    return entry, (
        f"{file} contains {len(entries)} images; {entry} was chosen; choose another "
        "with --image / image=.",
    )


def file_labels(entries: Sequence[ImageEntry]) -> tuple[str, ...]:
    """Distinct labels of a file's images for the names of their result files.

    The name in plain characters; the index where that is empty, too long or not unique.
    """
    plain = [re.sub(r"[^\w.-]+", "-", entry.name).strip("-.") for entry in entries]
    counts = Counter(name.casefold() for name in plain)
    return tuple(
        name
        if 0 < len(name) <= _MAX_LABEL_LENGTH and counts[name.casefold()] == 1
        else str(entry.index)
        for name, entry in zip(plain, entries, strict=True)
    )


def labelled_paths(path: Path, entries: Sequence[ImageEntry]) -> tuple[Path, ...]:
    """Result paths of a file's images: ``a_Pos1.ome.tif`` where there are several."""
    if len(entries) == 1:
        return (path,)
    return tuple(labelled_path(path, label) for label in file_labels(entries))


def labelled_path(path: Path, label: str) -> Path:
    """Insert a label into a file name, before its suffix or suffixes."""
    stem = path.stem.removesuffix(".ome")
    return path.with_name(f"{stem}_{label}{path.name[len(stem) :]}")


def _named(entries: Sequence[ImageEntry], wanted: int | str, file: str) -> ImageEntry:
    """The image with that name, label or index."""
    if wanted == ALL:
        raise InputError(
            "image='all' means several images, but only one is needed here; give an "
            "index or a name (`napari-zssr info` and list_images show them)."
        )
    named = [entry for entry in entries if entry.name and entry.name == wanted]
    if len(named) > 1:
        indices = ", ".join(str(entry.index) for entry in named)
        raise InputError(
            f"{len(named)} images of {file} have the name {wanted!r}; give one of the "
            f"indices {indices}."
        )
    if named:
        return named[0]
    by_text = {str(entry.index): entry for entry in entries}
    # Labels are what the names of result files show.
    by_text |= zip(file_labels(entries), entries, strict=True)
    if str(wanted) in by_text:
        return by_text[str(wanted)]
    raise InputError(_unknown(entries, wanted, file))


def _unknown(entries: Sequence[ImageEntry], wanted: int | str, file: str) -> str:
    """Sentence that lists the images, those with the nearest names first."""

    def similarity(entry: ImageEntry) -> float:
        return difflib.SequenceMatcher(None, entry.name, str(wanted)).ratio()

    if isinstance(wanted, str):
        entries = sorted(entries, key=similarity, reverse=True)
    hint = nearest(wanted, [entry.name for entry in entries if entry.name])
    listed = ", ".join(str(entry) for entry in entries[:_MAX_LISTED])
    more = len(entries) - _MAX_LISTED
    rest = f" and {more} more" if more > 0 else ""
    return f"{file} has no image {wanted!r}{hint}; it contains {listed}{rest}."
