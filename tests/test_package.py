from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib import import_module, resources
from pathlib import Path
from typing import Any
from zipfile import ZipFile

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


# ---- What is published

README = (ROOT / "README.md").read_text("utf-8")
SITE = "https://napari-zssr.github.io/napari-zssr/"
TREES = (
    "https://github.com/napari-zssr/napari-zssr/blob/main/",
    "https://github.com/napari-zssr/napari-zssr/tree/main/",
    "https://raw.githubusercontent.com/napari-zssr/napari-zssr/main/",
)


def addresses(text: str) -> list[str]:
    """Everything that a page in Markdown links to or shows."""
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text)
    return links + re.findall(r"(?:src|href|srcset)=\"([^\"]+)\"", text)


def test_the_readme_links_absolutely() -> None:
    """The package index and the napari hub show it without the repository."""
    found = addresses(README)
    assert len(found) > 10
    assert [link for link in found if not link.startswith("https://")] == []


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs"])
def test_own_addresses_lead_somewhere(page: str) -> None:
    place = ROOT / page
    pages = sorted(place.rglob("*.md")) if place.is_dir() else [place]
    for address in addresses("\n".join(path.read_text("utf-8") for path in pages)):
        for tree in TREES:
            if address.startswith(tree):
                assert (ROOT / address.removeprefix(tree).partition("#")[0]).exists()
        if address.startswith(SITE):
            name, _, heading = address.removeprefix(SITE).partition("#")
            target = ROOT / "docs" / f"{name.rstrip('/') or 'index'}.md"
            assert target.is_file(), address
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", t).lower() for t in titles]
            assert not heading or heading in [a.replace(" ", "-") for a in anchors]


def test_the_citation_is_complete() -> None:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "repository-code"} <= set(found)
    (paper,) = found["references"]
    assert {"type", "title", "authors", "year", "doi"} <= set(paper)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of sdist and wheel, built from a copy of what git knows."""
    for needed in ("build", "setuptools_scm", "twine"):
        pytest.importorskip(needed)
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    copy = tmp_path_factory.mktemp("package")
    new = ("--others", "--exclude-standard")
    names = subprocess.check_output([git, "ls-files", "--cached", *new], cwd=ROOT)
    for name in names.decode().splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run([git, "init", "-q"], cwd=copy, check=True)
    subprocess.run([git, "add", "-A"], cwd=copy, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"],
        cwd=copy,
        env=os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": "0.1.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


def test_the_wheel_is_small_and_whole(distributions: Path) -> None:
    (wheel,) = distributions.glob("napari_zssr-0.1.0-py3-none-any.whl")
    assert wheel.stat().st_size < 4_000_000
    with ZipFile(wheel) as file:
        names = set(file.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"napari_zssr", "napari_zssr-0.1.0.dist-info"}
    source = ROOT / "src" / "napari_zssr"
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert path.relative_to(source.parent).as_posix() in names


def test_the_source_distribution_is_sensible(distributions: Path) -> None:
    (sdist,) = distributions.glob("napari_zssr-0.1.0.tar.gz")
    assert sdist.stat().st_size < 12_000_000
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for needed in ("LICENSE", "README.md", "CITATION.cff", "tests/test_package.py"):
        assert needed in names
    assert not any(name.startswith((".github", ".ci")) for name in names)


def test_the_package_index_can_show_the_readme(distributions: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *distributions.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
