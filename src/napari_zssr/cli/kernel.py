"""``napari-zssr kernel``: shows and saves the blur of an image or of a microscope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.atomic import atomic_write, check_target
from napari_zssr.checks import check_one_of
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.cli.options import blur_option
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec, Method, Optics

if TYPE_CHECKING:
    from napari_zssr.imaging.kernel import FineKernel
    from napari_zssr.stack.image import ImageStack

TIFF = (".tif", ".tiff")
ENDINGS = (".npy", ".csv", ".png", ".npz")
# A kernel whose widths differ by less has no direction.
ROUND = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """Options for the blur of the image."""

    kernel: Annotated[
        str | None,
        blur_option(
            "--kernel",
            metavar="KERNEL",
            help=(
                "estimate (from the image), optics, an image of beads as .tif, "
                "bicubic, gaussian:SIGMA (in result pixels), or a file of the "
                "blur as .npy, .csv, .mat or .tif."
            ),
        ),
    ] = None
    na: Annotated[
        float | None,
        blur_option(
            "--na",
            metavar="NA",
            help=(
                "Optics: numerical aperture. Whatever is not given is taken from "
                "the image's metadata."
            ),
        ),
    ] = None
    wavelength_nm: Annotated[
        float | None,
        blur_option(
            "--wavelength-nm", metavar="NM", help=("Optics: emission wavelength, nm.")
        ),
    ] = None
    excitation_nm: Annotated[
        float | None,
        blur_option(
            "--excitation-nm",
            metavar="NM",
            help="Optics: excitation wavelength of a confocal microscope, nm.",
        ),
    ] = None
    index: Annotated[
        float | None,
        blur_option(
            "--index",
            metavar="N",
            help=(
                "Optics: refractive index of the immersion. Default: assumed from "
                "the numerical aperture."
            ),
        ),
    ] = None
    modality: Annotated[
        str | None,
        blur_option(
            "--modality",
            metavar="NAME",
            help="Optics: widefield, confocal or lightsheet. Default: widefield.",
        ),
    ] = None
    psf_model: Annotated[
        str | None,
        blur_option(
            "--psf-model",
            metavar="NAME",
            help="Optics: gaussian or vectorial (needs psf-generator). Default: "
            "gaussian.",
        ),
    ] = None
    kernel_spacing: Annotated[
        str | None,
        blur_option(
            "--kernel-spacing",
            metavar="Z,Y,X",
            help=(
                "Voxel size of the bead image in micrometres (Z,Y,X or Y,X), "
                "instead of what the file says."
            ),
        ),
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """Options that were given, by name."""
        values = asdict(self).items()
        return {name: value for name, value in values if value is not None}

    def spec(self) -> KernelSpec | None:
        """The kernel, read from its file; None if no option was given.

        Raises `InputError` if options conflict or the file holds no kernel and no bead.
        """
        from napari_zssr.io.kernel_files import loaded_kernel

        optics = self.given
        kernel = optics.pop("kernel", "optics")
        optics.pop("kernel_spacing", None)
        if "psf_model" in optics:
            optics["method"] = optics.pop("psf_model")
            check_one_of("psf model", optics["method"], Method)
        if self.kernel is None and not optics:
            self._check_no_spacing("no --kernel is given")
            return None
        spec = KernelSpec.parse(kernel)
        if optics:
            spec = _with_optics(spec, optics)
        if spec.kind != "file" or Path(spec.path).suffix.lower() not in TIFF:
            self._check_no_spacing(f"the kernel is {self.kernel or 'optics'!r}")
        return loaded_kernel(spec, self.spacing_um())

    def spacing_um(self) -> tuple[float, ...] | None:
        """Spacing of beads from ``0.2,0.1,0.1`` (Z, Y, X) or ``0.1,0.1`` (Y, X)."""
        text = self.kernel_spacing
        if text is None:
            return None
        values = options.parse_numbers(
            "Kernel spacing", text, "Z,Y,X or Y,X in micrometres"
        )
        if len(values) not in (2, 3):
            raise InputError(
                f"Kernel spacing {text!r} has {len(values)} "
                f"number{'s' * (len(values) != 1)}; give Z,Y,X or Y,X in micrometres."
            )
        return tuple(values)

    def _check_no_spacing(self, reason: str) -> None:
        if self.kernel_spacing is not None:
            raise InputError(
                f"--kernel-spacing is the voxel size of an image of beads, but "
                f"{reason}; give --kernel BEADS.tif, or leave it out."
            )


def _with_optics(spec: KernelSpec, changes: dict[str, Any]) -> KernelSpec:
    if spec.kind != "optics" or spec.optics is None:
        name = next(iter(changes)).replace("method", "psf_model")
        first = f"--{name.replace('_', '-')}"
        raise InputError(
            f"{first} describes optics, but the kernel is {spec.kind!r}; give "
            f"--kernel optics, or leave out {first}."
        )
    optics: Optics = replace(spec.optics, **changes)
    return KernelSpec(kind="optics", optics=optics)


DEFAULT_BLUR = Blur()
with_blur_options = options.with_options_of("blur", Blur)


@with_blur_options
@options.with_reading_options
def kernel(
    path: options.Input,
    output: Annotated[
        Path | None,
        options.output_option(
            "-o",
            "--output",
            metavar="FILE",
            help="File for the blur: .npy, .csv or .npz, or a picture as .png; for "
            "several channels FILE-c0, FILE-c1, ... With --beads: "
            "the PSF as .ome.tif.",
        ),
    ] = None,
    factor: options.Factor = None,
    blur: Blur = DEFAULT_BLUR,
    show_beads: Annotated[
        bool,
        options.input_option(
            "--beads",
            help=("INPUT is an image of beads: measure the point spread function."),
        ),
    ] = False,
    reading: options.Reading = options.DEFAULT_READING,
    fill_nonfinite: options.FillNonfinite = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Show the blur assumed for an image; without --kernel, it is estimated.

    Widths are those of the blur between the image and the enlarged one, which is
    narrower than the point spread function.
    """
    from napari_zssr.stack.channels import kernels_of

    if show_beads:
        stack = read_image(path, reading, quiet=json)
        _measure_beads(stack, blur, output, overwrite=overwrite, as_json=json)
        return
    if output is not None:
        check_target(output, overwrite, ENDINGS, ".npy, .csv, .npz or .png")
    config = options.settings(
        "balanced",
        factor,
        kernel=blur.spec() or KernelSpec(kind="estimate"),
        nonfinite="fill" if fill_nonfinite else None,
    )
    stack = read_image(path, reading, quiet=json, lazy=True)
    kernels = kernels_of(stack, config)
    names = [channel.name for channel in stack.channels]
    files = _write_kernels(kernels, names, output, overwrite)
    if json:
        channels = [
            {"channel": names[n] if n < len(names) else "", **kernel.to_dict()}
            for n, kernel in enumerate(kernels)
        ]
        console.echo_json({"channels": channels, "output": list(map(str, files))})
        return
    typer.echo(console.table(_table(kernels, names)))
    sentences = [kernel.sentence for kernel in kernels]
    for name, sentence in console.by_channel(sentences, names):
        typer.echo(f"{name}: {sentence}" if name else sentence)
    for file in files:
        typer.echo(file)


def _measure_beads(
    stack: ImageStack,
    blur: Blur,
    output: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure beads, and write the point spread function as an OME-TIFF.

    Raises `InputError` if there is no bead or the size of the voxels is unknown.
    """
    from napari_zssr.io.kernel_files import psf_of
    from napari_zssr.io.write import write
    from napari_zssr.stack.axis_labels import labelled

    others = [name for name in blur.given if name != "kernel_spacing"]
    if others:
        raise InputError(
            f"--{others[0].replace('_', '-')} gives the blur, but --beads measures "
            "it; leave out one of them."
        )
    if output is not None:
        check_target(output, overwrite, TIFF, ".ome.tif")
    psf = psf_of(stack, blur.spacing_um())
    axes = "ZYX"[-psf.array.ndim :]
    content = {
        "beads": psf.beads,
        "fwhm_um": list(psf.fwhm_um),
        "spacing_um": list(psf.spacing_um),
        "shape": list(psf.array.shape),
        "sentence": psf.sentence,
        "output": None,
    }
    if output is not None:
        pixels = psf.array.astype("float32")
        image = labelled(pixels, axes=axes, spacing=psf.spacing_um)
        record = {"program": "napari-zssr", "psf": content}
        write(output, image, overwrite=overwrite, provenance=record)
        content = content | {"output": str(output)}
    if as_json:
        console.echo_json(content)
        return
    widths = [
        (f"FWHM {letter}", f"{width:.3f} µm")
        for letter, width in zip("ZYX", psf.fwhm_um, strict=True)
        if width is not None
    ]
    sizes = zip(axes, psf.spacing_um, strict=True)
    voxel = ", ".join(f"{letter} {size:.4g} µm" for letter, size in sizes)
    rows = [("beads", str(psf.beads)), *widths, ("voxel", voxel)]
    typer.echo(console.table(rows))
    typer.echo(psf.sentence)
    z, y, x = psf.fwhm_um
    across = (y + x) / 2
    if z is not None and z > across:
        typer.echo(f"For stacks, along Z: --kernel-z fwhm:{z:.3g},{across:.3g}")
    if output is not None:
        typer.echo(f"{output}: the point spread function, for --kernel {output}")


def _table(kernels: Sequence[FineKernel], names: Sequence[str]) -> list[list[str]]:
    """Table of widths, one row per channel."""
    from napari_zssr.imaging.optics import FWHM

    table = [["channel", "kernel", "FWHM px", "±", "FWHM µm", "angle"]]
    for number, kernel in enumerate(kernels):
        has_name = len(kernels) > 1 or names
        spread = kernel.spread_px
        errors = None if spread is None else (FWHM * spread[0], FWHM * spread[1])
        widths = kernel.widths_px
        is_long = widths is not None and widths[0] > ROUND * widths[1]
        table.append(
            [
                console.channel_name(names, number) if has_name else "-",
                kernel.spec.kind,
                _pair(kernel.fwhm_px, ".2f"),
                _pair(errors, ".2f"),
                _pair(kernel.fwhm_um, ".3f"),
                f"{kernel.angle_deg:.0f}" if is_long else "-",
            ]
        )
    return table


def _pair(widths: tuple[float, float] | None, spec: str) -> str:
    if widths is None:
        return "-"
    large, small = widths
    return f"{large:{spec}} × {small:{spec}}"


def _write_kernels(
    kernels: Sequence[FineKernel],
    names: Sequence[str],
    output: Path | None,
    overwrite: bool,
) -> list[Path]:
    """Write weights or pictures; returns the files."""
    if output is None:
        return []
    if len(kernels) == 1 or output.suffix.lower() == ".npz":
        files = [output]
    else:
        files = [
            output.with_name(f"{output.stem}-c{number}{output.suffix}")
            for number in range(len(kernels))
        ]
    for file in files:
        check_target(file, overwrite, ENDINGS, ".npy, .csv, .npz or .png")
    several = len(kernels) > 1
    for number, file in enumerate(files):
        title = console.channel_name(names, number) if several else output.stem
        _write_kernel(file, kernels[number:], title)
    return files


def _write_kernel(file: Path, kernels: Sequence[FineKernel], title: str) -> None:
    """Write the first kernel, or all of them as .npz."""
    import numpy as np

    from napari_zssr.stack.picture import kernel_picture

    suffix = file.suffix.lower()
    first = kernels[0]
    with atomic_write(file.expanduser().resolve()) as draft:
        if suffix == ".png":
            kernel_picture(first, title).save(draft, format="PNG")
        elif suffix == ".csv":
            np.savetxt(draft, first.array, delimiter=",", fmt="%.9g")
        else:
            with draft.open("wb") as stream:
                if suffix == ".npy":
                    np.save(stream, first.array)
                else:
                    arrays: dict[str, Any] = {
                        f"c{number}": kernel.array
                        for number, kernel in enumerate(kernels)
                    }
                    np.savez(
                        stream,
                        **arrays,
                        factors=np.array(first.factors),
                        fine_um=np.array(first.fine_um, dtype=float),
                    )
