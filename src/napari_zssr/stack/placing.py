"""Giving a finished file or folder its final name, in place of an older one or not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from napari_zssr.writing import check_replaceable, sibling, sync_folder

# One of them is in the folder of every Zarr image.
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def place(made: Path, target: Path, *, overwrite: bool) -> None:
    """Rename what was made; an older one is removed when the new one is in its place.

    Parameters
    ----------
    made : Path
        File or folder, on the disk already.
    target : Path
        Its name, on the same disk.
    overwrite : bool
        Replace what is there.

    Raises
    ------
    InputError
        Something is there that may not be replaced.
    OSError
        It cannot be renamed; an older one is back in its place.
    """
    check_replaceable(target, overwrite, ZARR_MARKS if made.is_dir() else ())
    if made.is_dir() and target.exists():
        # Folders cannot take each other's place at once.
        remove_replaced(target)
        target.rename(_aside(target))
        try:
            made.rename(target)
        except BaseException:
            _aside(target).rename(target)
            raise
    else:
        os.replace(made, target)
    sync_folder(target.parent)
    remove_replaced(target)


def remove_replaced(target: Path) -> None:
    """Remove an older one that was moved aside, also by a run that was killed then.

    Parameters
    ----------
    target : Path
        Name of what took its place.
    """
    aside = _aside(target)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _aside(target: Path) -> Path:
    return sibling(target, ".", ".replaced")
