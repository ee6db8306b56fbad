"""What a reader found in a file, before the user's overrides."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_zssr.stack.axes import Channel
from napari_zssr.stack.source import Pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Pixels and what the file says of them.

    Attributes
    ----------
    data : ndarray or Pixels
        In memory, or read when indexed.
    axes : str
        Letters that the file states, also unknown ones; empty when it states none.
    spacing, units : dict
        By letter, only where known.
    channels : tuple of Channel
        One for each index of C, or empty.
    origin : dict
        Centre of the first pixel by letter, only where it is not 0.
    """

    data: Pixels
    axes: str = ""
    spacing: dict[str, float] = field(default_factory=dict)
    units: dict[str, str | None] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    origin: dict[str, float] = field(default_factory=dict)
