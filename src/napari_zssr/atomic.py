"""Files that stand under their final name when they are whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_zssr.errors import ComputeError, InputError, StorageError

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EACCES}
# Bytes of a name on nearly all file systems.
_NAME_BYTES = 255


def check_target(
    path: str | Path,
    overwrite: bool,
    endings: Collection[str],
    usual: str,
    marks: Collection[str] = (),
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
    marks : collection of str
        As in `check_replaceable`.

    Raises
    ------
    InputError
        Unknown ending, a name that the disk cannot hold, existing file, missing folder
        or no permission.
    """
    target = Path(path).expanduser()
    check_name(target)
    suffix = target.suffix.lower()
    if suffix not in endings:
        raise InputError(
            f"{target.name} ends in {suffix or 'nothing'!r}, which cannot be written; "
            f"use {usual}."
        )
    check_replaceable(target, overwrite, marks)
    folder = target.resolve().parent
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder {folder} is not writable; choose another one.")


def check_name(target: Path) -> None:
    """Refuse a name that the file system cannot hold, however it is left alone.

    Parameters
    ----------
    target : Path
        Name of what is to be written.

    Raises
    ------
    InputError
        It is too long, or holds what no name may hold.
    """
    try:
        target.lstat()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _ABSENT:
            return
        count = len(os.fsencode(target.name))
        if count > _name_bytes(target.parent):
            raise InputError(
                f"The name of the result, {target.name!r}, is too long: {count} bytes "
                f"of at most {_name_bytes(target.parent)}; give a shorter one (-o)."
            ) from error
        raise InputError(
            f"{str(target)!r} cannot be the name of a file ({error}); choose another "
            "one."
        ) from error


def check_replaceable(
    target: Path, overwrite: bool, marks: Collection[str] = ()
) -> None:
    """Refuse to replace what exists, unless that is wanted and of the same kind.

    Parameters
    ----------
    target : Path
        Name of what is to be written.
    overwrite : bool
        Whether it may be replaced.
    marks : collection of str
        Where a folder is to be written, names of files of which one must be in the
        folder that is replaced.

    Raises
    ------
    InputError
        It may not be replaced.
    """
    if target.is_dir() and not marks:
        raise InputError(f"{target} is a folder; give the name of a file.")
    if target.exists() and not overwrite:
        raise InputError(
            f"{target} exists already; choose another name, or allow it to "
            "be replaced (--overwrite, overwrite=True)."
        )
    if target.is_dir() and not any((target / mark).is_file() for mark in marks):
        raise InputError(
            f"{target} is a folder that holds something else, so it is not replaced; "
            "choose another name."
        )


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Give a draft's name to write to, which becomes `target` at the end.

    Raises
    ------
    InputError
        Writing is not permitted.
    ComputeError
        The disk is full or fails, or what is written does not fit the format.
    """
    draft = temporary_name(target)
    try:
        with storage_errors(target, "nothing was left behind"):
            yield draft
            sync_file(draft)
            os.replace(draft, target)
            sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def storage_errors(
    target: Path, left: str = "what was finished is kept"
) -> Iterator[None]:
    """Tell in one sentence why something could not be written.

    Parameters
    ----------
    target : Path
        What is written.
    left : str
        What there is on the disk when it fails.

    Raises
    ------
    InputError
        Writing is not permitted.
    StorageError
        The disk is full or fails.
    ComputeError
        What is written does not fit the format.
    """
    try:
        yield
    except (InputError, ComputeError):
        raise
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise InputError(
                f"{target} cannot be written ({error.strerror}); close it elsewhere or "
                f"choose another folder, {left}."
            ) from error
        if error.errno in _FULL:
            raise StorageError(
                f"{target} could not be written, the disk is full ({error.strerror}); "
                f"free some space and try again, {left}."
            ) from error
        raise StorageError(
            f"{target} could not be written ({error}); {left}."
        ) from error
    except ValueError as error:
        raise ComputeError(
            f"{target} could not be written ({error}); {left}."
        ) from error


def write_synced(path: Path, content: Any) -> None:
    """Write a file so that it is on the disk, whole, before it has its name.

    Parameters
    ----------
    path : Path
        The file; replaced where it is there. The caller syncs its folder.
    content : bytes-like
        All of it.
    """
    draft = temporary_name(path)
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def sibling(target: Path, before: str = "", after: str = "") -> Path:
    """Name beside a file or folder that is derived from its own.

    Parameters
    ----------
    target : Path
    before, after : str
        What stands around its name. Where the whole would be too long for the file
        system, the name is cut and told apart by a checksum.
    """
    room = _name_bytes(target.parent) - len(os.fsencode(before + after))
    return target.with_name(f"{before}{_shortened(target.name, room)}{after}")


def _shortened(name: str, room: int) -> str:
    """A name of at most so many bytes, always the same one."""
    encoded = os.fsencode(name)
    if len(encoded) <= room:
        return name
    mark = f"~{hashlib.sha256(encoded).hexdigest()[:8]}"
    return encoded[: room - len(mark)].decode("utf-8", "ignore") + mark


def _name_bytes(folder: Path) -> int:
    """Longest name in a folder; of one that is not there, the usual."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _NAME_BYTES


def temporary_name(target: Path) -> Path:
    """A new hidden name beside a file or folder."""
    return sibling(target, f".{secrets.token_hex(4)}.")


def temporaries_of(target: Path) -> Iterator[Path]:
    """Drafts of a file or folder that processes have left when they were killed."""
    named = sibling(target, f".{'x' * 8}.").name[10:]
    return target.parent.glob(f".????????.{glob.escape(named)}")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can."""
    # Windows opens no folders, some network file systems sync none.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_file(path: Path) -> None:
    """Have the bytes of a file on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


# One of them is in the folder of every Zarr image.
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def move_into_place(made: Path, target: Path, *, overwrite: bool) -> None:
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
