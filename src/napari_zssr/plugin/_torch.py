"""Loading torch without a pause of the window."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from napari_zssr.zssr.device import share_cores


def load_torch() -> None:
    """Import torch in a worker thread; does nothing where it is loaded already.

    Python holds its lock while it loads a library, half a second for torch's, and the
    window stands still. A call through ctypes does not hold it, and what is loaded
    once is there for the import.
    """
    if "torch" in sys.modules:
        return
    share_cores()
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin and sys.platform != "win32":
        for library in (Path(spec.origin).parent / "lib").glob("libtorch_python.*"):
            _open(library)
    # The computation itself tells what is wrong with a torch that cannot be imported.
    with contextlib.suppress(ImportError, OSError), _no_collection():
        import torch  # noqa: F401 loaded here, used elsewhere


def _open(library: Path) -> None:
    """Load a library if that is possible."""
    open_library = ctypes.CDLL(None).dlopen
    open_library.argtypes = [ctypes.c_char_p, ctypes.c_int]
    open_library.restype = ctypes.c_void_p
    open_library(os.fsencode(library), os.RTLD_LAZY)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """An import makes no garbage, but so much else that all of it is searched."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
