"""The page on the blur: what it shows runs as shown, and its figures are right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import DOCS, code_blocks
from test_beads import LONELY, beads
from test_cli_kernel import write_cells
from test_docs_scripts import REAL, in_bash
from test_kernels import cells

from napari_zssr.checks import check_known
from napari_zssr.cli import main
from napari_zssr.imaging.optics import checked_optics, nyquist_um

PAGE = "kernels.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with an image that tells its optics, one that does not, beads."""
    monkeypatch.chdir(tmp_path)
    write_cells("cells.ome.tif")
    tifffile.imwrite("plain.tif", np.asarray(cells().data[0]))
    stack = beads(LONELY, [900, 700, 500, 800]).astype(np.uint16)
    tifffile.imwrite("beads.tif", stack)
    return tmp_path


def typed(block: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What commands say, in this process: eight starts would take long."""
    for line in block.splitlines():
        program, *given = shlex.split(line)
        assert (program, main(given)) == ("napari-zssr", 0)
    return capsys.readouterr().out


def test_the_shell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line, and what the page says of the files."""
    *most, last = code_blocks(PAGE, "sh")
    look, optics, measured = (typed(block, capsys) for block in most)
    assert in_bash(f"set -e\n{{ {last}}} 2> told.txt", REAL)
    assert "461 nm" in look
    for channel in (0, 1):
        assert (folder / f"kernel-c{channel}.png").is_file()
        assert np.load(folder / f"kernel-c{channel}.npy").sum() == pytest.approx(1)
    assert "Blur of actin: " in optics
    assert "Gaussian PSF (widefield, NA 1.4, 520 nm" in optics
    assert "FWHM Z" in measured
    assert "Blur: From a measured point spread function" in measured


@pytest.mark.parametrize("block", code_blocks(PAGE, "python"))
def test_the_python(
    block: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(block, PAGE, "exec"), {})
    said = capsys.readouterr().out.splitlines()
    promised = re.findall(r"print\(.*\)  # (.*)", block)
    assert said[: len(promised)] == promised
    assert said[-1].endswith((".", "µm"))


def test_the_figures_of_nyquist() -> None:
    text = (DOCS / PAGE).read_text("utf-8").replace("\n", " ")
    figures = re.findall(r"([\d.]+) µm with NA ([\d.]+\d)", text)
    assert len(figures) == 3
    for size, na in figures:
        optics = checked_optics(na=float(na), wavelength_nm=520)
        assert float(size) == pytest.approx(nyquist_um(optics), rel=0.03)


def test_the_options_are_those_of_the_command() -> None:
    from napari_zssr.cli.kernel import Blur

    text = (DOCS / PAGE).read_text("utf-8")
    named = re.findall(r"^\| `--([a-z-]+)` \|", text, re.MULTILINE)
    assert len(named) == 6
    check_known({name.replace("-", "_"): None for name in named}, Blur)
