"""The check of a finished result: planes that belong together, table, page, methods."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_zssr.cli import main
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.quantities import bright_regions
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read
from napari_zssr.io.write import write
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.stack.agreement import reduced
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.check import check_files, factor_between
from napari_zssr.stack.image import Channel, ImageStack
from napari_zssr.stack.methods import methods
from napari_zssr.stack.verdict import verdict

GAUSSIAN = KernelSpec(kind="gaussian", sigma_px=(1.0, 1.0))


def truth_plane(seed: int = 0, size: int = 160) -> np.ndarray:
    """Blobs on an offset, (Y, X)."""
    draw = np.random.default_rng(seed)
    points = np.zeros((size, size))
    places = draw.integers(10, size - 10, (2, 40))
    points[tuple(places)] = draw.uniform(1500, 4000, 40)
    return 100 + ndimage.gaussian_filter(points, 3)


def stack_of(data: np.ndarray, axes: str = "YX", **known: Any) -> ImageStack:
    return labelled(data.astype(np.float32), axes=axes, **known)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A truth, an original, its labels, and what the program makes of it."""
    path = tmp_path_factory.mktemp("check")
    truth = truth_plane()
    image = degrade_array(truth, GAUSSIAN, (2.0, 2.0))
    image += np.random.default_rng(0).normal(0, 0.5, image.shape)
    image = image.astype(np.float32)
    write(path / "truth.ome.tif", stack_of(truth))
    write(path / "a.ome.tif", stack_of(image))
    labels = np.zeros(image.shape, np.uint16)
    labels[10:40, 10:40], labels[40:70, 20:60] = 1, 2
    write(path / "labels.ome.tif", labelled(labels, axes="YX", labels=True))
    plain = "--preset instant --kernel gaussian:1 --device cpu --no-ensemble --json"
    files = [str(path / "a.ome.tif"), "-o", str(path / "r.ome.tif")]
    assert main(["upscale", *files, *plain.split()]) == 0
    return path


def run(folder: Path, *arguments: str) -> int:
    files = [str(folder / a) if "." in a and a[0] != "-" else a for a in arguments]
    return main(["check", *files])


def test_a_result_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "r.ome.tif", "--original", "a.ome.tif") == 0
    out = capsys.readouterr().out
    assert "YX 160 × 160 float32" in out
    assert "2, from the recipe" in out
    assert "none by more than 1 % beyond its noise" in out
    assert "no relevant shift" in out
    assert "RSP" not in out


def test_everything_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, JSON and page of one run, with labels and a truth."""
    given = ["r.ome.tif", "--original", "a.ome.tif", "--truth", "truth.ome.tif"]
    given += ["--labels", "labels.ome.tif", "--json", "c.json", "--html", "c.html"]
    assert run(folder, *given) == 0
    out = capsys.readouterr().out
    header, row = (re.split(r"  +", line) for line in out.splitlines()[4:6])
    table = dict(zip(header, row, strict=True))
    assert table["objects"] == "2"
    assert float(table["RSP"]) > 0.99
    content = json.loads((folder / "c.json").read_text())
    (plane,) = content["planes"]
    assert plane["flux"]["numbers"] == [1, 2]
    assert plane["scores"]["rsp"] == pytest.approx(float(table["RSP"]), abs=1e-4)
    assert np.hypot(*plane["scores"]["shift"]) < 0.1
    assert content["factors"] == [2, 2]
    assert content["truth"].endswith("truth.ome.tif")
    assert run(folder, *given) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(folder, *given, "--overwrite") == 0


class Page(HTMLParser):
    """Tags, sources and links of a page, all closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.tables: list[int] = []
        self.words: list[str] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]
        self.tables += [0] if tag == "table" else []
        if tag == "tr":
            self.tables[-1] += 1
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_needs_nothing_else(folder: Path) -> None:
    given = ["r.ome.tif", "--original", "a.ome.tif", "--truth", "truth.ome.tif"]
    assert run(folder, *given, "--html", "page.html") == 0
    page = Page((folder / "page.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.tables[1] == 2
    assert len(page.sources) == 3
    for source in page.sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert np.ptp(np.asarray(picture)) > 200
    text = " ".join(page.words)
    assert "preset instant" in text
    assert "Gaussian, SD 1 × 1 result pixels" in text
    assert "Shocher A, Cohen N, Irani M" in text
    assert "Culley S" in text
    assert "Descloux A" not in text
    numbers = [int(n) for n in re.findall(r"\[(\d+)\]", text)]
    assert set(numbers) == set(range(1, text.count("doi:") + 2))
    for drawing in re.findall(r"<svg.*?</svg>", page.text, re.DOTALL):
        assert ElementTree.fromstring(drawing).find("path") is not None
    assert "Power spectra" in text
    assert "Fourier ring correlation" in text


def test_a_reference_before_enlarging_is_met_by_degrading(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["r.ome.tif", "--original", "a.ome.tif", "--truth", "a.ome.tif"]
    assert run(folder, *given, "--json", "before.json", "--overwrite") == 0
    assert "with the result shrunk to it" in capsys.readouterr().out
    (plane,) = json.loads((folder / "before.json").read_text())["planes"]
    assert plane["scores"]["rsp"] > 0.999


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a.ome.tif", "--original", "r.ome.tif"], "give the result first"),
        (["r.ome.tif", "--original", "truth.ome.tif"], "160 × 160"),
        (["r.ome.tif"], "--original"),
        (["r.ome.tif", "--original", "none.tif"], "none.tif does not exist"),
        (["r.ome.tif", "--original", "a.ome.tif", "--html", "c.docx"], ".docx"),
        (
            ["r.ome.tif", "--original", "a.ome.tif", "--labels", "truth.ome.tif"],
            "labels have 160 × 160 pixels and the image 80 × 80",
        ),
    ],
)
def test_what_cannot_be_checked_is_told(
    given: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, *given) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1


def test_another_original_is_noticed(folder: Path) -> None:
    from napari_zssr.io.write import read_provenance

    recipe = read_provenance(folder / "r.ome.tif")
    result, image = (read(folder / f"{name}.ome.tif") for name in "ra")
    assert check_files(result, image, recipe=recipe).messages == ()
    other = check_files(result, stack_of(image.data), recipe=recipe)
    assert other.messages == ()  # an image without a checksum tells nothing
    assert recipe is not None
    recipe["input"]["checksum"] = "0123"
    (message,) = check_files(result, image, recipe=recipe).messages
    assert "checksum 0123" in message
    recipe["input"]["checksum"] = "pixels:0123"  # of the layer that showed the file
    assert check_files(result, image, recipe=recipe).messages == ()


def stack_and_result() -> tuple[ImageStack, ImageStack]:
    """Two channels of five slices; the result in another order of its axes."""
    planes = [[truth_plane(5 * c + z, 64) for z in range(5)] for c in range(2)]
    data = np.array(planes)
    channels = (Channel(name="DAPI"), Channel(name="actin"))
    original = stack_of(data, "CZYX", channels=channels)
    # One region of one plane becomes brighter.
    data = data.copy()
    data[1, 4] += 0.1 * (data[1, 4] - 100)
    fine = imresize(data, (2.0, 1.5))
    return original, stack_of(fine.transpose(1, 0, 2, 3), "ZCYX", channels=channels)


def test_planes_of_stacks_are_matched_by_their_axes() -> None:
    original, result = stack_and_result()
    done = check_files(result, original)
    assert done.factors == (2, 1.5)
    assert done.factors_from == "shapes"
    assert [plane.name for plane in done.planes[:2]] == [
        "channel 1 (DAPI), Z 0",
        "channel 1 (DAPI), Z 1",
    ]
    assert len(done.planes) == done.count == 10
    changed = [p.name for p in done.planes if p.flux.changed.any()]
    assert changed == ["channel 2 (actin), Z 4"]
    flux = done.planes[-1].flux
    assert flux.total == pytest.approx(0.1, abs=0.01)
    # The same numbers in verdict and methods, and where to look.
    told = verdict(done).text
    objects = sum(plane.flux.judged for plane in done.planes)
    assert f" {int(flux.changed.sum())} of {objects} objects changed" in told
    assert " % at channel 2 (actin), Z 4, Y " in told
    assert f"{objects} objects" in methods(done)[0]
    worst = np.argmax(np.abs(np.where(flux.changed, flux.changes, 0)))
    y, x = flux.centres[worst].round().astype(int)
    assert bright_regions(original.data[1, 4])[y, x] == flux.numbers[worst]


def test_of_many_planes_some_are_checked() -> None:
    original, result = stack_and_result()
    done = check_files(result, original, most=2)
    assert [plane.place for plane in done.planes] == [
        {"C": c, "Z": z} for c in (0, 1) for z in (1, 3)
    ]
    paragraph, references = methods(done)
    assert "4 of 10 planes" in paragraph
    assert "no recipe" in paragraph
    assert "×2 along Y, ×1.5 along X" in paragraph
    # Without noise there are no halves, and decorrelation answers.
    assert [reference.split()[0] for reference in references] == [
        "napari-zssr",
        "Descloux",
    ]


def test_labels_of_one_plane_hold_for_all() -> None:
    original, result = stack_and_result()
    numbers = np.zeros((64, 64), np.uint8)
    numbers[8:56, 8:56] = 3
    labels = labelled(numbers, axes="YX", labels=True)
    done = check_files(result, original, labels=labels)
    assert all(plane.flux.numbers.tolist() == [3] for plane in done.planes)


def test_planes_that_do_not_correspond_are_told() -> None:
    original, result = stack_and_result()
    with pytest.raises(InputError, match=r"Along Z the result has size 5 .* 4"):
        check_files(result, stack_of(original.data[:, :4], "CZYX"))
    with pytest.raises(InputError, match=r"Along C the truth has size 1 .* 2"):
        check_files(result, original, truth=stack_of(original.data[0], "ZYX"))


def test_colours_count_by_their_mean() -> None:
    plane = truth_plane(0, 64)
    colours = np.stack([plane, 2 * plane, np.zeros_like(plane)], axis=-1)
    fine = imresize(np.moveaxis(colours, -1, 0), (2.0, 2.0))
    done = check_files(
        stack_of(np.moveaxis(fine, 0, -1), "YXS"), stack_of(colours, "YXS")
    )
    assert abs(done.planes[0].flux.total) < 1e-3


def test_nan_is_refused_or_filled() -> None:
    plane = truth_plane(0, 64)
    result = stack_of(imresize(plane, (2.0, 2.0)))
    plane[3, 4] = np.nan
    with pytest.raises(InputError, match="1 NaN or Inf"):
        check_files(result, stack_of(plane))
    done = check_files(result, stack_of(plane), nonfinite="fill")
    assert abs(done.planes[0].flux.median) < 0.002


def test_no_object_is_no_error() -> None:
    flat = np.full((64, 64), 7.0)
    done = check_files(stack_of(np.kron(flat, np.ones((2, 2)))), stack_of(flat))
    assert done.planes[0].flux.sentence.startswith("No object")
    assert done.to_dict()["planes"][0]["flux"]["median"] is None
    assert "no object was bright enough" in methods(done)[0]


@pytest.mark.parametrize(
    ("size", "out_size", "factor"),
    [(64, 128, 2), (65, 98, 1.5), (64, 160, 2.5), (99, 132, 4 / 3), (40, 40, 1)],
)
def test_the_simplest_factor_is_found(size: int, out_size: int, factor: float) -> None:
    assert factor_between(size, out_size) == pytest.approx(factor)


def test_maps_are_reduced_by_means() -> None:
    plane = np.zeros((700, 300))
    plane[:3, :3], plane[-1, -1] = 9, 5
    small = reduced(plane)
    assert small.shape == (234, 100)
    assert small[0, 0] == 9
    assert small[-1, -1] == pytest.approx(5 / 3)


def test_checking_loads_no_torch_before_it_must(loaded_by: Any) -> None:
    code = "from napari_zssr.cli import main; main(['check', '--help'])"
    assert not loaded_by(code) & {"torch", "scipy", "PIL", "tifffile", "dask"}
    assert "torch" not in loaded_by("import napari_zssr.stack.check_page")
