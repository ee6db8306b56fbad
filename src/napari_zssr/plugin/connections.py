"""Connections to signals of the viewer, which outlives a dock widget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Connections:
    """Connections to signals of napari or psygnal that end together.

    Until the garbage collector comes, a dock widget that was closed would still be
    called back, and fail with Qt's controls that are gone.
    """

    def __init__(self) -> None:
        self._connected: list[tuple[Any, Callable[..., object]]] = []

    def add(self, signals: Iterable[Any], callback: Callable[..., object]) -> None:
        """Connect a callback to signals."""
        for signal in signals:
            signal.connect(callback)
            self._connected.append((signal, callback))

    def drop(self, signals: Iterable[Any]) -> None:
        """Disconnect from signals."""
        dropped = list(signals)
        for signal, callback in self._connected:
            if signal in dropped:
                signal.disconnect(callback)
        self._connected = [one for one in self._connected if one[0] not in dropped]

    def close(self) -> None:
        """Disconnect from all."""
        self.drop([signal for signal, _ in self._connected])


def take_over(follower: Any, event: Any) -> None:
    """Give a layer what has changed in another one that it looks like."""
    value = getattr(event.source, event.type)
    if getattr(follower, event.type) != value:
        setattr(follower, event.type, value)
