"""What a recipe tells of how its result was made, for methods and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from napari_zssr.checks import ISOTROPIC
from napari_zssr.imaging.resample import output_size
from napari_zssr.stack.image import planes
from napari_zssr.units import list_text
from napari_zssr.zssr.messages import steps_text

Recipe = Mapping[str, Any]

# Noise below this fraction of the intensity range is called none.
CLEAN = 0.0005
# In the sentence on the blur of a channel: the optics, and the width of their PSF.
PSF = re.compile(r"(?:Gaussian PSF|Vectorial PSF of ideal optics) \([^)]*\)")
PSF_WIDTH = re.compile(r"FWHM [\d.]+(?: × [\d.]+)? µm")
# In the sentence on the blur along Z: the optics, and the widths that they give.
AXIAL_OPTICS = re.compile(r"from the optics \(([^)]*)\): (SD [^,]*, .*? in XY)")
BLURS = {
    "bicubic": "default (bicubic)",
    "gaussian": "Gaussian, given",
    "array": "given",
    "file": "from a file",
    "psf": "from beads",
    "optics": "from the optics",
    "estimate": "estimated from the image",
}
AXIAL_BLURS = {
    "estimate": "estimated from the image",
    "optics": "from the optics",
    "fwhm": "from given widths",
    "gaussian": "as given",
}


def axial_reports(recipe: Recipe) -> Sequence[Recipe]:
    """What was done along Z, by channel; empty where nothing was."""
    return (recipe.get("report") or {}).get("axial") or ()


def joined(recipes: Sequence[Recipe], axes: str, name: str) -> dict[str, Any] | None:
    """Recipe of an image whose channels were each made like one of these, in order.

    `axes` are those of the image. None where settings or sizes differ.
    """
    first, count = recipes[0], len(recipes)
    source, lateral = first.get("input") or {}, axes[-3:] == "CYX"
    if not lateral or source.get("axes") != axes.replace("C", ""):
        return None
    for one in recipes:
        alike = one.get("config") == first.get("config") and "report" in one
        if not alike or one["input"]["shape"] != source["shape"]:
            return None
    reports = [one["report"] for one in recipes]

    def with_channel(values: Sequence[Any], value: Any) -> list[Any]:
        return [*values[:-2], value, *values[-2:]]

    # Among the axes of planes the channel changes first.
    planes = [
        {**plane, "plane": plane["plane"] * count + channel}
        for channel, report in enumerate(reports)
        for plane in report.get("planes") or ()
    ]
    along_z = [
        {**one, "channel": channel}
        for channel, report in enumerate(reports)
        for one in report.get("axial") or ()
    ]
    made = source | {
        "name": name,
        "checksum": "",
        "axes": axes,
        "shape": with_channel(source["shape"], count),
        "spacing": with_channel(source["spacing"], None),
        "units": with_channel(source["units"], None),
    }
    report = reports[0] | {
        "planes": sorted(planes, key=lambda plane: int(plane["plane"])),
        "axial": along_z,
        "kernels": [one for report in reports for one in report.get("kernels") or ()],
        "messages": [one for report in reports for one in report.get("messages") or ()],
        "seconds": sum(report["seconds"] for report in reports),
        "sentence": " ".join(report["sentence"] for report in reports),
        "input_name": name,
        "input_checksum": "",
    }
    return {**first, "input": made, "report": report}


def factor_along(recipe: Recipe, letter: str) -> float | None:
    """Enlargement along an axis; None where the recipe does not tell it."""
    config = recipe.get("config") or {}
    if letter == "Z":
        for report in axial_reports(recipe):
            return float(report["factor"])
        along_z = config.get("factor_z", 1.0)
        return None if along_z == ISOTROPIC else float(along_z)
    if letter not in "YX":
        return 1.0
    factor = (config.get("factor") or (None, None))["YX".index(letter)]
    return None if factor is None else float(factor)


def size_after(recipe: Recipe) -> tuple[str, tuple[int, ...]] | None:
    """Axes and shape of the result; None where they are not known."""
    source = recipe.get("input") or {}
    axes, shape = source.get("axes") or "", source.get("shape") or ()
    factors = [factor_along(recipe, letter) for letter in axes]
    known = [factor for factor in factors if factor is not None]
    if not axes or len(shape) != len(axes) or len(known) != len(axes):
        return None
    sizes = zip(axes, shape, known, strict=True)
    return axes, tuple(n if a == "S" else output_size(n, f) for a, n, f in sizes)


def part_text(recipe: Recipe) -> str:
    """The part of an image that was used; empty for all of it.

    Indices by axis, but the numbers of channels count from 1.
    """
    texts = []
    for letter, (start, stop) in (
        (recipe.get("input") or {}).get("selection") or {}
    ).items():
        if letter == "C":
            texts.append(channels_text(range(start + 1, stop + 1)))
        else:
            last = f" to {stop - 1}" if stop - start > 1 else ""
            texts.append(f"{letter} {start}{last}")
    return ", ".join(texts)


def gain_error(tested: Sequence[Recipe]) -> float | None:
    """Standard error of the gain of planes or channels, where there is only one."""
    return tested[0].get("gain_error_db") if len(tested) == 1 else None


def planes_name(planes: int, channels: int) -> str:
    """What so many planes of so many channels are to a user."""
    if channels < 2:
        return "slices"
    return "channels" if planes == channels else "planes"


def channels_returned(recipe: Recipe, kind: str) -> tuple[int, ...]:
    """Numbers, from 1, of the channels that have come back as `kind` in every plane.

    Empty where there is one channel, or the recipe does not tell.
    """
    source, report = recipe.get("input") or {}, recipe.get("report") or {}
    axes, shape = source.get("axes") or "", source.get("shape") or ()
    if "C" not in axes or len(shape) != len(axes) or shape[axes.index("C")] < 2:
        return ()
    channel = {plane.number: plane.channel + 1 for plane in planes(axes, shape)}
    kinds: dict[int, set[str]] = {}
    for plane in report.get("planes") or ():
        number = channel.get(plane.get("plane"), 0)
        kinds.setdefault(number, set()).add(str(plane.get("returned")))
    return tuple(n for n, found in sorted(kinds.items()) if n and found == {kind})


def channel_text(index: int, name: str = "") -> str:
    """A channel in words, which count from 1, with its name: channel 2 (DAPI)."""
    number = f"channel {index + 1}"
    return f"{number} ({name})" if name not in ("", number) else number


def channels_text(numbers: Sequence[int]) -> str:
    """Channels in words: channel 2; channels 1 and 3."""
    return f"channel{'s' * (len(numbers) > 1)} {list_text([str(n) for n in numbers])}"


def was_trained(recipe: Recipe) -> bool:
    """Whether anything was trained on the planes of the image itself."""
    planes = (recipe.get("report") or {}).get("planes") or ()
    return any_trained((plane.get("steps"), plane.get("shared")) for plane in planes)


def any_trained(planes: Iterable[tuple[int | None, int | None]]) -> bool:
    """Whether anything was trained on the image, for itself or for several planes.

    Of each plane its training steps, and on how many planes networks were trained that
    it shares.
    """
    return any(steps or shared for steps, shared in planes)


def was_interpolated(reports: Sequence[Recipe]) -> bool:
    """Whether networks have made none of these planes, or of these channels along Z."""
    return bool(reports) and all(
        one.get("returned") not in (None, "learned") for one in reports
    )


def training_steps(recipe: Recipe, reports: Sequence[Recipe]) -> str:
    """Training steps of planes, or of channels along Z; empty where there were none."""
    counts = [one["steps"] for one in reports if one.get("steps")]
    if not counts:
        return ""
    config = recipe.get("config") or {}
    most = max(one.get("most_steps") or 0 for one in reports)
    usual = min(config.get("steps", 0), config.get("learned_steps", 0))
    alone = [one for one in reports if one.get("began") and not one.get("shared")]
    return steps_text(counts, most, is_quarter=bool(alone) and 0 < most < usual)


def psf_text(entry: Recipe) -> str:
    """Optics and width of the PSF of a channel, of its entry among the kernels.

    Empty where the blur is not that of optics or of beads. The kernel is narrower: the
    result keeps the blur of the microscope.
    """
    sentence = str(entry.get("sentence") or "")
    optics, width = PSF.search(sentence), PSF_WIDTH.search(sentence)
    return ", ".join(found.group() for found in (optics, width) if found)


def range_text(shares: Sequence[float]) -> str:
    """Fractions in percent, from the least to the most where they differ."""
    least, most = (f"{100 * share:.2g}" for share in (min(shares), max(shares)))
    return f"{most} %" if least == most else f"{least} to {most} %"


def axial_blur_kind(recipe: Recipe) -> str:
    """How the blur along Z was set: ``estimate``, ``optics``, ``section`` and so on."""
    setting = str((recipe.get("config") or {}).get("kernel_z", "estimate"))
    return setting.partition(":")[0]


def axial_blur_text(recipe: Recipe, report: Recipe) -> str:
    """Blur along Z that was assumed for a channel; empty for interpolation."""
    width = report.get("width_slices")
    if width is None:
        is_used = report.get("returned") == "learned"
        return "none, since it could not be estimated" * is_used
    kind = axial_blur_kind(recipe)
    if kind == "section":
        return f"sections {width:.2g} slice{'s' * (width != 1)} thick"
    optics = AXIAL_OPTICS.search(str(report.get("sentence") or ""))
    named = f" ({optics[1]}; {optics[2]})" if optics else ""
    return f"SD {width:.2g} slices, {AXIAL_BLURS.get(kind, kind)}{named}"
