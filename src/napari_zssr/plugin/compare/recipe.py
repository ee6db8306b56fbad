"""The recipe of a result in plain words; no Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_zssr.checks import CAMERA_PREFIX, ISOTROPIC, LEARNED, is_camera
from napari_zssr.plugin.estimate import sizes_text
from napari_zssr.stack.image import unit_text
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
    planes_name,
    psf_text,
    range_text,
    size_after,
    training_steps,
    was_interpolated,
    was_trained,
)
from napari_zssr.units import counted, duration_text
from napari_zssr.zssr.messages import (
    RESTORED,
    baseline,
    decibels,
    delivered_gains,
    side,
)

Recipe = Mapping[str, Any]
Rows = list[tuple[str, str]]


def recipe_rows(recipe: Recipe, file: Path | None = None) -> Rows:
    """Name and value of what made a result, for a table of two columns.

    What is not known is left out.
    """
    source, config = recipe.get("input") or {}, recipe.get("config") or {}
    report = recipe.get("report") or {}
    only_along_z = bool(axial_reports(recipe)) and not report.get("planes")
    rows = [
        ("Image", str(source.get("name") or "")),
        ("Size", _size(source)),
        ("Part", part_text(recipe)),
        ("Result size", _result_size(recipe)),
        ("Pixel size", _pixel_size(recipe)),
        ("Enlarged", _enlarged(recipe)),
        ("Preset", str(config.get("preset") or "")),
        ("Start", _start(config, report)),
        ("Training", _training(recipe, report)),
        ("Blur", "" if only_along_z else _blur(config, report)),
        ("Noise", _noise(recipe, config, report)),
        ("Test", _gain(recipe, config, report)),
        ("Blur along Z", _axial_blur(recipe)),
        ("Test along Z", _axial_gain(recipe)),
        ("Result", _result(recipe, config, report)),
        ("Seed", str(config.get("seed", ""))),
        ("Version", _version(report)),
        ("Device", _device(report)),
        ("Time", duration_text(report["seconds"]) if report.get("seconds") else ""),
        ("File", str(recipe.get("file") or file or "")),
    ]
    return [(name, text) for name, text in rows if text]


def recipe_text(rows: Rows) -> str:
    """The table as lines of text."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _size(source: Recipe) -> str:
    axes, shape = source.get("axes"), source.get("shape")
    return sizes_text(axes, shape) if axes and shape else ""


def _result_size(recipe: Recipe) -> str:
    after = size_after(recipe)
    return sizes_text(*after) if after else ""


def _pixel_size(recipe: Recipe) -> str:
    """Pixel size before and after."""
    source = recipe.get("input") or {}
    axes, spacing = source.get("axes") or "", source.get("spacing") or ()
    units = source.get("units") or ()
    if len(spacing) < len(axes.replace("S", "")) or len(units) != len(spacing):
        return ""
    along = {
        letter: (size, unit)
        for letter, size, unit in zip(axes, spacing, units, strict=False)
        if letter in "ZYX" and size is not None
    }
    if len({unit for _, unit in along.values()}) != 1:
        return ""
    unit = next(iter(along.values()))[1]
    before = {letter: size for letter, (size, _) in along.items()}
    factors = {letter: factor_along(recipe, letter) for letter in before}
    after = {a: size / f for a, size in before.items() if (f := factors[a])}
    sizes = [before] + ([after] if len(after) == len(before) else [])
    texts = map(_sizes, sizes)
    return f"{' → '.join(texts)} {unit_text(unit)}".strip()


def _sizes(by_axis: Mapping[str, float]) -> str:
    """Sizes along each axis, one where they are the same."""
    texts = [f"{size:.4g}" for size in by_axis.values()]
    return texts[0] if len(set(texts)) == 1 else " × ".join(texts)


def _enlarged(recipe: Recipe) -> str:
    config = recipe.get("config") or {}
    y, x = (factor_along(recipe, letter) for letter in "YX")
    if y is None or x is None:
        return ""
    parts = [f"{y:g}× along Y and X" if y == x else f"Y {y:g}×, X {x:g}×"]
    if (y, x) == (1, 1):
        parts = ["same pixels along Y and X"]
    along_z = config.get("factor_z", 1.0)
    if along_z != 1:
        factor = factor_along(recipe, "Z")
        times = "" if factor is None else f"Z {factor:.3g}×"
        cubic = "to cubic voxels" if along_z == ISOTROPIC else ""
        parts.append(" ".join(filter(None, (times or "Z", cubic))))
    return ", ".join(parts)


def _start(config: Recipe, report: Recipe) -> str:
    """What networks began from; empty where they have made no part of the result."""
    made: list[Recipe] = [*(report.get("planes") or ()), *(report.get("axial") or ())]
    if was_interpolated(made):
        return ""
    if config.get("network") == "ridge":
        return "a filter fitted to this image"
    start = config.get("start")
    if any(one.get("began") == LEARNED for one in made) or (
        start == LEARNED and not made
    ):
        return "network pretrained on synthetic images (drawn by a program)"
    if start not in (None, LEARNED, "random"):
        return f"saved networks ({Path(str(start)).name})"
    trained = any(one.get("steps") or one.get("shared") for one in made)
    return "this image only" if start and (trained or not made) else ""


def _training(recipe: Recipe, report: Recipe) -> str:
    """Training on the image: steps, or that there was none."""
    config = recipe.get("config") or {}
    if config.get("network") == "ridge":
        return ""
    texts = []
    for name, suffix in (("planes", ""), ("axial", " along Z")):
        made: Sequence[Recipe] = report.get(name) or ()
        if not made or was_interpolated(made):
            continue
        shared = max(one.get("shared") or 0 for one in made)
        on_some = f"on {counted(shared, 'slice')} of the stack" if shared else ""
        steps = training_steps(recipe, made)
        parts = filter(None, (on_some, steps))
        texts.append(f"{', then '.join(parts) or 'none on this image'}{suffix}")
    return "; ".join(dict.fromkeys(texts))


def _blur(config: Recipe, report: Recipe) -> str:
    """What blur was assumed, and its width in each channel."""
    kind = (config.get("kernel") or {}).get("kind")
    keeps_size = _factors(config) == (1, 1)
    if kind is None or (kind == "bicubic" and keeps_size):
        return ""
    if was_interpolated(report.get("planes") or ()):
        return ""
    texts = []
    for entry in report.get("kernels") or ():
        if (entry.get("kernel") or {}).get("kind") == "bicubic":
            other = "none" if keeps_size else "default"
            found = "" if kind == "bicubic" else f"not found, {other} used"
        else:
            found = f"FWHM {_width(entry.get('fwhm_px'))} result pixels"
            psf = psf_text(entry)
            if psf:
                found = psf
            elif entry.get("fwhm_um"):
                found += f" ({_width(entry['fwhm_um'])} µm)"
        texts.append(found)
    widths = "; ".join(text for text in dict.fromkeys(texts) if text)
    name = BLURS.get(kind, str(kind))
    return f"{name}: {widths}" if widths else name


def _width(sizes: Any) -> str:
    if not sizes:
        return "unknown"
    y, x = sizes
    return f"{y:.2g}" if f"{y:.2g}" == f"{x:.2g}" else f"{y:.2g} × {x:.2g}"


def _noise(recipe: Recipe, config: Recipe, report: Recipe) -> str:
    setting = config.get("noise", "auto")
    if setting == "off":
        return "ignored"
    suppressed = [one["noise"] for one in report.get("axial") or () if one.get("noise")]
    levels = _known(report, "noise") or suppressed
    if isinstance(setting, float):
        return f"{range_text([setting])} of the intensity range, given"
    if is_camera(setting):
        data = str(setting).removeprefix(f"{CAMERA_PREFIX}:").strip()
        return f"that of the camera ({data})"
    if not levels:
        return ""
    if max(levels) < CLEAN:
        return "none found"
    denoised = suppressed or any(p.get("denoised") for p in report.get("planes") or ())
    reduced = ", reduced" if denoised else ""
    return f"{range_text(levels)} of the intensity range, found in the image{reduced}"


def _gain(recipe: Recipe, config: Recipe, report: Recipe) -> str:
    """Held-out gain over plain interpolation."""
    base = baseline(_factors(config))
    gain, count = _gain_text(report.get("planes") or (), base.rival)
    some = f" ({count} {_planes_name(recipe)})" if count > 1 else ""
    return f"{gain}, on the image {base.test}{some}" if gain else ""


def _planes_name(recipe: Recipe) -> str:
    source, report = recipe.get("input") or {}, recipe.get("report") or {}
    sizes = dict(zip(source.get("axes") or "", source.get("shape") or (), strict=False))
    count = len(report.get("planes") or ()) or recipe.get("planes", 0)
    return planes_name(count, sizes.get("C", 1))


def _gain_text(tested: Sequence[Recipe], base: str) -> tuple[str, int]:
    """Gain over a baseline, and of how many planes or channels."""
    gains = delivered_gains((one.get("returned"), one.get("gain_db")) for one in tested)
    if not gains:
        return "", 0
    figure = decibels(gains, gain_error(tested))
    told = " (± one standard error)" if "±" in figure else ""
    than = side(gains, " to the original", " from the original")
    return f"{figure}{told} {than} {base}", len(gains)


def _axial_gain(recipe: Recipe) -> str:
    """Gain along Z over cubic interpolation."""
    gain, count = _gain_text(axial_reports(recipe), "cubic interpolation")
    some = f" ({count} channels)" if count > 1 else ""
    return f"{gain}, on XY planes made as coarse as Z{some}" if gain else ""


def _axial_blur(recipe: Recipe) -> str:
    learned = (one for one in axial_reports(recipe) if one["returned"] == "learned")
    found = (axial_blur_text(recipe, one) for one in learned)
    return "; ".join(dict.fromkeys(filter(None, found)))


def _factors(config: Recipe) -> tuple[float, float]:
    y, x = (factor_along({"config": config}, letter) for letter in "YX")
    return y or 2.0, x or 2.0


def _result(recipe: Recipe, config: Recipe, report: Recipe) -> str:
    """What made the slices, and how much of what networks changed was kept."""
    if "finished" in recipe:
        name = _planes_name(recipe)
        return f"{recipe['finished']} of {recipe['planes']} {name}; the run was stopped"
    planes = report.get("planes") or ()
    if not planes:
        return _result_along_z(recipe)
    kinds = [str(plane.get("returned")) for plane in planes]
    base = baseline(_factors(config))
    learned = kinds.count("learned")
    names = {
        "learned": _networks(recipe),
        "bicubic": "unchanged input" if base == RESTORED else base.name,
        "constant": "constant value",
    }
    if config.get("network") == "ridge":
        names["learned"] = "a fitted filter"
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    texts = []
    for kind, count in counts.items():
        channels = channels_returned(recipe, kind)
        which = f" ({channels_text(channels)})" if channels else ""
        place = counted(count, _planes_name(recipe).removesuffix("s"))
        many = f" in {place}{which}" if len(counts) > 1 else ""
        texts.append(f"{names.get(kind, kind)}{many}")
    shares = [
        plane["assessment"]["share"]
        for plane in planes
        if plane.get("assessment") and plane.get("returned") == "learned"
    ]
    held = learned and shares and min(shares) < 1 and not config.get("always")
    part = f" ({100 * min(shares):.0f} % of the change used)" if held else ""
    return ", ".join(texts) + part


def _networks(recipe: Recipe) -> str:
    """The networks that made planes."""
    if was_trained(recipe):
        return "trained networks"
    planes = (recipe.get("report") or {}).get("planes") or ()
    began = any(plane.get("began") == LEARNED for plane in planes)
    return "pretrained network" if began else "networks"


def _result_along_z(recipe: Recipe) -> str:
    """What came of the channels of a stack of which only Z was enlarged."""
    found: dict[str, list[int]] = {}
    for one in axial_reports(recipe):
        learned = one.get("returned") == "learned"
        name = "networks" if learned else "cubic interpolation"
        found.setdefault(name, []).append(int(one.get("channel", 0)) + 1)
    return ", ".join(
        f"{name} along Z{f' ({channels_text(channels)})' * (len(found) > 1)}"
        for name, channels in found.items()
    )


def _known(report: Recipe, name: str) -> list[float]:
    values = (plane.get(name) for plane in report.get("planes") or ())
    return [float(value) for value in values if value is not None]


def _version(report: Recipe) -> str:
    versions = report.get("versions") or {}
    known = ((name, versions.get(name)) for name in ("napari-zssr", "torch"))
    return ", ".join(f"{name} {version}" for name, version in known if version)


def _device(report: Recipe) -> str:
    device = report.get("device_name") or report.get("device")
    return ", ".join(map(str, filter(None, [device, report.get("precision")])))
