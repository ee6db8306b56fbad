"""The blur of the microscope, as chosen in the form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, FileEdit, LineEdit

from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin._rows import Column, Row


class BlurFields(Column):
    """How the microscope blurs a fine image into the one there is."""

    def __init__(self) -> None:
        self._kept: KernelSpec | None = None
        super().__init__(_rows(self._kinds))
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
        if kind == "file":
            path = Path(self.fields["kernel_file"].value)
            if not path.is_file():
                raise InputError("Choose the file that holds the blur, or bicubic.")
            return KernelSpec.parse(str(path))
        if kind == "kept" and self._kept is not None:
            return self._kept
        return KernelSpec()

    def show_kernel(self, kernel: KernelSpec) -> None:
        """Set the fields to a blur."""
        self._kept = kernel if kernel.array is not None else None
        self.fields["kernel"].reset_choices()
        if kernel.kind == "gaussian":
            y, x = kernel.sigma_px
            self.fields["sigma"].value = f"{y:g},{x:g},{kernel.angle_deg:g}"
        if kernel.kind == "file":
            self.fields["kernel_file"].value = kernel.path
        self.fields["kernel"].value = "kept" if kernel.kind == "array" else kernel.kind

    def _kinds(self, _widget: Any = None) -> list[tuple[str, str]]:
        kinds = [
            ("bicubic", "bicubic"),
            ("Gaussian", "gaussian"),
            ("from a file", "file"),
        ]
        if self._kept is not None:
            kinds.append(("as in the layer's recipe", "kept"))
        return kinds

    def _show_what_counts(self) -> None:
        kind = self.fields["kernel"].value
        self.rows["sigma"].visible = kind == "gaussian"
        self.rows["kernel_file"].visible = kind == "file"


def _rows(choices: Callable[..., Any]) -> list[Row]:
    return [
        Row(
            "Blur",
            ComboBox(
                name="kernel",
                choices=choices,
                tooltip="How the microscope blurs a fine image into the one you have. "
                "Bicubic is the usual assumption; if you know the blur, say so.",
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
