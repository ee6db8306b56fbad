"""What a run to disk has finished, how it resumes, and how its result is placed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from napari_zssr.atomic import (
    move_into_place,
    remove_replaced,
    sibling,
    storage_errors,
    sync_file,
    sync_folder,
    temporaries_of,
    temporary_name,
    write_synced,
)
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.io.ngff import META
from napari_zssr.io.write import write_file
from napari_zssr.stack.image import (
    CONTENT,
    STANDARD_ERROR,
    Outline,
    error_outline,
)

_PROGRAM = "napari-zssr"
_MAX_LISTED = 3


class Ledger:
    """Finished planes of the run in the folder `part`, which `begin` has created."""

    def __init__(self, part: Path) -> None:
        self.part = part
        self._entries = part / "ledger"

    @classmethod
    def begin(
        cls, part: Path, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> Ledger:
        """Start a run, or resume the one with the same identity.

        That is everything that decides about a pixel. A run with another one raises
        `InputError`, or is deleted with `overwrite`.
        """
        new: dict[str, Any] = json.loads(_json(identity))
        with storage_errors(part):
            if not part.exists():
                remove_trash(part)
                _create(part, new)
            elif overwrite and read_identity(part) != new:
                remove_run(part)
                _create(part, new)
            existing = read_identity(part)
        differences = list(_differences(existing, new))
        if differences:
            listed = "; ".join(differences[:_MAX_LISTED])
            more = len(differences) - _MAX_LISTED
            rest = f" and {more} other settings" if more > 0 else ""
            raise InputError(
                f"The unfinished run in {part} was started with {listed}{rest}; "
                "finish it with the old settings, delete that folder, or allow it "
                "to be replaced (--overwrite, overwrite=True)."
            )
        return cls(part)

    def finished(self) -> dict[int, dict[str, Any]]:
        """Reports of the finished planes by number; damaged entries are deleted."""
        reports: dict[int, dict[str, Any]] = {}
        for path in sorted(self._entries.glob("[0-9]*.json")):
            with suppress(OSError):
                entry = _load(path)
                number = entry.get("plane")
                is_named = isinstance(number, int) and path == self._entry(number)
                if is_named and isinstance(entry.get("report"), dict):
                    reports[entry["plane"]] = entry["report"]
                else:
                    path.unlink()
        return reports

    def record(self, number: int, report: Mapping[str, Any]) -> None:
        """Enter a plane whose pixels are on the disk; NaN and Inf are kept."""
        entry = {"plane": int(number), "report": dict(report)}
        with storage_errors(self.part):
            write_synced(self._entry(number), _json(entry))
            sync_folder(self._entries)

    def _entry(self, number: int) -> Path:
        return self._entries / f"{number:06d}.json"


def read_identity(part: Path) -> dict[str, Any]:
    """Identity of the run in a folder; `InputError` if that is no intact run."""
    record = part / "run.json"
    if not record.is_file():
        raise InputError(
            f"{part} is not an unfinished run of napari-zssr and was not touched; "
            "move it away, or choose another output."
        )
    content = _load(record)
    if content and content.get("program") != _PROGRAM:
        raise InputError(
            f"{record} was written by another program; move {part} away, or choose "
            "another output."
        )
    identity = content.get("identity")
    if not isinstance(identity, dict):
        raise InputError(
            f"The record of the unfinished run {record} is damaged; delete {part} to "
            "start again."
        )
    return identity


def remove_run(part: Path) -> None:
    """Remove the folder of a run at once; `InputError` if it holds something else."""
    read_identity(part)
    remove_trash(part)
    part.rename(_trash(part))
    sync_folder(part.parent)
    remove_trash(part)


def remove_trash(part: Path) -> None:
    """Delete the leftovers of a `remove_run` that was killed."""
    shutil.rmtree(_trash(part), ignore_errors=True)


def remove_temporaries(part: Path) -> None:
    """Delete the leftovers of a `Ledger.begin` that was killed."""
    for folder in temporaries_of(part):
        shutil.rmtree(folder, ignore_errors=True)


def _trash(part: Path) -> Path:
    return sibling(part, ".", ".gone")


def _create(part: Path, identity: Any) -> None:
    """Create the folder of a run, unless another process was faster."""
    temporary = temporary_name(part)
    try:
        (temporary / "ledger").mkdir(parents=True)
        content = {"program": _PROGRAM, "identity": identity}
        write_synced(temporary / "run.json", _json(content, indent=2))
        sync_folder(temporary)
        try:
            temporary.rename(part)
        except OSError:
            if not part.exists():
                raise
        sync_folder(part.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(path: Path) -> dict[str, Any]:
    """Content of a JSON file; empty if it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _differences(
    existing: dict[str, Any], new: dict[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Name and both values of every setting that differs, as text."""
    for name in existing | new:
        before, after = existing.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after or (name in existing) != (name in new):
            yield f"{prefix}{name} {_short_json(before)}, not {_short_json(after)}"


def _short_json(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json(content: Any, indent: int | None = None) -> bytes:
    return json.dumps(content, indent=indent, default=_to_json_type).encode()


def _to_json_type(value: Any) -> Any:
    """JSON type for NumPy numbers and arrays, and for paths."""
    return value.tolist() if hasattr(value, "tolist") else os.fspath(value)


HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 90.0
POLL_SECONDS = 0.1

# Names of the growing image, and of its standard error, in the folder of a run.
IMAGE, ERROR = "image.ome.zarr", "error.ome.zarr"


@contextmanager
def finish_lock(folder: Path) -> Iterator[bool]:
    """Wait for the lock of a folder and hold it; False if the folder is gone.

    A file that its holder touches regularly: locks of the system are not reliable on
    network file systems. The next number replaces a stale one.
    """
    # filelock.SoftFileLease is similar, but waits forever for a holder that was killed
    # before it wrote its name, and creates a deleted folder anew.
    lock = _acquire(folder)
    if lock is None:
        yield False
        return
    released = threading.Event()
    heartbeat = threading.Thread(target=_heartbeat, args=(lock, released), daemon=True)
    heartbeat.start()
    try:
        yield True
    finally:
        released.set()
        heartbeat.join()
        with suppress(OSError):
            lock.unlink()


def _acquire(folder: Path) -> Path | None:
    """The acquired lock file; None if the folder is gone."""
    state: tuple[Path, float] | None = None
    changed = time.monotonic()
    while folder.is_dir():
        last = _last_lock(folder)
        # The clocks of several machines differ, so only changes count.
        current = None if last is None else (last, _modified(last))
        if current != state:
            state, changed = current, time.monotonic()
        is_stale = time.monotonic() - changed > STALE_SECONDS
        if last is None or is_stale or _is_holder_dead(last):
            number = 0 if last is None else _number(last) + 1
            if lock := _create_lock(folder, number):
                return lock
        time.sleep(POLL_SECONDS)
    return None


def _create_lock(folder: Path, number: int) -> Path | None:
    """Create a lock file; None if there is one with this number or a later one."""
    lock = folder / f"finishing-{number}"
    try:
        with lock.open("x") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except (FileExistsError, FileNotFoundError):
        return None
    if _last_lock(folder) == lock:
        return lock
    lock.unlink(missing_ok=True)
    return None


def _last_lock(folder: Path) -> Path | None:
    return max(folder.glob("finishing-[0-9]*"), key=_number, default=None)


def _number(lock: Path) -> int:
    return int(lock.name.removeprefix("finishing-"))


def _modified(lock: Path) -> float:
    try:
        return lock.stat().st_mtime
    except OSError:
        return 0.0


def _is_holder_dead(lock: Path) -> bool:
    """Whether the holder is known to have been killed, on this machine."""
    # On Windows signal 0 is Ctrl-C.
    if os.name != "posix":
        return False
    try:
        host, pid = lock.read_text().split()
        if host == socket.gethostname():
            os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _heartbeat(lock: Path, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(lock)


_PLACING = "placing.json"


def part_folder(target: Path) -> Path:
    """Working folder of a run to disk with this result."""
    return sibling(target, after=".part")


def error_file(target: Path) -> Path:
    """File of the standard error that belongs to a result: ``cells_error.ome.tif``."""
    ome = len(target.suffixes) > 1 and target.suffixes[-2].lower() == ".ome"
    ending = "".join(target.suffixes[-2:]) if ome else target.suffix
    return target.with_name(f"{target.name[: -len(ending)]}_error{ending}")


def finish(
    part: Path,
    target: Path,
    outline: Outline,
    *,
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> Path:
    """Move a finished result to its final name and delete the folder of the run.

    Returns the target, also if another process or an earlier call placed it. Raises
    `ComputeError` if planes are missing; the run can be finished later.
    """
    left = f"all planes are kept in {part}; run the same again to complete the file"
    with storage_errors(target, left), finish_lock(part) as is_locked:
        if is_locked:
            if not _is_placed(part, target):
                missing = outline.planes - len(Ledger(part).finished())
                if missing > 0:
                    raise ComputeError(
                        f"{missing} of {outline.planes} planes of {target} are not "
                        "finished yet; run again to compute them."
                    )
                if (part / ERROR).exists():
                    beside = error_file(target)
                    errors = error_outline(outline)
                    record = {**(provenance or {}), CONTENT: STANDARD_ERROR}
                    output = _assemble(part, ERROR, beside, errors, record)
                    # One that is there is of this run, if it was killed just now.
                    move_into_place(output, beside, overwrite=True)
                output = _assemble(part, IMAGE, target, outline, provenance)
                # By this a run that was killed next knows that its result is placed.
                write_synced(part / _PLACING, json.dumps(_fingerprint(output)).encode())
                sync_folder(part)
                move_into_place(output, target, overwrite=overwrite)
            remove_replaced(target)
            # The large ones first, while a later run can still come back to them.
            shutil.rmtree(part / IMAGE, ignore_errors=True)
            remove_temporaries(part)
            remove_run(part)
    remove_trash(part)
    if not target.exists():
        raise ComputeError(f"There is no unfinished run in {part}; check the folder.")
    return target


def _assemble(
    part: Path,
    name: str,
    target: Path,
    outline: Outline,
    provenance: Mapping[str, Any] | None,
) -> Path:
    """Write a complete image to the disk, still under another name."""
    from napari_zssr.io.zarr_write import complete, read_plane

    image = part / name
    suffix = target.suffix
    if suffix.lower() == ".zarr":
        complete(image, provenance)
        return image
    output = part / f"assembled{suffix}"
    write_file(output, suffix, outline, partial(read_plane, image), provenance)
    sync_file(output)
    return output


def _is_placed(part: Path, target: Path) -> bool:
    """Whether the file or folder with the final name is the result of this run."""
    try:
        return bool(json.loads((part / _PLACING).read_bytes()) == _fingerprint(target))
    except (OSError, ValueError):
        return False


def _fingerprint(output: Path) -> list[int]:
    """Size and time of a file or image folder, which survive renaming."""
    status = (output / META if output.is_dir() else output).stat()
    return [status.st_size, status.st_mtime_ns]
