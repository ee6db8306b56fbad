"""Networks that were trained, as plain data and as files. No torch in here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.writing import check_place, written_whole

Weights = Mapping[str, NDArray[np.float32]]

# Key of the file's metadata, and what stands under it.
KEY = "napari-zssr"
FORMAT = "networks"
# 1 knew nothing of planes that share networks.
VERSION = 2
WAY_OUT = "give another file, or start from the image alone"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Networks of one channel.

    Attributes
    ----------
    network : {"residual", "paper"}
    width, blocks : int
        Channels of the hidden layers, and residual blocks.
    samples : int
        Colours that are learned together.
    factors : tuple of float
        Enlargement along (Y, X) that they were trained for.
    ratio : tuple of int
        Enlargement of each application of a network.
    base, guide : bool
        Whether they stand on a fitted filter, which is part of the weights, and on a
        smoothed plane.
    kernel : dict
        Blur that they were trained for, as `KernelSpec.to_dict` gives it.
    weights : tuple of dict
        For each network its float32 arrays by their names.
    planes : int
        Planes that they were learned from.
    noise : dict or None
        Noise of those planes where they are several, as `NoiseModel` has it.
    gained : bool
        Whether they have gained over bicubic on those planes, taken together.
    """

    network: str
    width: int
    blocks: int
    samples: int
    factors: tuple[float, float]
    ratio: tuple[int, int]
    base: bool
    guide: bool
    kernel: Mapping[str, Any]
    weights: tuple[Weights, ...]
    planes: int = 1
    noise: Mapping[str, Any] | None = None
    gained: bool = False


Checkpoints = Sequence[Checkpoint | None]
Loaded = tuple[Checkpoint | None, ...]


def as_saved(config: Config, saved: Checkpoints) -> Config:
    """Settings as the saved networks have them; what a run costs follows from these.

    Parameters
    ----------
    config : Config
    saved : sequence of (Checkpoint or None)
        What the channels of an image start from.
    """
    there = [one for one in saved if one is not None]
    if not there:
        return config
    return replace(
        config,
        width=max(one.width for one in there),
        blocks=max(one.blocks for one in there),
        networks=max(len(one.weights) for one in there),
        # Without training there is nothing to learn on the way.
        gradual=config.gradual if config.steps else 1,
    )


def write_networks(
    path: str | Path, saved: Checkpoints, *, overwrite: bool = False
) -> Path:
    """Write networks into a safetensors file.

    Parameters
    ----------
    path : str or Path
        File ending in ``.safetensors``.
    saved : sequence of (Checkpoint or None)
        For each channel what it has learned, if anything.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        There are no networks, or the name or folder does not allow it.
    ComputeError
        The disk is full or fails.
    """
    if not any(saved):
        raise InputError(
            "There are no networks to save: none was trained, or none gained anything."
        )
    check_networks_file(path, overwrite)
    target = Path(path).expanduser().resolve()
    with written_whole(target) as draft:
        draft.write_bytes(_packed(saved))
    return target


def check_networks_file(path: str | Path, overwrite: bool = False) -> None:
    """Refuse a file of networks that could not be written, before a long run starts."""
    check_place(path, overwrite, {NETWORKS_SUFFIX}, NETWORKS_SUFFIX)


def load_networks(path: str | Path) -> Loaded:
    """Networks from a file that `write_networks` has written.

    Returns
    -------
    tuple of (Checkpoint or None)
        For each channel what it has learned, if anything.

    Raises
    ------
    InputError
        The file is missing, damaged, or another kind of file.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise InputError(f"The file of networks {source} does not exist; {WAY_OUT}.")
    try:
        state = source.stat()
        return _loaded(source, (state.st_ino, state.st_mtime_ns, state.st_size))
    except OSError as error:
        raise InputError(
            f"The file of networks {source} cannot be read ({error.strerror}); "
            f"{WAY_OUT}."
        ) from error


# The form asks with every change of itself or of the view.
@lru_cache(maxsize=1)
def _loaded(source: Path, _state: tuple[int, int, int]) -> Loaded:
    """Networks of a file in the state that it has now."""
    content = source.read_bytes()
    about = _about(content, source)
    try:
        return _unpacked(content, about)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The file of networks {source} is damaged; {WAY_OUT}."
        ) from error


def checksum(path: str | Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file."""
    content = Path(path).expanduser().read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _packed(saved: Checkpoints) -> bytes:
    from safetensors.numpy import save

    arrays = {
        _name(channel, member, name): np.ascontiguousarray(array)
        for channel, one in enumerate(saved)
        if one is not None
        for member, weights in enumerate(one.weights)
        for name, array in weights.items()
    }
    channels = [None if one is None else _description(one) for one in saved]
    about = {
        "format": FORMAT,
        "version": VERSION,
        "channels": channels,
        "sha256": _digest(channels, arrays),
    }
    content: bytes = save(arrays, metadata={KEY: json.dumps(about)})
    return content


def _about(content: bytes, source: Path) -> dict[str, Any]:
    """What the file tells about itself, when it is one of ours."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        about: dict[str, Any] = json.loads(header["__metadata__"][KEY])
        version = about["version"] if about["format"] == FORMAT else None
    except (KeyError, TypeError, ValueError):
        version = None
    if not isinstance(version, int):
        raise InputError(f"{source} holds no networks of napari-zssr; {WAY_OUT}.")
    if version > VERSION:
        raise InputError(
            f"{source} was saved by a newer napari-zssr (format {version}, this one "
            f"reads {VERSION}); update it, or {WAY_OUT}."
        )
    return about


def _unpacked(content: bytes, about: Mapping[str, Any]) -> Loaded:
    """Checkpoints of a file; any error says that it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[Any]] = load(content)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    channels = about["channels"]
    if not any(channels) or about["sha256"] != _digest(channels, arrays):
        raise ValueError("the checksum does not agree")
    return tuple(
        None if told is None else _checkpoint(told, arrays, channel)
        for channel, told in enumerate(channels)
    )


def _description(one: Checkpoint) -> dict[str, Any]:
    """All but the weights, and how many networks there are; JSON-able."""
    names = [field.name for field in fields(one) if field.name != "weights"]
    told = {name: getattr(one, name) for name in names}
    return told | {
        "factors": list(one.factors),
        "ratio": list(one.ratio),
        "kernel": dict(one.kernel),
        "networks": len(one.weights),
    }


def _checkpoint(
    told: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], channel: int
) -> Checkpoint:
    values = dict(told)
    weights = []
    for member in range(values.pop("networks")):
        start = _name(channel, member, "")
        weights.append(
            {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        )
    y, x = values["factors"]
    r_y, r_x = values["ratio"]
    values |= {"factors": (y, x), "ratio": (r_y, r_x), "weights": tuple(weights)}
    return Checkpoint(**values)


def _name(channel: int, member: int, name: str) -> str:
    return f"{channel}/{member}/{name}"


def _digest(channels: Any, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of everything in a file."""
    digest = hashlib.sha256(json.dumps(channels, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
