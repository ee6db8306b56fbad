"""Files of weights that tell what they hold, with a checksum. No torch in here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_zssr.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Key of the file's metadata, and what stands under it.
KEY = "napari-zssr"
WAY_OUT = "give another file, or start from the image alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format(Generic[T_co]):
    """One kind of file.

    Attributes
    ----------
    name : str
        As the file tells it.
    version : int
        That is written, and the highest that is read.
    holds : str
        What is in such a file, for messages.
    told : tuple of str
        Names of what the file tells beside its arrays.
    oldest : int
        Lowest version that is read.
    made : callable
        Makes what the file holds from what it tells and its arrays. A KeyError,
        TypeError or ValueError says that the file is damaged.
    """

    name: str
    version: int
    holds: str
    told: tuple[str, ...]
    made: Callable[[Mapping[str, Any], Arrays], T_co]
    oldest: int = 1


def packed(kind: Format[Any], told: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Content of a file.

    Parameters
    ----------
    kind : Format
    told : mapping
        JSON-able, by the names of `Format.told`.
    arrays : mapping of str to ndarray
    """
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {
        "format": kind.name,
        "version": kind.version,
        **told,
        "sha256": _digest(kind, told, whole),
    }
    content: bytes = save(whole, metadata={KEY: json.dumps(about)})
    return content


def load(path: str | Path, *kinds: Format[T], way_out: str = WAY_OUT) -> T:
    """What a file holds.

    Parameters
    ----------
    path : str or Path
    *kinds : Format
        What it may be.
    way_out : str
        What to do where it is none of them.

    Raises
    ------
    InputError
        The file is missing, damaged, or another kind of file.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise InputError(f"The file of networks {source} does not exist; {way_out}.")
    try:
        state = source.stat()
        seen = (state.st_ino, state.st_mtime_ns, state.st_size)
        made: T = _loaded(source, seen, kinds, way_out)
    except OSError as error:
        raise InputError(
            f"The file of networks {source} cannot be read ({error.strerror}); "
            f"{way_out}."
        ) from error
    return made


def checksum(path: str | Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file."""
    content = Path(path).expanduser().read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


# The form asks with every change of itself or of the view.
@lru_cache(maxsize=2)
def _loaded(
    source: Path,
    _state: tuple[int, int, int],
    kinds: tuple[Format[Any], ...],
    way_out: str,
) -> Any:
    """What a file holds in the state that it has now."""
    content = source.read_bytes()
    kind, about = _about(content, source, kinds, way_out)
    try:
        told = {name: about[name] for name in kind.told}
        arrays = _arrays(content)
        if about["sha256"] != _digest(kind, told, arrays):
            raise ValueError("the checksum does not agree")
        return kind.made(told, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The file of networks {source} is damaged; {way_out}."
        ) from error


def _about(
    content: bytes, source: Path, kinds: tuple[Format[Any], ...], way_out: str
) -> tuple[Format[Any], dict[str, Any]]:
    """Which kind of file it is and what it tells, when it is one of ours."""
    named = {kind.name: kind for kind in kinds}
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        about: dict[str, Any] = json.loads(header["__metadata__"][KEY])
        kind, version = named[about["format"]], about["version"]
    except (KeyError, TypeError, ValueError):
        version = None
    if not isinstance(version, int):
        wanted = " or ".join(kind.holds for kind in kinds)
        raise InputError(f"{source} holds no {wanted} of napari-zssr; {way_out}.")
    if version > kind.version:
        raise InputError(
            f"{source} was saved by a newer napari-zssr (format {version}, this one "
            f"reads {kind.version}); update it, or {way_out}."
        )
    if version < kind.oldest:
        raise InputError(
            f"{source} was saved by an older napari-zssr (format {version}, this one "
            f"reads {kind.oldest} and later); {way_out}."
        )
    return kind, about


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    try:
        arrays: dict[str, NDArray[Any]] = unpacked(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return arrays


def _digest(kind: Format[Any], told: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 of everything in a file."""
    digest = hashlib.sha256()
    for name in kind.told:
        digest.update(json.dumps(told[name], sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
