"""A paragraph for the methods section: how a result was made and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_zssr.checks import LEARNED
from napari_zssr.stack.check import Check

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


def methods(check: Check) -> tuple[str, tuple[str, ...]]:
    """Paragraph on a result, with numbers of references, and the references."""
    parts = [_made(check), _checked(check)]
    references = [ZSSR, PROGRAM]
    if any(plane.scores for plane in check.planes):
        parts.append(_compared(check))
        references += [SQUIRREL, SSIM]
    return " ".join(parts), tuple(references)


def _made(check: Check) -> str:
    """Settings, programs and outcome, from the recipe."""
    y, x = check.factors
    enlarged = f"x{y:g} along Y and X" if y == x else f"x{y:g} along Y, x{x:g} along X"
    if check.recipe is None:
        return (
            f"Images were enlarged {enlarged}; how is not told, since the file holds "
            "no recipe of napari-zssr [2], which learns from the image alone [1]."
        )
    config, report = check.recipe["config"], check.recipe.get("report") or {}
    used = report.get("versions") or {}
    others = ", ".join(f"{k} {v}" for k, v in used.items() if k != "napari-zssr")
    listed = f" ({others})" if others else ""
    sentences = [
        f"Images were enlarged {enlarged} with napari-zssr "
        f"{used.get('napari-zssr', 'of unknown version')} [2]{listed} "
        f"by {_learner(config)} (zero-shot super-resolution [1]).",
        f"Settings: {', '.join(_settings(config, report))}.",
        _outcome(report.get("planes", ())),
    ]
    return " ".join(filter(None, sentences))


def _learner(config: Mapping[str, Any]) -> str:
    if config.get("network") == "ridge":
        return "a filter learned from the image itself"
    if config.get("start") == LEARNED:
        return "networks learned from generated images and then from the image itself"
    return "networks learned from the image itself"


def _outcome(planes: Sequence[Mapping[str, Any]]) -> str:
    """How many planes were learned, and what their test came to."""
    if not planes:
        return ""
    learned = [plane for plane in planes if plane["returned"] == "learned"]
    others = len(planes) - len(learned)
    rest = f"; bicubic interpolation was returned for {others}" if others else ""
    gains = [p["gain_db"] for p in learned if p.get("gain_db") is not None]
    tested = (
        f" On held-out regions of the image, made coarser and enlarged again, the "
        f"gain over bicubic interpolation was {np.median(gains):.2f} dB in the median."
        if gains
        else ""
    )
    return f"{len(learned)} of {len(planes)} planes were learned{rest}.{tested}"


def _settings(config: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    noise = config.get("noise", "auto")
    levels = [plane["noise"] for plane in report.get("planes", ())]
    known = [level for level in levels if level is not None]
    if noise == "auto" and known:
        noise = f"estimated, {100 * np.median(known):.2g} % of the range in the median"
    start = config.get("start", "")
    machine = [report[name] for name in ("device", "precision") if report.get(name)]
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
        return f"Gaussian of {y:g} x {x:g} pixels of the result"
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
            f"sums of intensity above the background in {regions} regions changed by "
            f"{100 * np.median(known):+.2f} % in the median and {100 * most:+.2f} % at "
            "most;"
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
        f"{sum(weights)} bright spots lay {y:+.3f} (Y) and {x:+.3f} (X) input pixels "
        f"from where they were, on average (root mean square distance {rms:.3f})."
    )
    return " ".join(parts)


def _compared(check: Check) -> str:
    """Scores against the truth, in the median over the planes."""
    scores = [plane.scores for plane in check.planes if plane.scores is not None]
    degraded = "after degrading it to the size of the original, " * check.before

    def middle(name: str) -> float:
        return _median([getattr(one, name) for one in scores])

    return (
        f"Compared with a truth, {degraded}after registration and a linear fit of "
        f"intensities: RSP {middle('rsp'):.4f}, RSE {middle('rse'):.4g} [3], PSNR "
        f"{middle('psnr'):.2f} dB, SSIM {middle('ssim'):.4f} [4] "
        f"{'in the median ' * (len(scores) > 1)}(peak: the 99.9 % less the 0.1 % "
        "quantile of the truth)."
    )


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _version(check: Check) -> str:
    return check.versions["napari-zssr"]
