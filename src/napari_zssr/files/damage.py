"""What is wrong with a TIFF, in one sentence."""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from napari_zssr.errors import InputError

_BROKEN = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    tifffile.TiffFileError,
)
_SERIOUS = (
    "missing data",
    "missing files",
    "series failed to read",
    "corrupted file",
    "corrupted tag list",
    "invalid page offset",
    "invalid offset to",
    "circular reference",
)


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn tifffile's errors, and what it only logs, into one sentence.

    Raises
    ------
    InputError
        The file is truncated, broken, or compressed in a way that needs another
        package.
    """
    complaints = _Complaints()
    log = logging.getLogger("tifffile")
    log.addFilter(complaints)
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_reason(path, error)) from error
    finally:
        log.removeFilter(complaints)
    if complaints.found:
        raise InputError(
            f"{path.name} is damaged or incomplete ({complaints.found[0]}); copy or "
            "export it again."
        )


class _Complaints(logging.Filter):
    """Keeps back what tifffile logs in this thread: pages lost or unreadable."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        text = record.getMessage()
        if any(word in text.lower() for word in _SERIOUS):
            self.found.append(_shortened(text.split("> ", 1)[-1].rstrip(".")))
        return False


def _reason(path: Path, error: BaseException) -> str:
    text = _shortened(str(error))
    if "imagecodecs" in text:
        return (
            f"{path.name} is compressed in a way that needs the imagecodecs package; "
            'run pip install "napari-zssr[formats]", or save it uncompressed.'
        )
    return (
        f"{path.name} cannot be read as a TIFF, it is damaged or incomplete "
        f"({text}); copy or export it again."
    )


def _shortened(text: str) -> str:
    return " ".join(text.split())[:120]
