from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from engine import pair_spec, plan_of
from PIL import Image
from scipy import fft, ndimage

from napari_zssr.api import upscale_steps
from napari_zssr.config import FAST, change
from napari_zssr.imaging.artifacts import BLOCK, as_jpeg, jpeg_steps
from napari_zssr.imaging.noise import CLEAN, NoiseModel
from napari_zssr.progress import drain
from napari_zssr.zssr.pairs import PairSpec, build_pairs, whole_pair


def _picture(side: int = 192, channels: int = 1) -> np.ndarray:
    """(C, Y, X) uint8: blots and edges at all sizes, as in a photograph."""
    draw = np.random.default_rng(3)
    planes = []
    for _ in range(channels):
        plane = np.zeros((side, side))
        for sigma in (1, 3, 8, 20):
            blots = ndimage.gaussian_filter(draw.normal(size=(side, side)), sigma)
            plane += np.sign(blots) + blots / blots.std()
        planes.append(plane)
    mixed = np.stack(planes) + 2 * planes[0]
    return np.clip(128 + 3 * mixed, 0, 255).astype(np.uint8)


def _through_jpeg(
    pixels: np.ndarray, quality: int = 45, **options: int
) -> tuple[np.ndarray, np.ndarray]:
    """(C, Y, X) as Pillow stores it, and the luma's steps, (8, 8)."""
    image = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **options)
    opened = Image.open(file)
    steps = np.array(opened.quantization[0]).reshape(BLOCK, BLOCK)
    stored = np.asarray(opened)
    return (stored[None] if stored.ndim == 2 else np.moveaxis(stored, -1, 0)), steps


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [20, 45, 75])
def test_the_steps_of_a_jpeg_are_found(channels: int, quality: int) -> None:
    stored, steps = _through_jpeg(_picture(channels=channels), quality)
    listed = jpeg_steps(stored)
    assert len(listed) == BLOCK**2
    found = np.array(listed).reshape(BLOCK, BLOCK)
    low = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)) < 5
    low[0, 0] = False
    assert found[low] == pytest.approx(steps[low], rel=0.1)
    assert np.median(np.abs(found / steps - 1)) < 0.1


def test_the_steps_are_found_in_a_part_of_a_jpeg() -> None:
    stored, steps = _through_jpeg(_picture())
    found = np.array(jpeg_steps(stored[:, 3:, 5:])).reshape(BLOCK, BLOCK)
    assert found[1:3, 1:3] == pytest.approx(steps[1:3, 1:3], rel=0.1)


def test_other_images_are_no_jpegs() -> None:
    clean = _picture()
    draw = np.random.default_rng(0)
    noisy = np.clip(clean + draw.normal(0, 9, clean.shape), 0, 255).astype(np.uint8)
    stored, _ = _through_jpeg(clean)
    halved = stored.reshape(1, 96, 2, 96, 2).mean(axis=(2, 4)).astype(np.uint8)
    board = np.kron(np.indices((24, 24)).sum(axis=0) % 2, np.ones((8, 8)))
    flat = np.full((1, 64, 64), 7, np.uint8)
    for other in (clean, noisy, halved, (255 * board[None]).astype(np.uint8), flat):
        assert jpeg_steps(other) == ()
    assert jpeg_steps(stored.astype(np.uint16)) == ()
    assert jpeg_steps(np.concatenate([stored, stored])) == ()
    assert jpeg_steps(stored[:, :24, :24]) == ()
    assert jpeg_steps(_through_jpeg(clean, 98)[0]) == ()


def test_colours_stored_at_full_size_have_steps_of_their_own() -> None:
    stored, steps = _through_jpeg(_picture(channels=3), 60, subsampling=0)
    found = np.array(jpeg_steps(stored)).reshape(2, BLOCK, BLOCK)
    low = np.s_[1:3, 1:3]
    assert found[0][low] == pytest.approx(steps[low], rel=0.1)
    assert found[1][low] == pytest.approx(np.array([[17, 21], [21, 45]]), rel=0.15)


@pytest.mark.parametrize(
    ("channels", "subsampling", "like"), [(1, 2, 0.25), (3, 2, 0.5), (3, 0, 0.25)]
)
def test_blocks_are_made_as_pillow_makes_them(
    channels: int, subsampling: int, like: float
) -> None:
    clean = _picture(side=136, channels=channels)[:, :131]
    stored, _ = _through_jpeg(clean, subsampling=subsampling)
    listed = jpeg_steps(stored)
    assert len(listed) == BLOCK**2 * (1 if subsampling else 2)
    grey = torch.from_numpy(clean.astype(np.float64) - 128)
    made = as_jpeg(grey, listed).numpy() + 128
    assert made.shape == clean.shape
    lost = np.sqrt(np.mean((stored - clean.astype(float)) ** 2))
    between = np.sqrt(np.mean((stored - made) ** 2))
    assert between < like * lost


def test_sons_of_a_jpeg_are_jpegs() -> None:
    plane = torch.from_numpy(_picture(side=96).astype(np.float32) / 255)
    steps = tuple(0.1 + 0.001 * n for n in range(64))
    spec = PairSpec(factors=(2.0, 2.0), ratio=(2, 2), kernel=FAST.kernel, crop_px=16)
    plain, _ = build_pairs([plane], spec, torch.Generator().manual_seed(0))
    noise = NoiseModel(jpeg=steps)
    spec = pair_spec(change(FAST, crop_px=16), (2.0, 2.0), noise, 0.0)
    made, _ = build_pairs([plane], spec, torch.Generator().manual_seed(0))
    son, father, _ = whole_pair(made, 0)
    blocks = son[0].numpy().reshape(6, BLOCK, 6, BLOCK).swapaxes(1, 2)
    counts = fft.dctn(blocks, axes=(2, 3), norm="ortho") / np.reshape(steps, (8, 8))
    assert counts == pytest.approx(np.round(counts), abs=1e-3)
    assert torch.equal(father, whole_pair(plain, 0)[1])


def test_steps_follow_the_intensity() -> None:
    model = NoiseModel(offset=4.0, jpeg=(8.0, 16.0)).mapped(4.0, 1.0)
    assert model.jpeg == (2.0, 4.0)
    assert plan_of(FAST, noise=model).back_projection == 0
    assert plan_of(FAST, noise=CLEAN).back_projection == FAST.back_projection > 0


def test_a_jpeg_is_learned_as_one_unless_noise_is_off() -> None:
    stored, _ = _through_jpeg(_picture(side=96))
    quick = change(FAST, steps=4, width=8, always=True, ensemble=False)
    auto = drain(upscale_steps(stored[0], quick, axes="YX"))
    off = drain(upscale_steps(stored[0], change(quick, noise="off"), axes="YX"))
    assert "JPEG" in auto.report.sentence
    assert "JPEG" not in off.report.sentence
    assert (auto.image != off.image).any()
