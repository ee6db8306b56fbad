from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks import blurred, job, judged, promises, run_benchmark, unknown
from benchmarks.__main__ import command
from napari_zssr.cli import run
from napari_zssr.config import FAST, INSTANT, Config
from napari_zssr.errors import InputError
from napari_zssr.imaging.kernel import covariance
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import Event, Progress


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configs that the engine got; it answers with bicubic and reports a kernel."""
    configs: list[Config] = []

    def upscale_steps(image: Any, config: Config, **_: Any) -> Iterator[Event]:
        configs.append(config)
        yield Progress(stage="train", step=1, total=1)
        planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
        large = imresize(planes, config.factors)
        large = np.moveaxis(large, 0, -1) if image.ndim == 3 else large
        told = {"widths_px": (1.5, 0.75), "angle_deg": 0.0}
        report = SimpleNamespace(
            planes=[SimpleNamespace(returned="bicubic")], kernels=(told,)
        )
        return SimpleNamespace(image=job.as_dtype(large, image.dtype), report=report)

    monkeypatch.setattr("napari_zssr.api.upscale_steps", upscale_steps)
    return configs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A grey 8-bit PNG, an RGB one and a grey 16-bit TIFF, of odd sizes."""
    grey = promises.texture(48) / 1100 * 255
    rgb = np.stack([grey, grey[::-1], grey.T], axis=-1).astype(np.uint8)
    root = tmp_path / "images"
    root.mkdir()
    Image.fromarray(grey.astype(np.uint8)[:47]).save(root / "a.png")
    Image.fromarray(rgb).save(root / "b.png")
    tifffile.imwrite(root / "c.tif", (40 * grey).astype(np.uint16)[:, :45])
    (root / "words.txt").write_text("no image")
    return root


def test_table_2_of_a_plain_folder(
    folder: Path, seen: list[Config], tmp_path: Path
) -> None:
    events: list[Event] = []
    found = run_benchmark(
        folder,
        set_name="table2",
        configs=(INSTANT, FAST),
        kernels=("bicubic", "gaussian:1.1", "true"),
        seeds=(0, 1),
        output=tmp_path / "out",
        on_event=events.append,
    )
    assert len(seen) == 3 * 2 * 2 * 3
    assert [config.kernel.kind for config in seen[:3]] == [
        "bicubic",
        "gaussian",
        "array",
    ]
    methods = found.column("method")
    assert methods[0] == "bicubic"
    assert "fast, gaussian:1.1 kernel" in methods
    assert "fast, true kernel, seed 1" in methods
    assert methods[-1] == "ZSSR, true kernel (published)"
    assert found.column("gain dB")[0] == 0
    assert found.images is not None
    assert len(found.images.rows) == 6 * len(set(found.images.column("method")))
    stem = "table2_x2_instant-fast_noise-auto"
    written = (tmp_path / "out" / f"{stem}_images.csv").read_text()
    assert written == found.images.to_csv()
    said = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert any("fast, true kernel" in line and "dB" in line for line in said)


def test_table_2_knows_how_far_an_estimate_is_off(
    folder: Path, seen: list[Config]
) -> None:
    found = run_benchmark(
        folder, set_name="table2", config=INSTANT, kernels=("gaussian:1",), limit=1
    )
    assert found.images is not None
    errors = [
        row[6:8] for row in found.images.rows if row[2] == "instant, gaussian:1 kernel"
    ]
    assert len(errors) == 3
    draw = np.random.default_rng(0)
    kernel = blurred.random_gaussian(draw, 2)
    true = np.sqrt(np.linalg.eigvalsh(covariance(kernel)))[::-1]
    wanted = 100 * np.abs(np.array([1.5, 0.75]) / true - 1)
    assert errors[0] == pytest.approx(tuple(wanted))
    row = found.rows[found.column("method").index("instant, gaussian:1 kernel")]
    assert row[5:7] == pytest.approx(tuple(np.median(errors, axis=0)))
    assert row[4] is None


def test_table_3_degrades_every_image_in_every_way(
    folder: Path, seen: list[Config]
) -> None:
    found = run_benchmark(folder, set_name="table3", configs=(INSTANT, FAST))
    assert len(seen) == 3 * 3 * 2
    assert found.images is not None
    assert len(found.images.rows) == 3 * 3 * 4
    cases = dict.fromkeys(found.column("degradation"))
    assert list(cases) == [unknown.CHOSEN, unknown.EACH, *unknown.DEGRADATIONS]
    again = run_benchmark(folder, set_name="table3", config=INSTANT, limit=2)
    assert again.images is not None
    figures = [row for row in found.images.rows if row[2] == "bicubic"][:6]
    assert [row for row in again.images.rows if row[2] == "bicubic"] == figures
    blurs = [row[3] for row in found.images.rows if row[2] == unknown.BLURRED]
    plain = [row[3] for row in found.images.rows if row[2] == "bicubic"]
    assert all(a >= b - 1e-9 for a, b in zip(blurs, plain, strict=True))


def test_table_3_of_the_drawn_degradations_only(
    folder: Path, seen: list[Config]
) -> None:
    found = run_benchmark(folder, set_name="table3", config=INSTANT, subset="random")
    assert len(seen) == 3
    assert unknown.EACH not in found.column("degradation")
    with pytest.raises(InputError, match="Subset"):
        run_benchmark(folder, set_name="table3", subset="some")


def test_degradations_are_as_strong_as_they_say() -> None:
    draw = np.random.default_rng(0)
    flat = np.full((200, 200), 120, np.uint8)
    noisy = unknown.gaussian_noise(flat, draw).astype(float)
    assert noisy.std() == pytest.approx(0.05 * 255, rel=0.02)
    speckled = unknown.speckle(flat, draw).astype(float)
    assert speckled.std() == pytest.approx(0.05 * 120, rel=0.02)
    assert np.abs(speckled - 120).max() <= 0.05 * 3**0.5 * 120 + 0.5
    texture = (promises.texture(64) / 1100 * 255).astype(np.uint8)
    assert unknown.jpeg(texture).shape == texture.shape
    assert (unknown.jpeg(texture) != texture).any()


def test_images_that_serve_as_truth(folder: Path, tmp_path: Path) -> None:
    files = judged.truth_files(folder, 2)
    assert [judged.name_of(path) for path in files] == ["a", "b", "c"]
    sizes = [judged.load_truth(path, 2).shape for path in files]
    assert sizes == [(46, 48), (48, 48, 3), (48, 44)]
    assert judged.load_truth(files[2], 2).max() > 200
    for name in ("img_001_HR.png", "img_001_LR.png"):
        (folder / name).write_bytes(files[0].read_bytes())
    assert [p.name for p in judged.truth_files(folder, 2)] == ["img_001_HR.png"]
    laid_out = tmp_path / "sr_benchmarks" / "BSD100_odd" / "x2"
    laid_out.mkdir(parents=True)
    (laid_out / "img_002_HR.png").write_bytes(files[0].read_bytes())
    assert judged.name_of(judged.truth_files(tmp_path, 2)[0]) == "img_002"
    with pytest.raises(InputError, match="No PNG or TIFF"):
        judged.truth_files(tmp_path / "none", 2)
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.zeros((5, 20, 20), np.uint8), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="single planes"):
        judged.load_truth(stack, 2)


def main(arguments: list[str]) -> int:
    return run(command, "python -m benchmarks", arguments)


def test_tables_at_the_command_line(
    folder: Path, seen: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--table", "2", "--kernel", "true", "--seeds", "3", "--limit", "1"]
    assert main([str(folder), *options]) == 0
    assert [config.preset for config in seen] == ["instant", "fast", "balanced"]
    assert "ZSSR, true kernel (published)" in capsys.readouterr().out
    seen.clear()
    assert main([str(folder), "--table", "3", "-p", "fast"]) == 0
    assert len(seen) == 9
    assert main([str(folder), "--table", "4"]) == 2
    assert "give 2 or 3" in capsys.readouterr().err
    assert main([str(folder), "--table", "2", "--seeds", "a"]) == 2
    assert "Seeds" in capsys.readouterr().err
