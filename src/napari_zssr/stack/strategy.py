"""Which channels learn once for their planes, and from which. No torch in here."""

from __future__ import annotations

from napari_zssr.config import SHARED_PLANES, Config
from napari_zssr.stack.records import PlaneIndex


def shared_places(
    listed: tuple[PlaneIndex, ...], channel: int
) -> tuple[PlaneIndex, ...]:
    """Planes that a channel's networks are learned from, spread over the stack.

    Parameters
    ----------
    listed : tuple of PlaneIndex
        All planes of the stack.
    channel : int
    """
    alike = [place for place in listed if place.channel == channel]
    count = min(len(alike), SHARED_PLANES)
    return tuple(alike[(2 * n + 1) * len(alike) // (2 * count)] for n in range(count))


def sharing_channels(config: Config, listed: tuple[PlaneIndex, ...]) -> tuple[int, ...]:
    """Channels whose planes share networks; the others learn plane by plane."""
    counts: dict[int, int] = {}
    for place in listed:
        counts[place.channel] = counts.get(place.channel, 0) + 1
    return tuple(
        channel
        for channel, count in sorted(counts.items())
        if config.strategy_for(count) != "independent"
    )
