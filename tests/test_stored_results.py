"""Results as they were: pixels of a list of runs against summaries in a file.

A change that is meant to alter pixels writes the file anew, ``python
tests/test_stored_results.py``, and says so in the changelog.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_zssr import upscale

STORED = Path(__file__).parent / "data" / "results.json"
# Means and single pixels that are stored, and the share of the range by which they may
# differ: the order of sums differs from one processor to another.
PARTS, TOLERANCE = 48, 2e-3
OPTICS = {"kernel": "optics:na=0.8,wavelength_nm=520", "spacing": 0.2}


def scene(seed: int, shape: tuple[int, ...], blobs: int = 36) -> NDArray[np.float64]:
    """Soft spots of many brightnesses, and a bar."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    rows, columns = (rng.integers(0, n, blobs) for n in shape[-2:])
    for y, x in zip(rows, columns, strict=True):
        image[..., y, x] += rng.uniform(50, 400)
    image = 40 * gaussian_filter(image, (0,) * (image.ndim - 2) + (1.5, 1.5))
    image[..., shape[-2] // 3 : shape[-2] // 3 + 6, :] += 300
    return image + 50


def inputs() -> dict[str, tuple[NDArray[Any], str]]:
    """Images, and their axes."""
    rng = np.random.default_rng(1)
    coloured = [scene(seed, (44, 48)) / 4 for seed in (5, 6, 7)]
    counts = [rng.poisson(scene(8, (56, 56), 60) / 6) for _ in range(3)]
    return {
        "clean": (scene(2, (48, 52)).astype(np.float32), "YX"),
        "noisy": (rng.poisson(scene(3, (72, 64), 60) / 8).astype(np.uint16), "YX"),
        "rgb": (np.stack(coloured, axis=-1).clip(0, 255).astype(np.uint8), "YXS"),
        "noisy stack": (np.stack(counts).astype(np.uint16), "ZYX"),
        "channels": (
            np.stack([scene(9, (48, 44)), scene(10, (48, 44))]).astype(np.uint16),
            "CYX",
        ),
        "few counts": (
            rng.poisson(scene(12, (48, 48), 60) / 400).astype(np.uint8),
            "YX",
        ),
    }


RUNS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "clean, instant": ("clean", "instant", {}),
    "clean, fast": ("clean", "fast", {}),
    "clean, balanced": ("clean", "balanced", {"steps": 30}),
    "clean, paper": ("clean", "paper", {"steps": 10, "always": True}),
    "clean, random start": ("clean", "fast", {"start": "random", "steps": 30}),
    "clean, 1.5": ("clean", "fast", {"factor": 1.5}),
    "clean, 3": ("clean", "instant", {"factor": 3}),
    "clean, 1 x 2": ("clean", "fast", {"factor": (1, 2)}),
    "clean, 4": ("clean", "fast", {"factor": 4}),
    "clean, optics": ("clean", "fast", OPTICS),
    "clean, estimated blur": ("clean", "instant", {"kernel": "estimate"}),
    "noisy, instant": ("noisy", "instant", {}),
    "noisy, fast": ("noisy", "fast", {}),
    "noisy, as if clean": ("noisy", "fast", {"noise": "off"}),
    "noisy, optics": ("noisy", "fast", OPTICS),
    "rgb, fast": ("rgb", "fast", {}),
    "noisy stack, fast": ("noisy stack", "fast", {}),
    "channels, fast": ("channels", "fast", {}),
    "few counts, fast": ("few counts", "fast", {}),
}


def summary(run: str, **changes: Any) -> dict[str, Any]:
    """Shape, dtype, range, means of parts and single pixels of a result."""
    name, preset, settings = RUNS[run]
    image, axes = inputs()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = upscale(
            image,
            preset,
            axes=axes,
            device="cpu",
            precision="float32",
            **settings | changes,
        )
    pixels = result.astype(np.float64)
    parts = np.array_split(pixels.ravel(), PARTS)
    return {
        "shape": list(result.shape),
        "dtype": str(result.dtype),
        "range": [round(float(pixels.min()), 2), round(float(pixels.max()), 2)],
        "means": [round(float(part.mean()), 3) for part in parts],
        "pixels": pixels.ravel()[:: pixels.size // PARTS].round(3).tolist(),
    }


def differences(run: str, now: dict[str, Any]) -> dict[str, float]:
    """Largest difference from what is stored, in shares of the tolerance."""
    stored = json.loads(STORED.read_text())[run]
    assert (now["shape"], now["dtype"]) == (stored["shape"], stored["dtype"])
    low, high = stored["range"]
    return {
        what: float(np.abs(np.subtract(now[what], stored[what])).max())
        / (TOLERANCE * (high - low))
        for what in ("means", "pixels")
    }


@pytest.mark.parametrize("run", RUNS)
def test_the_result_is_as_stored(run: str) -> None:
    """Decisions and pixels stay unless the stored summary is written anew."""
    assert max(differences(run, summary(run)).values()) <= 1


def test_another_seed_is_noticed() -> None:
    """What is compared is finer than chance in training."""
    now = summary("clean, random start", seed=1)
    assert differences("clean, random start", now)["pixels"] > 1


if __name__ == "__main__":
    STORED.write_text(json.dumps({run: summary(run) for run in RUNS}, indent=1) + "\n")
