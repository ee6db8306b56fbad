"""A paragraph for the methods section: how a result was made and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_zssr.checks import LEARNED
from napari_zssr.imaging.resample import Pair
from napari_zssr.imaging.resolution import DECORRELATION, RING_CORRELATION
from napari_zssr.stack.check import Check
from napari_zssr.stack.detail import Finest

ZSSR = (
    'Shocher A, Cohen N, Irani M. "Zero-Shot" Super-Resolution Using Deep Internal '
    "Learning. CVPR 2018, 3118-3126. doi:10.1109/CVPR.2018.00329"
)
PROGRAM = (
    "napari-zssr developers. napari-zssr. https://github.com/napari-zssr/napari-zssr"
)
SQUIRREL = (
    "Culley S, et al. Quantitative mapping and minimization of super-resolution "
    "optical imaging artifacts. Nature Methods 15, 263-266 (2018). "
    "doi:10.1038/nmeth.4605"
)
SSIM = (
    "Wang Z, Bovik AC, Sheikh HR, Simoncelli EP. Image Quality Assessment: From Error "
    "Visibility to Structural Similarity. IEEE Trans. Image Processing 13, 600-612 "
    "(2004). doi:10.1109/TIP.2003.819861"
)


RINGS = (
    "van Heel M, Schatz M. Fourier shell correlation threshold criteria. J. Struct. "
    "Biol. 151, 250-262 (2005). doi:10.1016/j.jsb.2005.05.009"
)
RESOLUTION = (
    "Nieuwenhuizen RPJ, et al. Measuring image resolution in optical nanoscopy. Nature "
    "Methods 10, 557-562 (2013). doi:10.1038/nmeth.2448"
)
PHASES = (
    "Descloux A, Grussmayer KS, Radenovic A. Parameter-free image resolution "
    "estimation based on decorrelation analysis. Nature Methods 16, 918-924 (2019). "
    "doi:10.1038/s41592-019-0515-7"
)


class _References:
    """References in the order in which a text cites them."""

    def __init__(self) -> None:
        self.listed: list[str] = []

    def cite(self, *references: str) -> str:
        """Their numbers, as they stand in a text."""
        self.listed += [one for one in references if one not in self.listed]
        numbers = (str(self.listed.index(one) + 1) for one in references)
        return f"[{', '.join(numbers)}]"


def methods(check: Check) -> tuple[str, tuple[str, ...]]:
    """Paragraph on a result, with numbers of references, and the references."""
    cited = _References()
    parts = [_processing(check, cited), _checked(check), _agreed(check)]
    parts.append(_resolved(check, cited))
    if any(plane.scores for plane in check.planes):
        parts.append(_compared(check, cited))
    return " ".join(filter(None, parts)), tuple(cited.listed)


def _processing(check: Check, cited: _References) -> str:
    """Settings, programs and outcome, from the recipe."""
    method, program = cited.cite(ZSSR), cited.cite(PROGRAM)
    if check.recipe is None:
        return (
            f"Images were {_done(check)}; the settings are unknown, because the file "
            f"contains no recipe of napari-zssr {program} (zero-shot "
            f"super-resolution {method})."
        )
    config, report = check.recipe["config"], check.recipe.get("report") or {}
    used = report.get("versions") or {}
    others = ", ".join(f"{k} {v}" for k, v in used.items() if k != "napari-zssr")
    listed = f" ({others})" if others else ""
    sentences = [
        f"Images were {_done(check)} with napari-zssr "
        f"{used.get('napari-zssr', 'of unknown version')} {program}{listed} "
        f"by {_learner(config, report)} (zero-shot super-resolution {method}).",
        f"Settings: {', '.join(_settings(config, report))}.",
        _outcome(report.get("planes", ()), check.factors),
    ]
    return " ".join(filter(None, sentences))


def _done(check: Check) -> str:
    y, x = check.factors
    if (y, x) == (1, 1):
        return "restored without enlargement"
    if y == x:
        return f"enlarged ×{y:g} along Y and X"
    return f"enlarged ×{y:g} along Y, ×{x:g} along X"


def _learner(config: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    if config.get("network") == "ridge":
        return "a linear filter fitted to the image itself"
    if config.get("start") == LEARNED:
        planes = report.get("planes", ())
        if planes and not any(one.get("steps") or one.get("shared") for one in planes):
            return (
                "neural networks pretrained on generated images, without further "
                "training"
            )
        return (
            "neural networks pretrained on generated images and then trained on the "
            "image itself"
        )
    return "neural networks trained on the image itself"


def _outcome(planes: Sequence[Mapping[str, Any]], factors: Pair) -> str:
    """How many planes were learned, and what their test came to."""
    if not planes:
        return ""
    restores = factors == (1, 1)
    learned = [plane for plane in planes if plane["returned"] == "learned"]
    others = len(planes) - len(learned)
    base = "the input" if restores else "bicubic interpolation"
    rest = f"; {base} was used for {others}" if others else ""
    gains = [p["gain_db"] for p in learned if p.get("gain_db") is not None]
    again = "degraded and restored" if restores else "shrunk and re-enlarged"
    tested = (
        f" On regions of the image held out from training, {again}, the gain over "
        f"{base} was {np.median(gains):.2f} dB in the median."
        if gains
        else ""
    )
    return (
        f"The trained result was used for {len(learned)} of {len(planes)} "
        f"planes{rest}.{tested}"
    )


def _settings(config: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    noise = config.get("noise", "auto")
    levels = [plane["noise"] for plane in report.get("planes", ())]
    known = [level for level in levels if level is not None]
    if noise == "auto" and known:
        noise = (
            f"estimated, {100 * np.median(known):.2g} % of the intensity range in "
            "the median"
        )
    start = config.get("start", "")
    device = report.get("device_name") or report.get("device")
    machine = filter(None, (device, report.get("precision")))
    return [
        f"preset {config.get('preset', 'unknown')}",
        *([f"start {start}"] if start else []),
        f"blur {_blur(config.get('kernel') or {})}",
        f"noise {noise}",
        f"seed {config.get('seed', 0)}",
        *machine,
    ]


def _blur(kernel: Mapping[str, Any]) -> str:
    if kernel.get("kind") == "gaussian":
        y, x = kernel["sigma_px"]
        return f"Gaussian, SD {y:g} × {x:g} result pixels"
    return str(kernel.get("kind", "unknown"))


def _checked(check: Check) -> str:
    """What sums of intensity and positions of spots came to."""
    number = len(check.planes)
    some = f"{number} of {check.count} planes" if check.count > 1 else "the image"
    regions = sum(len(plane.flux.numbers) for plane in check.planes)
    changes = np.concatenate([plane.flux.changes for plane in check.planes])
    known = changes[np.isfinite(changes)]
    parts = [f"The result was checked on {some} (napari-zssr {_version(check)}):"]
    if known.size:
        most = known[np.argmax(np.abs(known))]
        parts.append(
            f"summed intensities above the background of {regions} regions changed "
            f"by {100 * np.median(known):+.2f} % in the median and {100 * most:+.2f} "
            "% at most;"
        )
    else:
        parts.append("no region was bright enough for its sum to be compared;")
    spots = [plane.spots for plane in check.planes if plane.spots.spots]
    if not spots:
        return " ".join([*parts, "no bright spots were found in both."])
    weights = [one.spots for one in spots]
    y, x = np.average([one.mean for one in spots], axis=0, weights=weights)
    rms = math.sqrt(np.average([one.rms**2 for one in spots], weights=weights))
    parts.append(
        f"{sum(weights)} bright spots were displaced by {y:+.3f} (Y) and {x:+.3f} "
        f"(X) input pixels on average (root mean square distance {rms:.3f})."
    )
    return " ".join(parts)


def _agreed(check: Check) -> str:
    """How many planes agree with the original, and on what area they do not."""
    found = [plane.agreement for plane in check.planes if plane.agreement.unit]
    if not found:
        return ""
    agreeing = sum(not agreement.disagrees for agreement in found)
    explained = 100 * (1 - np.median([agreement.flagged for agreement in found]))
    return (
        f"Blurred and shrunk again, {agreeing} of {len(found)} planes agreed with "
        f"the original to within its noise, which explained {explained:.4g} % of the "
        f"area{' in the median' * (len(found) > 1)}."
    )


def _resolved(check: Check, cited: _References) -> str:
    """Detail by ring correlation, or by decorrelation, in the median."""
    unit = check.planes[0].detail.unit_text
    befores = [plane.detail.before for plane in check.planes]
    parts = []
    halves = _periods([b for b in befores if b and b.method == RING_CORRELATION])
    if halves:
        parts.append(
            "Two halves of the original with independent noise agreed in detail "
            f"down to {halves} {unit} (Fourier ring correlation {cited.cite(RINGS)} "
            f"of 1/7 {cited.cite(RESOLUTION)})"
        )
        after = _periods([plane.detail.after for plane in check.planes])
        if after:
            parts[0] += (
                f", and after processing by the same networks down to {after} "
                f"{unit}, the best that can be expected of the result"
            )
        parts[0] += "."
    others = _periods([b for b in befores if b and b.method == DECORRELATION])
    if others:
        parts.append(
            f"Decorrelation analysis {cited.cite(PHASES)} found detail down to "
            f"{others} {unit} in the original."
        )
    return " ".join(parts)


def _periods(details: Sequence[Finest | None]) -> str:
    """Finest period in the median; empty where none was found."""
    known = [one for one in details if one is not None and one.outcome != "nothing"]
    if not known:
        return ""
    limits = sum(one.outcome == "pixel limit" for one in known)
    middle = f"{np.median([one.period for one in known]):.3g}"
    return f"{middle} (the limit of the pixels)" if 2 * limits > len(known) else middle


def _compared(check: Check, cited: _References) -> str:
    """Scores against the truth, in the median over the planes."""
    scores = [plane.scores for plane in check.planes if plane.scores is not None]
    degraded = "after shrinking it to the size of the original, " * check.before

    def middle(name: str) -> float:
        return _median([getattr(one, name) for one in scores])

    finest = _periods([plane.detail.with_truth for plane in check.planes])
    unit = check.planes[0].detail.unit_text
    correlated = (
        f" Their ring correlation stayed above 1/2 down to {finest} {unit}."
        if finest
        else ""
    )
    return (
        f"Compared with a truth, {degraded}after registration and a linear fit of "
        f"intensities: RSP {middle('rsp'):.4f}, RSE {middle('rse'):.4g} "
        f"{cited.cite(SQUIRREL)}, PSNR {middle('psnr'):.2f} dB, SSIM "
        f"{middle('ssim'):.4f} {cited.cite(SSIM)} "
        f"{'in the median ' * (len(scores) > 1)}(peak: the 99.9 % minus the 0.1 % "
        f"quantile of the truth).{correlated}"
    )


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _version(check: Check) -> str:
    return check.versions["napari-zssr"]
