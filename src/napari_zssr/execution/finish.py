"""The end of a run to disk: its result under the final name, nothing else left.

Every step can be killed and done again, and of several processes that come to the end
one does it while the others wait.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import (
    move_into_place,
    remove_replaced,
    sibling,
    storage_errors,
    sync_file,
    sync_folder,
    write_synced,
)
from napari_zssr.errors import ComputeError
from napari_zssr.execution.ledger import (
    Ledger,
    discard,
    remove_discarded,
    remove_drafts,
)
from napari_zssr.io.ngff import META
from napari_zssr.io.pictures import write_png
from napari_zssr.io.write import Rows, assemble_tiff
from napari_zssr.stack.axes import Outline, plane_axes, planes, to_cyx

BEAT_SECONDS = 5.0
STALE_SECONDS = 90.0
_LOOK_SECONDS = 0.1


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Wait until nobody else has the claim, and hold it.

    Parameters
    ----------
    folder : Path
        Where the claims of this work are; it vanishes when the work is done.

    Yields
    ------
    bool
        False when the folder is not there any more.
    """
    mine = _wait(folder)
    if mine is None:
        yield False
        return
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(mine, ended), daemon=True)
    beating.start()
    try:
        yield True
    finally:
        ended.set()
        beating.join()
        with suppress(OSError):
            mine.unlink()


def _wait(folder: Path) -> Path | None:
    """Own claim; None when the folder has gone."""
    seen: tuple[Path, float] | None = None
    since = time.monotonic()
    while folder.is_dir():
        last = _last(folder)
        if last is None:
            mine = _make(folder, 0)
        else:
            state = last, _touched(last)
            if state != seen:
                seen, since = state, time.monotonic()
            silent = time.monotonic() - since > STALE_SECONDS
            free = silent or _dead(last)
            mine = _make(folder, _number(last) + 1) if free else None
        if mine is not None:
            return mine
        time.sleep(_LOOK_SECONDS)
    return None


def _make(folder: Path, number: int) -> Path | None:
    """Make a claim, unless somebody has made this or a later one."""
    path = folder / f"finishing-{number}"
    try:
        with path.open("x") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        return None
    except FileNotFoundError:
        return None
    if _last(folder) == path:
        return path
    path.unlink(missing_ok=True)
    return None


def _last(folder: Path) -> Path | None:
    return max(folder.glob("finishing-*"), key=_number, default=None)


def _number(path: Path) -> int:
    found = re.fullmatch(r"finishing-(\d+)", path.name)
    return int(found[1]) if found else -1


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _dead(path: Path) -> bool:
    """Whether its maker is known to have been killed, on this machine."""
    # On Windows the question would be a signal.
    if os.name != "posix":
        return False
    try:
        host, number = path.read_text().split()
        if host != socket.gethostname():
            return False
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)


IMAGE = "image.ome.zarr"
"""Name of the growing image in the folder of a run."""

_PLACING = "placing.json"


def part_folder(target: Path) -> Path:
    """Folder that a run to disk works in.

    Parameters
    ----------
    target : Path
        The result to be.
    """
    return sibling(target, after=".part")


def finish(
    part: Path,
    target: Path,
    outline: Outline,
    *,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> Path:
    """Give a finished run its final name, as Zarr or as TIFF, and remove its folder.

    Parameters
    ----------
    part : Path
        Folder of the run, which `Ledger.begin` has made, with `IMAGE` in it.
    target : Path
        The result; what ends in ``.zarr`` is renamed, ``.png`` written as one, anything
        else assembled as an OME-TIFF.
    outline : Outline
        The image.
    provenance : mapping, optional
        JSON-serialisable record.
    overwrite : bool
        Replace an older result.

    Returns
    -------
    Path
        The result, also when another process or an earlier call has placed it.

    Raises
    ------
    InputError
        Something is there that may not be replaced, or writing is not permitted.
    ComputeError
        Planes are missing, or the disk is full or fails; the run can be finished
        later.
    """
    left = f"all planes are kept in {part}, and the same run again only ends it"
    with storage_errors(target, left), claimed(part) as mine:
        if mine:
            if not _is_placed(part, target):
                _check_complete(part, target, outline)
                made = _made(part, target, outline, provenance)
                _announce(part, made)
                move_into_place(made, target, overwrite=overwrite)
            remove_replaced(target)
            # The large ones first, while a later run can still come back to them.
            shutil.rmtree(part / IMAGE, ignore_errors=True)
            remove_drafts(part)
            discard(part)
    remove_discarded(part)
    if not target.exists():
        raise ComputeError(f"There is no run in {part} that could be finished.")
    return target


def _check_complete(part: Path, target: Path, outline: Outline) -> None:
    missing = outline.planes - len(Ledger(part).finished())
    if missing > 0:
        raise ComputeError(
            f"{missing} of {outline.planes} planes of {target} are not finished yet; "
            "run again to compute them."
        )


def _made(
    part: Path, target: Path, outline: Outline, provenance: Mapping[str, Any] | None
) -> Path:
    """The result under a name of its own, on the disk."""
    from napari_zssr.io.zarr_write import complete, read_plane

    image = part / IMAGE
    if target.suffix.lower() == ".zarr":
        complete(image, provenance)
        return image
    record = None if provenance is None else json.dumps(dict(provenance))
    read = partial(read_plane, image)
    assembled = part / f"assembled{target.suffix}"
    if target.suffix.lower() == ".png":
        write_png(assembled, _single_plane(outline, read), record)
    else:
        assemble_tiff(assembled, outline, record, read)
    sync_file(assembled)
    return assembled


def _single_plane(outline: Outline, read: Rows) -> NDArray[Any]:
    """The only plane, with the axes Y, X and S."""
    (only,) = planes(outline.axes, outline.shape)
    plane = np.moveaxis(
        to_cyx(read(only.index, slice(None)), plane_axes(outline.axes)), 0, -1
    )
    return plane if plane.shape[-1] > 1 else plane[..., 0]


def _announce(part: Path, made: Path) -> None:
    """Note what is going to be placed, so that it is known where it stands later."""
    write_synced(part / _PLACING, json.dumps(_mark(made)).encode())
    sync_folder(part)


def _is_placed(part: Path, target: Path) -> bool:
    """Whether what stands under the final name is what this run has placed there."""
    try:
        return bool(json.loads((part / _PLACING).read_bytes()) == _mark(target))
    except (OSError, ValueError):
        return False


def _mark(made: Path) -> list[int]:
    """What stays with a file or folder when it is renamed."""
    told = (made / META if made.is_dir() else made).stat()
    return [told.st_size, told.st_mtime_ns]
