"""Networks that were trained, as plain data and as files. No torch in here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_zssr.atomic import atomic_write, check_target
from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Key of the file's metadata, and what stands under it.
KEY = "napari-zssr"
WAY_OUT = "give another file, or train on the image alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format(Generic[T_co]):
    """One kind of file.

    Attributes
    ----------
    name : as the file tells it
    version : that is written, and the highest that is read
    holds : what is in such a file, for messages
    header : names of what the file tells beside its arrays
    oldest : lowest version that is read
    build : makes what the file holds from what it tells and its arrays. A KeyError,
        TypeError or ValueError says that the file is damaged.
    """

    name: str
    version: int
    holds: str
    header: tuple[str, ...]
    build: Callable[[Mapping[str, Any], Arrays], T_co]
    oldest: int = 1


def packed(kind: Format[Any], header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Content of a file."""
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {
        "format": kind.name,
        "version": kind.version,
        **header,
        "sha256": _digest(kind, header, whole),
    }
    return save(whole, metadata={KEY: json.dumps(about)})


def write_file(
    path: str | Path,
    kind: Format[Any],
    header: Mapping[str, Any],
    arrays: Arrays,
    *,
    overwrite: bool,
) -> Path:
    """Write a file of some kind. Raises InputError and ComputeError."""
    check_networks_file(path, overwrite)
    target = Path(path).expanduser().resolve()
    with atomic_write(target) as draft:
        draft.write_bytes(packed(kind, header, arrays))
    return target


def load(path: str | Path, *kinds: Format[T], way_out: str = WAY_OUT) -> T:
    """What a file holds. Raises InputError."""
    source = Path(path).expanduser()
    if not source.is_file():
        raise InputError(f"The file of networks {source} does not exist; {way_out}.")
    try:
        state = source.stat()
        identity = (state.st_ino, state.st_mtime_ns, state.st_size)
        content: T = _loaded(source, identity, kinds, way_out)
    except OSError as error:
        raise InputError(
            f"The file of networks {source} cannot be read ({error.strerror}); "
            f"{way_out}."
        ) from error
    return content


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
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    content = source.read_bytes()
    kind, about = _about(content, source, kinds, way_out)
    try:
        header = {name: about[name] for name in kind.header}
        arrays = unpacked(content)
        if about["sha256"] != _digest(kind, header, arrays):
            raise ValueError("the checksum does not agree")
        return kind.build(header, arrays)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
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
        raise InputError(f"{source} contains no {wanted} of napari-zssr; {way_out}.")
    if version > kind.version:
        raise InputError(
            f"{source} was saved by a newer napari-zssr (format {version}, this one "
            f"reads {kind.version}); update napari-zssr, or "
            f"{way_out}."
        )
    if version < kind.oldest:
        raise InputError(
            f"{source} was saved by an older napari-zssr (format {version}, this one "
            f"reads {kind.oldest} and later); {way_out}."
        )
    return kind, about


def _digest(kind: Format[Any], header: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 of everything in a file."""
    digest = hashlib.sha256()
    for name in kind.header:
        digest.update(json.dumps(header[name], sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


Weights = Mapping[str, NDArray[np.float32]]

FURTHER = "further"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Networks of one channel.

    Attributes
    ----------
    network : {"residual", "paper"}
    width : channels of the hidden layers
    dilations : of the residual blocks, one by one
    samples : colours that are learned together
    factors : enlargement along (Y, X) that they were trained for
    ratio : enlargement of each application of a network
    base : whether they stand on a fitted filter, which is part of the weights
    kernel : blur that they were trained for, as `KernelSpec.to_dict` gives it
    weights : float32 arrays of the network by their names
    further : networks for what these have enlarged, where they are others
    planes : planes that they were trained on; 0 where they are used as they were
    noise : noise of those planes where they are several, as `NoiseModel` has it
    gained : whether they have gained over bicubic on those planes, taken together
    began : what their training began from, as in `TrainingPlan.initialization`
    assessment : what checks found of them on those planes, as `Assessment` has it
    """

    network: str
    width: int
    dilations: tuple[int, ...]
    samples: int
    factors: tuple[float, float]
    ratio: tuple[int, int]
    base: bool
    kernel: Mapping[str, Any]
    weights: Weights
    further: Checkpoint | None = None
    planes: int = 1
    noise: Mapping[str, Any] | None = None
    gained: bool = False
    began: str = ""
    assessment: Mapping[str, Any] | None = None


Checkpoints = Sequence[Checkpoint | None]
Loaded = tuple[Checkpoint | None, ...]


def write_networks(
    path: str | Path, saved: Checkpoints, *, overwrite: bool = False
) -> Path:
    """Write networks into a safetensors file. Raises InputError and ComputeError."""
    if not any(saved):
        raise InputError(
            "There are no networks to save, because none was trained or none "
            "improved the image; run again with other settings."
        )
    arrays = {
        f"{channel}/{member}/{name}": array
        for channel, one in enumerate(saved)
        for member, part in ((0, one), (FURTHER, one and one.further))
        if part is not None
        for name, array in part.weights.items()
    }
    channels = [None if one is None else _description(one) for one in saved]
    header = {"channels": channels}
    return write_file(path, NETWORKS, header, arrays, overwrite=overwrite)


def check_networks_file(path: str | Path, overwrite: bool = False) -> None:
    """Refuse a file of networks that could not be written, before a long run starts."""
    check_target(path, overwrite, {NETWORKS_SUFFIX}, NETWORKS_SUFFIX)


def load_networks(path: str | Path) -> Loaded:
    """Networks from a file that `write_networks` has written. Raises InputError."""
    return load(path, NETWORKS)


def _checkpoints(header: Mapping[str, Any], arrays: Arrays) -> Loaded:
    """Checkpoints of a file."""
    channels = header["channels"]
    if not any(channels):
        raise ValueError("there are no networks")
    return tuple(
        None if one is None else _checkpoint(one, arrays, channel)
        for channel, one in enumerate(channels)
    )


def _description(one: Checkpoint) -> dict[str, Any]:
    """All but the weights; JSON-able."""
    header = {f.name: getattr(one, f.name) for f in fields(one) if f.name != "weights"}
    return header | {FURTHER: one.further and _description(one.further)}


def _checkpoint(
    header: Mapping[str, Any], arrays: Arrays, channel: int, member: int | str = 0
) -> Checkpoint:
    values = dict(header)
    for name in ("dilations", "factors", "ratio"):
        values[name] = tuple(values[name])
    if values.get(FURTHER) is not None:
        values[FURTHER] = _checkpoint(values[FURTHER], arrays, channel, FURTHER)
    start = f"{channel}/{member}/"
    weights = {name: array for name, array in arrays.items() if name.startswith(start)}
    named = {name.removeprefix(start): array for name, array in weights.items()}
    return Checkpoint(**values, weights=named)


NETWORKS = Format(
    name="networks",
    version=6,
    oldest=5,
    holds="networks",
    header=("channels",),
    build=_checkpoints,
)
