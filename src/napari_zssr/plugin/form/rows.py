"""Rows of the form: a label and its field, made for a narrow column."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label, PushButton, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QPalette, QResizeEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QFrame,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
    QWidget,
)

from napari_zssr.plugin.form.wheel import guard_from_wheel
from napari_zssr.plugin.worker import Run

TOOLTIPS = {
    "layer": "The image layer to enlarge. For a multiscale layer, its full-resolution "
    "level is used.",
    "in_turn": "Enlarges all channels of the file, or every image layer selected in "
    "the layer list, one after the other. Each one is trained on its own pixels. "
    "Untick it to enlarge only the layer that is chosen above.",
    "axes": "One letter for each axis: T time, C channel, Z depth, Y and X. The layer "
    "does not name its axes, so they were guessed. Correct the letters if needed.",
    "spacing": "Pixel size in micrometres: one number for Y and X, or one for each of "
    "Z, Y and X, as in 0.3, 0.1, 0.1. It is also stored in the layer, so that the "
    "scale bar and saved files are right. Empty the field and press Enter to undo.",
    "factor_y": "How many times more pixels along this axis; fractions are allowed. 2 "
    "is usual. More pixels do not mean more resolution. 1 keeps the number of pixels: "
    "it removes noise and, if you choose a blur, sharpens; where slices are added, "
    "along Z only.",
    "factor_x": "How many times more pixels along X; fractions are allowed.",
    "linked": "Untick to enlarge Y and X by different factors, for example if pixels "
    "are not square.",
    "along_z": "Whether to add slices between those of the stack. Isotropic adds as "
    "many as are needed to make voxels as deep as they are wide. The network is "
    "trained on the XY planes of this stack, which are sharper.",
    "factor_z": "How many times more slices.",
    "kernel_z": "How much more the microscope blurs along Z than across: estimated "
    "from the stack (if its structures look alike from all sides), computed from the "
    "objective, or given by you. Too wide a blur invents detail.",
    "fwhm_z": "Width of a bead at half of its peak brightness (FWHM), in micrometres: "
    "first along Z, then across.",
    "gaussian_z": "Standard deviation of the Gaussian along Z, in pixels of the "
    "result.",
    "section_z": "Thickness of a section, in slices. 1 means that sections touch, "
    "without gaps or overlap.",
    "slices": "The whole stack, or only the time point and depth that the viewer's "
    "sliders show.",
    "area": "The whole image, the part that the viewer shows, or a rectangle: 'draw a "
    "rectangle' adds a layer to draw it in; those of other Shapes layers can be chosen "
    "too.",
    "channel": "All channels, each with its own network, or only one of them. They are "
    "counted from 1; the slider of napari counts from 0.",
    "kernel": "How your microscope blurs. The result gets sharper if this is known: "
    "describe the objective, give an image of beads, or have it estimated from the "
    "image. The default is a general-purpose blur.",
    "modality": "A confocal microscope blurs less than a widefield microscope with the "
    "same objective.",
    "na": "Numerical aperture, as printed on the objective: 1.4 for 63×/1.4. Leave it "
    "empty to use the value stored in the image.",
    "wavelength_nm": "Emission wavelength in nanometres, about 520 for GFP. Leave it "
    "empty to use the value stored in the image.",
    "excitation_nm": "Wavelength of the laser in nanometres. A small pinhole is "
    "assumed. If it is empty here and not stored in the image, the emission wavelength "
    "is used instead.",
    "index": "Refractive index of the immersion: air 1, water 1.33, oil 1.515. Leave "
    "it empty to use the value stored in the image.",
    "method": "Gaussian is instant and a good approximation. Vectorial is more exact "
    "above NA 1, takes a few seconds, and needs the extra 'optics' to be installed.",
    "beads": "An image of small fluorescent beads, taken with the same settings as "
    "your image: a z-stack, or one plane in focus.",
    "bead_file": "A file with the image of beads: one channel, one time point.",
    "voxel": "Voxel size of the bead image in micrometres, along Z, Y, X, because the "
    "image does not contain it. It is also stored in the layer.",
    "sigma": "Standard deviation of the Gaussian in pixels of the result: one number, "
    "or Y,X, or Y,X,angle in degrees.",
    "kernel_file": "A .npy, .csv, .tif or .mat file with the blur, sampled in pixels "
    "of the result.",
    "blur_picture": "How the light of one point spreads over the pixels of the result; "
    "brighter squares receive more. FWHM is the width at half of the peak, in pixels "
    "of the result (px). It is narrower than a bead in your image, because the result "
    "still has the blur of your microscope.",
    "noise": "Noise is measured in the image, so that it is not sharpened together "
    "with the structures. Ignore it only if the image has none.",
    "noise_sigma": "Standard deviation of the noise as a fraction of the intensity "
    "range, from 0 to 1.",
    "gain": "Electrons per count, from the camera's data sheet.",
    "offset": "Counts that the camera reports in the dark.",
    "read_noise": "Standard deviation of the read noise, in electrons.",
    "start": "Where training starts: from a network pretrained on synthetic images "
    "(drawn by a program, never photographs), from this image only, or from networks "
    "saved after a run on a similar image. With 0 training steps they are used "
    "unchanged.",
    "start_file": "A .safetensors file written by 'Save networks', from an image with "
    "one channel or with as many channels as this one.",
    "steps": "Training steps of each network, at most. More steps take longer; "
    "training stops early once it no longer helps. Leave it empty to use the preset's "
    "number.",
    "learned_steps": "Training steps, at most, if training starts from the pretrained "
    "network. 0 uses that network unchanged. Leave it empty to use the preset's "
    "number.",
    "gradual": "Number of small enlargements on the way to the factor. More of them "
    "can help and take longer. Leave it empty to use the preset's number.",
    "back_projection": "Rounds of correction that make the result agree with your "
    "image when it is shrunk again; 0 for none. They are reduced automatically for "
    "noisy images. Leave it empty to use the preset's number.",
    "strategy": "How the slices of a stack share networks. One network per channel is "
    "trained on slices spread over the stack, then tuned on each slice: better and "
    "much faster than a new network for every slice.",
    "ensemble": "Enlarges flipped and rotated copies of the image as well and takes "
    "their median: less random error, up to eight times slower.",
    "seed": "Runs with the same seed give the same pixels. Try another seed to see how "
    "much the result depends on chance.",
    "device": "Where to compute. 'automatic' uses a graphics card if there is one.",
    "precision": "bfloat16 is faster on recent hardware; float32 is the most exact.",
    "nonfinite": "What to do with pixels that are NaN (not a number) or infinite: "
    "refuse the image, or replace them with the mean of the other pixels of their "
    "plane. A plane without any usable pixel becomes 0.",
    "dtype": "Data type of the result. 'automatic' keeps that of the image, except "
    "where it has so few counts that rounding would change its intensity by more than "
    "0.5 %; then float32 is used.",
    "always": "What you get if training was no better than bicubic interpolation on "
    "parts of the image kept aside for a test.",
    "error_map": "Adds a layer with the expected error of every pixel, in units of the "
    "image: 90 % of the true values should lie within 1.64 times that. It can double "
    "the time.",
    "where": "A new layer is held in memory until you save it. A file is written slice "
    "by slice: for results larger than memory, and for long runs that can be stopped "
    "and continued.",
    "file": "The file to write. An .ome.zarr can be viewed at all zoom levels while it "
    "grows; an .ome.tif is put together at the end.",
    "overwrite": "Replaces the existing file, or the unfinished result of a run with "
    "other settings.",
}


RED = {"dark": "#ff8a80", "light": "#b3261e"}
LINK = {"dark": "#8ab4f8", "light": "#0b57d0"}
# Tells an error where colours are not told apart.
WARNING_SIGN = "\u26a0"
# Decides where the fields begin.
LONGEST_LABEL = "Back-projection"
# Default width of the form, in letters m, and the least one with labels beside fields.
DEFAULT_WIDTH = 24
BESIDE_WIDTH = 22
# Least width of a choice, in letters.
MIN_CHOICE_WIDTH = 10


class _Tight(Container[Any]):
    """Widgets without margins: the column is narrow and the form is long."""

    def __init__(self, widgets: Sequence[Widget], layout: str = "vertical") -> None:
        super().__init__(widgets=widgets, layout=layout, labels=False)
        self.margins = (0, 0, 0, 0)
        self.native.layout().setSpacing(4)


class Choice(ComboBox):
    """A box that also tells when the choice becomes the one whose value is None."""

    # magicgui is silent for its own, which is None.
    null_value = object()


class Row(_Tight):
    """A label and its field; no label where the field has its own text.

    Its tooltip is that of `TOOLTIPS`, unless the field has one. `spoken` names a field
    to screen readers that has neither label nor text.
    """

    def __init__(self, label: str, field: Widget, *, spoken: str = "") -> None:
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
            box.installEventFilter(ElidedChoice(box))
        super().__init__([field], layout="horizontal")
        guard_from_wheel(field.native)
        if label:
            self.native.layout().insertWidget(0, self.title)
        self.native.layout().setStretch(1, 1)
        self.spoken = label or spoken or str(getattr(field, "text", ""))
        self.rename(label)

    def rename(self, label: str) -> None:
        """Change the label, also for screen readers."""
        self.title.setText(label)
        self.spoken = label or self.spoken
        name_for_screen_readers(self.field.native, self.spoken, self.field.tooltip)

    def stack(self, stacked: bool) -> None:
        """Put the label above the field, or left of it, both in the same font."""
        self.native.layout().setDirection(_direction(down=stacked))
        # napari's style leaves out fields for text.
        for text in self.native.findChildren(QLineEdit):
            if text.font().pointSize() != self.title.font().pointSize():
                text.setFont(self.title.font())


class ElidedChoice(QObject):
    """Cuts a choice that is too long in its middle; the tooltip holds all of it.

    Names of channels differ at their end, where Qt would cut them.
    """

    def __init__(self, box: QComboBox) -> None:
        super().__init__(box)
        self._box = box
        view = box.view()
        assert view is not None
        view.setTextElideMode(Qt.TextElideMode.ElideMiddle)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Paint the choice, and show its tooltip, instead of Qt."""
        if event.type() == QEvent.Type.Paint:
            self._paint()
            return True
        if event.type() == QEvent.Type.ToolTip and self.text != self._box.currentText():
            help_ = f"{self._box.currentText()}\n\n{self._box.toolTip()}"
            QToolTip.showText(event.globalPos(), tooltip(help_), self._box)
            return True
        return False

    @property
    def text(self) -> str:
        """What there is room for."""
        option, style = self._option(), self._box.style()
        assert style is not None
        control = QStyle.ComplexControl.CC_ComboBox
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = style.subControlRect(control, option, field, self._box).width()
        letters, middle = self._box.fontMetrics(), Qt.TextElideMode.ElideMiddle
        return letters.elidedText(option.currentText, middle, room)

    def _option(self) -> QStyleOptionComboBox:
        option = QStyleOptionComboBox()
        self._box.initStyleOption(option)
        return option

    def _paint(self) -> None:
        """Paint as Qt does, but for the text."""
        option, painter = self._option(), QStylePainter(self._box)
        option.currentText = self.text
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


class Column(_Tight):
    """Rows and other widgets below one another; fields by the names of the rows.

    Rows and fields include those of columns within it.
    """

    def __init__(self, widgets: Sequence[Widget]) -> None:
        self.rows = {row.field.name: row for row in rows_in(widgets)}
        self.fields: dict[str, Any] = {name: r.field for name, r in self.rows.items()}
        super().__init__(widgets)


class SideBySide(_Tight):
    """Widgets in one row, without a label; below one another where it is too narrow."""

    def __init__(self, widgets: Sequence[Widget]) -> None:
        super().__init__(widgets, layout="horizontal")

    def fit(self, width: int) -> None:
        """Use one row if it needs no more than so many pixels."""
        spaces = self.native.layout().spacing() * (len(self) - 1)
        needed = sum(_needed(widget.native) for widget in self) + spaces
        self.native.layout().setDirection(_direction(down=needed > width))


def widgets_in(widgets: Iterable[Widget]) -> Iterator[Widget]:
    """Rows and other widgets among some widgets and in their columns."""
    for widget in widgets:
        if isinstance(widget, Column):
            yield from widgets_in(widget)
        else:
            yield widget


def rows_in(widgets: Iterable[Widget]) -> Iterator[Row]:
    """All rows among some widgets and in their columns."""
    return (widget for widget in widgets_in(widgets) if isinstance(widget, Row))


def name_for_screen_readers(widget: QWidget, name: str, description: str) -> None:
    """Give a widget, and every part of it that can be used, a name to be read out."""
    widget.setAccessibleName(name)
    widget.setAccessibleDescription(description)
    for part in widget.findChildren(QWidget):
        if part.focusPolicy() != Qt.FocusPolicy.NoFocus and not part.accessibleName():
            part.setAccessibleName(name)


class Foldable(Column):
    """A section that stays closed until its heading is pressed.

    What is `always` shown stands below the heading. A line names the fields that are
    not as they were at first, so that no setting is forgotten in a closed section.
    """

    def __init__(
        self,
        title: str,
        widgets: Sequence[Widget],
        *,
        tooltip: str,
        always: Sequence[Widget] = (),
    ) -> None:
        self._title = title
        self.toggle = PushButton(tooltip=tooltip)
        self.toggle.native.setStyleSheet(
            "text-align: left; padding-left: 4px; font-weight: bold;"
        )
        self.changes = text_label()
        self.body = Column(widgets)
        super().__init__([self.toggle, self.changes, *always, self.body])
        self._initial = {name: field.value for name, field in self.fields.items()}
        self.toggle.changed.connect(lambda: self.unfold(not self.is_open))
        self.body.changed.connect(self.show_changes)
        self.unfold(False)

    def unfold(self, is_open: bool) -> None:
        """Open or close the section."""
        self.is_open = self.body.visible = is_open
        sign, state = ("\u25be", "open") if is_open else ("\u25b8", "closed")
        self.toggle.text = f"{sign} {self._title}"
        self.toggle.native.setAccessibleName(f"{self._title} ({state})")
        self.show_changes()

    def show_changes(self) -> None:
        """Name the fields in a closed section that are not as they were at first."""
        changed = [
            self.rows[name].spoken
            for name, value in self._initial.items()
            if self.fields[name].value != value
        ]
        set_text(self.changes, f"Changed: {', '.join(changed)}" if changed else "")
        self.changes.visible = bool(changed) and not self.is_open


class _Title(QLabel):
    """Label as wide as the longest of the form, in whatever font it is shown."""

    def minimumSizeHint(self) -> QSize:
        size, width = super().minimumSizeHint(), self.fontMetrics().horizontalAdvance
        missing = width(LONGEST_LABEL) - width(self.text())
        return QSize(size.width() + max(0, missing), size.height())

    sizeHint = minimumSizeHint


class Scrolled(QScrollArea):
    """A column that scrolls up and down, never sideways.

    Labels stand above their fields where it is too narrow for both. magicgui's own
    scrollable container is taken apart by napari's dock.
    """

    def __init__(self, column: Column) -> None:
        super().__init__()
        self._column = column
        column.native.layout().addStretch(1)
        column.margins = (0, 0, 4, 0)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(column.native)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Follow the width of the dock."""
        super().resizeEvent(event)
        self._place_labels()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the size of the font, which changes what the column needs."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._place_labels()
        return super().eventFilter(watched, event)

    def _place_labels(self) -> None:
        # Not the width of the viewport, which the scroll bar changes again.
        stacked = self.width() < self._letters(BESIDE_WIDTH)
        room = self.width() - self._bar_width() - self._column.margins[2]
        for widget in widgets_in(self._column):
            if isinstance(widget, Row):
                widget.stack(stacked)
            elif isinstance(widget, SideBySide):
                widget.fit(room)

    def _bar_width(self) -> int:
        bar = self.verticalScrollBar()
        assert bar is not None
        return bar.sizeHint().width()

    def _letters(self, count: int) -> int:
        # napari's style gives labels, not the column, the font of the preferences.
        title = next(iter(self._column.rows.values())).title
        return title.fontMetrics().horizontalAdvance("m" * count)

    def minimumSizeHint(self) -> QSize:
        """As wide as the column, with labels above fields, and the scroll bar need."""
        width = _least_width(self._column) + self._bar_width()
        return QSize(width, super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        """Wide enough to read the texts without many line breaks."""
        width = max(self.minimumSizeHint().width(), self._letters(DEFAULT_WIDTH))
        return QSize(width, super().sizeHint().height())


def _direction(*, down: bool) -> QBoxLayout.Direction:
    directions = QBoxLayout.Direction
    return directions.TopToBottom if down else directions.LeftToRight


def _least_width(column: Column | SideBySide) -> int:
    """Width that a column needs with everything below one another."""
    widths = [0]
    for widget in column:
        if widget.native.isHidden():
            continue
        if isinstance(widget, Row):
            widths += [_needed(widget.title), _needed(widget.field.native)]
        elif isinstance(widget, (Column, SideBySide)):
            widths.append(_least_width(widget))
        else:
            widths.append(_needed(widget.native))
    return max(widths) + column.margins[2]


def _needed(widget: QWidget) -> int:
    """Least width of a widget; none where its text is wrapped."""
    ignored = QSizePolicy.Policy.Ignored
    if widget.sizePolicy().horizontalPolicy() == ignored:
        return 0
    return widget.minimumSizeHint().width()


def path_field(**options: Any) -> FileEdit:
    """Field for a file or folder; its button leaves most of the row to the name."""
    field = FileEdit(**options)
    field.choose_btn.text = "..."
    field.choose_btn.tooltip = "Opens a dialog to choose it."
    button = field.choose_btn.native
    button.setAccessibleName("Browse")
    button.setFixedWidth(button.fontMetrics().horizontalAdvance("m" * 3))
    return field


def set_text(label: Label, rich_text: str) -> None:
    """Show a text, or nothing at all where it is empty."""
    label.value = rich_text
    label.visible = bool(rich_text)


def tooltip(text: str) -> str:
    """Plain text for a tooltip; Qt would take some names for HTML."""
    return f"<qt>{html.escape(text)}</qt>"


def heading(text: str) -> Label:
    """Heading of a section."""
    return Label(value=f"<b>{text}</b>")


def text_label(text: str = "", *, least_lines: int = 0) -> Label:
    """Label of rich text that wraps it instead of widening the column.

    It is as tall as the text needs, but at least as `least_lines`.
    """
    label = Label(value=text)
    # Left to itself, Qt shows the escapes of a text without tags.
    label.native.setTextFormat(Qt.TextFormat.RichText)
    label.native.setWordWrap(True)
    policy = label.native.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    label.native.setSizePolicy(policy)
    label.native.installEventFilter(HeightForWidth(label.native, least_lines))
    return label


class HeightForWidth(QObject):
    """Makes a label as tall as its text needs at its width, which no layout does.

    Its colours become those of the theme, which may have changed.
    """

    def __init__(self, label: QLabel, least_lines: int = 0) -> None:
        super().__init__(label)
        if least_lines:
            top_left = Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft
            label.setAlignment(top_left)
        self._least_lines = least_lines
        self._fitted = ("", 0, "")
        self._fitting = False

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Fit the height, and let the event pass."""
        # A new text is painted before the label has another size. Another height may
        # bring a scroll bar, and with it another width, while this one is being set.
        kinds = (QEvent.Type.Resize, QEvent.Type.Paint)
        if not self._fitting and event.type() in kinds:
            self._fitting = True
            self._fit(watched)
            self._fitting = False
        return False

    def _fit(self, label: QLabel) -> None:
        text = label.text()
        if in_theme(text, label) != text:
            label.setText(in_theme(text, label))
        current = (label.text(), label.width(), label.font().key())
        if current == self._fitted:
            # To ask for the height lays the text out, which asks for another paint.
            return
        self._fitted = current
        # Qt never reports less than the minimum that is set.
        label.setMinimumHeight(0)
        least = _lines_height(label, self._least_lines)
        needed = max(least, label.heightForWidth(label.width()))
        if needed != label.minimumHeight():
            label.setMinimumHeight(needed)
            if self._least_lines:
                # Qt would like to be taller than the text needs.
                label.setMaximumHeight(needed)


def _lines_height(label: QLabel, lines: int) -> int:
    """Height of a label with so many lines, and with what its style keeps free."""
    if not lines:
        return 0
    text = label.text()
    label.setText("<br>".join("x" * lines))
    height = label.heightForWidth(label.width())
    label.setText(text)
    return height


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
    """Rich text with its colours made legible in the theme of a widget."""
    background = widget.palette().color(QPalette.ColorRole.Window)
    themes = ("dark", "light") if background.lightness() < 128 else ("light", "dark")
    for colours in (RED, LINK):
        rich_text = rich_text.replace(colours[themes[1]], colours[themes[0]])
    return rich_text


def link(text: str, label: Label) -> str:
    """Rich text that emits the label's `linkActivated` when it is clicked."""
    rich_text = f"<a href='{text}' style='color: {LINK['dark']}'>{text}</a>"
    return in_theme(rich_text, label.native)


def red(text: str, label: Label) -> str:
    """Rich text of an error: a warning sign, and red that the label's theme shows."""
    red_text = f"<b style='color: {RED['dark']}'>{WARNING_SIGN} {text}</b>"
    return in_theme(red_text, label.native)


def error_colour(widget: QWidget) -> str:
    """A red that is legible in the theme of a widget."""
    return in_theme(RED["dark"], widget)


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
        # A method, which Qt holds weakly: a function that the garbage collector has
        # emptied before the widget is destroyed would crash.
        widget.destroyed.connect(self.close)

    def close(self) -> None:
        """Cancel, and call no callback."""
        self.run.close()

    def replace(self) -> Run:
        """Abandon the current run for a new one; return it, perhaps still running."""
        abandoned, self.run = self.run, Run()
        abandoned.close()
        return abandoned
