"""Who of several processes finishes a run; who was killed is followed by another.

A claim is a numbered file that only one process can make. Its holder touches it all
the time, so the others see when it is gone, and then make the next number.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
