"""The slider of the line between a picture before and one after."""

from __future__ import annotations

from magicgui.widgets import FloatSlider, Label

from napari_zssr.plugin.form.rows import SideBySide, name_for_screen_readers
from napari_zssr.plugin.form.wheel import guard_from_wheel

HALF = 0.5
ORIGINAL = "original"


class SplitSlider:
    """Shows all of the picture before at its left end, all of that after at its right.

    Between them the picture before is left of the line; `before` names it, and `view`
    is the whole row.
    """

    def __init__(self, tooltip: str) -> None:
        self.slider = FloatSlider(
            name="share", value=HALF, min=0, max=1, readout=False, tooltip=tooltip
        )
        self.changed = self.slider.changed
        self.before = Label(value=ORIGINAL)
        self.view = SideBySide([self.before, self.slider, Label(value="result")])
        guard_from_wheel(self.slider.native)
        name_for_screen_readers(self.slider.native, "Before or after", tooltip)

    def reset(self) -> None:
        """Show half of each."""
        self.slider.value = HALF

    @property
    def line(self) -> float:
        """Where the line stands, as a fraction of the width."""
        return 1.0 - float(self.slider.value)
