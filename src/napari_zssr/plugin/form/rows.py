"""Rows of the form: a label and its field, made for a narrow column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QComboBox, QFrame, QLabel, QScrollArea, QSizePolicy, QWidget

from napari_zssr.plugin.worker import Run

TOOLTIPS = {
    "layer": "The image layer to enlarge. Of a multiscale layer the finest level is "
    "taken.",
    "in_turn": "Enlarges every image layer selected in the layer list, one after the "
    "other, each learned on itself.",
    "axes": "One letter for each axis, since the layer does not name them: T time, C "
    "channel, Z depth, Y and X. Correct them if the guess is wrong.",
    "spacing": "In micrometres, since the layer does not tell: one number for Y and "
    "X, or one for each of Z, Y and X. It is written to the layer, so that scale bar "
    "and saved files are right.",
    "factor_y": "How many times more pixels along this axis, fractions too. More "
    "pixels are not more resolution: 2 is usual, much more shows little more. 1 keeps "
    "the pixels: less noise, and sharper where you say how the microscope blurs.",
    "factor_x": "How many times more pixels along this axis, fractions too. More "
    "pixels are not more resolution: 2 is usual, much more shows little more. 1 keeps "
    "the pixels: less noise, and sharper where you say how the microscope blurs.",
    "linked": "Untick to enlarge Y and X differently, for pixels that are not square.",
    "along_z": "Slices as they are, or more of them: isotropic, until they lie as "
    "close as pixels of the result. Learned from the stack's own planes, which are "
    "sharper.",
    "factor_z": "How many times more slices.",
    "kernel_z": "What the microscope blurs more along Z than across: found in the "
    "stack where it is alike in all directions, from the objective, or given. Too wide "
    "a blur invents detail.",
    "fwhm_z": "Full widths at half maximum of a point, along Z and across, in um: as "
    "measured on beads.",
    "gaussian_z": "Standard deviation of the Gaussian along Z, in pixels of the "
    "result.",
    "section_z": "Thickness of the sections, in slices: 1 where they are cut or "
    "averaged without gaps.",
    "slices": "The whole stack, or only the slice (time point, depth) that the "
    "sliders show now.",
    "area": "The whole plane, the part that the viewer shows now, or a rectangle that "
    "you drew in a Shapes layer.",
    "channel": "All channels, each learned on its own, or one of them.",
    "kernel": "How your microscope blurs: knowing it makes the result sharper. Give "
    "the objective, an image of beads, or let it be found in the image itself; "
    "bicubic is the usual assumption.",
    "modality": "A confocal microscope blurs less than a widefield one with the same "
    "objective.",
    "na": "Numerical aperture of the objective; it stands on it, as in 63x/1.4. "
    "Empty: as the image tells.",
    "wavelength_nm": "Wavelength of the light that was seen, in nanometres: about 520 "
    "for GFP. Empty: as the image tells.",
    "excitation_nm": "Wavelength of the laser, in nanometres. A small pinhole is "
    "assumed. Empty: as the image tells.",
    "index": "Refractive index between objective and sample: air 1, water 1.33, oil "
    "1.515. Empty: as the image tells.",
    "method": "Gaussian is quick and close. Vectorial is more exact above NA 1, takes "
    "some seconds, and needs the extra 'optics' of the installation.",
    "beads": "An image of small fluorescent beads, taken as yours was: a z-stack or "
    "one plane in focus.",
    "bead_file": "A file with the image of beads, one channel of one time.",
    "voxel": "How large a voxel of the beads is, in micrometres along Z, Y, X, since "
    "the image does not tell. It is written to the layer.",
    "sigma": "Standard deviation of the Gaussian in pixels of the enlarged image: one "
    "number, or Y,X, or Y,X,angle in degrees.",
    "kernel_file": "A .npy, .csv, .tif or .mat file with the blur, sampled in pixels "
    "of the enlarged image.",
    "blur_picture": "How one point is spread over the pixels of the result: the "
    "brighter, the more of its light. FWHM is its full width at half maximum, in "
    "pixels of the result (px). It is narrower than a point in your image, since the "
    "result, too, is seen through your microscope.",
    "noise": "Noise is estimated from the image, so that it is not sharpened with the "
    "structures. Ignore it only where there is none.",
    "noise_sigma": "Standard deviation of the noise as a fraction of the image's "
    "range, from 0 to 1.",
    "gain": "Electrons per count, from the camera's data sheet.",
    "offset": "Counts without light.",
    "read_noise": "Electrons, standard deviation.",
    "start": "What the networks know before training: what was learned from generated "
    "images (never from photographs), nothing, or what was saved after a run on a "
    "sister image. With 0 training steps they are used as they are.",
    "start_file": "A .safetensors file that 'Save networks' has written, of an image "
    "with as many channels or with one.",
    "steps": "How long each network trains at most. More steps take longer; training "
    "stops by itself when it no longer helps. Empty: as the preset.",
    "learned_steps": "How long each network trains at most where it begins from the "
    "learned start. 0 uses that as it is. Empty: as the preset.",
    "gradual": "Number of enlargements on the way to the factor. More of them can "
    "help and take longer. Empty: as the preset.",
    "back_projection": "Rounds that make the result, when shrunk again, agree with "
    "your image. 0 for none. It fades out by itself on noisy images. Empty: as the "
    "preset.",
    "strategy": "Of a stack, a channel is learned once from slices spread over it, "
    "which is better and much quicker than anew in every slice. By itself each slice "
    "is then trained on a little more.",
    "ensemble": "Enlarges flipped and rotated copies and takes their median: "
    "steadier, and up to eight times slower.",
    "seed": "The same seed gives the same pixels; another one shows how much the "
    "result depends on chance.",
    "device": "Where to compute: auto takes a graphics card if there is one.",
    "precision": "bfloat16 is faster on recent hardware; float32 is the most exact.",
    "nonfinite": "What to do with NaN and infinite pixels: refuse the image, or fill "
    "them from their neighbours.",
    "dtype": "Whole numbers cannot hold fractions of a count. By itself the result "
    "has the image's type, but float32 where the image holds so few counts that "
    "rounding would lose more than 0.5 % of its intensity.",
    "always": "What you get where learning gained nothing over bicubic on regions "
    "held out from training.",
    "error_map": "How far every pixel may be from the truth, in units of the image: "
    "90 % of the true values are expected within 1.64 times that. It takes up to twice "
    "the time.",
    "where": "Held in memory until you save it, or written to a file slice by slice: "
    "for what is larger than memory, and for runs that shall go on where they were "
    "stopped.",
    "file": "Where the result is written. An .ome.zarr can be looked at in all sizes "
    "while it grows; an .ome.tif is put together at the end.",
    "overwrite": "Replaces the file that is there, and begins anew what was begun "
    "with other settings.",
    "share": "Left of the line is plain bicubic enlargement, right of it what was "
    "learned.",
}


RED = {"dark": "#ff8a80", "light": "#b3261e"}
# Decides where the fields begin.
LONGEST_LABEL = "Back-projection"
# Default width of the form, in letters m.
DEFAULT_WIDTH = 24
# Least width of a choice, in letters.
MIN_CHOICE_WIDTH = 10


class _Tight(Container[Any]):
    """Widgets without margins: the column is narrow and the form is long."""

    def __init__(self, widgets: Sequence[Widget], layout: str = "vertical") -> None:
        super().__init__(widgets=widgets, layout=layout, labels=False)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(4)


class Row(_Tight):
    """A label and the field right of it; no label where the field has its own text.

    Its tooltip is that of `TOOLTIPS`, unless the field has one.
    """

    def __init__(self, label: str, field: Widget) -> None:
        self.title = _Title(label)
        self.field: Any = field
        self.field.tooltip = field.tooltip or TOOLTIPS[field.name]
        self.title.setToolTip(field.tooltip)
        if isinstance(field, ComboBox):
            # Let it be narrower than the longest choice.
            box = field.native
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(MIN_CHOICE_WIDTH)
            letter = box.fontMetrics().averageCharWidth()
            box.setMinimumWidth(MIN_CHOICE_WIDTH * letter)
        super().__init__([field], layout="horizontal")
        if label:
            self.native.layout().insertWidget(0, self.title)
        self.native.layout().setStretch(1, 1)


class Column(_Tight):
    """Rows and other widgets below one another; fields by the names of the rows."""

    def __init__(self, widgets: Sequence[Widget]) -> None:
        self.rows = {w.field.name: w for w in widgets if isinstance(w, Row)}
        self.fields: dict[str, Any] = {name: r.field for name, r in self.rows.items()}
        super().__init__(widgets)


class _Title(QLabel):
    """Label as wide as the longest of the form, in whatever font it is shown."""

    def minimumSizeHint(self) -> QSize:
        size, width = super().minimumSizeHint(), self.fontMetrics().horizontalAdvance
        missing = width(LONGEST_LABEL) - width(self.text())
        return QSize(size.width() + max(0, missing), size.height())

    sizeHint = minimumSizeHint


class Scrolled(QScrollArea):
    """A column that scrolls up and down, never sideways.

    magicgui's own scrollable container is taken apart by napari's dock.
    """

    def __init__(self, column: Column) -> None:
        super().__init__()
        column.native.layout().addStretch(1)
        column.margins = (0, 0, 4, 0)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(column.native)

    def minimumSizeHint(self) -> QSize:
        """As wide as the column and the scroll bar need."""
        bar, column = self.verticalScrollBar(), self.widget()
        assert bar is not None
        assert column is not None
        width = column.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        """Wide enough to read the texts without many line breaks."""
        default = self.fontMetrics().horizontalAdvance("m" * DEFAULT_WIDTH)
        width = max(self.minimumSizeHint().width(), default)
        return QSize(width, super().sizeHint().height())


def path_field(**options: Any) -> FileEdit:
    """Field for a file or folder; its button leaves most of the row to the name."""
    field = FileEdit(**options)
    field.choose_btn.text = "..."
    field.choose_btn.tooltip = "Looks for it."
    button = field.choose_btn.native
    button.setFixedWidth(button.fontMetrics().horizontalAdvance("m" * 3))
    return field


def side_by_side(*widgets: Widget) -> Container[Any]:
    """Widgets in one row, without a label."""
    return _Tight(widgets, layout="horizontal")


def say(label: Label, rich_text: str) -> None:
    """Show a text, or nothing at all where it is empty."""
    label.value = rich_text
    label.visible = bool(rich_text)


def heading(text: str) -> Label:
    """Heading of a section."""
    return Label(value=f"<b>{text}</b>")


def words(text: str = "") -> Label:
    """Label of rich text that wraps it instead of widening the column."""
    label = Label(value=text)
    # Left to itself, Qt shows the escapes of a text without tags.
    label.native.setTextFormat(Qt.TextFormat.RichText)
    label.native.setWordWrap(True)
    policy = label.native.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    label.native.setSizePolicy(policy)
    label.native.installEventFilter(_HeightForWidth(label.native))
    return label


class _HeightForWidth(QObject):
    """Makes a label as tall as its text needs at its width, which no layout does.

    Its red becomes that of the theme, which may have changed.
    """

    def __init__(self, label: QLabel) -> None:
        super().__init__(label)
        self._fitted = ("", 0)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Fit the height, and let the event pass."""
        # A new text is painted before the label has another size.
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Paint):
            text = watched.text()
            if in_theme(text, watched) != text:
                watched.setText(in_theme(text, watched))
            current = (watched.text(), watched.width())
            if current != self._fitted:
                # Qt never reports less than the minimum that is set.
                self._fitted = current
                watched.setMinimumHeight(0)
            needed = max(0, watched.heightForWidth(watched.width()))
            if needed != watched.minimumHeight():
                watched.setMinimumHeight(needed)
        return False


def refill(box: ComboBox) -> None:
    """Update the choices and keep the current one, if it is still there.

    magicgui leaves known names in their old order and adds new ones at the end.
    """
    current = box.value
    with box.changed.blocked():
        box.native.clear()
        box.reset_choices()
        if current in box.choices:
            box.value = current


def in_theme(rich_text: str, widget: QWidget) -> str:
    """Rich text with its red made legible in the theme of a widget."""
    background = widget.palette().color(QPalette.ColorRole.Window)
    themes = ("dark", "light") if background.lightness() < 128 else ("light", "dark")
    return rich_text.replace(RED[themes[1]], RED[themes[0]])


def red(text: str, label: Label) -> str:
    """Rich text in a red that is legible in the theme of a label."""
    return in_theme(f"<b style='color: {RED['dark']}'>{text}</b>", label.native)


def after_pause(parent: Any, pause_ms: int, act: Callable[[], object]) -> QTimer:
    """Timer that acts once after a pause; each start begins the pause anew."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(pause_ms)
    timer.timeout.connect(act)
    return timer


class Leaving(QObject):
    """Calls back when a widget is taken out of the window."""

    def __init__(self, widget: Any, on_leaving: Callable[[], object]) -> None:
        super().__init__(widget)
        self._on_leaving = on_leaving
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Call back if this is the event, and let it pass."""
        if event.type() == QEvent.Type.ParentChange and watched.parent() is None:
            self._on_leaving()
        return False


class LatestRun:
    """The latest of several computations for a widget; earlier ones are abandoned."""

    def __init__(self, widget: QWidget) -> None:
        self.run = Run()
        # Qt keeps the function, and with it this object, which the garbage collector
        # would otherwise empty together with its owner before the widget is destroyed.
        widget.destroyed.connect(lambda: self.run.close())

    def replace(self) -> Run:
        """Abandon the current run for a new one; return it, perhaps still running."""
        abandoned, self.run = self.run, Run()
        abandoned.close()
        return abandoned
