"""Atomic writes: files and folders get their final name only when complete."""

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
# The longest file name on nearly all file systems.
_NAME_BYTES = 255

# Every Zarr folder holds at least one of these files.
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def check_target(
    path: str | Path,
    overwrite: bool,
    endings: Collection[str],
    usual: str,
    marks: Collection[str] = (),
) -> None:
    """Refuse a target that could not be written: InputError before a long run starts.

    `endings` are the allowed suffixes in lower case, `usual` the ones to suggest in the
    message; `marks` as in `check_replaceable`.
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
    """Refuse a name that the file system cannot hold with an InputError."""
    try:
        target.lstat()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _ABSENT:
            return
        length, longest = len(os.fsencode(target.name)), _name_bytes(target.parent)
        if length > longest:
            raise InputError(
                f"The name of the result, {target.name!r}, is too long ({length} "
                f"bytes, at most {longest}); give a shorter one (-o)."
            ) from error
        raise InputError(
            f"{str(target)!r} cannot be the name of a file ({error}); choose another "
            "one."
        ) from error


def check_replaceable(
    target: Path, overwrite: bool, marks: Collection[str] = ()
) -> None:
    """Refuse to replace an existing target unless `overwrite` and of the same kind.

    When a folder is to be written, `marks` are file names of which at least one must be
    in the folder that is replaced. Raises InputError.
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
            f"{target} is a folder with other content, which is never replaced; "
            "choose another name."
        )


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which is synced and renamed to `target`.

    Nothing is left behind on failure; errors as in `storage_errors`.
    """
    with storage_errors(target, "nothing was left behind"):
        with _synced_draft(target) as draft:
            yield draft
        sync_folder(target.parent)


@contextmanager
def _synced_draft(target: Path) -> Iterator[Path]:
    draft = temporary_name(target)
    try:
        yield draft
        sync_file(draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def storage_errors(
    target: Path, left: str = "what was finished is kept"
) -> Iterator[None]:
    """Turn errors while writing `target` into one sentence; `left` is what remains.

    Raises InputError where writing is not permitted, StorageError where the disk is
    full or fails, ComputeError where the content does not fit the format.
    """
    try:
        yield
    except (InputError, ComputeError):
        raise
    except OSError as error:
        if error.errno in _FORBIDDEN:
            raise InputError(
                f"{target} cannot be written ({error.strerror}); close it in other "
                f"programs or choose another folder; {left}."
            ) from error
        reason = f"could not be written ({error}); {left}."
        if error.errno in _FULL:
            reason = (
                f"could not be written, the disk is full ({error.strerror}); free some "
                f"space and try again; {left}."
            )
        raise StorageError(f"{target} {reason}") from error
    except ValueError as error:
        raise ComputeError(
            f"{target} could not be written ({error}); {left}."
        ) from error


def write_synced(path: Path, content: Any) -> None:
    """Write bytes to a file atomically and durably; the caller syncs its folder."""
    with _synced_draft(path) as draft:
        draft.write_bytes(content)


def sibling(target: Path, before: str = "", after: str = "") -> Path:
    """Path in the same folder with `before` and `after` around the name.

    A name that gets too long for the file system is cut and made unique by a checksum.
    """
    encoded = os.fsencode(target.name)
    room = _name_bytes(target.parent) - len(os.fsencode(before + after))
    name = target.name
    if len(encoded) > room:
        mark = f"~{hashlib.sha256(encoded).hexdigest()[:8]}"
        name = encoded[: room - len(mark)].decode("utf-8", "ignore") + mark
    return target.with_name(f"{before}{name}{after}")


def _name_bytes(folder: Path) -> int:
    """Longest file name in a folder, the usual limit where that is unknown."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _NAME_BYTES


def temporary_name(target: Path) -> Path:
    """New random hidden path in the same folder."""
    return sibling(target, f".{secrets.token_hex(4)}.")


def temporaries_of(target: Path) -> Iterator[Path]:
    """Temporary files of `target` that killed processes have left behind."""
    named = sibling(target, f".{'x' * 8}.").name[10:]
    return target.parent.glob(f".????????.{glob.escape(named)}")


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, where the system can."""
    # Windows opens no folders, some network file systems sync none.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_file(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def move_into_place(finished: Path, target: Path, *, overwrite: bool) -> None:
    """Rename a finished file or folder to `target`, on the same disk.

    An existing target is removed last: InputError where it may not be replaced, OSError
    where renaming fails, and then the existing one is back under its name.
    """
    check_replaceable(target, overwrite, ZARR_MARKS if finished.is_dir() else ())
    if finished.is_dir() and target.exists():
        # A rename cannot replace a folder that is not empty.
        remove_replaced(target)
        target.rename(_aside(target))
        try:
            finished.rename(target)
        except BaseException:
            _aside(target).rename(target)
            raise
    else:
        os.replace(finished, target)
    sync_folder(target.parent)
    remove_replaced(target)


def remove_replaced(target: Path) -> None:
    """Remove what `target` has replaced, also in a run that was killed meanwhile."""
    aside = _aside(target)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _aside(target: Path) -> Path:
    return sibling(target, ".", ".replaced")
