"""Make the gallery of real images: ``python -m tools.before_after DATA [NAME...]``.

DATA is the folder ``microscopy`` of the evaluation data. Every image is enlarged or
restored with the shipped settings; pictures go to ``docs/images/gallery/``, figures to
``docs/benchmarks/gallery.csv``, and from there into ``docs/gallery.md``, below their
markers. With names after DATA only these are made again.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_zssr import Kernel, drain, upscale_steps
from napari_zssr.imaging.comparison import compare
from napari_zssr.imaging.resample import imresize
from napari_zssr.stack.picture import round_length

if TYPE_CHECKING:
    from PIL.Image import Image

    from napari_zssr.stack.axial_channel import AxialReport
    from napari_zssr.stack.plane_result import PlaneReport
    from napari_zssr.stack.run import Upscaled

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = DOCS / "images" / "gallery"
TABLE = DOCS / "benchmarks" / "gallery.csv"
PAGE = DOCS / "gallery.md"
FIRST = DOCS / "images" / "before_after.png"
PRESET = "balanced"
PANEL_PX, GAP, HEADER, FONT_PX, BAR_PX = 320, 6, 24, 15, 4
STRETCH = (0.2, 99.8)
# Scenes of the picture on the first page: titles, and parts of the planes.
COVER_PX = 240
COVER: dict[str, tuple[str, tuple[slice, slice]]] = {
    "low_light": ("less noise", np.s_[48:128, 48:128]),
    "grid": ("less blur (beads)", np.s_[5:45, 2:42]),
    "microtubules": ("twice the pixels", np.s_[290:410, 280:400]),
    "nuclei": ("twice the slices", np.s_[36:96, 34:94]),
}
COLUMNS = (
    "name",
    "preset",
    "factor",
    "factor z",
    "noise %",
    "changed %",
    "delivered %",
    "returned",
    "test dB",
    "test error dB",
    "before dB",
    "after dB",
    "before correlation",
    "after correlation",
    "seconds",
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """An image, how it is restored, and what it is compared with.

    Attributes
    ----------
    pixels : (Y, X), or (Z, Y, X) for more slices
    settings : keywords of `upscale`
    view : part of the shown plane, in pixels of the input
    um : size of a pixel of the shown plane of the result, where it is known
    reference : of the shape of the result, or None
    row : Y of the XZ section that is shown, of stacks
    titles : of the panels
    same_units : whether the reference has the intensities of the input
    """

    pixels: Array
    settings: Mapping[str, Any]
    view: tuple[slice, slice]
    um: float | None = None
    reference: Array | None = None
    row: int | None = None
    titles: tuple[str, ...] = ("bicubic", "napari-zssr", "reference")
    same_units: bool = True

    def shown(self, pixels: Array) -> Array:
        """Plane of these pixels that is shown."""
        return pixels if self.row is None else pixels[:, self.row]


def binned(image: Array, by: int) -> Array:
    """Means of `by` x `by` pixels."""
    y, x = (n // by for n in image.shape)
    cut = image[: y * by, : x * by].astype(np.float64)
    means: Array = cut.reshape(y, by, x, by).mean(axis=(1, 3))
    return means


def counts(image: Array) -> Array:
    """Whole numbers, as a camera gives them."""
    return np.rint(image).astype(np.uint16)


def whole(image: Array) -> tuple[slice, slice]:
    """All of a plane."""
    return slice(0, image.shape[-2]), slice(0, image.shape[-1])


def cells(data: Path, channel: int, view: tuple[slice, slice]) -> Scene:
    """A channel of the bundled cells."""
    path = data / "bundle_candidates" / "cell_dna_mts_actin_converted.ome.tif"
    settings = {"axes": "YX", "factor": 2}
    return Scene(
        pixels=tifffile.imread(path)[channel], settings=settings, view=view, um=0.06625
    )


def microtubules(data: Path) -> Scene:
    """Noisy filaments, enlarged."""
    return cells(data, 1, np.s_[138:218, 130:210])


def actin(data: Path) -> Scene:
    """Filaments with little noise, enlarged."""
    return cells(data, 2, np.s_[150:230, 130:210])


def low_light(data: Path) -> Scene:
    """Noise alone, with an exposure of more light."""
    folder = data / "pairs" / "dl-sim"
    dim = counts(binned(tifffile.imread(folder / "LE_15.tif"), 2))
    return Scene(
        pixels=dim,
        settings={"axes": "YX", "factor": 1},
        view=whole(dim),
        um=0.06,
        reference=binned(tifffile.imread(folder / "HE_15.tif"), 2),
        titles=("little light", "napari-zssr", "reference: more light"),
        same_units=False,
    )


def widefield(data: Path) -> Scene:
    """Blur by the optics, with structured illumination."""
    folder = data / "pairs" / "dl-sim"
    wide = counts(binned(tifffile.imread(folder / "HE_15.tif"), 2))
    blur = "optics:na=1.49,wavelength_nm=525"
    settings = {"axes": "YX", "factor": 1, "kernel": blur, "noise": 0.01}
    return Scene(
        pixels=wide,
        settings=settings | {"spacing": 0.06},
        view=whole(wide),
        um=0.06,
        reference=binned(tifffile.imread(folder / "SIM_Sample_1.tif"), 2),
        titles=("widefield", "napari-zssr", "reference: SIM"),
        same_units=False,
    )


def enlarged_widefield(data: Path) -> Scene:
    """The same image, which has no use for more pixels."""
    folder = data / "pairs" / "dl-sim"
    wide = counts(binned(tifffile.imread(folder / "HE_15.tif"), 2))
    return Scene(
        pixels=wide,
        settings={"axes": "YX", "factor": 2},
        view=np.s_[10:90, 40:120],
        um=0.03,
        reference=tifffile.imread(folder / "SIM_Sample_1.tif"),
        titles=("bicubic", "napari-zssr", "reference: SIM"),
        same_units=False,
    )


def grid(data: Path) -> Scene:
    """Blur by beads that were measured on the same microscope."""
    voxel = (0.125, 0.0225, 0.0225)
    beads = data / "psf" / "Bead_Image1_crop.tif"
    psf = Kernel.from_beads(beads, spacing_um=voxel)
    stack = tifffile.imread(
        data / "psf" / "DeconvolutionSampleVerticalGrid1AU-crop.tif"
    )
    plane = binned(stack[10], 3)
    return Scene(
        pixels=plane,
        settings={"axes": "YX", "factor": 1, "kernel": psf, "spacing": 0.0675},
        view=whole(plane),
        um=0.0675,
        titles=("recorded", "napari-zssr"),
    )


def neuropil(data: Path) -> Scene:
    """Thick sections of an isotropic volume."""
    fine = tifffile.imread(data / "axial" / "fib_sem_judge.tif").astype(np.float32)
    thick = fine.reshape(-1, 4, *fine.shape[1:]).mean(axis=1)
    settings = {"axes": "ZYX", "factor": 1, "factor_z": 4, "kernel_z": "section:1"}
    return Scene(
        pixels=thick,
        settings=settings,
        view=(slice(None), slice(0, 128)),
        reference=fine,
        row=80,
        titles=("thick sections, cubic", "napari-zssr", "reference: recorded"),
    )


def nuclei(data: Path) -> Scene:
    """A light-sheet stack whose slices were averaged in pairs."""
    fine = tifffile.imread(data / "axial" / "lightsheet_nuclei.tif")[20:116]
    thinned = fine.reshape(-1, 2, *fine.shape[1:]).mean(axis=1)
    return Scene(
        pixels=thinned.astype(np.float32),
        settings={"axes": "ZYX", "factor": 1, "factor_z": 2},
        view=(slice(None), slice(0, 94)),
        row=44,
        titles=("side view, cubic", "napari-zssr"),
    )


def reticulum(data: Path) -> Scene:
    """More noise than signal."""
    image = tifffile.imread(data / "tiff" / "xy_calibrated_16bit__cells_eres_noisy.tif")
    image = image[256:, 100:380]
    return Scene(
        pixels=image,
        settings={"axes": "YX", "factor": 1},
        view=np.s_[40:200, 30:190],
        um=0.23,
        titles=("recorded", "napari-zssr"),
    )


def screen(data: Path) -> Scene:
    """A screening image on which nothing is gained."""
    image = tifffile.imread(data / "tiff" / "IXMtest_A02_s9.tif")[1, :300, 200:500]
    return Scene(
        pixels=image,
        settings={"axes": "YX", "factor": 2},
        view=np.s_[20:128, 60:168],
        titles=("bicubic", "napari-zssr"),
    )


SCENES: dict[str, Callable[[Path], Scene]] = {
    "microtubules": microtubules,
    "low_light": low_light,
    "grid": grid,
    "widefield": widefield,
    "actin": actin,
    "nuclei": nuclei,
    "neuropil": neuropil,
    "reticulum": reticulum,
    "enlarged_widefield": enlarged_widefield,
    "screen": screen,
}


def planes_of(scene: Scene, result: Array) -> tuple[Array, ...]:
    """Plane before, as interpolation has it, after, and of the reference."""
    before, after = scene.shown(scene.pixels), scene.shown(result)
    y, x = (
        fine / coarse for fine, coarse in zip(after.shape, before.shape, strict=True)
    )
    if (y, x) != (1, 1):
        before = imresize(before, (y, x))
    if scene.reference is None:
        return before, after
    return before, after, scene.shown(scene.reference)


def measured(
    name: str, scene: Scene, result: Upscaled, seconds: float
) -> dict[str, str]:
    """Row of the table."""
    row = {"name": name, "preset": PRESET, "factor": str(scene.settings["factor"])}
    row["factor z"] = str(scene.settings.get("factor_z", 1))
    row["seconds"] = f"{seconds:.0f}"
    planes = planes_of(scene, result.image)
    row |= (
        told_of_planes(result)
        if result.report.planes
        else told_of_slices(result, change_of(*planes[:2]))
    )
    if scene.reference is not None:
        for when, seen in zip(("before", "after"), planes, strict=False):
            scores = compare(seen, planes[2]).scores
            row[f"{when} dB"] = f"{scores.psnr:.2f}"
            row[f"{when} correlation"] = f"{scores.rsp:.3f}"
    return {column: row.get(column, "") for column in COLUMNS}


def told_of_planes(result: Upscaled) -> dict[str, str]:
    """What the report of a single plane says."""
    (plane,) = result.report.planes
    change = plane.quality.change if plane.quality else 0.0
    told = {"noise %": f"{100 * plane.noise:.2f}", "changed %": f"{100 * change:.2f}"}
    if plane.assessment is not None and plane.returned == "learned":
        told["delivered %"] = f"{100 * plane.assessment['share']:.0f}"
    return told | tested(plane)


def told_of_slices(result: Upscaled, change: float) -> dict[str, str]:
    """What the report along Z of a single channel says."""
    (channel,) = result.report.axial
    return {"changed %": f"{100 * change:.2f}"} | tested(channel)


def tested(report: PlaneReport | AxialReport) -> dict[str, str]:
    """What was returned, and the test on held-out regions."""
    told = {"returned": report.returned}
    if report.gain_db is not None and report.gain_error_db is not None:
        told |= {"test dB": f"{report.gain_db:.2f}"}
        told |= {"test error dB": f"{report.gain_error_db:.2f}"}
    return told


def change_of(before: Array, after: Array) -> float:
    """Root mean square difference, fraction of the range."""
    low, high = np.percentile(before, STRETCH)
    return float(np.sqrt(np.mean((after - before) ** 2)) / (high - low))


def draw(scene: Scene, result: Array) -> Image:
    """Panels side by side; all in the contrast of the first, unless units differ."""
    from PIL import Image, ImageDraw

    planes = planes_of(scene, result)
    ratio = planes[0].shape[1] / scene.pixels.shape[-1]
    ratio = 1.0 if scene.row is not None else ratio
    part = tuple(_scaled(side, ratio) for side in scene.view)
    shown = [plane[part] for plane in planes]
    height, width = shown[0].shape
    zoom = max(1, round(PANEL_PX / max(height, width)))
    step = width * zoom + GAP
    size = (step * len(shown) - GAP, HEADER + height * zoom)
    canvas = Image.new("L", size, 255)
    pen = ImageDraw.Draw(canvas)
    pen.font = _font()
    limits = np.percentile(shown[0], STRETCH)
    for column, plane in enumerate(shown):
        own = column == 2 and not scene.same_units
        low, high = np.percentile(plane, STRETCH) if own else limits
        drawn = _grey(plane, (low, high), zoom)
        canvas.paste(Image.fromarray(drawn), (column * step, HEADER))
        pen.text((column * step, 2), scene.titles[column], fill=0)
    _scale_bar(pen, scene, width, zoom, size[1])
    return canvas


def _grey(plane: Array, limits: Array | tuple[float, float], zoom: int) -> Array:
    """Plane from black to white between limits, each pixel `zoom` x `zoom` large."""
    low, high = limits
    shares = ((plane - low) / (high - low)).clip(0, 1)
    grey: Array = np.kron(np.rint(255 * shares), np.ones((zoom, zoom)))
    return grey.astype(np.uint8)


def cover(made: Mapping[str, tuple[Scene, Array]]) -> Image:
    """Four of the scenes, before above and after below, for the first page."""
    from PIL import Image, ImageDraw

    step = COVER_PX + GAP
    left = HEADER
    size = (left + step * len(COVER) - GAP, HEADER + 2 * step - GAP)
    canvas = Image.new("L", size, 255)
    pen = ImageDraw.Draw(canvas)
    pen.font = _font()
    for column, (name, (title, part)) in enumerate(COVER.items()):
        before, after, *_ = (plane[part] for plane in planes_of(*made[name]))
        limits = np.percentile(before, STRETCH)
        zoom = COVER_PX // before.shape[0]
        x = left + column * step
        pen.text((x, 2), title, fill=0)
        for row, plane in enumerate((before, after)):
            drawn = Image.fromarray(_grey(plane, limits, zoom))
            canvas.paste(drawn, (x, HEADER + row * step))
    for row, word in enumerate(("before", "after")):
        label = Image.new("L", (COVER_PX, HEADER), 255)
        middle = (COVER_PX // 2, HEADER // 2)
        ImageDraw.Draw(label).text(middle, word, 0, _font(), anchor="mm")
        canvas.paste(label.rotate(90, expand=True), (0, HEADER + row * step))
    return canvas


def _font() -> Any:
    """Font that has a micro sign; that of Pillow has none."""
    from matplotlib import font_manager
    from PIL import ImageFont

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), FONT_PX)


def _scaled(side: slice, ratio: float) -> slice:
    if side == slice(None):
        return side
    return slice(round(side.start * ratio), round(side.stop * ratio))


def _scale_bar(pen: Any, scene: Scene, width: int, zoom: int, bottom: int) -> None:
    """Draw a bar of a round length into the first panel."""
    unit, size = ("pixels", 1.0) if scene.um is None else ("µm", scene.um)
    length = round_length(0.3 * width * size)
    right = 10 + round(length / size * zoom)
    top = bottom - 14
    pen.rectangle((9, top - 1, right + 1, top + BAR_PX + 1), fill=0)
    pen.rectangle((10, top, right, top + BAR_PX), fill=255)
    label = f"{length:g} {unit}"
    pen.text((10, top - 20), label, fill=255, stroke_width=2, stroke_fill=0)


def figures(row: Mapping[str, str]) -> str:
    """Line of the page below a picture."""
    parts = [f"`{row['preset']}`, factor {row['factor']}"]
    if row["factor z"] != "1":
        parts = [f"`{row['preset']}`, {row['factor z']} times the slices"]
    if row["noise %"]:
        parts.append(f"noise {float(row['noise %']):.1f} % of the range")
    if row["returned"] == "learned":
        parts.append(f"{float(row['changed %']):.1f} % of the range changed")
    else:
        parts.append("interpolation returned")
    if row["delivered %"] not in ("", "100"):
        parts.append(f"{row['delivered %']} % of it delivered")
    if row["test dB"]:
        gain, error = float(row["test dB"]), float(row["test error dB"])
        parts.append(f"test on the image itself {gain:+.1f} ± {error:.1f} dB")
    if row["before dB"]:
        before, after = (
            f"{float(row[f'{when} dB']):.1f} dB (correlation "
            f"{float(row[f'{when} correlation']):.2f})"
            for when in ("before", "after")
        )
        parts.append(f"against the reference {before} before, {after} after")
    return f"*{'; '.join(parts)}.*"


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """Rows of the table."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_page(rows: list[dict[str, str]], path: Path = PAGE) -> None:
    """Put the figures below their markers."""
    lines = {f"<!-- figures: {row['name']} -->": figures(row) for row in rows}
    page = path.read_text(encoding="utf-8").splitlines()
    for place, line in enumerate(page[:-1]):
        if line in lines:
            page[place + 1] = lines[line]
    path.write_text("\n".join(page) + "\n", encoding="utf-8")


def main(data: Path, names: list[str]) -> None:
    """Make pictures and figures of these scenes, of all unless some are named."""
    rows = {row["name"]: row for row in read_table()}
    made = {}
    for name in names or list(SCENES):
        scene = SCENES[name](data)
        begun = time.perf_counter()
        steps = upscale_steps(scene.pixels, PRESET, device="cpu", **scene.settings)
        result = drain(steps)
        seconds = time.perf_counter() - begun
        draw(scene, result.image).save(PICTURES / f"{name}.png", optimize=True)
        made[name] = (scene, result.image)
        rows[name] = measured(name, scene, result, seconds)
        print(figures(rows[name]), result.report.sentence)  # noqa: T201
    if made.keys() >= COVER.keys():
        cover(made).save(FIRST, optimize=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows[name] for name in SCENES if name in rows)
    write_page(read_table())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
