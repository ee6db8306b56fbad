"""The finished planes of a run to disk, so that it can resume after it was killed.

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

        The identity is everything that decides about a pixel, as JSON types that may
        be nested. A run with another one raises `InputError`, or is deleted with
        `overwrite`. The folder appears complete, also if several processes begin.
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
                f"The unfinished run in {part} was begun with {listed}{rest}; finish "
                "it with the old settings, delete that folder, or allow it to be "
                "replaced (--overwrite, overwrite=True)."
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
            f"{part} is no unfinished run of napari-zssr, so nothing is written there; "
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
    """Remove the folder of a run at once; `InputError` if it holds something else.

    Files that cannot be deleted are left under a hidden name.
    """
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
