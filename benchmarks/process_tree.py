"""Memory of a process and of all that it has started."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import psutil

SAMPLE_S = 0.05


def peak_bytes(child: subprocess.Popen[bytes]) -> int:
    """Most resident memory of a running process and its children, until it ends."""
    peak = 0
    while True:
        peak = max(peak, resident_bytes(child.pid))
        try:
            child.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
        return peak


def resident_bytes(process: int) -> int:
    """Resident memory of a process and its children; 0 when it has ended."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        head = psutil.Process(process)
        for member in (head, *head.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += member.memory_info().rss
    return total
