from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks import (
    SETS,
    choices,
    cost,
    job,
    memory_child,
    photographs,
    promises,
    rivals,
    round_trip,
    run_benchmark,
    stacks,
    table,
)
from benchmarks.table import Table
from napari_zssr.config import FAST, INSTANT, PAPER, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.imaging.degrade import degrade_array
from napari_zssr.imaging.resample import imresize
from napari_zssr.io.read import read
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import Event, Progress
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack, output_spacing


@dataclass
class Enlarged:
    image: np.ndarray
    stack: ImageStack
    report: Any

    def as_stack(self) -> ImageStack:
        return self.stack


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configs that the engine got; it answers with bicubic."""
    configs: list[Config] = []

    def upscale_steps(
        image: Any, config: Config, *, axes: str | None = None, **_: Any
    ) -> Iterator[Event]:
        configs.append(config)
        stack = labelled(image, axes=axes) if axes else read(image)
        for step in (0, 20, 40):
            yield Progress(stage="train", step=step, total=40)
        order = [a for a in range(stack.data.ndim) if stack.axes[a] not in "YX"]
        order += [stack.axes.index("Y"), stack.axes.index("X")]
        large = imresize(stack.data.transpose(order), config.factors)
        large = job.as_dtype(large.transpose(np.argsort(order)), stack.data.dtype)
        result = labelled(
            large,
            axes=stack.axes,
            spacing=output_spacing(stack.spacing, stack.axes, config.factors),
            units=stack.units,
        )
        report = SimpleNamespace(planes=[SimpleNamespace(returned="bicubic")])
        return Enlarged(image=large, stack=result, report=report)

    monkeypatch.setattr("napari_zssr.api.upscale_steps", upscale_steps)
    return configs


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the benchmarks expect it, with tiny generated images."""
    root = tmp_path_factory.mktemp("data")
    grey = promises.texture(48) / 1100 * 255
    rgb = np.stack([grey, grey[::-1], grey.T], axis=-1)
    for name in ("Set5", "BSD100_odd"):
        for number, image in ((1, rgb), (2, grey)):
            hr = job.as_dtype(image, np.dtype(np.uint8))
            planes = np.moveaxis(hr, -1, 0) if hr.ndim == 3 else hr
            lr = imresize(planes, (0.5, 0.5))
            lr = np.moveaxis(lr, 0, -1) if lr.ndim == 3 else lr
            stem = root / "sr_benchmarks" / name / "x2" / f"img_00{number}_SRF_2"
            _save(stem.with_name(f"{stem.name}_HR.png"), hr)
            lr8 = job.as_dtype(lr, hr.dtype)
            _save(stem.with_name(f"{stem.name}_LR.png"), lr8)
    pairs = root / "microscopy" / "pairs"
    fine = promises.texture(96) / 1100 * 255
    for factor in (1, 2):
        scan = imresize(fine, (1 / factor, 1 / factor))
        scan8 = job.as_dtype(scan, np.dtype(np.uint8))
        _save(pairs / "sr-caco-2" / f"div{factor}.tif", scan8)
    draw = np.random.default_rng(0)
    for name in ("Confocal_A_1", "WideField_B_1"):
        truth = job.as_dtype(fine[:64, :64], np.dtype(np.uint8))
        noisy = job.as_dtype(truth + draw.normal(0, 20, truth.shape), truth.dtype)
        _save(pairs / "fmd" / "gt" / f"{name}.png", truth)
        _save(pairs / "fmd" / "noisy" / f"{name}.png", noisy)
    _save(root / "microscopy" / "rgb" / "cell.png", rgb.astype(np.uint8))
    _save(root / "microscopy" / "tiff" / "plane.tif", grey.astype(np.uint16))
    return root


def test_photographs_beside_bicubic_and_the_paper(
    data: Path, seen: list[Config], tmp_path: Path
) -> None:
    events: list[Event] = []
    found = run_benchmark(
        data, set_name="set5", factor=2, output=tmp_path / "out", on_event=events.append
    )
    names = found.column("image")
    assert names[:3] == ("img_001_SRF_2", "img_002_SRF_2", "mean")
    assert found.column("gain dB")[:3] == (0, 0, 0)
    ours = found.column("PSNR")
    assert ours[2] == pytest.approx((ours[0] + ours[1]) / 2)
    assert ours[names.index("ZSSR (published)")] == 37.37
    assert {e.stage for e in events if isinstance(e, Progress)} == {
        "benchmark",
        "train",
    }
    stem = "set5_x2_balanced_noise-auto"
    written = (tmp_path / "out" / f"{stem}.csv").read_text()
    assert written == found.to_csv()
    assert not list((tmp_path / "out").glob(".*"))


def test_limit_and_missing_images(data: Path, seen: list[Config]) -> None:
    assert len(run_benchmark(data, set_name="BSD100_odd", limit=1).rows) == 2 + 5
    with pytest.raises(InputError, match="lies in"):
        run_benchmark(data, set_name="Set5", factor=3)
    with pytest.raises(InputError, match="whole factor"):
        run_benchmark(data, set_name="Set5", factor=1.5)
    with pytest.raises(InputError, match="Limit"):
        run_benchmark(data, limit=0)
    with pytest.raises(InputError, match="choose one of Set5"):
        run_benchmark(data, set_name="Set6")


def test_gaussian_kernels_are_told_and_repeat(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(data, set_name="gaussian", config=INSTANT, limit=1)
    seeds = len(photographs.KERNEL_SEEDS)
    assert len(seen) == seeds
    assert {config.kernel.kind for config in seen} == {"array"}
    assert len({config.kernel for config in seen}) == seeds
    names = found.column("image")
    assert names[2 * seeds] == "mean"
    run_benchmark(data, set_name="gaussian", config=INSTANT, limit=1)
    assert [c.kernel for c in seen[:seeds]] == [c.kernel for c in seen[seeds:]]


@pytest.mark.parametrize("factor", [2, 3])
def test_a_random_kernel_leaves_the_son_in_place(factor: int) -> None:
    draw = np.random.default_rng(5)
    side = 24 * factor
    place = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - place
    blob = np.exp(-(y**2 + x**2) / 18)
    for _ in range(5):
        kernel = photographs.random_gaussian(draw, factor)
        assert kernel.shape == (7 * factor, 7 * factor)
        assert kernel.sum() == pytest.approx(1)
        spec = KernelSpec(kind="array", array=kernel)
        son = degrade_array(blob, spec, (factor, factor))
        assert son == pytest.approx(son[::-1, ::-1], abs=1e-6)


def test_confocal_pair_lists_its_rivals(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(data, set_name="caco", factor=2)
    methods = [str(cell) for cell in found.column("method")]
    assert methods[0] == "bicubic"
    assert methods[-1] == "this program (bicubic)"
    assert found.rows[1][1] >= found.rows[0][1]
    with pytest.raises(InputError, match="factor 2, 4 and 8"):
        run_benchmark(data, set_name="caco", factor=3)


def test_noisy_captures_and_their_subsets(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(data, set_name="fmd")
    assert found.column("image") == ("Confocal_A_1", "WideField_B_1", "mean")
    assert found.rows[2][3] >= found.rows[2][1]
    assert found.column("bicubic") == found.column("PSNR")
    rest = run_benchmark(data, set_name="fmd", subset="rest")
    assert rest.column("image") == ("WideField_B_1", "mean")
    with pytest.raises(InputError, match="Subset"):
        run_benchmark(data, set_name="fmd", subset="best")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tiny pictures, taken for scikit-image's."""
    grey = promises.texture(96) / 1100 * 255
    for name in choices.PICTURES:
        rgb = np.stack([grey, grey[::-1], grey.T], axis=-1)
        _save(tmp_path / f"{name}.png", rgb.astype(np.uint8))
    places = dict.fromkeys(choices.PICTURES, (3, 8))
    monkeypatch.setattr(choices, "PICTURES", places)
    monkeypatch.setattr(choices, "_picture_folder", lambda: tmp_path)
    return tmp_path


def test_choices_measure_a_preset_and_its_variants(
    data: Path, seen: list[Config], pictures: Path, tmp_path: Path
) -> None:
    found = run_benchmark(
        data, set_name="choices", limit=1, config=change(FAST, steps=8), output=tmp_path
    )
    labels, shipped = found.column("variant"), found.rows[0]
    assert labels[0] == "as shipped"
    assert None not in shipped
    assert "one network" not in labels
    changes = dict(zip(labels, found.column("change"), strict=True))
    assert changes["half the steps"] == "start random, steps 4"
    assert changes["ensemble"] == "ensemble True"
    assert changes["from random weights"] == "start random"
    deeper = found.rows[labels.index("deeper")]
    assert deeper[2:4] == shipped[2:4]
    assert deeper[4] == 0
    assert deeper[6:] == (None,) * 6
    ignored = found.rows[labels.index("noise ignored")]
    assert ignored[2:6] == (None,) * 4
    assert [config.noise for config in seen[:4]] == ["off", "off", "auto", "auto"]
    assert [config.noise for config in seen[-4:]] == [0.004, 0.004, "off", "off"]
    assert (tmp_path / "choices_x2_fast_noise-auto.csv").is_file()


def test_variants_change_something() -> None:
    for base, absent in ((FAST, "one network"), (INSTANT, "half the steps")):
        listed = choices.variants(base)
        assert listed[0].changes == {}
        assert absent not in [variant.label for variant in listed]
        assert all(change(base, **v.changes) != base for v in listed[1:])


@pytest.mark.parametrize("factor", [2, 3])
def test_pictures_that_choose(pictures: Path, factor: int) -> None:
    cases = choices.pictures(factor, limit=2)
    assert [case.group for case in cases] == ["halved", "full size"] * 2
    for case in cases:
        son = np.array(case.son.shape)
        assert tuple(son * (factor, factor, 1)) == case.truth.shape
        assert case.son.dtype == np.uint8
    whole = job.load(pictures / "astronaut.png")
    rows, columns, _ = cases[1].truth.shape
    assert (cases[1].truth == whole[3 : 3 + rows, 8 : 8 + columns]).all()


def test_few_photons_are_few() -> None:
    truth = np.full((128, 128), 200, np.uint8)
    draw = np.random.default_rng(0)
    son = choices.few_photons(truth, 2, draw).astype(float)
    assert son.shape == (64, 64)
    # The dtype's top cuts some of the photons off.
    assert son.mean() == pytest.approx(200, rel=0.03)
    dim = choices.few_photons(truth // 4, 2, draw).astype(float)
    assert dim.std() / 50 == pytest.approx(np.hypot(30**-0.5, 0.01), rel=0.05)
    assert not choices.few_photons(np.zeros((8, 8), np.uint8), 2, draw).any()


def test_pictures_of_scikit_image_or_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "skimage", None)
        with pytest.raises(InputError, match="pip install"):
            choices.pictures(2)
    pytest.importorskip("skimage")
    sizes = [case.truth.shape[:2] for case in choices.pictures(2)]
    assert sizes[1::2] == [(256, 256)] * 4
    assert sizes[::2] == [(256, 256), (200, 256), (250, 256), (150, 226)]
    with pytest.raises(InputError, match=r"No \*\.png"):
        run_benchmark(tmp_path, set_name="choices")


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """A confocal and a widefield channel, eight slices of each."""
    y, x = np.arange(40)[:, None] - 20, np.arange(36)[None, :] - 18
    planes = [300 + 9000 * np.exp(-(y * y + x * x) / (30 + 9 * z)) for z in range(8)]
    both = np.stack([planes, 0.5 * np.stack(planes)], axis=1).astype(np.uint16)
    path = tmp_path / "microscopy" / "tiff" / stacks.FILE
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, both, imagej=True, metadata={"axes": "ZCYX"})
    return tmp_path


def test_stacks_are_measured_by_every_strategy(
    nuclei: Path, seen: list[Config]
) -> None:
    found = run_benchmark(nuclei, set_name="stacks", config=FAST, limit=4)
    assert found.title.endswith("4 slices")
    assert found.column("strategy") == (*stacks.STRATEGIES, *stacks.STRATEGIES)
    assert {config.seed for config in seen} == {0, 1, 2}
    # The engine answers with bicubic here.
    assert found.column("PSNR") == pytest.approx(found.column("bicubic"))
    assert set(found.column("flicker, same slice, %")) == {0.0}
    assert found.column("flicker, new noise, x bicubic's") == pytest.approx([1.0] * 6)
    assert [ratio is None for ratio in found.column("of independent's")] == [
        strategy == "independent" for strategy in found.column("strategy")
    ]


def test_flicker_is_that_along_depth() -> None:
    plane = 100 * np.random.default_rng(1).random((16, 16))
    assert stacks.flicker(np.stack([plane] * 8)) == pytest.approx(0, abs=1e-9)
    noise = np.random.default_rng(0).normal(0, 3, (200, 16, 16))
    assert stacks.flicker(plane + noise) == pytest.approx(3, rel=0.05)


def test_choices_with_the_engine_itself(data: Path, pictures: Path) -> None:
    asked = change(FAST, steps=2, width=8, batch=2, ensemble=False)
    cases = choices.pictures(2, 1)[:1] + choices.captures(data, 2, 1)[:1]
    told = choices.Job(data=data, set_name="choices", config=asked)
    both = {"pictures": cases[:1], "captures": cases[1:]}
    label, _, psnr, full, *rest = choices._row(told, choices.Variant("one"), both)
    assert (label, full) == ("one", None)
    assert psnr > 10
    assert all(np.isfinite(rest[place]) for place in (1, 2, 3, 6, 7))


def test_invariants_of_bicubic_are_kept(data: Path, seen: list[Config]) -> None:
    found = run_benchmark(data, set_name="invariants", config=INSTANT)
    assert set(found.column("kept")) == {"yes"}
    factors = {config.factors for config in seen}
    assert factors == set(promises.ALIGNMENT_FACTORS)


def test_alignment_sees_half_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(image: np.ndarray, config: Config, **_: Any) -> Any:
        moved = np.roll(imresize(image, config.factors), 1, axis=0)
        return SimpleNamespace(image=moved)

    monkeypatch.setattr(promises, "enlarge", shifted)
    mean, worst = promises.alignment(change(INSTANT, factor=(3, 2)))
    assert (mean, worst) == pytest.approx((1, 1), abs=0.02)


def test_speed_counts_fine_pixels(data: Path, seen: list[Config]) -> None:
    assert cost.fine_pixels(change(FAST, factor=2)) == 4 * 64**2
    assert cost.fine_pixels(PAPER) == 128**2
    found = run_benchmark(data, set_name="speed")
    assert found.rows[2][1] == pytest.approx(found.rows[0][1] / found.rows[1][1])
    assert {config.noise for config in seen} == {"off"}


def test_speed_needs_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "enlarge", lambda *_, **__: None)
    with pytest.raises(ComputeError, match="no progress"):
        cost.training_throughput(INSTANT)


def test_memory_child_reports_its_peak(
    seen: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("resource")
    memory_child.main(["64", json.dumps(INSTANT.to_dict())])
    measured = json.loads(capsys.readouterr().out)
    assert measured["peak_bytes"] >= measured["before_bytes"] > 1e6
    assert seen == [INSTANT]


def test_memory_child_goes_from_disk_to_disk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("resource")
    monkeypatch.setattr("napari_zssr.zssr.canvas.LARGEST_HELD_BYTES", 50_000)
    config = change(INSTANT, ensemble=False)
    memory_child.main(["80", json.dumps(config.to_dict()), "disk"])
    measured = json.loads(capsys.readouterr().out)
    assert measured["peak_bytes"] >= measured["before_bytes"] > 1e6
    assert measured["scratch_bytes"] == 4 * 160**2
    assert measured["planned_bytes"] > 1e8


def test_memory_is_that_of_a_subprocess(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = [
        SimpleNamespace(
            returncode=0,
            stdout='{"peak_bytes": 2e9, "before_bytes": 1e9, "seconds": 3}',
        ),
        SimpleNamespace(returncode=1, stdout="", stderr="one\nthe reason"),
    ]
    monkeypatch.setattr(cost.subprocess, "run", lambda *_, **__: answers.pop(0))
    assert run_benchmark(tmp_path, set_name="memory").column("value") == (2.0, 1.0, 3)
    with pytest.raises(ComputeError, match="the reason"):
        run_benchmark(tmp_path, set_name="memory")


def test_memory_from_disk_to_disk_has_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("peak", "planned", "scratch", "before")
    told = {f"{name}_bytes": n * 1e9 for n, name in enumerate(names)} | {"seconds": 9}
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=0, stdout=json.dumps(told))

    monkeypatch.setattr(cost.subprocess, "run", run)
    found = run_benchmark(tmp_path, set_name="memory", plane_px=8192)
    assert found.column("value") == (0, 1, 2, 3, 9)
    assert "8192 x 8192" in found.title
    assert (asked[0][3], asked[0][-1]) == ("8192", "disk")
    with pytest.raises(InputError, match="from 1 up"):
        run_benchmark(tmp_path, set_name="memory", plane_px=0)


def test_files_go_round(data: Path, seen: list[Config], tmp_path: Path) -> None:
    found = run_benchmark(data, set_name="files", config=FAST)
    assert found.column("file") == ("plane.tif", "cell.png")
    assert set(found.column("faults")) == {""}
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    broken = run_benchmark(tmp_path, set_name="files")
    assert "InputError" in str(broken.rows[0][3])
    with pytest.raises(InputError, match="No TIFF"):
        run_benchmark(tmp_path / "nothing", set_name="files")


def test_faults_are_named() -> None:
    before = labelled(np.zeros((4, 5), np.uint8), axes="YX", spacing=0.5)
    good = labelled(np.zeros((8, 10), np.uint8), axes="YX", spacing=0.25)
    assert round_trip.faults(before, good, FAST) == []
    bad = labelled(np.zeros((8, 9), np.uint16), axes="YX", spacing=0.5)
    text = "; ".join(round_trip.faults(before, bad, FAST))
    assert all(word in text for word in ("shape", "dtype", "spacing Y", "spacing X"))


def test_rivals_never_lose_to_what_they_start_from() -> None:
    truth = promises.texture(48).astype(float)
    noisy = truth + np.random.default_rng(0).normal(0, 100, truth.shape)

    def score(image: np.ndarray) -> float:
        return -float(np.mean((image - truth) ** 2))

    assert score(rivals.best_blur(noisy, score)[1]) > score(noisy)
    assert score(rivals.richardson_lucy(noisy, score)[1]) > score(noisy)
    assert rivals.best_blur(truth, score)[0] == "sigma 0 px"
    white = np.random.default_rng(1).normal(0, 7, (128, 128))
    assert rivals.white_noise(white) == pytest.approx(7, rel=0.05)


def test_a_table_in_all_its_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Table(
        title="One",
        columns=("a", "b"),
        rows=(("x,y", 1.23456789), ("m|n", None), ("z", math.inf)),
        notes=("A note.",),
        plotted=("b",),
    )
    assert small.to_csv() == 'a,b\n"x,y",1.23456789\nm|n,\nz,inf\n'
    assert "| x,y | 1.2346 |" in small.to_markdown()
    assert "m\\|n" in small.to_markdown()
    assert small.to_markdown().endswith("- A note.\n")
    monkeypatch.setattr(table, "_draw", lambda *_: False)
    saved = table.save(small, tmp_path, "one")
    assert saved.notes[-1] == table.NO_PLOT
    assert table.NO_PLOT in (tmp_path / "one.md").read_text()
    (tmp_path / "file").touch()
    with pytest.raises(ComputeError, match="cannot be written"):
        table.save(small, tmp_path / "file", "one")


def test_a_table_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    small = Table(
        title="One", columns=("a", "b"), rows=(("x", 1.0), ("y", None)), plotted=("b",)
    )
    assert table.save(small, tmp_path, "one") == small
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / ".one.png.part").exists()


def test_means_skip_columns_with_gaps() -> None:
    rows = [("a", 1, 2.0, None, "x"), ("b", 3, None, None, "y")]
    assert table.mean_row(rows) == ("mean", 2, None, None, None)


def test_every_set_has_its_function() -> None:
    from importlib import import_module

    for place in SETS.values():
        module, name = place.split(":")
        assert callable(getattr(import_module(f"benchmarks.{module}"), name))
