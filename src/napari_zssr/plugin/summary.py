"""Sentences of the plugin on kernels and on the outcome of runs."""

from __future__ import annotations

from pathlib import Path
from statistics import median_high

import numpy as np
from numpy.typing import NDArray

from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.optics import FWHM
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.request import kernel_from
from napari_zssr.stack.report import Report
from napari_zssr.words import duration_text

# Weights below this fraction of the largest one are not shown.
FAINT = 0.01
# Widths whose relative difference is smaller are shown as one number.
SAME_WIDTH = 0.03
# Noise below this fraction of the intensity range is called none.
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
# What the engine advises in terms of command line and Python, and the same in the form.
FORM_ADVICE = {
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
    "give the spacing along Z, Y, X in um (--spacing 0.5,0.1,0.1)": (
        "write sizes in um, as in 0.5, 0.1, 0.1, into 'Pixel size' under Image"
    ),
    "a number (--factor-z 3, factor_z=3)": "choose 'by a number' along Z",
    "leave out the factor along Z (--factor-z, factor_z)": (
        "choose all slices, or leave Z as it is"
    ),
    "name the axes (--axes ZYX, axes='ZYX') to have it enlarged along Z": (
        "press Enter in 'Axes, guessed' if they are right, or correct them"
    ),
    "unless slices become more (--factor-z, factor_z)": (
        "unless slices become more (Along Z)"
    ),
    "give it (--kernel-z, kernel_z) as optics, fwhm:Z,XY or gaussian:SIGMA": (
        "give it by 'Blur along Z'"
    ),
}


def picture(kernel: FineKernel) -> NDArray[np.float64]:
    """The central part of a kernel with visible weights, shape (odd, odd)."""
    weights = kernel.array
    middle = np.array(weights.shape) // 2
    visible = np.argwhere(np.abs(weights) > FAINT * np.abs(weights).max())
    radius = np.abs(visible - middle).max(axis=0).clip(1, middle)
    (y0, x0), (y1, x1) = middle - radius, middle + radius + 1
    return weights[y0:y1, x0:x1]


def lines(kernel: FineKernel) -> list[str]:
    """Width and size of a kernel in pixels of the result, and in um where known."""
    height, width = picture(kernel).shape
    spread = kernel.spread_px
    error = "" if spread is None else f" +- {FWHM * max(spread):.1g}"
    texts = [f"FWHM {_width(*kernel.fwhm_px)}{error} px"]
    if kernel.fwhm_um is not None:
        texts.append(f"= {_width(*kernel.fwhm_um)} um")
    texts.append(f"Picture {height} x {width} px of result")
    y, x = kernel.fine_um
    if y is not None and x is not None:
        texts.append(f"= {height * y:.2g} x {width * x:.2g} um")
    return texts


def _width(y: float, x: float) -> str:
    same = abs(y - x) <= SAME_WIDTH * max(y, x)
    return f"{y:.2g}" if same else f"{y:.2g} x {x:.2g}"


def finished_sentence(
    name: str,
    report: Report,
    *,
    kernel: KernelSpec | None = None,
    hidden: bool = False,
    file: Path | None = None,
) -> str:
    """Gain, noise, time and blur of a finished run, its file, and what is hidden."""
    noise = f"{_noise(report)}; it" if report.planes else "It"
    sentence = (
        f"{name}: {form_sentence(report.sentence)} {noise} took "
        f"{duration_text(report.seconds)} on {report.device}.{_blur(report, kernel)}"
    )
    sentence += "" if file is None else f" It is in {file}."
    return f"{sentence} {HIDDEN}" if hidden else sentence


def cancelled_sentence(
    name: str, finished: int, planes: int, *, black: int = 0, part: Path | None = None
) -> str:
    """What remains of a cancelled run.

    So many planes of its layer are black; on disk, it is kept in the folder `part`.
    """
    if finished == 0 and part is not None:
        return f"{name}: stopped; what is finished is kept in {part}; Run goes on."
    if finished == 0:
        return f"{name}: stopped; nothing was finished."
    verb = "is" if finished == 1 else "are"
    rest = f", the last {black} in the layer stayed black" if black else ""
    if part is not None:
        rest = f" and kept in {part}; Run goes on from there"
    return f"{name}: stopped; {finished} of {planes} slices {verb} finished{rest}."


def form_sentence(sentence: str) -> str:
    """A sentence of the engine with its advice in terms of the form's fields."""
    for advice, form_advice in FORM_ADVICE.items():
        sentence = sentence.replace(advice, form_advice)
    return sentence


def _blur(report: Report, kernel: KernelSpec | None) -> str:
    """Source and width of a blur other than bicubic."""
    if kernel is None or kernel.kind == "bicubic":
        return ""
    widths = [_short_width(kernel_from(entry)) for entry in report.kernels]
    in_brackets = f" ({' / '.join(widths)})" if widths else ""
    return f" Blur {BLURS[kernel.kind]}{in_brackets}."


def _short_width(kernel: FineKernel) -> str:
    if kernel.spec.kind == "bicubic":
        return "bicubic was taken"
    return f"FWHM {_width(*kernel.fwhm_px)} px"


def _noise(report: Report) -> str:
    level = median_high(plane.noise for plane in report.planes)
    if level < CLEAN:
        return "No noise was found"
    return f"Noise of {100 * level:.1f} % of the range was found"
