"""What was copied to the clipboard, shown where it was copied."""

from __future__ import annotations

from magicgui.widgets import TextEdit

from napari_zssr.plugin.form.rows import Foldable
from napari_zssr.plugin.texts import copy_text

# Height of the box, in lines; more are scrolled.
LINES = 9


class CopiedText(Foldable):
    """A section that opens with the text that was copied; hidden until then."""

    def __init__(self) -> None:
        self.text = TextEdit(tooltip="The text on the clipboard; it can be selected.")
        box = self.text.native
        box.setReadOnly(True)
        box.setAccessibleName("Copied text")
        super().__init__(
            "Copied text",
            [self.text],
            tooltip="Shows or hides what was copied to the clipboard.",
        )
        self.visible = False

    def copy(self, text: str, note: str = "") -> None:
        """Put a text on the clipboard, and show it."""
        copy_text(text, note)
        self.text.value = text
        box = self.text.native
        box.setFixedHeight(LINES * box.fontMetrics().lineSpacing())
        self.visible = True
        self.unfold(True)

    def clear(self) -> None:
        """Hide what was copied, which stays on the clipboard."""
        self.visible = False
