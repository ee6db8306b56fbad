from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pytest

import napari_zssr

ROOT = Path(__file__).parent.parent
HEAVY = {
    "dask", "magicgui", "napari", "numpy", "qtpy", "scipy", "superqt", "torch", "typer",
}  # fmt: skip


def test_importing_the_package_loads_nothing_heavy(loaded_by: Any) -> None:
    assert not loaded_by("import napari_zssr") & HEAVY


def test_settings_load_no_torch(loaded_by: Any) -> None:
    assert "torch" not in loaded_by("import napari_zssr; napari_zssr.BALANCED")


def test_public_names_resolve() -> None:
    listed = set(dir(napari_zssr))
    assert len(napari_zssr.__all__) > 20
    for name in napari_zssr.__all__:
        assert getattr(napari_zssr, name, None) is not None, name
        assert name in listed, name


def test_every_public_name_has_one_home() -> None:
    assert set(napari_zssr._HOME) == set(napari_zssr.__all__) - {"__version__"}
    for name, home in napari_zssr._HOME.items():
        module = import_module(f"napari_zssr.{home}")
        assert getattr(module, name) is getattr(napari_zssr, name)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'upscael'"):
        _ = napari_zssr.upscael  # type: ignore[attr-defined]


def test_version_starts_with_a_number() -> None:
    assert napari_zssr.__version__[0].isdigit()


@pytest.mark.parametrize("name", ["py.typed", "napari.yaml", "data/cells.ome.tif"])
def test_data_is_part_of_the_package(name: str) -> None:
    assert resources.files("napari_zssr").joinpath(name).is_file()


def test_manifest_is_valid() -> None:
    npe2 = pytest.importorskip("npe2")
    path = resources.files("napari_zssr").joinpath("napari.yaml")
    manifest = npe2.PluginManifest.from_file(str(path))
    assert manifest.name == "napari-zssr"


def test_import_contracts_hold() -> None:
    linter = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [linter, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
