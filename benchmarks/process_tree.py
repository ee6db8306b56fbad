"""Memory of a process and of all that it has started."""

from __future__ import annotations

import os
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_zssr.errors import InputError

SAMPLE_S = 0.05


def peak_bytes(child: subprocess.Popen[bytes]) -> int:
    """Most resident memory of a process and its children, until it ends.

    Parameters
    ----------
    child : Popen
        Running; it has ended afterwards.

    Raises
    ------
    InputError
        The system does not tell, and psutil is not installed.
    """
    peak = 0
    while True:
        peak = max(peak, resident_bytes(child.pid))
        try:
            child.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
        return peak


def resident_bytes(process: int) -> int:
    """Resident memory of a process and its children; 0 when it has ended.

    Parameters
    ----------
    process : int
        Its number.
    """
    if not Path("/proc/self/statm").is_file():
        return _by_psutil(process)
    parents = {
        int(entry.name): parent
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None
    }
    family = {process}
    while more := {n for n, p in parents.items() if p in family} - family:
        family |= more
    return sum(_resident(Path("/proc") / str(number)) for number in family)


def _parent(entry: Path) -> int | None:
    try:
        # The name before may hold anything, also brackets.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _resident(entry: Path) -> int:
    try:
        pages = int((entry / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _by_psutil(process: int) -> int:
    try:
        psutil: Any = import_module("psutil")
    except ImportError as error:
        raise InputError(
            "The memory of processes is not known here; pip install psutil."
        ) from error
    try:
        head = psutil.Process(process)
        family = [head, *head.children(recursive=True)]
        return sum(one.memory_info().rss for one in family)
    except psutil.NoSuchProcess:
        return 0
