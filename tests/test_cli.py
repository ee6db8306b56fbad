"""The command line: commands, exit codes, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_zssr.cli import console, demo, info, main, options
from napari_zssr.cli import info as doctor_command
from napari_zssr.cli.enlarge import default_output
from napari_zssr.config import BALANCED, Config, change
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.disk_run import Written
from napari_zssr.imaging.resample import output_window
from napari_zssr.io.write import write
from napari_zssr.progress import PlaneDone, Progress
from napari_zssr.stack import picture
from napari_zssr.stack.image import ImageStack, load_pixels, outline_of
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.prepare import make_plan
from napari_zssr.stack.report import Report, recipe
from napari_zssr.stack.run import Upscaled
from napari_zssr.units import bytes_text, duration_text

USAGE = [
    (["nonsense"], "nonsense"),
    (["upscale"], "INPUT"),
    (["upscale", "a.tif", "--fctor", "2"], "--fctor"),
    (["upscale", "a.tif", "--seed", "x"], "--seed"),
    (["upscale", "a.tif", "--factor", "two"], "Factor 'two'"),
    (["upscale", "a.tif", "--factor", "1,2,3"], "3 numbers"),
    (["upscale", "a.tif", "--factor", "nan"], "Factor nan"),
    (["upscale", "a.tif", "--preset", "fats"], "did you mean 'fast'"),
    (["upscale", "a.tif", "--noise", "loud"], "Noise 'loud'"),
    (["upscale", "a.tif", "--start", "random", "--steps", "0"], "steps is 0"),
    (["upscale", "a.tif", "--start", "nets.pt"], ".safetensors"),
    (["upscale", "a.tif", "-p", "instant", "--start", "n.safetensors"], "'instant'"),
    (["upscale", "a.tif", "--start", "lerned"], "did you mean 'learned'"),
    (["upscale", "a.tif", "-p", "instant", "--start", "learned"], "another preset"),
    (["upscale", "a.tif", "-p", "paper", "--start", "learned"], "fast and balanced"),
    (["upscale", "a.tif", "--learned-steps", "-1"], "learned_steps is -1"),
    (["upscale", "a.tif", "--save-networks", "n.pt"], "use .safetensors"),
    (["upscale", "a.tif", "--save-networks", "there.safetensors"], "exists already"),
    (["upscale", "a.tif", "--save-networks", "nowhere/n.safetensors"], "nowhere"),
    (
        ["upscale", "a.tif", "-p", "instant", "--save-networks", "n.safetensors"],
        "trains no networks",
    ),
    (["upscale", "a.tif", "--precision", "float16"], "float32"),
    (["upscale", "missing.tif"], "missing.tif"),
    (["upscale", "a.tif", "-o", "nowhere/b.tif"], "nowhere"),
    (["upscale", "a.tif", "-o", "b.docx"], ".docx"),
    (["upscale", "a.tif", "-o", "a.tif", "--overwrite"], "the input itself"),
    (["upscale", "a.tif", "-o", "there.tif"], "exists"),
    (["upscale", "a.tif", "--axes", "YQ"], "'Q'"),
    (["upscale", "a.tif", "--spacing", "small"], "Spacing 'small'"),
    (["upscale", "text.tif"], "text.tif"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a few small files."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(100, 900, (24, 20)).astype(np.uint16)
    tifffile.imwrite("a.tif", image)
    tifffile.imwrite("stack.tif", np.stack([image] * 5), photometric="minisblack")
    Path("there.tif").write_bytes(b"precious")
    Path("there.safetensors").write_bytes(b"precious")
    Path("text.tif").write_text("no image")
    return tmp_path


def fake_result(stack: ImageStack, config: Config) -> Upscaled:
    """Nearest-neighbour enlargement with a report of the right form."""
    y, x = (round(f) for f in config.factors)
    image = load_pixels(stack.data).repeat(y, axis=-2).repeat(x, axis=-1)
    plane = PlaneReport(
        plane=0,
        seconds=0.1,
        noise=0.01,
        gain_db=1.25,
        gain_error_db=0.2,
        returned="learned",
        steps=3,
        sentence="Learned.",
    )
    count = int(np.prod(stack.data.shape[:-2]))
    report = Report(
        planes=tuple(replace(plane, plane=number) for number in range(count)),
        seconds=0.1,
        device="cpu",
        precision="float32",
        seed=config.seed,
        versions={"torch": "0"},
        input_name=stack.name,
        input_checksum=stack.checksum,
        sentence="Gained 1.25 dB over bicubic.",
    )
    return Upscaled(
        image=image,
        axes=stack.axes,
        spacing=stack.spacing,
        units=stack.units,
        origin=tuple(0.0 for _ in stack.axes),
        channels=stack.channels,
        config=config,
        report=report,
    )


@dataclass
class Engine:
    """Stands for the engine: records what it was asked, ends as it is told."""

    config: Config | None = None
    closed: bool = False
    failure: BaseException | None = None

    def to_disk(
        self, stack: ImageStack, config: Config, target: Path, **how: Any
    ) -> Iterator[Any]:
        made = yield from self(stack, config)
        write(
            target,
            made.as_stack(),
            overwrite=how["overwrite"],
            provenance=recipe(stack, made),
        )
        return Written(
            path=target,
            part=target.with_name("part"),
            outline=outline_of(made.as_stack()),
            plan=make_plan(stack, config),
            report=made.report,
            failures=(),
            missing=0,
        )

    def __call__(self, stack: ImageStack, config: Config) -> Iterator[Any]:
        self.config = config
        try:
            yield Progress(
                stage="train", step=1, total=2, gain_db=0.5, message="Hello."
            )
            if self.failure is not None:
                raise self.failure
            yield PlaneDone(plane=0, planes=1, done=1)
            return fake_result(stack, config)
        finally:
            self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr("napari_zssr.stack.run.upscale_steps", fake)
    monkeypatch.setattr("napari_zssr.execution.run.upscale_to_disk_steps", fake.to_disk)
    return fake


@pytest.mark.parametrize(
    ("arguments", "hint"), USAGE, ids=[" ".join(a) for a, _ in USAGE]
)
def test_bad_input_gets_one_sentence(
    arguments: list[str],
    hint: str,
    folder: Path,
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert hint in err
    assert out == ""
    sentences = [line for line in err.splitlines() if "guessed" not in line]
    assert len(sentences) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("failure", "code", "hint"),
    [
        (ComputeError("No memory."), 1, "No memory."),
        (InputError("Bad plane."), 2, "Bad plane."),
        (ValueError("odd\nlines"), 1, "ValueError: odd lines"),
        (MemoryError(), 1, "memory"),
        (KeyboardInterrupt(), 130, "Stopped"),
        (ImportError("numpy"), 1, "ImportError"),
    ],
)
def test_failure_leaves_nothing_behind(
    failure: BaseException,
    code: int,
    hint: str,
    folder: Path,
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.failure = failure
    before = sorted(folder.iterdir())
    assert main(["upscale", "a.tif", "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert engine.closed
    assert sorted(folder.iterdir()) == before


def test_interrupt_inside_an_import_counts_as_one(
    folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.failure = ImportError("half imported")
    engine.failure.__cause__ = KeyboardInterrupt()
    assert main(["upscale", "a.tif"]) == 130
    assert "Stopped" in capsys.readouterr().err


@pytest.mark.parametrize("by_variable", [True, False])
def test_debug_shows_the_traceback(
    by_variable: bool,
    folder: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine.failure = ValueError("odd")
    flag = [] if by_variable else ["--debug"]
    monkeypatch.setenv("NAPARI_ZSSR_DEBUG", "1" if by_variable else "")
    assert main(["upscale", "a.tif", *flag]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_upscale_writes_beside_the_input(
    folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_zssr.io.write import read_provenance

    assert main(["upscale", "a.tif", "--seed", "7", "--spacing", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert "a_x2.ome.tif: YX 48 × 40 uint16, Y 0.5 µm" in out
    assert "Gained 1.25 dB" in out
    assert err == "Hello.\n"
    assert tifffile.imread("a_x2.ome.tif").shape == (48, 40)
    found = read_provenance("a_x2.ome.tif")
    assert found is not None
    assert Config.from_dict(found["config"]) == change(BALANCED, seed=7)


def test_upscale_json_is_one_object(
    folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", "a.tif", "-o", "b.tif", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["output"] == "b.tif"
    assert content["shape"] == [48, 40]
    assert content["sentence"] == "Gained 1.25 dB over bicubic."
    assert err == ""


def test_upscale_replaces_only_when_told(folder: Path, engine: Engine) -> None:
    assert main(["upscale", "a.tif", "-o", "there.tif", "--overwrite"]) == 0
    assert tifffile.imread("there.tif").shape == (48, 40)


def test_every_option_reaches_the_settings(folder: Path, engine: Engine) -> None:
    arguments = (
        "upscale a.tif -f 1,3 -p paper --kernel gaussian:1.2 --noise 0.05 --gradual 2 "
        "--back-projection 0 --no-ensemble --steps 9 --always --seed 3 --device cpu "
        "--precision float32 --tile-px 64 --fill-nonfinite --start n.safetensors "
        "--strategy shared"
    )
    assert main(arguments.split()) == 0
    config = engine.config
    assert config is not None
    assert (config.preset, config.network) == ("paper", "paper")
    assert config.factors == (1, 3)
    assert config.kernel.sigma_px == (1.2, 1.2)
    assert (config.noise, config.gradual, config.back_projection) == (0.05, 2, 0)
    assert (config.ensemble, config.always, config.steps) == (False, True, 9)
    assert (config.seed, config.device, config.tile_px) == (3, "cpu", 64)
    assert (config.precision, config.nonfinite) == ("float32", "fill")
    assert (config.start, config.strategy) == ("n.safetensors", "shared")


PLAIN = ["--noise", "off", "--always", "--no-ensemble", "--device", "cpu"]
PLAIN += ["--precision", "float32"]


def test_networks_are_saved_and_used_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ["upscale", "a.tif", "-p", "fast", "--steps", "2", *PLAIN]
    saving = ["--save-networks", "n.safetensors", "-o", "one.tif"]
    assert main([*first, *saving]) == 0
    assert "n.safetensors: trained networks saved" in capsys.readouterr().out
    second = ["upscale", "a.tif", "-p", "fast", "--steps", "0", *PLAIN, "--json"]
    assert main([*second, "--start", "n.safetensors", "-o", "two.tif"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["planes"][0]["steps"] == 0
    assert told["networks"] is None
    assert "without further training" in told["sentence"]
    difference = tifffile.imread("one.tif").astype(int) - tifffile.imread("two.tif")
    assert abs(difference).max() <= 1
    assert main([*second, "--start", "gone.safetensors", "-o", "three.tif"]) == 2
    assert "gone.safetensors does not exist" in capsys.readouterr().err
    assert not Path("three.tif").exists()


def test_training_begins_from_the_learned_start(
    folder: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["upscale", "a.tif", "-p", "fast", *PLAIN, "--json"]
    how = ["--start", "learned", "--learned-steps", "3"]
    assert main([*arguments, *how, "-o", "one.tif"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["planes"][0]["steps"] == 3
    assert "the network pretrained on synthetic images, 3 steps" in told["sentence"]
    told_file = ["--start", str(shipped), "--steps", "3"]
    assert main([*arguments, *told_file, "-o", "two.tif"]) == 0
    one, two = tifffile.imread("one.tif"), tifffile.imread("two.tif")
    np.testing.assert_array_equal(one, two)
    shipped.write_bytes(shipped.read_bytes()[:-9])
    assert main([*arguments, *how, "-o", "three.tif"]) == 2
    assert "is damaged; install napari-zssr again" in capsys.readouterr().err


def test_networks_replace_others_only_when_told(folder: Path) -> None:
    arguments = ["upscale", "a.tif", "-p", "fast", "--steps", "1", *PLAIN]
    saving = ["--save-networks", "there.safetensors"]
    assert main([*arguments, *saving]) == 2
    assert main([*arguments, *saving, "--overwrite"]) == 0
    assert Path("there.safetensors").stat().st_size > 1000


def test_where_nothing_was_learned_no_networks_are_written(
    folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", "a.tif", "--save-networks", "n.safetensors"]) == 0
    assert "n.safetensors: not written" in capsys.readouterr().out
    assert not Path("n.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("a.tif", 2, "a_x2.ome.tif"),
        ("a.b.ome.tiff", 1.5, "a.b_x1.5.ome.tif"),
        ("plate.ome.zarr", (1, 2), "plate_x1x2.ome.tif"),
        ("photo.JPG", 3, "photo_x3.ome.tif"),
    ],
)
def test_default_output(name: str, factor: Any, expected: str) -> None:
    config = change(BALANCED, factor=factor)
    assert default_output(Path("in") / name, config) == Path("in") / expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("0.1", 0.1),
        ("0.3,0.1,0.1", (0.3, 0.1, 0.1)),
        ("y=0.1, X=0.2", {"Y": 0.1, "X": 0.2}),
    ],
)
def test_spacing(text: str | None, expected: object) -> None:
    assert options.parse_spacing(text) == expected


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "upscale" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["upscale", "check", "demo", "info", "kernel", "doctor"],
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


def test_help_loads_no_heavy_library(loaded_by: Any) -> None:
    load_pixels = loaded_by("from napari_zssr.cli import main; main(['--help'])")
    heavy = {"torch", "napari", "qtpy", "dask", "scipy", "PIL", "tifffile"}
    assert not load_pixels & heavy


def test_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_zssr", "upscale", "nothing.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing.tif" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert code == (1 if content["problem"] else 0)
    assert content["devices"][-1]["device"] == "cpu"


def test_doctor_names_the_command_that_mends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_zssr.zssr import device
    from napari_zssr.zssr import device as nvidia

    gpu = nvidia.NvidiaGpu(name="RTX", capability=(8, 9))
    monkeypatch.setattr(nvidia, "nvidia_gpus", lambda: (gpu,))
    monkeypatch.setattr(nvidia, "driver_cuda", lambda: (12, 4))
    monkeypatch.setattr(device, "available_devices", lambda: ("cpu",))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert (
        "for the graphics card RTX" in out or "cannot use the graphics card RTX" in out
    )
    assert "-m pip install torch --index-url" in out
    assert "whl/cu126" in out


def test_doctor_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 1
    assert "PyTorch cannot be imported" in capsys.readouterr().out
    assert doctor_command.diagnostics()["devices"] == []


def test_demo_writes_result_picture_and_report(
    tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for _ in range(2):
        assert main(["demo", "--output-dir", str(tmp_path / "new" / "demo")]) == 0
    out = capsys.readouterr().out
    assert "+1.25 \u00b1 0.20 dB" in out
    found = {path.name for path in (tmp_path / "new" / "demo").iterdir()}
    assert found == {"cells_x2.ome.tif", "cells_x2.png", "report.json", "report.md"}
    page = (tmp_path / "new" / "demo" / "report.md").read_text(encoding="utf-8")
    assert "Gained 1.25 dB over bicubic." in page
    assert "](cells_x2.png)" in page
    with Image.open(tmp_path / "new" / "demo" / "cells_x2.png") as shown:
        assert shown.size[0] > 3 * 300
    assert engine.config is not None
    assert engine.config.preset == "fast"


def test_demo_names_a_folder_that_cannot_be_made(
    folder: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--output-dir", "a.tif"]) == 2
    assert "--output-dir" in capsys.readouterr().err


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "a.tif", "--factor", "3", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["output_shape"] == [72, 60]
    assert content["axes_guessed"] is False
    assert len(content["noise"]) == 1
    assert main(["info", "stack.tif"]) == 0
    out, err = capsys.readouterr()
    assert "YX 5 × 48 × 40" in out
    assert "guessed as" in err


def test_info_of_a_stack_along_z(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["info", "stack.tif", "--axes", "ZYX", "--factor", "1", "--factor-z", "3"]
    assert main([*line, "--kernel-z", "gaussian:1.5"]) == 0
    out = capsys.readouterr().out
    assert "ZYX 15 × 24 × 20" in out
    assert "along Z  Blur along Z: Gaussian, as given. This is an SD of 0.50" in out
    assert main([*line, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["factor_z"] == 3
    assert content["planes"] == 15
    assert content["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--start", "learned", "--noise", "off"], "images, at most 200 steps."),
        (["--start", "learned"], "network pretrained on synthetic images, at most"),
        (
            ["--start", "learned", "--learned-steps", "0"],
            "images is used without further training.",
        ),
        (["--start", "random"], "uses this image only."),
        (["--preset", "instant"], ""),
    ],
)
def test_info_tells_what_training_will_begin_from(
    arguments: list[str],
    says: str,
    folder: Path,
    shipped: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(info, "noise_levels", lambda _: [0.0])
    assert main(["info", "a.tif", "--json", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["starts"]) == bool(says)
    assert says in "".join(told["starts"])
    assert main(["info", "a.tif", *arguments]) == 0
    assert ("start" in capsys.readouterr().out) == bool(says)


def test_info_foretells_the_time_from_the_learned_start(
    folder: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = []
    for start in ("learned", "random"):
        assert main(["info", "a.tif", "--json", "--start", start]) == 0
        seconds.append(json.loads(capsys.readouterr().out)["seconds"])
    assert seconds[0] < seconds[1]


def test_noise_of_a_flat_plane_is_unknown() -> None:
    flat = ImageStack(
        data=np.full((2, 32, 32), 5, np.uint8),
        axes="CYX",
        spacing=(None,) * 3,
        units=(None,) * 3,
    )
    assert info.noise_levels(flat) == [None, None]


def test_benchmark_prints_its_table(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks.__main__ import command
    from napari_zssr.cli import run

    asked: dict[str, Any] = {}

    class Table:
        def to_markdown(self) -> str:
            return "| Set5 |"

    def fake(data: Path, **given: Any) -> Table:
        asked.update(given, data=data)
        return Table()

    monkeypatch.setattr("benchmarks.run_benchmark", fake)
    arguments = [".", "--set", "Set14", "--noise", "off", "--limit", "2"]
    assert run(command, "python -m benchmarks", arguments) == 0
    assert "| Set5 |" in capsys.readouterr().out
    assert (asked["set_name"], asked["limit"]) == ("Set14", 2)
    assert asked["config"].noise == "off"


def test_progress_shows_stage_gain_and_planes() -> None:
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    terminal = Console(file=stream, force_terminal=True, width=100)
    with console._bar(terminal) as bar:
        view = console.ProgressView(bar)
        for plane in range(2):
            view.show(
                Progress(
                    stage="train", step=3, total=9, gain_db=0.25, plane=plane, planes=2
                )
            )
            bar.refresh()
            view.show(PlaneDone(plane=plane, planes=2, done=plane + 1))
    shown = stream.getvalue()
    for part in ("Training", "3/9", "+0.25 dB", "planes"):
        assert part in shown


def test_json_holds_no_nan() -> None:
    content = {"a": [np.float32(1.5), float("nan")], "b": Path("c"), "d": np.arange(2)}
    text = console.to_json(content)
    assert json.loads(text) == {"a": [1.5, None], "b": "c", "d": [0, 1]}


@pytest.mark.parametrize(
    ("worded", "expected"),
    [
        (bytes_text(None), "unknown"),
        (bytes_text(999), "999 B"),
        (bytes_text(1.5e9), "1.5 GB"),
        (bytes_text(2e13), "20 TB"),
        (duration_text(3.21), "3.2 s"),
        (duration_text(600), "10 min"),
        (duration_text(3 * 3600), "3.0 h"),
    ],
)
def test_words(worded: str, expected: str) -> None:
    assert worded == expected


def test_busiest_field_holds_the_structure() -> None:
    image = np.zeros((2, 90, 120))
    image[:, 60:70, 80:90] = np.random.default_rng(1).random((10, 10))
    y, x = picture.busiest(image, 30)
    assert (y.stop - y.start, x.stop - x.start) == (30, 30)
    assert y.start <= 60 < 70 <= y.stop
    assert x.start <= 80 < 90 <= x.stop
    assert output_window((y, x), (2, 3))[1] == slice(3 * x.start, 3 * x.stop)


def test_busiest_field_of_a_small_image_is_all_of_it() -> None:
    assert picture.busiest(np.eye(9)[None], 30) == (slice(0, 9), slice(0, 9))


def test_panels_share_one_contrast() -> None:
    first = np.linspace(0, 100, 64).reshape(8, 8)
    row = picture.Row(label="a", panels=(first, first / 2))
    shown = np.asarray(picture.side_by_side([row], ["one", "two"], side_px=80))
    top = picture.HEADER * 2
    one, two = (
        shown[top : top + 80, left : left + 80, 0].astype(float).mean()
        for left in (picture.GAP, 2 * picture.GAP + 80)
    )
    assert two == pytest.approx(one / 2, rel=0.05)


def test_bundled_image_is_there() -> None:
    with demo.bundled_image() as path:
        assert tifffile.imread(path).ndim == 3


def test_a_real_run_from_file_to_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y, x = np.mgrid[:40, :36]
    image = (500 + 300 * np.sin(y / 3) * np.cos(x / 2)).astype(np.uint16)
    source = tmp_path / "waves.tif"
    tifffile.imwrite(source, image)
    target = tmp_path / "fine.ome.tif"
    code = main(
        ["upscale", str(source), "-o", str(target), "-p", "instant", "--device", "cpu"]
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    result = tifffile.imread(target)
    assert result.shape == (80, 72)
    assert result.dtype == np.uint16
    assert abs(float(result.mean()) / float(image.mean()) - 1) < 0.005
    assert "fine.ome.tif" in out
