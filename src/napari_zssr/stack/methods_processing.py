"""How a result was made, in sentences for the methods section, from its recipe."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from napari_zssr.checks import LEARNED, is_camera
from napari_zssr.imaging.resample import Pair
from napari_zssr.progress import sentence_case
from napari_zssr.stack.image import in_um
from napari_zssr.stack.recipe import (
    BLURS,
    CLEAN,
    axial_blur_text,
    axial_reports,
    channels_returned,
    channels_text,
    factor_along,
    gain_error,
    part_text,
    psf_text,
    range_text,
    size_after,
    training_steps,
    was_interpolated,
    was_trained,
)
from napari_zssr.units import list_text
from napari_zssr.zssr.messages import baseline, decibels, delivered_gains, is_mixed

ZSSR = (
    'Shocher A, Cohen N, Irani M. "Zero-Shot" Super-Resolution Using Deep Internal '
    "Learning. CVPR 2018, 3118-3126. doi:10.1109/CVPR.2018.00329"
)
PROGRAM = (
    "napari-zssr developers. napari-zssr. https://github.com/napari-zssr/napari-zssr"
)
PRETRAINED = "neural networks pretrained on synthetic images (drawn by a program)"
# References in a text, as `References.cite` writes them.
CITED = re.compile(r" \[\d+(?:, \d+)*\]")
AS_THEY_ARE = ", applied without training on the image"


class References:
    """References in the order in which a text cites them."""

    def __init__(self) -> None:
        self.listed: list[str] = []

    def cite(self, *references: str) -> str:
        """Their numbers, as they stand in a text."""
        self.listed += [one for one in references if one not in self.listed]
        numbers = (str(self.listed.index(one) + 1) for one in references)
        return f"[{', '.join(numbers)}]"


def processing(
    recipe: Mapping[str, Any] | None, factors: Pair, cited: References
) -> str:
    """Settings, programs and outcome, from the recipe."""
    program = cited.cite(PROGRAM)
    if recipe is None:
        return (
            f"The image was {_done(factors)}; the settings are unknown, because the "
            f"file contains no recipe of napari-zssr {program}."
        )
    config, report = recipe["config"], recipe.get("report") or {}
    used = report.get("versions") or {}
    others = ", ".join(f"{k} {v}" for k, v in used.items() if k != "napari-zssr")
    part = part_text(recipe)
    made = [*(report.get("planes") or ()), *axial_reports(recipe)]
    by_networks = not was_interpolated(made)
    listed = f" ({others})" if others and by_networks else ""
    settings = f"Settings: {', '.join(_settings(config, report))}."
    done = _done(factors, recipe)
    how = "by" if done.endswith("unchanged") else "with"
    sentences = [
        f"The image was {done} {how} napari-zssr "
        f"{used.get('napari-zssr', 'of unknown version')} {program}{listed}.",
        f"Only a part of the image was processed ({part})." if part else "",
        _sizes(recipe),
        settings if by_networks else "",
        _planes(recipe, factors, cited),
        *_along_z(recipe, cited),
    ]
    return " ".join(filter(None, sentences))


def shown(recipe: Mapping[str, Any] | None, factors: Pair) -> list[str]:
    """What a figure of input and result shows, in sentences without references."""
    if recipe is None:
        return [f"Input and result. The image was {_done(factors)}."]
    config, report = recipe["config"], recipe.get("report") or {}
    version = (report.get("versions") or {}).get("napari-zssr", "of unknown version")
    planes = report.get("planes") or ()
    made = [one for one in (*planes, *axial_reports(recipe)) if _is_learned(one)]
    is_plain = not made and bool(planes or axial_reports(recipe))
    name = (recipe.get("input") or {}).get("name")
    by = "" if is_plain else f" by {list_text(_learners(recipe))}"
    lines = [
        f"Input and result{f' ({name})' if name else ''}. The image was "
        f"{_done(factors, recipe)} with napari-zssr {version}{by}{_pixels(recipe)}."
    ]
    if len({plane.get("returned") for plane in planes}) > 1:
        lines.append(_used(recipe, factors))
    if not is_plain:
        across = not planes or any(map(_is_learned, planes))
        if across and (planes or not axial_reports(recipe)):
            lines.append(_assumed_blur(recipe, factors))
            lines.append(_noise(config.get("noise", "auto"), planes))
        lines += _assumed_along_z(recipe)
    return [CITED.sub("", line) for line in lines if line]


def _is_learned(one: Mapping[str, Any]) -> bool:
    return one.get("returned") == "learned"


def _learners(recipe: Mapping[str, Any]) -> list[str]:
    """What has made planes and sections along Z, each named once."""
    planes = (recipe.get("report") or {}).get("planes") or ()
    axial, found = axial_reports(recipe), []
    if any(map(_is_learned, planes)) or not (planes or axial):
        found.append(_learner(recipe, References()))
    learned = [one for one in axial if _is_learned(one)]
    if learned:
        found.append(_axial_learner(recipe, learned, References()))
    return list(dict.fromkeys(found))


def _pixels(recipe: Mapping[str, Any]) -> str:
    """Sizes of the pixels before and after, behind a comma; empty if not known."""
    axes = str((recipe.get("input") or {}).get("axes") or "")
    letters = [letter for letter in "ZYX" if letter in axes]
    before, after = (_pixel(recipe, letters, before=b) for b in (True, False))
    if not before or before == after:
        return f"; pixels{after}" if after else ""
    named = ", ".join(letters)
    return f"; pixels ({named}){before} became pixels{after}"


def _done(factors: Pair, recipe: Mapping[str, Any] | None = None) -> str:
    """What became of the image, along each axis, and where it was interpolated."""
    listed = ((recipe or {}).get("report") or {}).get("planes") or ()
    axial = axial_reports(recipe or {})
    parts = []
    if listed or not axial:
        parts.append(_done_across(factors, recipe or {}, listed))
    if axial:
        parts.append(_done_along_z(axial))
    if not any("interpolation" in part for part in parts):
        parts[1:] = [part.removeprefix("enlarged ") for part in parts[1:]]
    return " and ".join(parts)


def _done_across(
    factors: Pair, recipe: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]
) -> str:
    """What became of planes."""
    y, x = factors
    is_plain = was_interpolated(listed)
    if factors != (1.0, 1.0):
        across = (
            f"×{y:g} along Y and X" if y == x else f"×{y:g} along Y, ×{x:g} along X"
        )
        return f"enlarged {across}{' by bicubic interpolation' * is_plain}"
    if is_plain and axial_reports(recipe):
        return "left unchanged along Y and X"
    if is_plain:
        return "returned unchanged"
    entries = (recipe.get("report") or {}).get("kernels") or ()
    kinds = {(entry.get("kernel") or {}).get("kind") for entry in entries}
    is_denoised = any(plane.get("denoised") for plane in listed)
    only = is_denoised and kinds <= {"bicubic"}
    return f"{'denoised' if only else 'restored'} without enlargement"


def _done_along_z(axial: Sequence[Mapping[str, Any]]) -> str:
    """What became of a stack along Z."""
    factor, is_plain = axial[0]["factor"], was_interpolated(axial)
    if factor > 1:
        how = " by cubic interpolation" * is_plain
        return f"enlarged ×{factor:.3g} along Z{how}"
    return "left unchanged along Z" if is_plain else "restored along Z"


def _sizes(recipe: Mapping[str, Any]) -> str:
    """Numbers of pixels before and after, and the size of a pixel of the result."""
    size, source = size_after(recipe), recipe.get("input") or {}
    if size is None:
        return ""
    axes, shape = size
    letters = [letter for letter in "ZYX" if letter in axes]
    sizes = (
        " × ".join(str(given[axes.index(letter)]) for letter in letters)
        for given in (source["shape"], shape)
    )
    named, pixel = ", ".join(letters), _pixel(recipe, letters)
    before, after = sizes
    if list(source["shape"]) == list(shape):
        return f"The size ({named}) is {before} pixels{pixel}."
    coarse = _pixel(recipe, letters, before=True)
    coarse = f" pixels{coarse}" if coarse else ""
    return f"Sizes ({named}) changed from {before}{coarse} to {after} pixels{pixel}."


def _pixel(
    recipe: Mapping[str, Any], letters: Sequence[str], *, before: bool = False
) -> str:
    """Size of a pixel, after the number of pixels; empty if it is not known.

    Of the result, or of the image `before`.
    """
    sizes = [
        f"{size / (1 if before else factor_along(recipe, letter) or 1):.4g}"
        for letter, size in zip(letters, input_um(recipe, letters), strict=True)
        if size is not None
    ]
    return f" of {' × '.join(sizes)} µm" if sizes and len(sizes) == len(letters) else ""


def input_um(recipe: Mapping[str, Any], letters: Sequence[str]) -> list[float | None]:
    """Size of an input pixel along axes, in µm; None where it is not known."""
    source = recipe.get("input") or {}
    lengths = zip(source.get("spacing") or (), source.get("units") or (), strict=False)
    by_axis = dict(zip(str(source.get("axes") or ""), lengths, strict=False))
    return [in_um(*by_axis.get(letter, (None, None))) for letter in letters]


def _planes(recipe: Mapping[str, Any], factors: Pair, cited: References) -> str:
    """What was assumed of planes, what made them, and their test."""
    config, report = recipe["config"], recipe.get("report") or {}
    planes = report.get("planes", ())
    if not planes and axial_reports(recipe):
        return ""
    if was_interpolated(planes):
        return _why_interpolated(recipe, factors, planes)
    sentences = [
        f"Planes were processed by {_learner(recipe, cited)}.",
        _assumed_blur(recipe, factors),
        _noise(config.get("noise", "auto"), planes),
        _outcome(recipe, factors),
    ]
    return " ".join(filter(None, sentences))


def _learner(recipe: Mapping[str, Any], cited: References) -> str:
    """What has made planes, and whether it was trained on the image."""
    config, report = recipe["config"], recipe.get("report") or {}
    planes = report.get("planes", ())
    if config.get("network") == "ridge":
        return f"a linear filter fitted to the image itself ({_zero_shot(cited)})"
    start = config.get("start")
    pretrained = any(plane.get("began") == LEARNED for plane in planes)
    if pretrained or (start == LEARNED and not planes):
        networks = PRETRAINED
    elif start not in (None, LEARNED, "random"):
        networks = "neural networks saved by an earlier run"
    else:
        networks = ""
    if networks and not planes:
        return f"{networks}; whether they were then trained on the image is unknown"
    if networks and not was_trained(recipe):
        return f"{networks}{AS_THEY_ARE}"
    return _trained(networks, training_steps(recipe, planes), cited)


def _trained(networks: str, steps: str, cited: References) -> str:
    """Networks that were trained on the image, perhaps after something else."""
    done = f"{networks or 'neural networks'}{' and then' * bool(networks)}"
    known = f"; {steps}" if steps else ""
    return f"{done} trained on the image itself ({_zero_shot(cited)}{known})"


def _zero_shot(cited: References) -> str:
    """The method, which trains on the image itself; nothing else is named so."""
    return f"zero-shot super-resolution {cited.cite(ZSSR)}"


def _why_interpolated(
    recipe: Mapping[str, Any], factors: Pair, planes: Sequence[Mapping[str, Any]]
) -> str:
    """Why networks have made none of these planes."""
    base = baseline((float(factors[0]), float(factors[1])))
    judged = [one for one in planes if one.get("gain_db") is not None]
    doubted = [one for one in judged if (one.get("assessment") or {}).get("reason")]
    worse = [one for one in judged if one not in doubted]
    is_filter = recipe["config"].get("network") == "ridge"
    unused = f"The program's {'filter was' if is_filter else 'networks were'} not used"
    they = "it" if is_filter else "they"
    sentences = []
    if worse:
        gains = [one["gain_db"] for one in worse]
        sentences.append(
            f"{unused}, because {they} brought no improvement beyond chance on regions "
            f"of the image kept aside for a test, {base.test}: "
            f"{_gain_over(base.rival, gains, gain_error(worse))}."
        )
    reasons = dict.fromkeys(one["assessment"]["reason"] for one in doubted)
    sentences += [
        f"{unused}, because checks did not support what {they} changed: {reason}."
        for reason in reasons
    ]
    others = dict.fromkeys(one.get("sentence") for one in planes if one not in judged)
    return " ".join(filter(None, (*sentences, *others)))


def _outcome(recipe: Mapping[str, Any], factors: Pair) -> str:
    """How many planes networks have made, and what their test came to."""
    planes = (recipe.get("report") or {}).get("planes", ())
    if not planes:
        return ""
    sentence = _used(recipe, factors)
    gains = delivered_gains((p["returned"], p.get("gain_db")) for p in planes)
    if not gains:
        return sentence
    base = baseline((float(factors[0]), float(factors[1])))
    apart = " not used for training" if was_trained(recipe) else ""
    return (
        f"{sentence} On regions of the image{apart}, {base.test}, "
        f"{_gain_over(base.rival, gains, gain_error(planes))}."
    )


def _used(recipe: Mapping[str, Any], factors: Pair) -> str:
    """How many planes networks have made, and what the others are."""
    planes = (recipe.get("report") or {}).get("planes", ())
    base = baseline((float(factors[0]), float(factors[1])))
    used = "filter" if recipe["config"].get("network") == "ridge" else "networks"
    counts = Counter(str(plane["returned"]) for plane in planes)
    names = {
        "learned": f"the result of the {used}",
        "bicubic": base.name,
        "constant": "the constant value of the plane",
    }
    parts: list[str] = []
    for kind in sorted(counts, key=lambda kind: kind != "learned"):
        channels = channels_returned(recipe, kind)
        which = f" ({channels_text(channels)})" if channels else ""
        if kind == "bicubic":
            which += f" where the {used} brought no confirmed improvement"
        of = " was used for" if not parts else " for"
        planes_of = f" of {len(planes)} planes" if not parts else ""
        parts.append(f"{names.get(kind, kind)}{of} {counts[kind]}{planes_of}{which}")
    sentence = sentence_case(f"{', '.join(parts)}.")
    if len(counts) == 1:
        every = f" for all {len(planes)} planes" if len(planes) > 1 else ""
        sentence = sentence_case(f"{names['learned']} was used{every}.")
    return sentence


def _settings(config: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    device = report.get("device_name") or report.get("device")
    machine = filter(None, (device, report.get("precision")))
    return [
        f"preset {config.get('preset', 'unknown')}",
        f"seed {config.get('seed', 0)}",
        *machine,
    ]


def _noise(setting: Any, planes: Sequence[Mapping[str, Any]]) -> str:
    """The noise that was assumed, and whether and how far it was removed."""
    levels = [plane["noise"] for plane in planes if plane.get("noise") is not None]
    if setting == "off":
        return "Noise was not taken into account."
    if is_camera(setting):
        source = f"Noise was computed from the data of the {setting}"
    elif isinstance(setting, int | float):
        source = f"Noise was set to {100 * setting:.2g} % of the intensity range"
    elif levels and max(levels) < CLEAN:
        return "No noise was found in the image."
    elif levels:
        source = (
            f"Noise was estimated from the image, {range_text(levels)} of the "
            "intensity range"
        )
    else:
        return ""
    made = [plane for plane in planes if plane["returned"] == "learned"]
    denoised = [plane for plane in made if plane.get("denoised")]
    if not denoised:
        return f"{source}, and not reduced."
    grains = [
        plane["quality"]["grain"]
        for plane in denoised
        if (plane.get("quality") or {}).get("grain") is not None
    ]
    some = " in the median" if len(grains) > 1 else ""
    grain = (
        f" (fine grain in flat areas {100 * (np.median(grains) - 1):+.0f} %{some})"
        if grains
        else ""
    )
    return f"{source}, and reduced{grain}."


def _assumed_blur(recipe: Mapping[str, Any], factors: Pair) -> str:
    """The blur that was assumed; empty where none was, and planes kept their size."""
    kernel = recipe["config"].get("kernel") or {}
    if factors == (1.0, 1.0) and kernel.get("kind") == "bicubic":
        return ""
    return f"Assumed blur: {_blur(recipe, factors)}."


def _blur(recipe: Mapping[str, Any], factors: Pair) -> str:
    """Kind of the blur, and its optics or width in each channel."""
    kernel = recipe["config"].get("kernel") or {}
    kind = str(kernel.get("kind", "unknown"))
    if kind == "gaussian":
        y, x = kernel["sigma_px"]
        return f"Gaussian, SD {y:g} × {x:g} result pixels, as given"
    if kind == "bicubic":
        return "that of bicubic shrinking (the default)"
    found = []
    for entry in (recipe.get("report") or {}).get("kernels", ()):
        if (entry.get("kernel") or {}).get("kind") == "bicubic":
            other = "none" if factors == (1.0, 1.0) else "that of bicubic shrinking"
            found.append(f"not found, so {other} was used")
        elif psf := psf_text(entry):
            found.append(psf)
        elif entry.get("fwhm_px"):
            y, x = entry["fwhm_px"]
            found.append(f"FWHM {y:.2g} × {x:.2g} result pixels")
    widths = "; ".join(dict.fromkeys(found))
    if kind == "optics" and not widths:
        given = kernel.get("optics") or {}
        widths = ", ".join(f"{k} {v}" for k, v in given.items() if v is not None)
    name = BLURS.get(kind, kind)
    pixel = _pixel(recipe, ("Y", "X")) if kind == "optics" else ""
    of_pixels = f", for result pixels{pixel}" if pixel else ""
    return f"{name} ({widths}){of_pixels}" if widths else name


def _along_z(recipe: Mapping[str, Any], cited: References) -> Iterator[str]:
    """What was done along Z: networks, blur, noise, and their test."""
    reports = axial_reports(recipe)
    learned = [one for one in reports if _is_learned(one)]
    if not reports:
        return
    if learned:
        networks = _axial_learner(recipe, learned, cited)
        yield f"Sections along Z were enlarged by {networks}{_which(learned, reports)}."
    for reason, some in _reasons_along_z(reports).items():
        yield (
            f"Cubic interpolation was used along Z{_which(some, reports)}, because "
            f"{reason}."
        )
    yield from _assumed_along_z(recipe)
    gains = delivered_gains(
        (one.get("returned"), one.get("gain_db")) for one in learned
    )
    if gains:
        yield (
            "On XY planes made as coarse as Z, "
            f"{_gain_over('cubic interpolation', gains, gain_error(learned))}."
        )


def _assumed_along_z(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Blur and noise that networks along Z assumed."""
    learned = [one for one in axial_reports(recipe) if _is_learned(one)]
    blurs = dict.fromkeys(
        filter(None, (axial_blur_text(recipe, one) for one in learned))
    )
    if blurs:
        yield f"Assumed blur along Z, in addition to that in XY: {'; '.join(blurs)}."
    levels = [one["noise"] for one in learned if one.get("noise")]
    if levels:
        yield (
            f"Noise of {range_text(levels)} of the intensity range was reduced along "
            "with it, so XY planes are smoother too."
        )


def _axial_learner(
    recipe: Mapping[str, Any],
    learned: Sequence[Mapping[str, Any]],
    cited: References,
) -> str:
    """What has made sections along Z, and whether it was trained on the image."""
    if recipe["config"].get("network") == "ridge":
        return f"a linear filter fitted to the image itself ({_zero_shot(cited)})"
    pretrained = any(one.get("began") == LEARNED for one in learned)
    networks, steps = PRETRAINED * pretrained, training_steps(recipe, learned)
    return _trained(networks, steps, cited) if steps else f"{networks}{AS_THEY_ARE}"


def _reasons_along_z(
    reports: Sequence[Mapping[str, Any]],
) -> dict[str, list[Mapping[str, Any]]]:
    """Channels along Z that networks have not made, by the reason for it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in reports:
        if one.get("returned") != "learned":
            sentence = str(one.get("sentence") or "")
            # The report goes on with advice, and with what was returned.
            reason = sentence.partition(". ")[0].rstrip(".")
            known = reason[:1].lower() + reason[1:] or "networks were of no use"
            found.setdefault(known, []).append(one)
    return found


def _which(
    some: Sequence[Mapping[str, Any]], reports: Sequence[Mapping[str, Any]]
) -> str:
    """For which channels, where not for all."""
    if len(some) == len(reports):
        return ""
    return f" in {channels_text([one['channel'] + 1 for one in some])}"


def _gain_over(base: str, gains: Sequence[float], error: float | None) -> str:
    """Gains over a baseline, or losses against it, in decibels."""
    loss = np.median(gains) < 0 and not is_mixed(gains)
    what = "loss against" if loss else "gain over"
    figure = decibels(gains, error)
    told = " (± one standard error)" if "±" in figure else ""
    return f"the {what} {base} was {figure}{told}"
