"""Files that stand under their final name when they are whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_zssr.errors import ComputeError, InputError


def check_place(
    path: str | Path, overwrite: bool, endings: Collection[str], usual: str
) -> None:
    """Refuse a file that could not be written.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    overwrite : bool
        Whether a file may be replaced.
    endings : collection of str
        What its name may end in, in small letters.
    usual : str
        Endings that are named to the user.

    Raises
    ------
    InputError
        Unknown ending, existing file, missing folder or no permission.
    """
    target = Path(path).expanduser()
    suffix = target.suffix.lower()
    if suffix not in endings:
        raise InputError(
            f"{target.name} ends in {suffix or 'nothing'!r}, which cannot be written; "
            f"use {usual}."
        )
    if target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a file.")
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists already; choose another name, or allow it to "
            "be replaced (--overwrite, overwrite=True)."
        )
    folder = target.resolve().parent
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder {folder} is not writable; choose another one.")


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a draft's name to write to, which becomes `target` at the end.

    Raises
    ------
    InputError
        Writing is not permitted.
    ComputeError
        The disk is full or fails, or what is written does not fit the format.
    """
    draft = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        yield draft
        _flush(draft)
        os.replace(draft, target)
    except PermissionError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror}); close it elsewhere or "
            "choose another folder."
        ) from error
    except (OSError, ValueError) as error:
        raise ComputeError(
            f"{target} could not be written ({error}); nothing was left behind."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the bytes on the disk before the name appears."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
