"""The blur of the microscope, as chosen in the form."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, FileEdit, LineEdit
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.plugin.form.beads import BeadFields, Images
from napari_zssr.plugin.form.rows import Column, Row, refill, say, words
from napari_zssr.plugin.request import SeenKernels, channel_shown, channel_told
from napari_zssr.plugin.summary import lines, picture
from napari_zssr.stack.image import Channel

if TYPE_CHECKING:
    from napari_zssr.plugin.request import Request

EACH, TOLD, NOT_TOLD = "from each image", "from the image", "not in the image"
GUESSED = "guessed from the NA"
# Field, label, name in the metadata of a channel, what it is.
NUMBERS = {
    "na": (
        "NA",
        "na",
        "Numerical aperture of the objective; it stands on it, as in 63x/1.4.",
    ),
    "wavelength_nm": (
        "Emission (nm)",
        "emission_nm",
        "Wavelength of the light that was seen, in nanometres: about 520 for GFP.",
    ),
    "excitation_nm": (
        "Excitation (nm)",
        "excitation_nm",
        "Wavelength of the laser, in nanometres. A small pinhole is assumed.",
    ),
    "index": (
        "Immersion",
        "index",
        "Refractive index between objective and sample: air 1, water 1.33, oil 1.515.",
    ),
}
NAMES = {
    "widefield": "widefield",
    "confocal": "confocal",
    "lightsheet": "light sheet",
}


class OpticsFields(Column):
    """Objective, light and kind of microscope; what is empty the image has to tell."""

    def __init__(self) -> None:
        self._told: Channel | None = None
        super().__init__([_microscope(self._kinds), *_numbers(), _model()])
        self.fields["modality"].changed.connect(self._show_what_counts)
        self.lean_on(None)

    def optics(self) -> Optics:
        """What is given.

        Raises
        ------
        InputError
            A field cannot be understood.
        """
        counts = [n for n in NUMBERS if n != "excitation_nm" or self._confocal]
        given = {n: _number(NUMBERS[n][0], self.fields[n].value) for n in counts}
        return Optics(
            modality=self.fields["modality"].value,
            method=self.fields["method"].value,
            **given,
        )

    def show_optics(self, optics: Optics) -> None:
        """Set the fields."""
        for name in NUMBERS:
            value = getattr(optics, name)
            self.fields[name].value = "" if value is None else f"{value:g}"
        kinds = self.fields["modality"].choices
        self.fields["modality"].value = (
            optics.modality if optics.modality in kinds else None
        )
        self.fields["method"].value = optics.method

    def lean_on(self, channel: Channel | None) -> None:
        """Say what an image tells of a channel; None where each image tells its own."""
        if channel is not None and channel == self._told:
            return
        self._told = channel
        for name, (_, told, _) in NUMBERS.items():
            text = EACH
            if channel is not None:
                value = getattr(channel, told)
                missing = GUESSED if name == "index" else NOT_TOLD
                text = missing if value is None else f"{TOLD}: {value:g}"
            self.fields[name].native.setPlaceholderText(text)
        refill(self.fields["modality"])
        self._show_what_counts()

    @property
    def _confocal(self) -> bool:
        told = self._told.modality if self._told is not None else ""
        return (self.fields["modality"].value or told) == "confocal"

    def _kinds(self, _widget: Any = None) -> list[tuple[str, str | None]]:
        known = [(text, name) for name, text in NAMES.items()]
        if self._told is None:
            return [(EACH, None), *known]
        if self._told.modality:
            return [(f"{TOLD}: {NAMES[self._told.modality]}", None), *known]
        # It is what is taken where nothing is said.
        return [(NAMES["widefield"], None), *known[1:]]

    def _show_what_counts(self, *_: Any) -> None:
        self.rows["excitation_nm"].visible = self._confocal


def _microscope(kinds: Callable[..., Any]) -> Row:
    return Row(
        "Microscope",
        ComboBox(
            name="modality",
            choices=kinds,
            tooltip="A confocal microscope blurs less than a widefield one with the "
            "same objective.",
        ),
    )


def _numbers() -> list[Row]:
    return [
        Row(label, LineEdit(name=name, tooltip=f"{tip} Empty: as the image tells."))
        for name, (label, _, tip) in NUMBERS.items()
    ]


def _model() -> Row:
    return Row(
        "Model",
        ComboBox(
            name="method",
            choices=[("Gaussian", "gaussian"), ("vectorial", "vectorial")],
            tooltip="Gaussian is quick and close. Vectorial is more exact above NA 1, "
            "takes some seconds, and needs the extra 'optics' of the installation.",
        ),
    )


def _number(label: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InputError(
            f"{label}: {text!r} is not a number; write it like 1.4, or leave it empty "
            "to take what the image tells."
        ) from None


LINES_HIGH = 5
MARGINS = (4, 2, 0, 2)
TIP = (
    "How one point is spread over the pixels of the result: the brighter, the more of "
    "its light. FWHM is its full width at half maximum, in pixels of the result (px). "
    "It is narrower than a point in your image, since the result, too, is seen through "
    "your microscope."
)
FAINT = 0.35
BRIGHTEST = 255


class KernelView(Column):
    """What the chosen blur looks like, and how far to trust it."""

    def __init__(self) -> None:
        self.picture = KernelPicture()
        self.size, self.sentence = words(), words()
        super().__init__([self.size, self.sentence])
        self._beside = QWidget()
        self._beside.setToolTip(TIP)
        layout = QHBoxLayout(self._beside)
        layout.setContentsMargins(*MARGINS)
        layout.addWidget(self.picture)
        layout.addWidget(self.size.native, 1)
        self.native.layout().insertWidget(0, self._beside)
        self.clear()

    def clear(self, sentence: str = "") -> None:
        """Show no picture, and say why."""
        self._beside.setVisible(False)
        say(self.sentence, html.escape(sentence))

    def show_kernel(self, kernel: FineKernel) -> None:
        """Show a blur."""
        self.picture.show_weights(picture(kernel))
        self.size.value = "<br>".join(map(html.escape, lines(kernel)))
        self._beside.setVisible(True)
        say(self.sentence, html.escape(kernel.sentence))


class KernelPicture(QWidget):
    """Weights as grey squares, the strongest white, in a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.grey: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Let it follow the size of the font."""
        side = LINES_HIGH * self.fontMetrics().height()
        return QSize(side, side)

    def show_weights(self, weights: NDArray[Any]) -> None:
        """Show weights (Y, X); negative ones are black."""
        share = np.clip(weights / weights.max(), 0, 1)
        self.grey = np.ascontiguousarray(np.round(BRIGHTEST * share).astype(np.uint8))
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the squares, without smoothing, as large as they fit."""
        height, width = self.grey.shape
        side = min(self.width(), self.height()) - 2
        large = max(height, width)
        drawn = QRectF(0, 0, side * width / large, side * height / large)
        drawn.moveCenter(QRectF(self.rect()).center())
        picture = QImage(
            self.grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8
        )
        painter = QPainter(self)
        painter.drawImage(drawn, picture)
        frame = self.palette().color(QPalette.ColorRole.WindowText)
        frame.setAlphaF(FAINT)
        painter.setPen(QPen(frame, 1.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(drawn)
        painter.end()


KINDS = {
    "bicubic": "bicubic (usual)",
    "estimate": "estimated",
    "optics": "from the optics",
    "beads": "from beads",
    "gaussian": "Gaussian",
    "file": "from a file",
}
LATER = {
    "estimate": "It will be estimated when you press Preview or Run.",
    "optics": "It will be computed when you press Preview or Run.",
}


class BlurFields(Column):
    """How the microscope blurs a fine image into the one there is.

    Parameters
    ----------
    images : callable, optional
        Layers that may hold beads.
    """

    def __init__(self, images: Images | None = None) -> None:
        self._kept: KernelSpec | None = None
        self.optics = OpticsFields()
        self.beads = BeadFields(images)
        self.view = KernelView()
        self.seen = SeenKernels()
        first, *rest = _rows(self._kinds)
        super().__init__([first, self.optics, self.beads, *rest, self.view])
        for part in (self.optics, self.beads):
            self.fields |= part.fields
            self.rows |= part.rows
        self.fields["kernel"].changed.connect(self._show_what_counts)
        self._show_what_counts()

    def kernel(self) -> KernelSpec:
        """What is chosen.

        Raises
        ------
        InputError
            A field cannot be understood.
        """
        kind = self.fields["kernel"].value
        if kind == "gaussian":
            return KernelSpec.parse(f"gaussian:{self.fields['sigma'].value}")
        if kind == "optics":
            return KernelSpec(kind="optics", optics=self.optics.optics())
        if kind == "beads":
            return self.beads.kernel()
        if kind == "file":
            return _of_file(Path(self.fields["kernel_file"].value))
        if kind == "kept" and self._kept is not None:
            return self._kept
        return KernelSpec(kind="estimate" if kind == "estimate" else "bicubic")

    def show_kernel(self, kernel: KernelSpec) -> None:
        """Set the fields to a blur."""
        self._kept = kernel if kernel.array is not None else None
        self.fields["kernel"].reset_choices()
        if kernel.kind == "gaussian":
            y, x = kernel.sigma_px
            self.fields["sigma"].value = f"{y:g},{x:g},{kernel.angle_deg:g}"
        if kernel.kind == "file":
            self.fields["kernel_file"].value = kernel.path
        if kernel.optics is not None:
            self.optics.show_optics(kernel.optics)
        self.fields["kernel"].value = "kept" if self._kept else kernel.kind

    def refresh(self) -> None:
        """Follow the layer list."""
        self.beads.refresh()

    def follow(
        self, request: Request | None, point: Sequence[float], units: Any
    ) -> None:
        """Show the blur of the channel that is looked at.

        Parameters
        ----------
        request : Request, optional
            None where the form cannot run.
        point, units
            As for `current_slice`.

        Raises
        ------
        InputError
            What is said of the blur cannot be used for this image.
        """
        if request is None:
            self.view.clear()
            return
        channel = channel_shown(request, point, units)
        self.optics.lean_on(channel_told(request, channel))
        self.view.clear()
        found = self.seen.kernel(request, channel)
        if found is not None:
            self.view.show_kernel(found)
        else:
            self.view.clear(LATER[request.config.kernel.kind])

    def _kinds(self, _widget: Any = None) -> list[tuple[str, str]]:
        kinds = [(text, kind) for kind, text in KINDS.items()]
        if self._kept is not None:
            kinds.append(("as in the recipe", "kept"))
        return kinds

    def _show_what_counts(self) -> None:
        kind = self.fields["kernel"].value
        self.rows["sigma"].visible = kind == "gaussian"
        self.rows["kernel_file"].visible = kind == "file"
        self.optics.visible = kind == "optics"
        self.beads.visible = kind == "beads"


def _of_file(path: Path) -> KernelSpec:
    if not path.is_file():
        raise InputError("Choose the file that holds the blur, or bicubic.")
    return KernelSpec.parse(str(path))


def _rows(choices: Callable[..., Any]) -> list[Row]:
    return [
        Row(
            "Blur",
            ComboBox(
                name="kernel",
                choices=choices,
                tooltip="How your microscope blurs: knowing it makes the result "
                "sharper. Give the objective, an image of beads, or let it be found in "
                "the image itself; bicubic is the usual assumption.",
            ),
        ),
        Row(
            "Blur width",
            LineEdit(
                name="sigma",
                value="1.0",
                tooltip="Standard deviation of the Gaussian in pixels of the enlarged "
                "image: one number, or Y,X, or Y,X,angle in degrees.",
            ),
        ),
        Row(
            "",
            FileEdit(
                name="kernel_file",
                filter="*.npy *.csv *.tif *.tiff *.mat",
                tooltip="A .npy, .csv, .tif or .mat file with the blur, sampled in "
                "pixels of the enlarged image.",
            ),
        ),
    ]
