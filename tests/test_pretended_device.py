"""The CUDA and Metal paths, where there is no GPU (see `pretended_device`)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pretended_device import Counts, DeviceTensor, pretended

from napari_zssr import read, upscale, upscale_to_disk
from napari_zssr.config import Config, change, preset
from napari_zssr.errors import ComputeError, InputError, compute_errors
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import planes
from napari_zssr.stack.preview import preview_steps
from napari_zssr.stack.resources import Hardware, RunInput, plan_run
from napari_zssr.zssr import device as devices
from napari_zssr.zssr.judge import Assessment
from napari_zssr.zssr.networks import (
    ResidualNetwork,
    applied,
    enlarge,
    on_device,
    restored,
    untrained,
)
from napari_zssr.zssr.pairs import build_pairs, pair_spec
from napari_zssr.zssr.plane_trainer import upscale_plane
from napari_zssr.zssr.predict import predict, predict_spec
from napari_zssr.zssr.pretrained import shipped_start
from napari_zssr.zssr.trainer import Trainer
from napari_zssr.zssr.training_plan import Execution, Facts, TrainingPlan, resolve

CUDA = "cuda:0"
NAMES = {"cuda": CUDA, "mps": "mps"}


@pytest.fixture(autouse=True)
def one_thread(same_threads: None) -> None:
    torch.set_num_threads(1)


def rings(side: int = 48, samples: int = 0) -> NDArray[np.uint16]:
    y, x = np.mgrid[:side, :side] / side
    image = 0.5 + 0.4 * np.sin(60 * ((x - 0.5) ** 2 + (y - 0.4) ** 2))
    if samples:
        image = np.stack([image, image**2, 1 - image][:samples], -1)
    return (image * 20000 + 5000).astype(np.uint16)


def bytes_of(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Pixels with the blocks of a JPEG."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray((image // 256).astype(np.uint8)).save(file, "JPEG", quality=40)
    return np.array(Image.open(file))


STACK = np.stack([rings() + 40 * n for n in range(6)])
# Preset, axes, image, settings.
CASES: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "learned": ("fast", "YX", rings(), {"learned_steps": 3}),
    "ensemble": ("balanced", "YX", rings(), {"learned_steps": 2}),
    "filter": ("instant", "YX", rings(), {}),
    "random": (
        "fast",
        "YX",
        rings(),
        {"kernel": "gaussian:1.2", "start": "random", "steps": 3},
    ),
    "noisy": ("fast", "YX", rings(), {"noise": 0.03, "learned_steps": 100}),
    "paper": (
        "paper",
        "YX",
        rings(),
        {"steps": 2, "gradual": 2, "crop_px": 16, "ensemble": False},
    ),
    "rgb": ("fast", "YXS", rings(48, 3), {"learned_steps": 2}),
    "jpeg": ("fast", "YX", bytes_of(rings(64)), {"learned_steps": 2}),
    "stack": (
        "fast",
        "ZYX",
        STACK[:2],
        {"learned_steps": 2, "tuned_steps": 2, "strategy": "tuned"},
    ),
    "uneven": (
        "fast",
        "YX",
        rings(),
        {"factor": (2.5, 1.0), "start": "random", "steps": 2},
    ),
    "along z": (
        "fast",
        "ZYX",
        STACK,
        {"factor": 1, "factor_z": 2, "kernel_z": "gaussian:1", "learned_steps": 2},
    ),
    "bfloat16": (
        "fast",
        "YX",
        rings(),
        {"learned_steps": 2, "precision": "bfloat16"},
    ),
}
# What sums in another order change, as a fraction of the range.
ROUNDING = {"bfloat16": 4e-3}


def run(device: str, case: str) -> NDArray[Any]:
    name, axes, image, changes = CASES[case]
    given: Any = {"precision": "float32", "always": True, **changes}
    return upscale(image, name, axes=axes, device=device, **given)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_a_device_gives_what_the_processor_gives(case: str, kind: str) -> None:
    here = run("cpu", case).astype(float)
    with pretended(NAMES[kind]) as mode:
        there = run(kind, case)
    assert mode.counts.kernels > 50
    largest = ROUNDING.get(case, 5e-5) * np.ptp(here)
    assert np.abs(there - here).max() <= max(1, largest)


def test_to_disk_and_a_preview(tmp_path: Path) -> None:
    config = change(preset("instant"), device="cuda", precision="float32")
    stack = labelled(STACK[:2], axes="ZYX")
    here = upscale(STACK[:2], "instant", axes="ZYX", device="cpu").astype(int)
    (first, _) = planes("ZYX", stack.data.shape)
    window = (slice(8, 24), slice(4, 36))
    with pretended(CUDA):
        upscale_to_disk(stack, tmp_path / "a.ome.zarr", config)
        steps = preview_steps(stack, config, plane_index=first, window=window)
        shown = drain(steps).image
    assert np.abs(np.asarray(read(tmp_path / "a.ome.zarr").data) - here).max() <= 1
    assert np.abs(shown - here[0, 16:48, 8:72]).max() <= 2


def test_no_memory_of_the_device_is_kept_after_a_run() -> None:
    with pretended(CUDA):
        run("cuda", "learned")
    # By now the matrices of resampling are there.
    with pretended(CUDA) as mode:
        run("cuda", "learned")
    assert mode.counts.live_bytes < 100_000


# ---- what it takes


def plan_of(kind: str) -> TrainingPlan:
    noise = NoiseModel(offset=0.03**2) if kind == "noisy" else CLEAN
    changes = {"start": "random"} if kind == "random" else {}
    config = change(preset("fast" if kind == "learned" else "balanced"), **changes)
    start = None if kind == "random" else shipped_start()
    return resolve(config, Facts(noise=noise, level=noise.sigma(0.5), start=start))


def network_of(plan: TrainingPlan) -> torch.nn.Module:
    network = restored(plan.start) if plan.start else untrained(plan, (2, 2), seed=0)
    return on_device(network, torch.device(CUDA))


def plane_of(side: int) -> torch.Tensor:
    return torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))


def step_counts(kind: str, precision: str) -> Counts:
    with pretended(CUDA) as mode:
        plan = plan_of(kind)
        execution = Execution(device=CUDA, precision=precision)
        trainer = Trainer(
            network_of(plan),
            [plane_of(64).to(CUDA)],
            pair_spec(plan, plan.factors),
            plan,
            execution,
        )
        first, second = trainer.draw(2)
        trainer.step(first, 0.1)
        before = mode.counts.copy()
        trainer.step(second, 0.1)
        trainer.average.update(trainer.network)
        return mode.counts.since(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "kernels"), [("learned", 203), ("noisy", 264), ("random", 173)]
)
def test_a_training_step(kind: str, kernels: int, precision: str) -> None:
    """At most 70 % of what it launched when each tensor was updated by itself."""
    counts = step_counts(kind, precision)
    casts = counts.names["aten::_to_copy"]
    assert counts.kernels - casts <= 0.7 * kernels
    assert counts.waits == counts.uploads == counts.downloads == 0
    assert counts.host_operators <= 4


@pytest.mark.parametrize(("kind", "kernels"), [("learned", 2984), ("noisy", 1137)])
def test_pairs_of_a_plane(kind: str, kernels: int) -> None:
    """Half of what was launched when each father had its own mask drawn."""
    with pretended(CUDA, real=False) as mode:
        plan, plane = plan_of(kind), plane_of(512).to(CUDA)
        before = mode.counts.copy()
        build_pairs([plane], pair_spec(plan, plan.factors), torch.Generator())
        counts = mode.counts.since(before)
    assert counts.kernels <= 0.5 * kernels


def test_a_prediction() -> None:
    """A quarter of what was launched when versions were enlarged one by one."""
    with pretended(CUDA, real=False) as mode:
        plan, plane = plan_of("balanced"), plane_of(512).to(CUDA)
        network = network_of(plan)
        before = mode.counts.copy()
        spec = predict_spec(plan, plan.factors, Execution(device=CUDA))
        drain(predict(network, plane, spec))
        counts = mode.counts.since(before)
    assert counts.kernels <= 0.25 * 5108
    assert counts.downloads == 1


def test_memory_of_a_large_plane() -> None:
    with pretended(CUDA, real=False) as mode:
        config = change(preset("balanced"), learned_steps=1, always=True)
        plan = resolve(config, Facts(start=shipped_start()))
        execution = Execution(device=CUDA, precision="bfloat16")
        # Checks compare pixels, which are not computed here.
        sound = Assessment(supported=1.0, gain_db=1.0)
        plane = plane_of(2048).to(CUDA)
        drain(upscale_plane(plane, plan, execution, assessment=sound))
    assert mode.counts.peak_bytes <= 1.0e9


# ---- mended


def test_the_base_is_float32() -> None:
    network = ResidualNetwork(1, (2, 2), width=8)
    torch.nn.init.zeros_(network.tail.weight)
    plane = plane_of(32)[None]
    for device in NAMES.values():
        with pretended(device), torch.no_grad():
            moved = copy.deepcopy(network).to(device)
            result = applied(moved, plane.to(device), "bfloat16").cpu()
        torch.testing.assert_close(result, enlarge(plane, (2, 2)), atol=1e-5, rtol=0)


def test_a_long_stack_does_not_shrink_the_tiles_of_a_gpu() -> None:
    run = RunInput(
        config=preset("balanced"),
        shape=(100, 2048, 2048),
        dtype=np.dtype("uint16"),
        axes="ZYX",
    )
    hardware = Hardware(device=CUDA, free_bytes=5_500_000_000, bfloat16=True)
    assert plan_run(run, hardware).tile_px == 512


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `x`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_want_of_memory_is_told_from_other_failures(
    error: Exception, is_memory: bool
) -> None:
    with pytest.raises(ComputeError) as raised, compute_errors("Plane 3", CUDA):
        raise error
    assert ("(cuda:0) ran out of memory" in str(raised.value)) is is_memory
    assert is_memory or "illegal memory access" in str(raised.value)
    # What to do is said, whatever failed.
    assert str(raised.value).endswith("use device='cpu'.")


def test_the_callers_random_numbers_of_gpus_are_left_alone() -> None:
    plan = plan_of("random")
    with mock.patch("torch.cuda.manual_seed_all") as seeded:
        first, second = (untrained(plan, (2, 2), seed=5) for _ in range(2))
    assert not seeded.called
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_convolutions_of_float32_are_exact_and_the_same_every_time() -> None:
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, plane: torch.Tensor) -> torch.Tensor:
            cudnn = torch.backends.cudnn
            seen.append((cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark))
            return plane

    before = torch.backends.cudnn.allow_tf32
    with pretended(CUDA):
        applied(Spy(), torch.zeros(1, 1, 4, 4).to(CUDA), "float32")
    assert seen == [(False, True, False)]
    assert torch.backends.cudnn.allow_tf32 == before


class TestChoosing:
    """What a setting's device becomes where a GPU is listed but does not compute."""

    @pytest.fixture(autouse=True)
    def listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "available_devices", lambda: (CUDA, "cpu"))
        monkeypatch.setattr(devices, "description", lambda _: "a card")
        monkeypatch.setattr(devices, "fast_bfloat16", lambda _: False)
        devices.failure_of.cache_clear()

    def test_auto_goes_on_without_it_and_says_so(self) -> None:
        from napari_zssr.api import upscale_steps

        assert devices.resolve_device("auto") == "cpu"
        config: Config = change(preset("instant"), device="auto")
        result = drain(upscale_steps(rings(), config, axes="YX"))
        assert "Computed on the processor (" in result.report.sentence
        assert "because cuda:0 (" in result.report.sentence
        assert result.report.device == "cpu"

    def test_asked_for_by_name_it_is_refused(self) -> None:
        with pytest.raises(InputError, match="was found but does not work"):
            devices.resolve_device("cuda")

    def test_the_doctor_and_the_cost_card_see_the_same(self) -> None:
        machine = devices.examine_machine(every=True)
        assert machine.devices[0].failure
        assert machine.chosen("auto").device == "cpu"
        assert devices.examine_machine("cpu").devices[0].failure == ""

    def test_further_gpus_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        def failure(device: str) -> str:
            tried.append(device)
            return ""

        listed = ("cuda:0", "cuda:1", "cpu")
        monkeypatch.setattr(devices, "available_devices", lambda: listed)
        monkeypatch.setattr(devices, "failure_of", failure)
        monkeypatch.setattr(devices, "free_bytes", lambda _: 1)
        machine = devices.examine_machine()
        assert [report.device for report in machine.devices] == list(listed)
        assert "cuda:1" not in tried


def test_free_memory_holds_what_torch_keeps_for_itself() -> None:
    with (
        mock.patch("torch.cuda.mem_get_info", return_value=(1000, 5000)),
        mock.patch("torch.cuda.memory_reserved", return_value=700),
        mock.patch("torch.cuda.memory_allocated", return_value=200),
    ):
        assert devices.free_bytes("cuda:0") == 1500


def test_memory_is_given_back() -> None:
    with (
        mock.patch("torch.cuda.is_initialized", return_value=True),
        mock.patch("torch.cuda.empty_cache") as emptied,
    ):
        devices.release_memory()
    assert emptied.called


# ---- the rules of the pretended device itself


def test_devices_do_not_mix() -> None:
    with pretended(CUDA) as mode:
        there, here = torch.rand(3, 4).to(CUDA), torch.rand(3, 4)
        assert isinstance(there, DeviceTensor)
        assert there.device.type == "cuda"
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=CUDA, generator=torch.Generator())
        before = mode.counts.copy()
        float(there.sum())
        assert mode.counts.since(before).waits == 1
    with pretended("mps"), pytest.raises(TypeError, match="float64"):
        torch.rand(3).to("mps").double()
