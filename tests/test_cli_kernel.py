"""The blur on the command line: said, shown, measured, saved and taken again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from test_beads import LONELY, SPACING, beads
from test_kernels import COLOURS, cells, guess

from napari_zssr import write
from napari_zssr.cli import main
from napari_zssr.cli.console import by_channel
from napari_zssr.config import Config
from napari_zssr.imaging.kernel import FineKernel
from napari_zssr.io.write import read_provenance
from napari_zssr.kernelspec import KernelSpec, Optics
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.picture import kernel_picture, round_length

__all__ = ["guess"]

VOXEL = ",".join(f"{size:g}" for size in SPACING)


INSTRUMENT = """<Instrument ID="Instrument:0">
<Objective ID="Objective:0" LensNA="1.4" Immersion="Oil"/></Instrument><Image"""
REFERENCE = """<InstrumentRef ID="Instrument:0"/>
<ObjectiveSettings ID="Objective:0"/><Pixels"""


def write_cells(path: str) -> None:
    """An OME-TIFF that tells its optics."""
    write(path, cells())
    text = tifffile.tiffcomment(path)
    text = text.replace("<Image", INSTRUMENT, 1).replace("<Pixels", REFERENCE, 1)
    tifffile.tiffcomment(path, text.encode())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with an image, beads and kernels."""
    monkeypatch.chdir(tmp_path)
    write_cells("cells.ome.tif")
    grey = cells().data[0]
    write("grey.ome.tif", labelled(grey, axes="YX", spacing=0.1))
    tifffile.imwrite("bare.tif", grey)
    image = beads(LONELY, [900, 700, 500, 800]).astype(np.uint16)
    tifffile.imwrite("beads.tif", image)
    empty = np.random.default_rng(0).normal(100, 3, (12, 60, 60)).astype(np.float32)
    tifffile.imwrite("empty.tif", empty)
    np.save("negative.npy", -np.ones((3, 3)))
    Path("nan.csv").write_text("1,nan\n1,1")
    Path("there.npy").write_bytes(b"precious")
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    content = json.loads(out)
    assert isinstance(content, dict)
    return content


# ---- kernel IMAGE


def test_a_row_for_each_channel(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kernel", "cells.ome.tif", "--kernel", "optics"]) == 0
    head, blue, red, *told = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "channel"
    assert blue.startswith("DNA      gaussian  3.0")
    assert red.startswith("actin    gaussian  4.0")
    for line, begins in zip(told, ("DNA: ", "actin: "), strict=True):
        assert line.startswith(begins)
    assert "Gaussian PSF (widefield, NA 1.4, 461 nm" in told[0]
    assert "Gaussian PSF (widefield, NA 1.4, 620 nm" in told[1]


def test_without_a_word_the_blur_is_estimated(
    folder: Path, guess: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    content = shown(capsys, "kernel", "cells.ome.tif")
    assert [c["channel"] for c in content["channels"]] == ["DNA", "actin"]
    assert [c["sentence"] for c in content["channels"]] == ["Guessed."] * 2
    assert content["channels"][0]["spread_px"] == [0.1, 0.1]
    assert main(["kernel", "grey.ome.tif"]) == 0
    out = capsys.readouterr().out
    assert "0.24 × 0.24" in out
    assert out.endswith("Guessed.\n")


def test_numbers_of_the_optics(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--na 0.8 --wavelength-nm 520 --excitation-nm 488 --index 1 "
    words += "--modality confocal"
    line = ["kernel", "bare.tif", "--spacing", "0.1", *words.split()]
    content = shown(capsys, *line)
    told = content["channels"][0]["sentence"]
    assert "confocal, NA 0.8, 488/520 nm, refractive index 1)" in told
    same = shown(capsys, *line, "--kernel", "optics")
    assert same == content
    assert shown(capsys, *line, "--kernel", "optics:na=0.2") == content


def test_factor_and_bare_pixels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = shown(
        capsys, "kernel", "bare.tif", "-f", "3,2", "--kernel", "gaussian:1.2"
    )
    (only,) = content["channels"]
    assert only["factors"] == [3, 2]
    assert only["fwhm_um"] is None
    assert main(["kernel", "bare.tif", "--kernel", "bicubic"]) == 0
    assert "Default blur" in capsys.readouterr().out


def test_weights_that_are_saved_are_taken_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["kernel", "cells.ome.tif", "--kernel"]
    made = shown(capsys, *line, "optics", "-o", "k.npy")
    assert made["output"] == ["k-c0.npy", "k-c1.npy"]
    again = shown(capsys, *line, "k-c1.npy", "-o", "k.csv")
    assert again["channels"][0]["widths_px"] == pytest.approx(
        made["channels"][1]["widths_px"], rel=0.01
    )
    third = shown(capsys, *line, "k-c0.csv", "-o", "all.npz")
    assert third["output"] == ["all.npz"]
    with np.load("all.npz", allow_pickle=False) as held:
        assert sorted(held) == ["c0", "c1", "factors", "fine_um"]
        np.testing.assert_allclose(held["c0"], np.load("k-c1.npy"), atol=1e-5)
        np.testing.assert_allclose(held["fine_um"], (0.05, 0.05))


def test_one_channel_keeps_the_name(folder: Path) -> None:
    line = ["kernel", "grey.ome.tif", "--kernel", "gaussian:1", "-o", "k.png"]
    assert main(line) == 0
    assert main(line) == 2
    assert main([*line, "--overwrite"]) == 0
    assert Path("k.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob(".*"))


def test_the_picture() -> None:
    kernel = FineKernel(
        spec=KernelSpec.parse("gaussian:2,1"),
        factors=(2, 2),
        sentence="",
        fine_um=(0.1, 0.05),
    )
    picture = np.asarray(kernel_picture(kernel, "actin").convert("L"))
    rows, columns = kernel.array.shape
    body = picture[110:-70, 12 : 12 + round(420 * columns / (2 * rows))]
    peak = np.unravel_index(int(np.argmax(body)), body.shape)
    assert body.max() == 255
    assert peak[1] / body.shape[1] == pytest.approx(0.5, abs=0.6 / columns)
    assert (picture < 255).any()
    bare = FineKernel(spec=KernelSpec(), factors=(2, 3), sentence="")
    assert kernel_picture(bare, "").size[1] > 100


@pytest.mark.parametrize(
    ("longest", "length"), [(1, 1), (0.99, 0.5), (0.3, 0.2), (7, 5), (0.1, 0.1)]
)
def test_round_lengths(longest: float, length: float) -> None:
    assert round_length(longest) == pytest.approx(length)


def test_what_holds_for_all_channels_is_told_once() -> None:
    assert by_channel(["A."] * 3, ["DNA"]) == [("", "A.")]
    assert by_channel(["A.", "B."], ["DNA"]) == [("DNA", "A."), ("channel 1", "B.")]
    assert by_channel([], []) == []


# ---- kernel BEADS --beads


def test_beads_become_a_psf_that_is_taken_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["kernel", "beads.tif", "--beads", "--kernel-spacing", VOXEL]
    assert main([*line, "-o", "psf.tif"]) == 0
    out = capsys.readouterr().out
    assert "beads   4\nFWHM Z  1.5" in out
    assert "PSF measured on 4 beads" in out
    assert "--kernel-z fwhm:1.5" in out
    assert "psf.tif: the point spread function, for --kernel psf.tif" in out
    first = shown(capsys, *line)
    again = shown(capsys, "kernel", "psf.tif", "--beads")
    assert again["fwhm_um"] == pytest.approx(first["fwhm_um"], rel=0.05)
    assert again["spacing_um"] == pytest.approx(SPACING)
    told = read_provenance("psf.tif")
    assert told is not None
    assert told["psf"]["beads"] == 4
    taken = shown(capsys, "kernel", "cells.ome.tif", "--kernel", "psf.tif")
    beads_too = ["--kernel", "beads.tif", "--kernel-spacing", VOXEL]
    direct = shown(capsys, "kernel", "cells.ome.tif", *beads_too)
    for one, other in zip(taken["channels"], direct["channels"], strict=True):
        assert one["fwhm_um"] == pytest.approx(other["fwhm_um"], rel=0.05)


def test_a_flat_image_of_beads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("flat.tif", tifffile.imread("beads.tif")[12])
    line = ["kernel", "flat.tif", "--beads", "--kernel-spacing", "0.1,0.1"]
    content = shown(capsys, *line, "-o", "psf.ome.tif")
    assert content["fwhm_um"][0] is None
    assert len(content["shape"]) == 2
    assert main([*line]) == 0
    assert "FWHM Z" not in capsys.readouterr().out


# ---- upscale and info


RUN = ["upscale", "cells.ome.tif", "-p", "instant", "-o", "fine.ome.tif"]
RUN += ["--noise", "off", "--no-ensemble", "--device", "cpu"]


def test_upscale_tells_and_keeps_the_blur(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optics = ["--na", "1.3", "--index", "1.515"]
    assert main([*RUN, *optics]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\nBlur of DNA: .*Gaussian PSF \(widefield, NA 1.3, 461 nm", out)
    assert re.search(r"\nBlur of actin: .*Gaussian PSF \(.*, NA 1.3, 620 nm", out)
    kept = read_provenance("fine.ome.tif")
    assert kept is not None
    config = Config.from_dict(kept["config"])
    wanted = KernelSpec(kind="optics", optics=Optics(na=1.3, index=1.515))
    assert config.kernel == wanted
    assert len(kept["report"]["kernels"]) == len(COLOURS)


def test_upscale_with_beads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [*RUN, "--kernel", "beads.tif", "--kernel-spacing", VOXEL]
    told = shown(capsys, *line)["kernels"]
    assert told[0]["sentence"].startswith("From a measured point spread function, in")
    kept = read_provenance("fine.ome.tif")
    assert kept is not None
    spec = Config.from_dict(kept["config"]).kernel
    assert (spec.kind, spec.spacing_um) == ("psf", SPACING[1:])
    assert main([*line, "--overwrite"]) == 0
    assert capsys.readouterr().out.count("Blur: ") == 1


def test_of_the_usual_blur_nothing_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(RUN) == 0
    assert "Blur" not in capsys.readouterr().out


def test_info_tells_the_blur(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "cells.ome.tif", "--kernel", "optics"]) == 0
    assert "\nblur actin" in capsys.readouterr().out
    assert shown(capsys, "info", "cells.ome.tif")["kernels"] == []


# ---- what cannot be


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Words after ``kernel``, and what is said of them."""

    words: str
    said: str


BAD = [
    Bad(words="grey.ome.tif --kernel negative.npy", said="with a positive sum"),
    Bad(words="grey.ome.tif --kernel nan.csv", said="NaN or infinite"),
    Bad(words="grey.ome.tif --kernel gone.tif", said="does not exist"),
    Bad(words="grey.ome.tif --kernel sharp", said="Kernel 'sharp' is not known"),
    Bad(words="grey.ome.tif --kernel beads.tif", said="give --kernel-spacing"),
    Bad(
        words=f"grey.ome.tif --kernel empty.tif --kernel-spacing {VOXEL}",
        said="No bead",
    ),
    Bad(
        words="grey.ome.tif --kernel beads.tif --kernel-spacing 0.1",
        said="has 1 number; give Z,Y,X",
    ),
    Bad(
        words="grey.ome.tif --kernel beads.tif --kernel-spacing a,b,c",
        said="give Z,Y,X or Y,X in micrometres",
    ),
    Bad(
        words="grey.ome.tif --kernel beads.tif --kernel-spacing 0,1,1",
        said="give --kernel-spacing in µm, above 0",
    ),
    Bad(
        words="grey.ome.tif --kernel bicubic --kernel-spacing 1,1",
        said="the kernel is 'bicubic'",
    ),
    Bad(words="grey.ome.tif --kernel-spacing 1,1", said="no --kernel is given"),
    Bad(
        words="grey.ome.tif --kernel bicubic --na 1.4",
        said="--na describes optics, but the kernel is 'bicubic'",
    ),
    Bad(
        words="grey.ome.tif --kernel beads.tif --psf-model vectorial",
        said="--psf-model describes optics, but the kernel is 'file'",
    ),
    Bad(words="grey.ome.tif --na 1.4", said="The emission wavelength is not"),
    Bad(
        words="grey.ome.tif --na 1.4 --wavelength-nm 0.52",
        said="looks like µm; did you mean 520 nm?",
    ),
    Bad(
        words="grey.ome.tif --na 1.6 --wavelength-nm 520 --index 1.515",
        said="NA 1.6 is larger than the refractive index 1.515",
    ),
    Bad(words="grey.ome.tif --na -1 --wavelength-nm 520", said="number above 0"),
    Bad(words="grey.ome.tif --na x", said="--na"),
    Bad(words="grey.ome.tif --modality confoca", said="did you mean 'confocal'?"),
    Bad(words="grey.ome.tif --psf-model vector", said="psf model is 'vector'"),
    Bad(words="bare.tif --na 1.4 --wavelength-nm 520", said="give --spacing"),
    Bad(words="grey.ome.tif --kernel gaussian:1 -o k.tif", said="use .npy, .csv"),
    Bad(words="grey.ome.tif --kernel gaussian:1 -o there.npy", said="exists already"),
    Bad(words="beads.tif --beads", said="give --kernel-spacing"),
    Bad(words=f"empty.tif --beads --kernel-spacing {VOXEL}", said="No bead"),
    Bad(words="beads.tif --beads --na 1.4", said="--beads measures it"),
    Bad(
        words=f"beads.tif --beads --kernel-spacing {VOXEL} -o k.npy",
        said="use .ome.tif",
    ),
    Bad(words="cells.ome.tif --beads --kernel-spacing 1,1,1", said="has axes CYX"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.words)
def test_bad_input_gets_one_sentence(
    bad: Bad, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["kernel", *bad.words.split()]) == 2
    out, err = capsys.readouterr()
    sentences = [line for line in err.splitlines() if "guessed as" not in line]
    assert bad.said in err
    assert out == ""
    assert len(sentences) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("command", ["upscale", "info", "kernel"])
def test_the_options_stand_in_the_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"--{name} " in out for name in ("na", "kernel", "kernel-spacing"))
