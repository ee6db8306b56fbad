"""What a run to disk has finished, so that it can go on after it was killed.

Several processes may use one ledger at the same time, on one machine or on many that
share a disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_zssr.atomic import (
    sibling,
    storage_errors,
    sync_folder,
    temporaries_of,
    temporary_name,
    write_synced,
)
from napari_zssr.errors import InputError

_PROGRAM = "napari-zssr"
_NAMED = 3


class Ledger:
    """Finished planes of one run.

    Parameters
    ----------
    part : Path
        Folder of the run, which `begin` has made.
    """

    def __init__(self, part: Path) -> None:
        self.part = part
        self._entries = part / "ledger"
        self._stop = part / "stop"

    @classmethod
    def begin(
        cls, part: Path, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> Ledger:
        """Start a run, or go on with the one that was started with the same settings.

        Parameters
        ----------
        part : Path
            Folder of the run; it appears whole, also when several processes begin.
        identity : mapping
            All that decides about a pixel; JSON-serialisable, may be nested.
        overwrite : bool
            Throw away what was begun with other settings.

        Raises
        ------
        InputError
            What is there was begun with other settings, is damaged, or is no run;
            or writing is not permitted.
        ComputeError
            The disk is full or fails.
        """
        asked = json.loads(_json(identity))
        with storage_errors(part):
            if not part.exists():
                remove_discarded(part)
                _make(part, asked)
            elif overwrite and _identity(part) != asked:
                discard(part)
                _make(part, asked)
            found = _identity(part)
        different = list(_differences(found, asked))
        if different:
            raise InputError(
                f"The unfinished run in {part} was begun with "
                f"{_listed(different)}; finish it with the old settings, delete that "
                "folder, or allow it to be replaced (--overwrite, overwrite=True)."
            )
        return cls(part)

    def finished(self) -> dict[int, dict[str, Any]]:
        """Reports of finished planes by their numbers.

        Entries that are damaged count for nothing and are removed.
        """
        found = {}
        for path in sorted(self._entries.glob("[0-9]*.json")):
            with suppress(OSError):
                entry = _loaded(path)
                if _is_entry(entry, path.stem):
                    found[entry["plane"]] = entry["report"]
                else:
                    path.unlink()
        return found

    def record(self, number: int, report: Mapping[str, Any]) -> None:
        """Enter a plane whose pixels are on the disk.

        Parameters
        ----------
        number : int
            The plane's.
        report : mapping
            JSON-serialisable; NaN and Inf are kept.

        Raises
        ------
        InputError
            Writing is not permitted.
        ComputeError
            The disk is full or fails.
        """
        entry = {"plane": int(number), "report": dict(report)}
        with storage_errors(self.part):
            write_synced(self._entries / f"{number:06d}.json", _json(entry))
            sync_folder(self._entries)

    def stop_requested(self) -> bool:
        """Whether the tasks of this run are to end."""
        return self._stop.exists()

    def request_stop(self) -> None:
        """Ask the tasks of this run to end, in whatever process they are."""
        with storage_errors(self.part):
            self._stop.touch()

    def clear_stop(self) -> None:
        """Let tasks run again."""
        with storage_errors(self.part):
            self._stop.unlink(missing_ok=True)


def begun_with(part: Path) -> dict[str, Any]:
    """Settings that a run was begun with; empty where there is none.

    Parameters
    ----------
    part : Path
        Folder of the run.

    Raises
    ------
    InputError
        The folder is no run, or its record is damaged.
    """
    return _identity(part) if part.exists() else {}


def discard(part: Path) -> None:
    """Remove the folder of a run at once, and nothing else.

    Parameters
    ----------
    part : Path
        Folder of the run; what cannot be removed is left under a hidden name.

    Raises
    ------
    InputError
        It is no run.
    OSError
        It cannot be renamed.
    """
    _identity(part)
    remove_discarded(part)
    part.rename(_gone(part))
    sync_folder(part.parent)
    remove_discarded(part)


def remove_discarded(part: Path) -> None:
    """Remove what `discard` has left when it was killed.

    Parameters
    ----------
    part : Path
        Folder of the run.
    """
    shutil.rmtree(_gone(part), ignore_errors=True)


def remove_drafts(part: Path) -> None:
    """Remove what `Ledger.begin` has left when it was killed.

    Parameters
    ----------
    part : Path
        Folder of a run that nobody begins any more.
    """
    for draft in temporaries_of(part):
        shutil.rmtree(draft, ignore_errors=True)


def _gone(part: Path) -> Path:
    return sibling(part, ".", ".gone")


def _make(part: Path, identity: Any) -> None:
    """Make a run's folder, unless another process was first."""
    draft = temporary_name(part)
    try:
        (draft / "ledger").mkdir(parents=True)
        content = {"program": _PROGRAM, "identity": identity}
        write_synced(draft / "run.json", _json(content, indent=2))
        sync_folder(draft)
        try:
            draft.rename(part)
        except OSError:
            if not part.exists():
                raise
        sync_folder(part.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _identity(part: Path) -> dict[str, Any]:
    """Settings that a run was begun with."""
    record = part / "run.json"
    if not record.is_file():
        raise InputError(
            f"{part} is no unfinished run of napari-zssr, so nothing is written there; "
            "move it away, or choose another output."
        )
    content = _loaded(record)
    if content and content.get("program") != _PROGRAM:
        raise InputError(
            f"{record} was written by another program; move {part} away, or choose "
            "another output."
        )
    found = content.get("identity")
    if not isinstance(found, dict):
        raise InputError(
            f"The record of the unfinished run {record} is damaged; delete {part} to "
            "start again."
        )
    return found


def _is_entry(entry: Mapping[str, Any], stem: str) -> bool:
    number = entry.get("plane")
    named = isinstance(number, int) and f"{number:06d}" == stem
    return named and isinstance(entry.get("report"), dict)


def _loaded(path: Path) -> dict[str, Any]:
    """Content of a file; empty where it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _differences(
    found: Mapping[str, Any], asked: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of each setting that is not the same."""
    for name in [*found, *(name for name in asked if name not in found)]:
        old, new = found.get(name), asked.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{within}{name}.")
        elif old != new or (name in found) != (name in asked):
            yield f"{within}{name}", old, new


def _listed(different: list[tuple[str, Any, Any]]) -> str:
    told = [f"{name} {_short(old)}, not {_short(new)}" for name, old, new in different]
    more = len(told) - _NAMED
    rest = f" and {more} other settings" if more > 0 else ""
    return "; ".join(told[:_NAMED]) + rest


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json(content: Any, indent: int | None = None) -> bytes:
    return json.dumps(content, indent=indent, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Form for JSON of NumPy's numbers and arrays, and of paths."""
    return value.tolist() if hasattr(value, "tolist") else os.fspath(value)
