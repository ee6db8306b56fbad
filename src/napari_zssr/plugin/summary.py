"""What happened in a run, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.optics import FWHM
from napari_zssr.plugin.controls import in_words
from napari_zssr.plugin.request import kernel_from

if TYPE_CHECKING:
    from napari_zssr.kernelspec import KernelSpec
    from napari_zssr.stack.report import Report

Array = NDArray[np.float64]

# Weights below this share of the strongest are left out of the picture.
FAINT = 0.01
# Widths that differ by less are told as one.
ALIKE = 0.03


def picture(kernel: FineKernel) -> Array:
    """The middle of a kernel that can be seen, shape (odd, odd)."""
    weights = kernel.array
    strong = np.abs(weights) > FAINT * np.abs(weights).max()
    parts = []
    for axis in (0, 1):
        middle = weights.shape[axis] // 2
        far = np.abs(np.flatnonzero(strong.any(axis=1 - axis)) - middle).max()
        reach = min(middle, max(1, int(far)))
        parts.append(slice(middle - reach, middle + reach + 1))
    return weights[tuple(parts)]


def lines(kernel: FineKernel) -> list[str]:
    """Width and size of a kernel: in pixels of the result, and in um where known."""
    shape = picture(kernel).shape
    told = [f"FWHM {_pair(*kernel.fwhm_px)}{_spread(kernel)} px"]
    if kernel.fwhm_um is not None:
        told.append(f"= {_pair(*kernel.fwhm_um)} um")
    told.append(f"Picture {shape[0]} x {shape[1]} px of result")
    y, x = kernel.fine_um
    if y is not None and x is not None:
        told.append(f"= {shape[0] * y:.2g} x {shape[1] * x:.2g} um")
    return told


def in_short(kernel: FineKernel) -> str:
    """Width of a kernel in a few words."""
    if kernel.spec.kind == "bicubic":
        return "bicubic was taken"
    return f"FWHM {_pair(*kernel.fwhm_px)} px"


def _spread(kernel: FineKernel) -> str:
    if kernel.spread_px is None:
        return ""
    return f" +- {FWHM * max(kernel.spread_px):.1g}"


def _pair(one: float, other: float) -> str:
    if abs(one - other) <= ALIKE * max(one, other):
        return f"{one:.2g}"
    return f"{one:.2g} x {other:.2g}"


CLEAN = 0.0005
HIDDEN = "The original is hidden, since both would add up."
BLURS = {
    "gaussian": "as given",
    "array": "as given",
    "file": "from a file",
    "psf": "from beads",
    "optics": "from the optics",
    "estimate": "estimated from the image",
}
WAYS_OUT = {
    "allow it to be replaced (--overwrite, overwrite=True)": "tick 'Replace it'",
    "by --fill-nonfinite or nonfinite='fill'": "(Advanced, Missing pixels: fill)",
    "use device='cpu'": "compute on cpu (Advanced)",
    "start from 'random'": "start from 'this image only' (Advanced)",
    "give it, as in --na 1.4": "write it into 'NA'",
    "give it, as in --wavelength-nm 520": "write it into 'Emission'",
    ", as in --wavelength-nm 520": "",
    ", as in --excitation-nm 488": "",
    ", as in --index 1.515": "",
    "check --na, or give the immersion's --index": (
        "check 'NA' or 'Immersion', where oil has 1.515"
    ),
    "give --spacing with um along (Y, X)": (
        "write it, in um, into 'Pixel size' under Image"
    ),
}


def after(
    name: str,
    report: Report,
    *,
    kernel: KernelSpec | None = None,
    hidden: bool = False,
    file: Path | None = None,
) -> str:
    """Time, noise, blur and honest gain of a finished run; its file; what is hidden."""
    told = (
        f"{name}: {report.sentence} {_noise(report)}; it took "
        f"{in_words(report.seconds)} on {report.device}.{_blur(report, kernel)}"
    )
    told += "" if file is None else f" It is in {file}."
    return f"{told} {HIDDEN}" if hidden else told


def stopped(name: str, finished: int, planes: int, black: int = 0) -> str:
    """What is left of a run that was cancelled, and how much of it is black."""
    if finished == 0:
        return f"{name}: stopped; nothing was finished."
    verb = "is" if finished == 1 else "are"
    told = f"{name}: stopped; {finished} of {planes} slices {verb} finished"
    unfinished = f", the last {black} in the layer stayed black" if black else ""
    return f"{told}{unfinished}."


def kept(name: str, finished: int, planes: int, part: Path) -> str:
    """What is left on disk of a run that was cancelled, and how to go on."""
    if finished == 0:
        return stopped(name, finished, planes)
    told = stopped(name, finished, planes).removesuffix(".")
    return f"{told} and kept in {part}; Run goes on from there."


def in_the_form(sentence: str) -> str:
    """Sentence of the engine, whose way out is a field of the form here."""
    for told, field in WAYS_OUT.items():
        sentence = sentence.replace(told, field)
    return sentence


def _blur(report: Report, kernel: KernelSpec | None) -> str:
    """Where the blur came from and how wide it was, unless it was the usual one."""
    if kernel is None or kernel.kind == "bicubic":
        return ""
    widths = [in_short(kernel_from(told)) for told in report.kernels]
    many = f" ({' / '.join(widths)})" if widths else ""
    return f" Blur {BLURS[kernel.kind]}{many}."


def _noise(report: Report) -> str:
    levels = sorted(plane.noise for plane in report.planes)
    level = levels[len(levels) // 2]
    if level < CLEAN:
        return "No noise was found"
    return f"Noise of {100 * level:.1f} % of the range was found"
