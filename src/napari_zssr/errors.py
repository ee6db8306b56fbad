"""What can go wrong or was assumed, in one sentence a user can act on."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ISSUES = "https://github.com/napari-zssr/napari-zssr/issues"


class ZSSRError(Exception):
    """Base of all errors that napari-zssr raises on purpose."""


class InputError(ZSSRError, ValueError):
    """The image, a file or a setting cannot be used as given."""


class ComputeError(ZSSRError):
    """The computation failed (device, memory, disk) although the input was fine."""


class StorageError(ComputeError):
    """Results cannot be stored: the disk is full, or their folder is gone."""


class Cancelled(ZSSRError):
    """The run was stopped on request."""


class ImageWarning(UserWarning):
    """Something was assumed, chosen or converted when an image was read or written."""


# What torch says where an allocation failed and the type of the error does not tell.
ALLOCATION_FAILED = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
    "DefaultCPUAllocator",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in main memory or on a device."""
    torch = sys.modules.get("torch")
    kinds = MemoryError, getattr(torch, "OutOfMemoryError", MemoryError)
    return isinstance(error, kinds) or any(
        code in str(error) for code in ALLOCATION_FAILED
    )


@contextmanager
def compute_errors(what: str, device: str) -> Iterator[None]:
    """Raise ComputeError, one sentence, for failures of torch and want of memory.

    `what` fails, as a sentence begins: ``Plane 3``.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, ZSSRError):
            raise
        is_processor = device == "cpu"
        where = "the processor" if is_processor else f"the graphics card ({device})"
        if is_out_of_memory(error):
            advice = "" if is_processor else ", or use device='cpu'"
            raise ComputeError(
                f"{what} failed: {where} ran out of memory; enlarge only a part "
                f"of the plane or close other programs{advice}."
            ) from error
        first = str(error).partition("\n")[0].removesuffix(".")
        advice = "" if is_processor else "; use device='cpu'"
        raise ComputeError(f"{what} failed on {where}: {first}{advice}.") from error


def internal_error(error: BaseException) -> str:
    """Sentence for an error that nobody foresaw; its traceback is saved in a file.

    It names the file, one for all such errors of a process, and where to report it.
    """
    text = " ".join(str(error).split())[:300]
    what = f"Unexpected error ({type(error).__name__}: {text})"
    try:
        file = _traceback_file()
        with file.open("a", encoding="utf-8") as opened:
            opened.writelines(traceback.format_exception(error))
    except OSError:
        return f"{what}; please report it at {ISSUES}."
    return f"{what}; please report it at {ISSUES} with the traceback in {file}."


@functools.cache
def _traceback_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="napari-zssr-", suffix=".log")
    os.close(handle)
    return Path(name)
