"""Attributes of Zarr groups, which are JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_zssr.writing import sync_folder, write_synced

META = "zarr.json"


def read_attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group, of Zarr 2 or 3; empty where there are none.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Raises
    ------
    OSError, ValueError
        They cannot be read.
    """
    if (folder / META).is_file():
        content = json.loads((folder / META).read_bytes())
        found = content.get("attributes") if isinstance(content, dict) else None
    elif (folder / ".zattrs").is_file():
        found = json.loads((folder / ".zattrs").read_bytes())
    else:
        found = None
    return found if isinstance(found, dict) else {}


def write_attributes(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Replace the attributes of a Zarr 3 group at once, on the disk at the end.

    Parameters
    ----------
    folder : Path
        Folder of the group.
    attributes : mapping
        JSON-serialisable.
    """
    content = json.loads((folder / META).read_bytes())
    content["attributes"] = dict(attributes)
    write_synced(folder / META, json.dumps(content, indent=2).encode())
    sync_folder(folder)
