"""Short searches for garbage while a run is on."""

from __future__ import annotations

import gc


class ShortSearches:
    """Leave what was there before a run out of Python's searches for garbage.

    A full search looks at every object of napari and torch, and the window stands
    still for a quarter of a second. What a run makes is searched as ever.
    """

    _held = 0

    def __init__(self) -> None:
        self._on = False

    def begin(self) -> None:
        """Set aside what is there now."""
        if not self._on:
            self._on = True
            ShortSearches._held += 1
            gc.freeze()

    def end(self, *_: object) -> None:
        """Search everything again, once nobody has anything set aside."""
        if self._on:
            self._on = False
            ShortSearches._held -= 1
            if ShortSearches._held == 0:
                gc.unfreeze()

    def let_go(self, *_: object) -> None:
        """Search everything now: something large may have become garbage."""
        if self._on:
            gc.unfreeze()
