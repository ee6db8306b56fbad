"""What happened in a run, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_zssr.plugin._clock import in_words
from napari_zssr.plugin._kernel_words import in_short
from napari_zssr.plugin._seen_kernel import kernel_from

if TYPE_CHECKING:
    from napari_zssr.kernelspec import KernelSpec
    from napari_zssr.stack.report import Report

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
