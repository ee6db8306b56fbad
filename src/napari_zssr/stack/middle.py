"""Which of the networks of many planes are kept."""

from __future__ import annotations

from collections.abc import Mapping

from napari_zssr.stack.records import PlaneIndex
from napari_zssr.zssr.saved import Checkpoint


class MiddleNetworks:
    """For each channel those shared, or of the plane that is nearest to its middle."""

    def __init__(
        self,
        listed: tuple[PlaneIndex, ...],
        shared: Mapping[int, Checkpoint | None],
    ) -> None:
        self._shared = shared
        self._planes: dict[int, list[int]] = {}
        for place in listed:
            self._planes.setdefault(place.channel, []).append(place.number)
        self._found: dict[int, tuple[int, Checkpoint]] = {}

    def see(self, place: PlaneIndex, made: Checkpoint | None) -> None:
        """Keep the networks of a plane if none is nearer to the middle."""
        alike = self._planes[place.channel]
        away = abs(alike.index(place.number) - len(alike) // 2)
        best = self._found.get(place.channel)
        if made is not None and (best is None or away < best[0]):
            networks = self._shared.get(place.channel) or made
            self._found[place.channel] = (away, networks)

    def networks(self) -> tuple[Checkpoint | None, ...]:
        """One entry for each channel, or none at all."""
        if not self._found:
            return ()
        found = (self._found.get(channel) for channel in sorted(self._planes))
        return tuple(None if one is None else one[1] for one in found)
