"""The page on the blur: its figures are right, its options are there."""

from __future__ import annotations

import re

import pytest
from conftest import DOCS

from napari_zssr.checks import check_known
from napari_zssr.imaging.optics import checked_optics, nyquist_um

PAGE = "kernels.md"


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
