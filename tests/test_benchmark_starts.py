from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import invention, job, mzsr, promises, run_benchmark, starts
from napari_zssr.config import FAST, Config, change
from napari_zssr.errors import InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Event, Progress

RANDOM = change(FAST, start="random")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configs that the engine got; it answers with bicubic."""
    configs: list[Config] = []

    def upscale_steps(image: Any, config: Config, **_: Any) -> Iterator[Event]:
        configs.append(config)
        yield Progress(stage="train", step=1, total=1)
        large = job.bicubic(image, config.factors)
        report = SimpleNamespace(planes=[SimpleNamespace(returned="bicubic")])
        return SimpleNamespace(image=large, report=report)

    monkeypatch.setattr("napari_zssr.api.upscale_steps", upscale_steps)
    return configs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set5, Set14 and BSD100_odd of two tiny generated images each, for x2."""
    root = tmp_path_factory.mktemp("data")
    grey = promises.texture(48) / 1100 * 255
    rgb = np.stack([grey, grey[::-1], grey.T], axis=-1)
    for name in starts.PHOTOGRAPHS:
        folder = root / "sr_benchmarks" / name / "x2"
        folder.mkdir(parents=True)
        for number, image in ((1, rgb), (2, grey)):
            hr = job.as_dtype(image, np.dtype(np.uint8))
            stem = f"img_00{number}"
            Image.fromarray(hr).save(folder / f"{stem}_HR.png")
            Image.fromarray(job.bicubic(hr, (0.5, 0.5))).save(folder / f"{stem}_LR.png")
    return root


def test_mzsr_beside_the_paper(data: Path, seen: list[Config], tmp_path: Path) -> None:
    found = run_benchmark(
        data, set_name="mzsr", config=RANDOM, limit=1, output=tmp_path
    )
    # One run warms up.
    assert len(seen) == 1 + 7 * 2
    assert {config.start for config in seen} == {"learned"}
    assert [config.learned_steps for config in seen[1:]] == [1, 10] * 7
    assert {c.kernel.kind for c in seen[1:9]} == {"array"}
    names = [blur.name for blur in mzsr.BLURS]
    assert found.column("blur")[:4] == tuple(names)
    assert found.column("MZSR 10 steps (paper)") == (
        *(33.74, 36.05, 34.78, 36.64),
        *(None, None, None),
    )
    # The engine answers with bicubic here.
    assert found.column("10 steps") == pytest.approx(found.column("bicubic"))
    assert found.images is not None
    assert len(found.images.rows) == 7
    assert set(found.images.column("returned")) == {"bicubic / bicubic"}
    assert (tmp_path / "mzsr_x2_fast_noise-auto_start-random.csv").is_file()
    with pytest.raises(InputError, match="give 2"):
        run_benchmark(data, set_name="mzsr", factor=3)


def test_mzsr_starts_from_the_file_that_is_named(
    data: Path, seen: list[Config]
) -> None:
    config = change(RANDOM, start="mine.safetensors")
    found = run_benchmark(data, set_name="mzsr", config=config, limit=1)
    assert {config.start for config in seen} == {"mine.safetensors"}
    assert "start mine, 400 steps, 10 if" in found.title


@pytest.mark.parametrize("blur", mzsr.BLURS, ids=lambda blur: blur.name)
def test_the_told_kernel_makes_the_papers_son(blur: mzsr.Blur) -> None:
    """On a smooth image, which a spline moves without loss."""
    y, x = np.mgrid[:48, :56]
    hr = 120 + 60 * np.sin(y / 5) * np.cos(x / 7) + 40 * np.sin(x / 4 + 1)
    made = {son.case: son for son in mzsr.sons(hr.astype(np.uint8))}[blur.name]
    image = hr.astype(np.uint8).astype(float)
    place = image
    if any(made.moved):
        # What lies half a pixel before each pixel: where our pixels are.
        place = mzsr.shifted(image, (-made.moved[0], -made.moved[1]))
    ours = degrade_array(place, made.kernel, (2, 2))
    difference = np.abs(ours - made.image)[4:-4, 4:-4]
    assert difference.max() < 1.2
    assert difference.mean() < 0.4


def test_sons_of_the_paper_lie_half_a_pixel_off() -> None:
    y, x = np.mgrid[:48, :48]
    # A straight slope shows where a pixel looks.
    slope = (3 * y + 2 * x).astype(np.uint8)
    made = list(mzsr.sons(slope))
    assert [any(son.moved) for son in made] == [True] * 3 + [False] * 4
    for son in made:
        inside = son.image[6:-6, 6:-6].astype(float)
        j = np.arange(24)[6:-6] * 2.0
        exact = 3 * j[:, None] + 2 * j[None]
        exact += 0.0 if any(son.moved) else 2.5
        assert np.abs(inside - exact).max() <= 0.51
    large = job.bicubic(made[0].image, (2, 2)).astype(float)
    assert large.mean() != pytest.approx(slope.mean(), abs=1)
    moved = mzsr._in_place(large, made[0])[8:-8, 8:-8]
    assert moved == pytest.approx(slope[8:-8, 8:-8], abs=1)


def test_starts_on_every_part(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(
        data, set_name="start", config=RANDOM, limit=1, seeds=(3,), plane_px=24
    )
    assert found.column("part") == (*starts.PARTS, *starts.PARTS)
    assert found.column("image")[5:] == ("mean",) * 5
    assert found.column("learned - random dB") == (0.0,) * 10
    # Two runs warm up.
    assert [config.start for config in seen] == ["random", "learned"] * 6
    kinds = [config.kernel.kind for config in seen[2::2]]
    assert kinds == ["bicubic"] * 3 + ["array", "bicubic"]
    told = seen[8].kernel
    run_benchmark(
        data, set_name="start", subset="gaussian", config=RANDOM, limit=1, seeds=(3,)
    )
    assert seen[-1].kernel == seen[-2].kernel == told


def test_starts_of_one_part_or_one_sentence(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(data, set_name="start", subset="set14", config=RANDOM)
    assert found.column("image") == ("img_001", "img_002", "mean")
    assert set(found.column("returned")) == {"bicubic / bicubic", None}
    with pytest.raises(InputError, match="Subset"):
        run_benchmark(data, set_name="start", subset="Set6", config=RANDOM)
    with pytest.raises(InputError, match="x3"):
        run_benchmark(data, set_name="start", factor=3, config=RANDOM)
    with pytest.raises(InputError, match="lies in"):
        run_benchmark(data, set_name="start", factor=3, subset="Set5", config=RANDOM)


def test_titles_and_files_tell_of_the_start(data: Path, tmp_path: Path) -> None:
    plain = job.Job(data=data, set_name="Set5", config=RANDOM)
    assert "residual, 400 steps, 1 factor(s)" in plain.title
    learned = job.from_learned(RANDOM, learned_steps=20)
    told = job.Job(data=data, set_name="Set5", config=learned)
    assert "start learned, 20 steps)" in told.title
    assert job.from_learned(change(RANDOM, start="a.safetensors")).start != "learned"


def test_invention_beside_its_limits(seen: list[Config]) -> None:
    found = run_benchmark(".", set_name="invention", config=RANDOM, limit=1)
    names = [name for name in invention.SCENES for _ in invention.SETTINGS]
    assert found.column("image") == tuple(names)
    assert len(seen) == 2 * len(names)
    # The engine answers with bicubic here.
    assert set(found.column("limits broken")) == {"none"}
    assert found.column("peaks, learned") == found.column("peaks, bicubic")
    assert [config.always for config in seen[:4]] == [False, False, True, True]


def test_peaks_are_those_that_rise() -> None:
    place = np.arange(60.0)
    spots = [(15, 15, 1.0), (15, 45, 0.5), (45, 30, 0.03)]
    image = sum(
        height * np.exp(-((place[:, None] - y) ** 2 + (place[None] - x) ** 2) / 18)
        for y, x, height in spots
    )
    assert invention.peaks(image, 0.02) == 3
    assert invention.peaks(image, 0.1) == 2
    assert invention.peaks(image, 0.6) == 1
    ridge = np.tile(np.sin(place[:50] / 3), (60, 1))
    assert invention.peaks(ridge, 0.02) == 3
    # The highest of all counts always.
    assert invention.peaks(np.zeros((8, 8)), 0.02) == 1


def test_order_is_that_of_what_repeats() -> None:
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((120, 120))
    stripes = np.tile(np.sin(np.arange(120) * 2 * np.pi / 7), (120, 1))
    assert invention.order(noise) < 0.02
    assert invention.order(stripes) == pytest.approx(0.5**0.5, rel=0.05)
    assert invention.order(noise + stripes) > 5 * invention.order(noise)
    assert invention.order(np.ones((40, 40))) == 0


def test_truth_of_points_is_known() -> None:
    scene = invention.SCENES["points"](np.random.default_rng(0))
    assert 198 < scene.top < 202
    assert scene.image.max() < scene.top
    assert invention.figures(scene.image, invention.plain(scene.image)).peaks == 36
    spec = KernelSpec()
    fine = imresize(scene.image, (2, 2))
    back = degrade_array(fine, spec, (2, 2))
    assert np.abs(back - scene.image).mean() < 0.01 * np.ptp(scene.image)
