"""``napari-zssr kernel``: the blur of an image or of a microscope, seen and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_zssr.cli import console, options
from napari_zssr.cli.beads import beads
from napari_zssr.cli.blur import (
    NOTHING_SAID,
    Blur,
    channel_name,
    kernels_told,
    takes_blur,
    told_of,
)
from napari_zssr.cli.enlarge import read_image
from napari_zssr.imaging.optics import FWHM
from napari_zssr.kernelspec import KernelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_zssr.imaging.kernel import FineKernel

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
    from napari_zssr.writing import check_place

    check_place(path, overwrite, ENDINGS, ".npy, .csv, .npz or .png")


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

    from napari_zssr.cli.kernelpicture import kernel_picture
    from napari_zssr.writing import written_whole

    suffix = file.suffix.lower()
    first = found[0]
    with written_whole(file.expanduser().resolve()) as draft:
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
