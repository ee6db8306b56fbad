"""A run in napari's activity dock."""

from __future__ import annotations

from typing import Any

from napari.utils import progress

PERCENT = 100


class Activity:
    """One bar in the activity dock; to be used in the main thread."""

    def __init__(self) -> None:
        self._bar: Any = None

    def begin(self) -> None:
        """Add the bar."""
        self.end()
        # With `gui` nothing is written to the terminal.
        self._bar = progress(total=PERCENT, desc="Super-resolution", gui=True)

    def show(self, share: float) -> None:
        """Show the completed fraction of the run."""
        if self._bar is not None:
            step = int(PERCENT * share) - self._bar.n
            if step > 0:
                self._bar.update(step)

    def end(self, *_: object) -> None:
        """Remove the bar, if there is one."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
