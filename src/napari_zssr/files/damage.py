"""What is wrong with a TIFF, in one sentence."""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tifffile

from napari_zssr.errors import InputError
from napari_zssr.files.decoders import missing_decoder
from napari_zssr.files.omeset import open_tiff
from napari_zssr.files.tiff_planes import restore_imagej_series

# What files bring about, wherever it is raised.
_BROKEN = (OSError, EOFError, struct.error, zlib.error, tifffile.TiffFileError)
# What tifffile and its decoders raise on files that they cannot make sense of.
_FAILED = (
    *_BROKEN,
    ImportError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)


@contextmanager
def opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF and list its series; faults of the file become one sentence.

    Other errors of the caller's block are its own, and pass.

    Raises
    ------
    InputError
        It is no TIFF, or its structure is broken.
    """
    with _quiet(), ExitStack() as held:
        with decoding(path):
            file = held.enter_context(open_tiff(path))
            series = file.series
            if series:
                restore_imagej_series(file)
        if not series:
            raise InputError(
                f"{path.name} is damaged or incomplete, there is no image in it; copy "
                "or export it again."
            )
        try:
            yield file
        except _BROKEN as error:
            raise _refusal(path, error) from error


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn errors into one sentence; for a block that is tifffile's alone.

    Raises
    ------
    InputError
        The file is truncated, broken, or stored in a way that cannot be decoded.
    """
    with _quiet():
        try:
            yield
        except InputError:
            raise
        except _FAILED as error:
            raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> InputError:
    text = " ".join(str(error).split())[:120]
    if isinstance(error, ImportError) or "imagecodecs' package" in text:
        return InputError(missing_decoder(path))
    if isinstance(error, NotImplementedError) or "not supported" in text:
        return InputError(
            f"{path.name} is stored in a way that cannot be read ({text}); save it "
            "uncompressed."
        )
    if isinstance(error, FileNotFoundError | PermissionError):
        name = Path(str(error.filename or path)).name
        return InputError(
            f"{path.name} cannot be read ({name}: {error.strerror}); check the folder."
        )
    if isinstance(error, TypeError | AttributeError | AssertionError):
        text = f"tifffile fails on it with {type(error).__name__}: {text}"
    return InputError(
        f"{path.name} cannot be read as a TIFF, it is damaged or incomplete "
        f"({text}); copy or export it again."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what tifffile logs in this thread from the terminal."""
    here = threading.get_ident()
    log = logging.getLogger("tifffile")

    def others(record: logging.LogRecord) -> bool:
        return record.thread != here

    log.addFilter(others)
    try:
        yield
    finally:
        log.removeFilter(others)
