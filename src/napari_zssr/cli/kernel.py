"""``napari-zssr kernel``: the blur of an image or of a microscope, seen and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.checks import check_one_of
from napari_zssr.cli import console, options
from napari_zssr.cli.enlarge import read_image
from napari_zssr.cli.options import option
from napari_zssr.errors import InputError
from napari_zssr.imaging.optics import FWHM
from napari_zssr.kernelspec import KernelSpec, Method, Optics

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.imaging.beads import MeasuredPsf
    from napari_zssr.imaging.kernel import FineKernel
    from napari_zssr.stack.image import ImageStack

TIFF = (".tif", ".tiff")
BLUR = "How the image was blurred"

Kernel = Annotated[
    str | None,
    option(
        "--kernel",
        panel=BLUR,
        metavar="KERNEL",
        help="estimate (from the image), optics, an image of beads as .tif, bicubic, "
        "gaussian:SIGMA in fine pixels, or weights as .npy, .csv, .mat or .tif.",
    ),
]
Na = Annotated[
    float | None,
    option(
        "--na",
        panel=BLUR,
        metavar="NA",
        help="Optics: numerical aperture. What is not given of the optics is taken "
        "from the image's metadata.",
    ),
]
WavelengthNm = Annotated[
    float | None,
    option(
        "--wavelength-nm", panel=BLUR, metavar="NM", help="Optics: emitted light, nm."
    ),
]
ExcitationNm = Annotated[
    float | None,
    option(
        "--excitation-nm",
        panel=BLUR,
        metavar="NM",
        help="Optics: exciting light of a confocal microscope, nm.",
    ),
]
Index = Annotated[
    float | None,
    option(
        "--index",
        panel=BLUR,
        metavar="N",
        help="Optics: refractive index of the immersion. Default: guessed from the "
        "aperture.",
    ),
]
ModalityName = Annotated[
    str | None,
    option(
        "--modality",
        panel=BLUR,
        metavar="NAME",
        help="Optics: widefield, confocal or lightsheet. Default: widefield.",
    ),
]
PsfModel = Annotated[
    str | None,
    option(
        "--psf-model",
        panel=BLUR,
        metavar="NAME",
        help="Optics: gaussian or vectorial (needs psf-generator). Default: gaussian.",
    ),
]
KernelSpacing = Annotated[
    str | None,
    option(
        "--kernel-spacing",
        panel=BLUR,
        metavar="Z,Y,X",
        help="Voxel (or pixel Y,X) of the image of beads in micrometres, instead of "
        "what the file says.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """What was said of the blur on the command line.

    Attributes
    ----------
    kernel : str or None
    na, wavelength_nm, excitation_nm, index, modality, psf_model
        Of `Optics`, where ``psf_model`` is its method.
    kernel_spacing : str or None
        Voxel or pixel of an image of beads, um.
    """

    kernel: Kernel = None
    na: Na = None
    wavelength_nm: WavelengthNm = None
    excitation_nm: ExcitationNm = None
    index: Index = None
    modality: ModalityName = None
    psf_model: PsfModel = None
    kernel_spacing: KernelSpacing = None

    @property
    def given(self) -> dict[str, Any]:
        """Options that were given, by their names."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None}

    def spec(self) -> KernelSpec | None:
        """The blur, its file read; None where nothing was said of it.

        Raises
        ------
        InputError
            The options do not fit together, or the file holds no kernel and no bead.
        """
        from napari_zssr.io.kernel_files import loaded_kernel

        optics = self._optics()
        if self.kernel is None and not optics:
            self._refuse_spacing("no --kernel is given")
            return None
        spec = KernelSpec.parse("optics" if self.kernel is None else self.kernel)
        if optics:
            spec = _with_optics(spec, optics)
        if spec.kind != "file" or Path(spec.path).suffix.lower() not in TIFF:
            self._refuse_spacing(f"the kernel is {self.kernel or 'optics'!r}")
        return loaded_kernel(spec, self.spacing_um())

    def spacing_um(self) -> tuple[float, ...] | None:
        """Voxel or pixel of an image of beads, None where it was not given."""
        return parse_kernel_spacing(self.kernel_spacing)

    def _optics(self) -> dict[str, Any]:
        others = ("kernel", "kernel_spacing")
        told = {name: value for name, value in self.given.items() if name not in others}
        if "psf_model" in told:
            told["method"] = told.pop("psf_model")
            check_one_of("psf model", told["method"], Method)
        return told

    def _refuse_spacing(self, why: str) -> None:
        if self.kernel_spacing is not None:
            raise InputError(
                f"--kernel-spacing is the voxel size of an image of beads, but {why}; "
                "give --kernel BEADS.tif, or leave it out."
            )


NOTHING_SAID = Blur()
takes_blur = options.takes("blur", Blur)


def parse_kernel_spacing(text: str | None) -> tuple[float, ...] | None:
    """Spacing of beads from ``0.2,0.1,0.1`` (Z, Y, X) or ``0.1,0.1`` (Y, X)."""
    if text is None:
        return None
    found = options.numbers("Kernel spacing", text, "Z,Y,X or Y,X in micrometres")
    if len(found) not in (2, 3):
        raise InputError(
            f"Kernel spacing {text!r} has {len(found)} "
            f"number{'s' * (len(found) != 1)}; give Z,Y,X or Y,X in micrometres."
        )
    return tuple(found)


def kernels_told(stack: ImageStack, config: Config) -> tuple[FineKernel, ...]:
    """The blur of each channel of an image."""
    from napari_zssr.stack.channel_blur import kernels_of

    return kernels_of(stack, config)


def told_of(kernels: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """What is told of the blur: once if it holds for all channels, else by channel.

    Parameters
    ----------
    kernels : sequence of str
        Sentence of each channel.
    names : sequence of str
        Names of the channels, some or all of them perhaps missing.

    Returns
    -------
    list of (str, str)
        Name of a channel, empty for all of them, and its sentence.
    """
    if len(set(kernels)) < 2:
        return [("", sentence) for sentence in kernels[:1]]
    return [(channel_name(names, n), kernels[n]) for n in range(len(kernels))]


def channel_name(names: Sequence[str], number: int) -> str:
    """Name of a channel, or its number."""
    name = names[number] if number < len(names) else ""
    return name or f"channel {number}"


def _with_optics(spec: KernelSpec, told: dict[str, Any]) -> KernelSpec:
    if spec.kind != "optics" or spec.optics is None:
        names = ["psf_model" if name == "method" else name for name in told]
        first = f"--{names[0].replace('_', '-')}"
        raise InputError(
            f"{first} describes optics, but the kernel is {spec.kind!r}; give --kernel "
            f"optics, or leave out {first}."
        )
    optics: Optics = replace(spec.optics, **told)
    return KernelSpec(kind="optics", optics=optics)


PSF_SUFFIXES = {".tif", ".tiff"}


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
    from napari_zssr.atomic import check_target
    from napari_zssr.io.kernel_files import psf_of

    others = [name for name in blur.given if name != "kernel_spacing"]
    if others:
        raise InputError(
            f"--{others[0].replace('_', '-')} says what the blur is, but --beads "
            "measures it; leave out one of them."
        )
    if output is not None:
        check_target(output, overwrite, PSF_SUFFIXES, ".ome.tif")
    psf = psf_of(stack, blur.spacing_um())
    if output is not None:
        _write(psf, output, overwrite)
    if as_json:
        console.echo_json(_psf_content(psf, output))
        return
    typer.echo(console.table(_rows(psf)))
    typer.echo(psf.sentence)
    if output is not None:
        typer.echo(f"{output}: the point spread function, for --kernel {output}")


def _write(psf: MeasuredPsf, output: Path, overwrite: bool) -> None:
    import numpy as np

    from napari_zssr.io.write import write
    from napari_zssr.stack.axis_labels import labelled

    axes = "ZYX"[-psf.array.ndim :]
    stack = labelled(psf.array.astype(np.float32), axes=axes, spacing=psf.spacing_um)
    record = {"program": "napari-zssr", "psf": _psf_content(psf, None)}
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


def _psf_content(psf: MeasuredPsf, output: Path | None) -> dict[str, Any]:
    return {
        "beads": psf.beads,
        "fwhm_um": list(psf.fwhm_um),
        "spacing_um": list(psf.spacing_um),
        "shape": list(psf.array.shape),
        "sentence": psf.sentence,
        "output": None if output is None else str(output),
    }


# Widths that differ by less have no direction worth telling.
ROUND = 1.02
ENDINGS = (".npy", ".csv", ".png", ".npz")

Saved = Annotated[
    Path | None,
    options.option(
        "-o",
        "--output",
        panel=options.OUTPUT,
        metavar="FILE",
        help="Weights as .npy, .csv or .npz, or a picture as .png; of several channels "
        "FILE-c0, FILE-c1, ... With --beads the PSF as .ome.tif.",
    ),
]
Beads = Annotated[
    bool,
    options.option(
        "--beads",
        panel=options.IMAGE,
        help="INPUT shows beads: measure the point spread function.",
    ),
]


@takes_blur
@options.takes_reading
def kernel(
    path: options.Input,
    output: Saved = None,
    factor: options.Factor = None,
    blur: Blur = NOTHING_SAID,
    show_beads: Beads = False,
    reading: options.Reading = options.AS_THE_FILE_SAYS,
    fill_nonfinite: options.FillNonfinite = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Show the blur that enlarging an image would take: without --kernel, estimated.

    Widths are those of the kernel between the image and the finer one, which is
    narrower than the point spread function.
    """
    if show_beads:
        stack = read_image(path, reading, quiet=json)
        beads(stack, blur, output, overwrite=overwrite, as_json=json)
        return
    if output is not None:
        _check_place(output, overwrite)
    config = options.settings(
        "balanced",
        factor,
        kernel=blur.spec() or KernelSpec(kind="estimate"),
        nonfinite="fill" if fill_nonfinite else None,
    )
    stack = read_image(path, reading, quiet=json, lazy=True)
    found = kernels_told(stack, config)
    names = [channel.name for channel in stack.channels]
    files = _saved(found, names, output, overwrite)
    if json:
        console.echo_json(_content(found, names, files))
    else:
        _tell(found, names, files)


def _tell(
    found: Sequence[FineKernel], names: Sequence[str], files: Sequence[Path]
) -> None:
    typer.echo(console.table(rows(found, names)))
    for name, sentence in told_of([each.sentence for each in found], names):
        typer.echo(f"{name}: {sentence}" if name else sentence)
    for file in files:
        typer.echo(file)


def rows(found: Sequence[FineKernel], names: Sequence[str]) -> list[list[str]]:
    """A table of widths, a row for each channel.

    Parameters
    ----------
    found : sequence of FineKernel
    names : sequence of str
        Of the channels.
    """
    table = [["channel", "kernel", "FWHM fine px", "give or take", "FWHM um", "angle"]]
    for number, each in enumerate(found):
        name = channel_name(names, number) if len(found) > 1 or names else "-"
        table.append([name, each.spec.kind, *_widths(each)])
    return table


def _widths(found: FineKernel) -> list[str]:
    return [
        _pair(found.fwhm_px, ".2f"),
        _pair(_spread_of_fwhm(found), ".2f"),
        _pair(found.fwhm_um, ".3f"),
        f"{found.angle_deg:.0f}" if _is_long(found) else "-",
    ]


def _spread_of_fwhm(found: FineKernel) -> tuple[float, float] | None:
    if found.spread_px is None:
        return None
    return FWHM * found.spread_px[0], FWHM * found.spread_px[1]


def _is_long(found: FineKernel) -> bool:
    """Whether a kernel points anywhere."""
    if found.widths_px is None:
        return False
    large, small = found.widths_px
    return large > ROUND * small


def _pair(widths: tuple[float, float] | None, form: str) -> str:
    if widths is None:
        return "-"
    large, small = (format(width, form) for width in widths)
    return f"{large} x {small}"


def _content(
    found: Sequence[FineKernel], names: Sequence[str], files: Sequence[Path]
) -> dict[str, Any]:
    channels = [
        {"channel": names[number] if number < len(names) else "", **each.to_dict()}
        for number, each in enumerate(found)
    ]
    return {"channels": channels, "output": [str(file) for file in files]}


def _check_place(path: Path, overwrite: bool) -> None:
    from napari_zssr.atomic import check_target

    check_target(path, overwrite, ENDINGS, ".npy, .csv, .npz or .png")


def _saved(
    found: Sequence[FineKernel],
    names: Sequence[str],
    output: Path | None,
    overwrite: bool,
) -> list[Path]:
    """Write weights or pictures; the files."""
    if output is None:
        return []
    if len(found) == 1 or output.suffix.lower() == ".npz":
        files = [output]
    else:
        files = [
            output.with_name(f"{output.stem}-c{number}{output.suffix}")
            for number in range(len(found))
        ]
    for file in files:
        _check_place(file, overwrite)
    for number, file in enumerate(files):
        title = channel_name(names, number) if len(found) > 1 else output.stem
        _save(file, found if len(files) == 1 else [found[number]], title)
    return files


def _save(file: Path, found: Sequence[FineKernel], title: str) -> None:
    import numpy as np

    from napari_zssr.atomic import atomic_write
    from napari_zssr.cli.picture import kernel_picture

    suffix = file.suffix.lower()
    first = found[0]
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
                    np.savez(stream, **_arrays(found))


def _arrays(found: Sequence[FineKernel]) -> dict[str, Any]:
    """Weights of all channels, and what they belong to."""
    import numpy as np

    unknown = float("nan")
    fine = [unknown if size is None else size for size in found[0].fine_um]
    weights = {f"c{number}": each.array for number, each in enumerate(found)}
    return weights | {"factors": np.array(found[0].factors), "fine_um": np.array(fine)}
