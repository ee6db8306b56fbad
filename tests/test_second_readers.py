"""What other programs' readers read of files that were written here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from conftest import RIDGE

from napari_zssr import ImageWarning, read, upscale_to_disk
from napari_zssr.io.write import write
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import Channel, ImageStack

bioio = pytest.importorskip("bioio")
bioio_ome_tiff = pytest.importorskip("bioio_ome_tiff")
bioio_ome_zarr = pytest.importorskip("bioio_ome_zarr")
ome_types = pytest.importorskip("ome_types")
models = pytest.importorskip("ome_zarr_models.v05")

# bioio-ome-tiff calls ome-types with an argument of older versions.
pytestmark = pytest.mark.filterwarnings("ignore:As of version 0.4.0, the parser")

SIZES = {"T": 2, "C": 3, "Z": 4, "Y": 7, "X": 6, "S": 3}
SYMBOLS = {"um": "\u00b5m", "us": "\u00b5s", "angstrom": "\u00c5"}
WORDS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter",
    "um": "micrometer", "nm": "nanometer", "pm": "picometer", "angstrom": "angstrom",
    "ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second",
    "min": "minute", "h": "hour", "d": "day",
}  # fmt: skip
RED, GREEN = -16776961, 0x00FF00FF
SQUARE = {"Y": (0.1, "um"), "X": (0.1, "um")}
DEEP = SQUARE | {"Z": (0.3, "um")}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An image; `unsaid` are the axes whose units OME does not know along them."""

    axes: str = "YX"
    dtype: str = "uint16"
    spacing: dict[str, tuple[float, str | None]] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    name: str = "cells"
    sizes: dict[str, int] = field(default_factory=dict)
    unsaid: str = ""
    factor: int = 1
    file: str = "a"

    def stack(self) -> ImageStack:
        shape = tuple((SIZES | self.sizes)[a] for a in self.axes)
        values = np.random.default_rng(1).integers(0, 200, shape)
        return labelled(
            values.astype(self.dtype),
            axes=self.axes,
            spacing={a: size for a, (size, _) in self.spacing.items()},
            units={a: unit for a, (_, unit) in self.spacing.items()},
            channels=self.channels,
            name=self.name,
        )


def named(*names: str) -> tuple[Channel, ...]:
    return tuple(Channel(name=name) for name in names)


CASES = {
    # axes
    "YX": Case(spacing=SQUARE),
    "ZYX": Case(axes="ZYX", dtype="float32", spacing=DEEP),
    "CYX": Case(axes="CYX", spacing=SQUARE, channels=named("a", "b", "c")),
    "TYX": Case(axes="TYX", spacing=SQUARE | {"T": (2.5, "s")}),
    "TCZYX": Case(axes="TCZYX", spacing=DEEP | {"T": (1.0, "h")}),
    "ZTCYX": Case(axes="ZTCYX", spacing=DEEP, channels=named("a", "b", "c")),
    "CTZXY": Case(axes="CTZXY", spacing=DEEP),
    "RGB": Case(axes="YXS", dtype="uint8", spacing=SQUARE),
    "RGBA": Case(axes="YXS", dtype="uint8", spacing=SQUARE, sizes={"S": 4}),
    "SYX": Case(axes="SYX", dtype="uint8", spacing=SQUARE),
    "ZYXS": Case(axes="ZYXS", dtype="uint8", spacing=DEEP),
    "channels of RGB": Case(axes="CYXS", dtype="uint8", sizes={"C": 2}),
    # units
    "T in ms": Case(axes="TYX", spacing=SQUARE | {"T": (500.0, "ms")}),
    "T in us": Case(axes="TYX", spacing=SQUARE | {"T": (12.5, "us")}),
    "mixed units": Case(
        axes="ZYX", spacing={"Z": (0.3, "um"), "Y": (65.0, "nm"), "X": (6.5e-5, "mm")}
    ),
    "far apart units": Case(
        axes="ZYX",
        spacing={"Z": (3.0, "km"), "Y": (0.02, "angstrom"), "X": (0.5, "pm")},
    ),
    "odd sizes": Case(
        axes="ZYX",
        spacing={"Z": (1 / 3, "um"), "Y": (math.pi / 1e7, "m"), "X": (1e-9, "m")},
    ),
    "size without unit": Case(spacing={"Y": (0.7, None), "X": (0.7, None)}),
    # what OME has no place for
    "kymograph": Case(spacing={"Y": (0.25, "s"), "X": (0.1, "um")}, unsaid="Y"),
    "T in um": Case(axes="TYX", spacing=SQUARE | {"T": (2.0, "um")}, unsaid="T"),
    "odd unit": Case(spacing={"Y": (2.0, "furlong"), "X": (0.1, "um")}, unsaid="Y"),
    # names and light
    "names": Case(
        axes="CYX",
        name="Z\u00fcrich <b> & \"q\" 'r' \u65e5\u672c",
        channels=(
            Channel(name="\u00e4 <&> \"q\" 'r'", color=RED, emission_nm=461.0),
            Channel(name="{b} %s \\n", color=GREEN, excitation_nm=488.5),
            Channel(name="\U0001f52c", emission_nm=600.25, excitation_nm=561.0),
        ),
    ),
    # enlarged
    "kymograph x2": Case(
        spacing={"Y": (0.5, "s"), "X": (0.2, "um")}, unsaid="Y", factor=2
    ),
    "long name x2": Case(axes="CYX", spacing=SQUARE, factor=2, file="\u00e4" * 120),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one reader says; None where it says nothing of the kind."""

    sizes: dict[str, int]
    spacing: dict[str, float] | None = None
    units: dict[str, str | None] | None = None
    names: list[str] | None = None
    colors: list[int | None] | None = None
    waves: list[tuple[float | None, float | None]] | None = None
    image: str | None = None


def expected(case: Case, kind: str) -> Seen:
    """What is to be read, from the rules of the formats."""
    along = {a: (SIZES | case.sizes)[a] for a in case.axes}
    grown = {a: n * (case.factor if a in "YX" else 1) for a, n in along.items()}
    channels = list(case.channels or [Channel()] * along.get("C", 1))
    names = [channel.name for channel in channels]
    colors = [channel.color for channel in channels]
    waves = [(c.emission_nm, c.excitation_nm) for c in channels]
    if kind == "zarr" and "S" in grown:
        samples = ["red", "green", "blue", "alpha"][: grown["S"]]
        names = [f"{name} {sample}".strip() for name in names for sample in samples]
        colors = [RED, GREEN, 65535, None][: grown["S"]] * len(channels)
        waves = [wave for wave in waves for _ in samples]
        grown["C"] = grown.pop("S") * grown.get("C", 1)
    spacing = {
        a: size / (case.factor if a in "YX" else 1)
        for a, (size, _) in case.spacing.items()
    }
    units: dict[str, str | None] = {}
    for letter, (_, unit) in case.spacing.items():
        unsaid = letter in case.unsaid or unit is None
        if kind == "zarr":
            units[letter] = None if unsaid else WORDS[unit or ""]
        elif not unsaid:
            units[letter] = SYMBOLS.get(unit or "", unit)
        elif letter == "T":
            del spacing[letter]
        else:
            units[letter] = "reference frame"
    return Seen(
        sizes=grown,
        spacing=spacing,
        units=units,
        names=names,
        colors=colors,
        waves=waves,
        image=case.name,
    )


def by_tifffile(path: Path) -> Seen:
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        return Seen(sizes=dict(zip(series.axes, series.shape, strict=True)))


def by_ome_types(path: Path) -> Seen:
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    ome_types.validate_xml(xml)
    (image,) = ome_types.from_xml(xml).images
    pixels = image.pixels
    samples = pixels.channels[0].samples_per_pixel
    sizes = {a: getattr(pixels, f"size_{a.lower()}") for a in "TCZYX"} | {"S": samples}
    sizes["C"] //= samples
    keys = {a: f"physical_size_{a.lower()}" for a in "ZYX"} | {"T": "time_increment"}
    known = {a: k for a, k in keys.items() if getattr(pixels, k) is not None}
    message = [c.color.as_rgb_tuple()[:3] for c in pixels.channels]
    return Seen(
        sizes={a: n for a, n in sizes.items() if n > 1},
        spacing={a: getattr(pixels, k) for a, k in known.items()},
        units={a: getattr(pixels, f"{k}_unit").value for a, k in known.items()},
        names=[channel.name or "" for channel in pixels.channels],
        colors=[packed(*rgb) for rgb in message],
        waves=[
            (channel.emission_wavelength, channel.excitation_wavelength)
            for channel in pixels.channels
        ],
        image=image.name,
    )


def by_bioio_tiff(path: Path) -> Seen:
    reader = bioio_ome_tiff.Reader(path)
    names = [str(name) for name in reader.channel_names]
    return Seen(
        sizes=read_by_bioio(reader),
        spacing=spatial(reader),
        names=["" if name.startswith("Channel:0:") else name for name in names],
    )


def by_models(path: Path) -> Seen:
    group = zarr.open_group(path, mode="r")
    said = models.Image.from_zarr(group).ome_attributes
    (image,) = said.multiscales
    first = image.datasets[0].coordinateTransformations[0].scale
    letters = [axis.name.upper() for axis in image.axes]
    channels = said.omero["channels"]
    return Seen(
        sizes=dict(zip(letters, group["0"].shape, strict=True)),
        spacing=dict(zip(letters, first, strict=True)),
        units={a.name.upper(): a.unit for a in image.axes},
        names=[channel.get("label", "") for channel in channels],
        colors=[packed(*bytes.fromhex(channel["color"])) for channel in channels],
        waves=[(c.get("emissionWave"), c.get("excitationWave")) for c in channels],
        image=image.name,
    )


def by_zarr(path: Path) -> Seen:
    array = zarr.open_array(path / "0", mode="r")
    letters = [name.upper() for name in array.metadata.dimension_names]
    return Seen(sizes=dict(zip(letters, array.shape, strict=True)))


def by_bioio_zarr(path: Path) -> Seen:
    reader = bioio_ome_zarr.Reader(path)
    spacing = spatial(reader)
    if reader.time_interval is not None:
        spacing["T"] = reader.time_interval
    message = {a: getattr(reader.dimension_properties, a).unit for a in spacing}
    return Seen(
        sizes=read_by_bioio(reader),
        spacing=spacing,
        units={a: None if unit is None else str(unit) for a, unit in message.items()},
        names=reader.channel_names,
        image=reader.scenes[0],
    )


def read_by_bioio(reader: Any) -> dict[str, int]:
    """Sizes above 1, those of the pixels that it really reads."""
    found = dict(zip(reader.dims.order, reader.data.shape, strict=True))
    return {letter: size for letter, size in found.items() if size > 1}


def spatial(reader: Any) -> dict[str, float]:
    sizes = reader.physical_pixel_sizes._asdict()
    return {a: size for a, size in sizes.items() if size is not None}


def packed(red: int, green: int, blue: int) -> int | None:
    """An OME colour; white is none."""
    whole = int.from_bytes(bytes([red, green, blue, 255]), "big", signed=True)
    return None if whole == -1 else whole


READERS: dict[str, tuple[Callable[[Path], Seen], ...]] = {
    "tif": (by_tifffile, by_ome_types, by_bioio_tiff),
    "zarr": (by_models, by_zarr, by_bioio_zarr),
}


def check(seen: Seen, wanted: Seen) -> None:
    assert seen.sizes == wanted.sizes
    if seen.spacing is not None:
        assert wanted.spacing is not None
        for letter, size in wanted.spacing.items():
            if letter in seen.spacing or letter != "T":
                assert seen.spacing[letter] == pytest.approx(size, rel=1e-12)
        # OME-Zarr has to say a size; 1 says nothing.
        others = {s for a, s in seen.spacing.items() if a not in wanted.spacing}
        assert others <= {1.0}
    if seen.units is not None:
        assert wanted.units is not None
        for letter in seen.units:
            assert seen.units[letter] == wanted.units.get(letter)
    for what in ("names", "colors", "waves", "image"):
        if getattr(seen, what) is not None:
            assert getattr(seen, what) == getattr(wanted, what), what


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_other_readers_read_the_same(tmp_path: Path, case: Case) -> None:
    for kind in READERS:
        written_and_read(tmp_path / f"{case.file}.ome.{kind}", case, kind)


def written_and_read(path: Path, case: Case, kind: str) -> None:
    stack = case.stack()
    warned = pytest.warns(ImageWarning, match=f"along {case.unsaid}")
    with warned if case.unsaid else contextlib.nullcontext():
        if case.factor == 1:
            write(path, stack)
        else:
            upscale_to_disk(stack, path, RIDGE, factor=case.factor)
    wanted = expected(case, kind)
    for reader in READERS[kind]:
        check(reader(path), wanted)
    if kind == "zarr":
        yaozarrs.validate_zarr_store(str(path))
    again = read(path)
    for letter, (size, unit) in case.spacing.items():
        at = again.axes.index(letter)
        grown = case.factor if letter in "YX" else 1
        assert again.spacing[at] == pytest.approx(size / grown, rel=1e-12)
        assert again.units[at] == unit


@pytest.mark.parametrize("axes", ["TZCYX", "CYX", "YXS", "ZYXS"])
def test_pixels_are_those_that_were_written(tmp_path: Path, axes: str) -> None:
    stack = Case(axes=axes, dtype="uint8").stack()
    whole = [a for a in "TCZYXS" if a in axes]
    tiff = bioio.BioImage(
        write(tmp_path / "a.ome.tif", stack), reader=bioio_ome_tiff.Reader
    )
    data = stack.data.transpose([axes.index(a) for a in whole])
    np.testing.assert_array_equal(np.squeeze(tiff.data), data)
    path = write(tmp_path / "a.ome.zarr", stack)
    pixels = bioio.BioImage(path, reader=bioio_ome_zarr.Reader).data
    if "S" in axes:
        data = np.moveaxis(data, -1, 0)
    np.testing.assert_array_equal(np.squeeze(pixels), data)
