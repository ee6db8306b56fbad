"""The blur of the microscope, as chosen in the form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FileEdit, LineEdit

from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin._beads import BeadFields, Images
from napari_zssr.plugin._kernel_view import KernelView
from napari_zssr.plugin._optics import OpticsFields
from napari_zssr.plugin._rows import Column, Row
from napari_zssr.plugin._seen_kernel import (
    SeenKernels,
    channel_shown,
    channel_told,
)

if TYPE_CHECKING:
    from napari_zssr.plugin._request import Request

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
