"""The recipe of a result in plain words; no Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from napari_zssr.checks import CAMERA_PREFIX, ISOTROPIC, LEARNED, is_camera
from napari_zssr.plugin.estimate import sizes_text
from napari_zssr.plugin.summary import CLEAN
from napari_zssr.stack.image import unit_text
from napari_zssr.units import duration_text
from napari_zssr.zssr.messages import baseline

Recipe = Mapping[str, Any]
Rows = list[tuple[str, str]]
BLURS = {
    "bicubic": "default (bicubic)",
    "gaussian": "Gaussian, given",
    "array": "given",
    "file": "from a file",
    "psf": "from beads",
    "optics": "from the optics",
    "estimate": "estimated from the image",
}


def recipe_rows(recipe: Recipe, file: Path | None = None) -> Rows:
    """Name and value of what made a result, for a table of two columns.

    What is not known is left out.
    """
    source, config = recipe.get("input") or {}, recipe.get("config") or {}
    report = recipe.get("report") or {}
    rows = [
        ("Image", str(source.get("name") or "")),
        ("Size", _size(source)),
        ("Part", _part(source)),
        ("Pixel size", _pixel_size(source, config)),
        ("Enlarged", _enlarged(config)),
        ("Preset", str(config.get("preset") or "")),
        ("Start", _start(config, report)),
        ("Blur", _blur(config, report)),
        ("Noise", _noise(config, report)),
        ("Test", _gain(config, report)),
        ("Delivered", _delivered(recipe, config, report)),
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


def _part(source: Recipe) -> str:
    """Range of indices by axis, of the image that was enlarged in part."""
    ranges = (source.get("selection") or {}).items()
    return ", ".join(
        f"{letter} {start}" if stop - start == 1 else f"{letter} {start} to {stop - 1}"
        for letter, (start, stop) in ranges
    )


def _pixel_size(source: Recipe, config: Recipe) -> str:
    """Pixel size before and after."""
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
    after = {a: size / f for a, size in before.items() if (f := _factor(config, a))}
    sizes = [before] + ([after] if len(after) == len(before) else [])
    texts = map(_sizes, sizes)
    return f"{' → '.join(texts)} {unit_text(unit)}".strip()


def _sizes(by_axis: Mapping[str, float]) -> str:
    """Sizes along each axis, one where they are the same."""
    texts = [f"{size:.4g}" for size in by_axis.values()]
    return texts[0] if len(set(texts)) == 1 else " × ".join(texts)


def _factor(config: Recipe, letter: str) -> float | None:
    """Enlargement along Z, Y or X, None where only the stack tells it."""
    if letter == "Z":
        along_z = config.get("factor_z", 1.0)
        return None if along_z == ISOTROPIC else float(along_z)
    y, x = config.get("factor") or (None, None)
    factor = y if letter == "Y" else x
    return None if factor is None else float(factor)


def _enlarged(config: Recipe) -> str:
    y, x = _factor(config, "Y"), _factor(config, "X")
    if y is None or x is None:
        return ""
    parts = [f"{y:g}× along Y and X" if y == x else f"Y {y:g}×, X {x:g}×"]
    if (y, x) == (1, 1):
        parts = ["not along Y and X (same pixels)"]
    along_z = config.get("factor_z", 1.0)
    if along_z != 1:
        parts.append("Z to cubic voxels" if along_z == ISOTROPIC else f"Z {along_z:g}×")
    return ", ".join(parts)


def _start(config: Recipe, report: Recipe) -> str:
    planes: Sequence[Recipe] = report.get("planes") or ()
    if config.get("network") == "ridge":
        return "a filter fitted to this image"
    if any(plane.get("began") == LEARNED for plane in planes):
        return "pretrained on generated images"
    start = config.get("start")
    if start not in (None, LEARNED, "random"):
        return f"saved networks ({Path(str(start)).name})"
    if start == LEARNED and not planes:
        return "pretrained on generated images"
    return "this image only" if start else ""


def _blur(config: Recipe, report: Recipe) -> str:
    """What blur was assumed, and its width in each channel."""
    kind = (config.get("kernel") or {}).get("kind")
    if kind is None:
        return ""
    texts = []
    for entry in report.get("kernels") or ():
        if (entry.get("kernel") or {}).get("kind") == "bicubic":
            found = "" if kind == "bicubic" else "not found, default used"
        else:
            found = f"FWHM {_width(entry.get('fwhm_px'))} result pixels"
            if entry.get("fwhm_um"):
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


def _noise(config: Recipe, report: Recipe) -> str:
    setting = config.get("noise", "auto")
    if setting == "off":
        return "ignored"
    levels = _known(report, "noise")
    if isinstance(setting, float):
        return f"{_percent(setting)} of the intensity range, given"
    if is_camera(setting):
        data = str(setting).removeprefix(f"{CAMERA_PREFIX}:").strip()
        return f"that of the camera ({data})"
    if not levels:
        return ""
    level = median(levels)
    if level < CLEAN:
        return "none found"
    some = ", median of the slices" if len(levels) > 1 else ""
    return f"{_percent(level)} of the intensity range, found in the image{some}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _gain(config: Recipe, report: Recipe) -> str:
    """Held-out gain over plain interpolation."""
    gains = _known(report, "gain_db")
    if not gains:
        return ""
    gain = median(gains)
    error = _known(report, "gain_error_db")
    margin = f" ± {error[0]:.2f}" if len(gains) == 1 == len(error) else ""
    some = f", median of {len(gains)} slices" if len(gains) > 1 else ""
    side = "closer" if gain >= 0 else "further off"
    test = baseline(_factors(config)).test
    name = _base(config)
    return f"{abs(gain):.2f}{margin} dB {side} than {name}, on the image {test}{some}"


def _base(config: Recipe) -> str:
    name = baseline(_factors(config)).name
    return "bicubic interpolation" if name == "bicubic" else name


def _factors(config: Recipe) -> tuple[float, float]:
    return _factor(config, "Y") or 2.0, _factor(config, "X") or 2.0


def _delivered(recipe: Recipe, config: Recipe, report: Recipe) -> str:
    """How many slices were learned, and how much of it was kept."""
    if "finished" in recipe:
        return f"{recipe['finished']} of {recipe['planes']} slices; the run was stopped"
    planes = report.get("planes") or ()
    if not planes:
        return "trained networks along Z" if report.get("axial") else ""
    kinds = [str(plane.get("returned")) for plane in planes]
    learned = kinds.count("learned")
    names = {
        "learned": "trained networks",
        "bicubic": _base(config),
        "constant": "a plane of one value",
    }
    if config.get("network") == "ridge":
        names["learned"] = "a fitted filter"
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    texts = [
        f"{names.get(kind, kind)}{f' in {count} slices' * (len(counts) > 1)}"
        for kind, count in counts.items()
    ]
    shares = [
        plane["assessment"]["share"]
        for plane in planes
        if plane.get("assessment") and plane.get("returned") == "learned"
    ]
    held = learned and shares and min(shares) < 1 and not config.get("always")
    part = f" ({100 * min(shares):.0f} % of their change)" if held else ""
    return ", ".join(texts) + part


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
