"""Time and PSNR of a 512 x 512 plane from both starts, stage by stage.

    python -m tools.measure_start

A generated texture of 1024 x 1024 pixels, reduced by bicubic, is enlarged by `fast`
from random weights, and from the pretrained start with fewer and fewer steps and with
the eight versions. One thread.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.metrics import psnr
from napari_zssr.config import FAST, Config
from napari_zssr.imaging.resample import imresize
from napari_zssr.progress import drain
from napari_zssr.zssr.device import fast_bfloat16
from napari_zssr.zssr.plane_trainer import upscale_plane
from napari_zssr.zssr.pretrained import shipped_start
from napari_zssr.zssr.training_plan import Execution, Facts, resolve
from training.dead_leaves import texture

SIDE, SEED, BORDER = 1024, 3, 2
VARIANTS: tuple[dict[str, Any], ...] = (
    {"start": "random"},
    {"start": "random", "ensemble": True},
    {"ensemble": True},
    {},
    {"learned_steps": 20},
    {"learned_steps": 10},
    {"learned_steps": 0},
)


def measured(config: Config, son: torch.Tensor, fine: np.ndarray) -> tuple[float, ...]:
    """PSNR and seconds."""
    start = None if config.start == "random" else shipped_start()
    precision = "bfloat16" if fast_bfloat16("cpu") else "float32"
    began = time.perf_counter()
    plan = resolve(config, Facts(samples=len(son), start=start))
    made = drain(upscale_plane(son, plan, Execution(precision=precision)))
    seconds = time.perf_counter() - began
    image = np.asarray(made.image)[0]
    span = float(np.ptp(fine))
    return psnr(image, fine, peak=span, shave=(BORDER, BORDER)), seconds


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    fine = texture(np.random.default_rng(SEED), SIDE)
    son = torch.from_numpy(imresize(fine, (0.5, 0.5)).astype(np.float32))[None]
    write = sys.stdout.write
    write("| settings of fast | PSNR | seconds | of random's |\n")
    write("| --- | --- | --- | --- |\n")
    first = 0.0
    for changes in VARIANTS:
        config = replace(FAST, noise="off", always=True, **changes)
        decibel, seconds = measured(config, son, fine)
        first = first or seconds
        told = ", ".join(f"{k} {v}" for k, v in changes.items()) or "as shipped"
        write(f"| {told} | {decibel:.2f} | {seconds:.2f} | {seconds / first:.2f} |\n")


if __name__ == "__main__":
    main()
