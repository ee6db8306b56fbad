"""``napari-zssr kernel --beads``: the point spread function of a microscope."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_zssr.cli import console
from napari_zssr.cli.blur import Blur
from napari_zssr.errors import InputError

if TYPE_CHECKING:
    from napari_zssr.imaging.beads import MeasuredPsf
    from napari_zssr.stack.axes import ImageStack

TIFF = {".tif", ".tiff"}


def beads(
    stack: ImageStack,
    blur: Blur,
    output: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure beads, tell their size, and write their average.

    Parameters
    ----------
    stack : ImageStack
        Image of beads.
    blur : Blur
        Only its ``kernel_spacing`` may be given.
    output : Path or None
        OME-TIFF of the point spread function.
    overwrite : bool
        Replace a file that is there.
    as_json : bool

    Raises
    ------
    InputError
        There is no bead, the size of the voxels is not known, or the file's name
        cannot be used.
    """
    from napari_zssr.files.kernels import psf_of
    from napari_zssr.writing import check_place

    others = [name for name in blur.given if name != "kernel_spacing"]
    if others:
        raise InputError(
            f"--{others[0].replace('_', '-')} says what the blur is, but --beads "
            "measures it; leave out one of them."
        )
    if output is not None:
        check_place(output, overwrite, TIFF, ".ome.tif")
    psf = psf_of(stack, blur.spacing_um())
    if output is not None:
        _write(psf, output, overwrite)
    if as_json:
        console.echo_json(_content(psf, output))
        return
    typer.echo(console.table(_rows(psf)))
    typer.echo(psf.sentence)
    if output is not None:
        typer.echo(f"{output}: the point spread function, for --kernel {output}")


def _write(psf: MeasuredPsf, output: Path, overwrite: bool) -> None:
    import numpy as np

    from napari_zssr.stack.axes import labelled
    from napari_zssr.stack.store import write

    axes = "ZYX"[-psf.array.ndim :]
    stack = labelled(psf.array.astype(np.float32), axes=axes, spacing=psf.spacing_um)
    record = {"program": "napari-zssr", "psf": _content(psf, None)}
    write(output, stack, overwrite=overwrite, provenance=record)


def _rows(psf: MeasuredPsf) -> list[tuple[str, str]]:
    letters = "ZYX"[-psf.array.ndim :]
    widths = [
        (f"FWHM {letter}", f"{width:.3f} um")
        for letter, width in zip("ZYX", psf.fwhm_um, strict=True)
        if width is not None
    ]
    sizes = zip(letters, psf.spacing_um, strict=True)
    voxel = ", ".join(f"{letter} {size:.4g} um" for letter, size in sizes)
    return [("beads", str(psf.beads)), *widths, ("voxel", voxel)]


def _content(psf: MeasuredPsf, output: Path | None) -> dict[str, Any]:
    return {
        "beads": psf.beads,
        "fwhm_um": list(psf.fwhm_um),
        "spacing_um": list(psf.spacing_um),
        "shape": list(psf.array.shape),
        "sentence": psf.sentence,
        "output": None if output is None else str(output),
    }
