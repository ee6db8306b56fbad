"""Sentences of the plugin on kernels and on the outcome of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from napari_zssr.config import Config
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.imaging.optics import FWHM
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.plugin.messages import DONE, NOTHING_GAINED, STOPPED, Message
from napari_zssr.plugin.request import kernel_from
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.recipe import CLEAN, planes_name, psf_text, range_text
from napari_zssr.stack.report import Report
from napari_zssr.units import duration_text
from napari_zssr.zssr.messages import (
    baseline,
    delivered_gains,
    hardly_differs,
    is_rarely_visible,
)

# Weights below this fraction of the largest one are not shown.
FAINT = 0.01
# Widths whose relative difference is smaller are shown as one number.
SAME_WIDTH = 0.03
HIDDEN = "Original hidden; otherwise the brightness of both layers would add up."
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
    "(--fill-nonfinite, nonfinite='fill')": "(Advanced, Missing pixels: fill)",
    "use device='cpu'": "compute on the processor (Advanced)",
    "start from 'random'": "start from 'this image only' (Advanced)",
    "give it, as in --na 1.4": "write it into 'NA'",
    "give it, as in --wavelength-nm 520": "write it into 'Emission'",
    ", as in --wavelength-nm 520": "",
    ", as in --excitation-nm 488": "",
    ", as in --index 1.515": "",
    "check --na, or give the immersion's --index": (
        "check 'NA' or 'Immersion', where oil has 1.515"
    ),
    "give --spacing in µm along (Y, X)": (
        "write it, in µm, into 'Pixel size' under Image"
    ),
    "give the spacing along Z, Y, X in µm (--spacing 0.5,0.1,0.1)": (
        "write sizes in µm, as in 0.5, 0.1, 0.1, into 'Pixel size' under Image"
    ),
    "a number (--factor-z 3, factor_z=3)": "choose 'by a number' along Z",
    "leave out the factor along Z (--factor-z, factor_z)": (
        "choose all slices, or leave Z as it is"
    ),
    "name the axes (--axes ZYX, axes='ZYX') to have it enlarged along Z": (
        "press Enter in 'Axes, guessed' if they are right, or correct them"
    ),
    "give it (--kernel-z, kernel_z) as optics, fwhm:Z,XY or gaussian:SIGMA": (
        "give it by 'Blur along Z'"
    ),
}


# Noise, as a fraction of the range, from which factor 1 often serves better.
STRONG_NOISE = 0.05
VERY_NOISY = "The image is very noisy, and noise may have been drawn as faint lines{}."
CONFIRMED = ": the check shows how much of the detail is confirmed"
EVENLY_SPACED = (
    "Slices are evenly spaced now, but not sharper along Z, because the blur along Z "
    "is not known."
)


def picture(kernel: FineKernel) -> NDArray[np.float64]:
    """The central part of a kernel with visible weights, shape (odd, odd)."""
    weights = kernel.array
    middle = np.array(weights.shape) // 2
    visible = np.argwhere(np.abs(weights) > FAINT * np.abs(weights).max())
    radius = np.abs(visible - middle).max(axis=0).clip(1, middle)
    (y0, x0), (y1, x1) = middle - radius, middle + radius + 1
    return weights[y0:y1, x0:x1]


def lines(kernel: FineKernel) -> list[str]:
    """Width and size of a kernel in pixels of the result, and in µm where known.

    Beside the width of a PSF in µm, which is another one, it has none in µm.
    """
    height, width = picture(kernel).shape
    spread = kernel.spread_px
    error = "" if spread is None else f" ± {FWHM * max(spread):.1g}"
    told = " (± one standard error)" if error else ""
    texts = [f"FWHM {_width(*kernel.fwhm_px)}{error} px{told}"]
    if kernel.fwhm_um is not None and not psf_text({"sentence": kernel.sentence}):
        texts.append(f"= {_width(*kernel.fwhm_um)} µm")
    texts.append(f"Shown: {height} × {width} result pixels")
    y, x = kernel.fine_um
    if y is not None and x is not None:
        texts.append(f"= {height * y:.2g} × {width * x:.2g} µm")
    return texts


def _width(y: float, x: float) -> str:
    same = abs(y - x) <= SAME_WIDTH * max(y, x)
    return f"{y:.2g}" if same else f"{y:.2g} × {x:.2g}"


def finished_message(
    name: str,
    report: Report,
    config: Config,
    *,
    hidden: bool = False,
    file: Path | None = None,
) -> Message:
    """Gain and time of a finished run; its checks, noise, device, blur and file."""
    gained = not report.only_interpolated
    time = f"{duration_text(report.seconds)} on the {report.device_name}."
    warning = caution(report) if gained else ""
    details = [
        warning,
        form_sentence(report.sentence),
        "" if gained else advice(report.planes, config),
        *([_noise([plane.noise for plane in report.planes])] if report.planes else []),
        time,
        _blur(report, config.kernel),
        _opening(file),
        HIDDEN if hidden else "",
    ]
    headline = f"{_outcome(report, config)}, {duration_text(report.seconds)}"
    sign = DONE if gained else NOTHING_GAINED
    text = " ".join(filter(None, details))
    return Message(headline, text, sign, name, warns=bool(warning))


def advice(planes: Sequence[PlaneReport], config: Config) -> str:
    """What may help where nothing was gained."""
    ways = []
    noisy = any(plane.noise >= CLEAN for plane in planes)
    if noisy and config.factors != (1.0, 1.0):
        ways.append("a factor of 1, which removes the noise that was found")
    if config.kernel.kind == "bicubic":
        ways.append("'estimate from image' under Blur")
    if config.preset in ("instant", "fast"):
        ways.append("the preset Balanced")
    if not ways:
        return "More pixels will not show more detail in this image."
    return (
        f"You may try {', or '.join(ways)}; if that gains nothing either, more "
        "pixels will not show more detail in this image."
    )


def caution(report: Report) -> str:
    """What to look out for in a result that networks have made."""
    noise = [plane.noise for plane in report.planes if plane.denoised]
    noise += [one.noise for one in report.axial if one.noise]
    sentences = []
    if max(noise, default=0) >= STRONG_NOISE:
        # It cannot be confirmed along Z.
        sentences.append(VERY_NOISY.format("" if report.axial else CONFIRMED))
    if any(
        one.returned == "learned" and one.width_slices is None for one in report.axial
    ):
        sentences.append(EVENLY_SPACED)
    return " ".join(sentences)


def _outcome(report: Report, config: Config) -> str:
    """What came of a run, in a few words."""
    # What comes first is read even where the line is cut off.
    base = baseline(config.factors).name.removesuffix(" interpolation")
    rival = base if max(config.factors) > 1 else "untreated"
    learned = [plane for plane in report.planes if plane.returned == "learned"]
    if report.only_interpolated:
        doubted = any((p.assessment or {}).get("reason") for p in report.planes)
        why = "Checks doubt the gain" if doubted else "No improvement"
        return f"{why}, {base if report.planes else 'cubic along Z'} returned"
    shares = [plane.assessment["share"] for plane in learned if plane.assessment]
    if min(shares, default=1) < 1 and not config.always:
        return "Partly improved, checks doubt the rest"
    gains = delivered_gains((plane.returned, plane.gain_db) for plane in learned)
    if not learned:
        rival = "cubic along Z"
        gains = delivered_gains((one.returned, one.gain_db) for one in report.axial)
    if not gains:
        return "Done"
    # The details tell the range, for which the line has no room.
    middle = median(gains)
    distance = f"{abs(middle):.2f} dB {'closer' if middle >= 0 else 'farther off'}"
    denoised = any(plane.denoised for plane in learned) or not learned
    faint = is_rarely_visible(middle, denoised=denoised) or (
        bool(learned) and all(map(_hardly_differs, learned))
    )
    hint = " (rarely visible)" if faint else ""
    if not learned or len(learned) == len(report.planes):
        return f"{distance} than {rival}{hint}"
    name = planes_name(len(report.planes), len(report.kernels))
    return f"{distance} in {len(learned)} of {len(report.planes)} {name}{hint}"


def _hardly_differs(plane: PlaneReport) -> bool:
    return plane.quality is not None and hardly_differs(plane.quality)


def _opening(file: Path | None) -> str:
    """Where a file is, and how it is opened again with its pixel size."""
    if file is None:
        return ""
    saved = f"Saved as {file}."
    if file.suffix.lower() != ".zarr":
        return f"{saved} Drag it into napari to open it again."
    return (
        f"{saved} To open it again, drag this folder into napari while this panel is "
        "open."
    )


def stopped_message(
    name: str,
    finished: int,
    planes: int,
    *,
    channels: int = 1,
    failed: bool = False,
    black: int = 0,
    part: Path | None = None,
    layers: tuple[int, int] = (0, 1),
) -> Message:
    """What remains of a run of `channels` that was cancelled, or has failed.

    So many planes of its layer are black; on disk, it is kept in the folder `part`.
    `layers`: how many the same run had finished before, and all of them.
    """
    before, count = layers
    what = "Stopped" if failed else "Cancelled"
    kept = f"What is finished is kept in {part}. Press Run to continue."
    details = "" if part is None else kept
    slices = planes_name(planes, channels)
    done = f"{finished} of {planes} {slices}"
    if count > 1 and not failed:
        next_ = f", and {done} of the next" if finished else ""
        what, name = (
            f"{what}, {before} of {count} layers done{next_}",
            name * bool(next_),
        )
    elif finished:
        what = f"{what}, {done} done"
    else:
        what = f"{what}, nothing was finished"
    if finished and black and part is None:
        last = "slice" if black == 1 else f"{black} {slices}"
        verb = "is" if black == 1 else "are"
        details = f"The last {last} of the layer {verb} not done and {verb} black."
    return Message(what, details, STOPPED, name)


def form_sentence(sentence: str) -> str:
    """A sentence of the engine with its advice in terms of the form's fields."""
    for advice, form_advice in FORM_ADVICE.items():
        sentence = sentence.replace(advice, form_advice)
    return sentence


def _blur(report: Report, kernel: KernelSpec) -> str:
    """Source and width of a blur other than bicubic."""
    if kernel.kind == "bicubic":
        return ""
    widths = [_short_width(kernel_from(entry)) for entry in report.kernels]
    in_brackets = f" ({' / '.join(widths)})" if widths else ""
    return f"Blur {BLURS[kernel.kind]}{in_brackets}."


def _short_width(kernel: FineKernel) -> str:
    if kernel.spec.kind == "bicubic":
        return "not found, default used"
    return f"FWHM {_width(*kernel.fwhm_px)} px"


def _noise(levels: Sequence[float]) -> str:
    if max(levels) < CLEAN:
        return "No noise found."
    return f"Noise {range_text(levels)} of the intensity range."
