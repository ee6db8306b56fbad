"""Learns what `napari_zssr.imaging.quality` knows of results; an hour on two cores.

    python -m tools.learn_support [OUTPUT.npz] [--images FOLDER] [--cases FOLDER]
        [--scenes N] [--part K N | --learn-only] [--report]

Generated scenes, scikit-image's pictures and the microscope images of a folder are
blurred, thinned by 2 and given noise; `fast` enlarges each under right and wrong
settings. From the checks on these results, boosted regression trees learn which share
of the change from bicubic is closest to the truth, and what was gained. Results are
kept in the folder of cases, by several runs at once with ``--part``. ``--report`` tells
what trees that were learned on other images make of each.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import skimage.data
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.metrics import psnr
from benchmarks.wrong_settings import (
    GOOD,
    WIDTHS,
    WRECK,
    Planted,
    degraded,
    gaussian,
    planted,
)
from napari_zssr import api
from napari_zssr.config import FAST
from napari_zssr.imaging.noise import CLEAN, NoiseModel, estimate_noise
from napari_zssr.imaging.quality import (
    COMMON,
    FEATURES,
    TREES,
    quality,
    scaled_gain,
    support_features,
)
from napari_zssr.imaging.resample import imresize
from napari_zssr.kernelspec import KernelSpec
from napari_zssr.progress import drain
from training.dead_leaves import sharp_scene
from training.scenes import scene

Array = NDArray[np.float64]
Truth = tuple[str, Array]

SIDE = 256
# Side from which pictures are also binned.
LEAST_BINNED = 300
BORDER_PX = 8
# scikit-image's own pictures; large ones are binned first, as are noisy images.
PICTURES = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png"),
    *("coins.png", "grass.png", "gravel.png", "ihc.png", "microaneurysms.png"),
    *("moon.png", "page.png", "rocket.jpg", "cell.png", "text.png"),
)
LARGE_PICTURES = (
    *("motorcycle_left.png", "retina.jpg"),
    *("hubble_deep_field.jpg", "clock_motion.png"),
)
# Files of a folder of microscope images: whether each is binned, and its planes.
MICROSCOPE = (
    ("pairs/fmd/gt/Confocal_*.png", False, "all"),
    ("axial/fib_sem_choose.tif", False, "two"),
    ("tiff/xy_8bit__em_mitochondria_er.tif", False, "all"),
    ("tiff/xyc_16bit__cell_dna_mts_actin.tif", True, "all"),
    ("tiff/IXMtest_A02_s9.tif", True, "all"),
    ("tiff/xy_calibrated_16bit__cells_eres_noisy.tif", True, "all"),
    ("tiff/xyz_8bit__chromosomes.tif", False, "mean"),
    ("tiff/xyt_calibrated_16bit__golgi_bfa_sum_projection.tif", False, "mean"),
    ("tiff/membrane_2d_timelapse.tif", False, "mean"),
)
NOISES = (0.01, 0.02, 0.05, 0.08)
# Widths of the blur of images that are soft, as oversampled ones are, fine pixels.
SOFT = (1.8, 4.0)
# The share is learned within these limits: beyond them nothing else is done.
SHARES = (-0.25, 1.25)
# Limits and cautions of `napari_zssr.zssr.judge` that are compared.
LIMITS, CAUTIONS = (0.4, 0.5, 0.55, 0.6, 0.65, 0.7), (0.0, 0.05, 0.1)
TREES_LEARNED, LEAVES, FOLDS = 300, 12, 8


def crops(image: NDArray[Any], most: int = 2) -> Iterator[Array]:
    """The parts of an image with the most contrast, stretched from 0 to 1."""
    low, high = np.quantile(image, (0.001, 0.9995))
    stretched = ((image - low) / max(high - low, 1e-9)).clip(0, 1)
    side = [min(SIDE, n) // 2 * 2 for n in image.shape]
    draw = np.random.default_rng(0)
    chosen: list[tuple[int, int]] = []
    corners = [
        tuple(
            draw.integers(0, n - s + 1) for n, s in zip(image.shape, side, strict=True)
        )
        for _ in range(40)
    ]
    parts = {(y, x): stretched[y : y + side[0], x : x + side[1]] for y, x in corners}
    for y, x in sorted(parts, key=lambda corner: -parts[corner].std()):
        apart = [
            abs(y - v) >= 0.6 * side[0] or abs(x - u) >= 0.6 * side[1]
            for v, u in chosen
        ]
        if all(apart) and len(chosen) < most:
            chosen.append((y, x))
            yield parts[y, x]


def binned(image: Array) -> Array:
    """Means of 2 x 2 pixels."""
    height, width = (n // 2 for n in image.shape)
    blocks = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    means: Array = blocks.mean((1, 3))
    return means


def grey(path: Path) -> Array:
    """A picture's luma, or a file's planes (planes, Y, X)."""
    if path.suffix == ".tif":
        image = tifffile.imread(path).astype(float)
        if image.shape[-1] == 3:
            image = np.moveaxis(image, -1, 0)
        return image.reshape(-1, *image.shape[-2:])
    image = iio.imread(path).astype(float)
    return (image[..., :3] @ [0.299, 0.587, 0.114] if image.ndim == 3 else image)[None]


def truths(folder: Path | None, scenes: int) -> Iterator[Truth]:
    """Fine images by name: pictures, microscope images, generated scenes."""
    pictures = Path(skimage.data.__file__).parent
    for name in (*PICTURES, *LARGE_PICTURES):
        image = grey(pictures / name)[0]
        image = binned(image) if name in LARGE_PICTURES else image
        yield from ((name, part) for part in crops(image))
    for pattern, small, planes in MICROSCOPE if folder else ():
        assert folder is not None
        for path in sorted(folder.glob(pattern)):
            image = grey(path)
            if planes == "mean":
                middle = len(image) // 2
                image = image[max(0, middle - 2) : middle + 2].mean(0)[None]
            elif planes == "two":
                image = image[len(image) // 6 :: len(image) // 2]
            for plane in image:
                found = crops(
                    binned(plane) if small else plane, 2 if len(image) == 1 else 1
                )
                yield from ((path.stem, part) for part in found)
    for n in range(scenes):
        yield (
            f"sharp {n}",
            sharp_scene(np.random.default_rng((1, n)), SIDE).astype(float),
        )
        yield f"scene {n}", scene((51, n)).mean(axis=0).astype(float)
    # Binned, pictures are as sharp as pixels allow.
    for name in PICTURES:
        image = grey(pictures / name)[0]
        if min(image.shape) >= LEAST_BINNED:
            yield from ((f"{name} binned", part) for part in crops(binned(image), 1))


def cases(truth: Array, draw: np.random.Generator) -> Iterator[Planted]:
    """Right and wrong settings for a fine image: those planted, and others."""
    yield from planted(truth, draw)
    width = draw.uniform(*WIDTHS)
    image = degraded(truth, gaussian(width))

    def case(label: str, image: NDArray[Any], **settings: Any) -> Planted:
        return Planted(label, image.astype(np.float32), truth, settings)

    yield case("x0.8", image, kernel=gaussian(0.8 * width))
    yield case("x1.12", image, kernel=gaussian(1.12 * width))
    yield case("bicubic for a Gaussian", image)
    reduced = imresize(truth, (0.5, 0.5))
    yield case("right bicubic", reduced)
    wide = gaussian(draw.uniform(0.8, 1.3))
    yield case("Gaussian for bicubic", reduced, kernel=wide)
    noisy = image + draw.choice(NOISES) * draw.standard_normal(image.shape)
    yield case("right, noisy", noisy, kernel=gaussian(width))
    yield case("x1.35, noisy", noisy, kernel=gaussian(1.35 * width))
    blur = gaussian(draw.uniform(*WIDTHS))
    sharp, soft = degraded(truth, blur), degraded(truth, gaussian(draw.uniform(*SOFT)))
    yield case("right, shot noise", detected(sharp, draw), kernel=blur)
    yield case("bicubic for a Gaussian, shot noise", detected(sharp, draw))
    yield case("right bicubic, shot noise", detected(reduced, draw))
    yield case("right bicubic, smoothed noise", grainy(reduced, draw))
    yield case("bicubic for a soft image, shot noise", detected(soft, draw))
    yield case("bicubic for a soft image", soft)
    binned_noise = imresize(detected(truth, draw), (0.5, 0.5))
    yield case("right bicubic, noise before it", binned_noise)
    width = draw.uniform(*SOFT)
    soft = degraded(truth, gaussian(width))
    noisy = detected(soft, draw)
    yield case("right, soft", soft, kernel=gaussian(width))
    yield case("right, soft, shot noise", noisy, kernel=gaussian(width))
    yield case("x1.4, soft, shot noise", noisy, kernel=gaussian(1.4 * width))


def detected(light: NDArray[Any], draw: np.random.Generator) -> NDArray[Any]:
    """Shot and read noise, from weak to strong."""
    shot, read = 10 ** draw.uniform(-3.5, -1.7), 10 ** draw.uniform(-5, -3.3)
    deviation = np.sqrt(shot * light.clip(0, 1) + read)
    return light + deviation * draw.standard_normal(light.shape)


def grainy(light: NDArray[Any], draw: np.random.Generator) -> NDArray[Any]:
    """Noise that is correlated between pixels, as interpolation leaves it."""
    grain = draw.standard_normal(light.shape)
    grain = ndimage.gaussian_filter(grain, draw.uniform(0.3, 0.6))
    strength = 10 ** draw.uniform(-2.2, -1.2)
    noisy: NDArray[Any] = light + strength * grain / grain.std()
    return noisy


def forced(case: Planted) -> NDArray[np.float32] | None:
    """All that was learned of a case, None where nothing could be."""
    config = replace(FAST, **case.settings, always=True, dtype="float32", device="cpu")
    done = drain(api.upscale_steps(case.image, config, axes="YX"))
    learned = done.report.planes[0].returned == "learned"
    return done.image if learned else None


def example(case: Planted, result: NDArray[np.float32]) -> list[float]:
    """Features of a result, the share closest to the truth, and its gain in dB."""
    kernel = case.settings.get("kernel", KernelSpec())
    told = case.settings.get("noise", "auto")
    noise = estimate_noise(case.image) if told == "auto" else CLEAN
    if isinstance(told, float):
        noise = NoiseModel(offset=told**2)
    image, result = case.image[None], result[None]
    found = quality(image, result, COMMON, kernel, noise)
    assert found is not None
    features = support_features(image, result, COMMON, kernel, found)
    plain = imresize(case.image.astype(float), COMMON)
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    change = (result[0] - plain)[inner]
    share = (change * (case.truth - plain)[inner]).mean() / max(
        (change**2).mean(), 1e-12
    )
    gain, before = (
        psnr(part, case.truth, peak=1.0, shave=BORDER_PX) for part in (result[0], plain)
    )
    return [*features, share, gain - before]


def kept(path: Path) -> dict[str, Any]:
    """Examples of an image that were computed before, by their labels."""
    if not path.exists():
        return {}
    held = np.load(path)
    return dict(zip(map(str, held["labels"]), held["examples"], strict=True))


def collect(asked: argparse.Namespace) -> None:
    """Compute and keep the cases of a part of the images."""
    part, parts = asked.part
    for number, (name, truth) in enumerate(truths(asked.images, asked.scenes)):
        path = asked.cases / f"{number:04d}.npz"
        if number % parts != part - 1:
            continue
        draw = np.random.default_rng((1, number))
        found = kept(path)
        for case in cases(truth, draw):
            if case.label not in found:
                result = forced(case)
                found[case.label] = [] if result is None else example(case, result)
        found = {label: values for label, values in found.items() if len(values)}
        labels = list(found)
        np.savez(
            path, name=name, labels=labels, examples=np.array(list(found.values()))
        )
        sys.stdout.write(f"{number} {name}\n")
        sys.stdout.flush()


def regressor() -> Any:
    """Boosted trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=TREES_LEARNED,
        learning_rate=0.04,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=12,
        l2_regularization=3,
        max_features=0.3,
        random_state=0,
    )


def targets(examples: Array) -> Array:
    """Shares within their limits and scaled gains, shape (2, results)."""
    gains = [scaled_gain(gain) for gain in examples[:, -1]]
    return np.stack([examples[:, -2].clip(*SHARES), gains])


def packed(models: list[Any]) -> dict[str, Any]:
    """Trees as arrays of (heads, trees, nodes)."""
    # scikit-learn has no public way to the nodes of its trees.
    grown = [[one.nodes for (one,) in model._predictors] for model in models]  # noqa: SLF001
    nodes = max(len(tree) for head in grown for tree in head)
    shape = (len(models), TREES_LEARNED, nodes)
    kinds = {"feature": np.int16, "left": np.int16, "right": np.int16}
    names = ("feature", "threshold", "left", "right", "value")
    made = {n: np.zeros(shape, kinds.get(n, np.float32)) for n in names}
    for h, head in enumerate(grown):
        for t, tree in enumerate(head):
            leaf, count = tree["is_leaf"].astype(bool), len(tree)
            itself = np.arange(count)
            made["feature"][h, t, :count] = np.where(leaf, 0, tree["feature_idx"])
            made["threshold"][h, t, :count] = np.where(leaf, 0, tree["num_threshold"])
            made["left"][h, t, :count] = np.where(leaf, itself, tree["left"])
            made["right"][h, t, :count] = np.where(leaf, itself, tree["right"])
            made["value"][h, t, :count] = np.where(leaf, tree["value"], 0)
    start = [float(model._baseline_prediction.item()) for model in models]  # noqa: SLF001
    depth = max(tree["depth"].max() for head in grown for tree in head)
    return made | {"start": np.array(start), "depth": np.int64(depth)}


def report(names: list[str], labels: list[str], examples: Array) -> None:
    """Shares as judged by trees that were learned on other images."""
    from scipy.stats import spearmanr
    from sklearn.model_selection import GroupKFold

    told = np.zeros((2, len(examples)))
    sources = [name.removesuffix(" binned") for name in names]
    for learning, judging in GroupKFold(FOLDS).split(examples, groups=sources):
        for head, wanted in enumerate(targets(examples)):
            model = regressor().fit(examples[learning, :-2], wanted[learning])
            told[head, judging] = model.predict(examples[judging, :-2])
    rank = spearmanr(told[1], examples[:, -1])[0]
    sys.stdout.write(f"rank correlation of gains {rank:.3f}\n")
    right = np.array(["right" in one or one.startswith("bicubic") for one in labels])
    usual = np.array(["bicubic" in one and "for bicubic" not in one for one in labels])
    pictures = np.array([not n.startswith(("sharp ", "scene ")) for n in names])
    groups = {
        "bicubic's kernel": usual,
        "Gaussians": ~usual,
        "Gaussians, pictures alone": ~usual & pictures,
    }
    for name, some in groups.items():
        sys.stdout.write(f"{name}\n")
        for limit, caution in itertools.product(LIMITS, CAUTIONS):
            show_policy(limit, caution, told[0][some], examples[some], right[some])
    for label in dict.fromkeys(labels):
        alike = np.array([one == label for one in labels])
        shares = [
            np.quantile(v[alike], (0.1, 0.5, 0.9)) for v in (examples[:, -2], told[0])
        ]
        true, found = (" ".join(f"{v:5.2f}" for v in row) for row in shares)
        sys.stdout.write(f"{label:32s} true {true}  judged {found}\n")


def show_policy(
    limit: float,
    caution: float,
    judged: Array,
    examples: Array,
    right: NDArray[np.bool_],
) -> None:
    """What comes of delivering all from a limit on, and less than judged below it."""
    share, gain = examples[:, -2], examples[:, -1]
    # Squared error over bicubic's is 1 - 2 s t d + t^2 d for a share t of the change.
    error = 10 ** (-gain / 10)
    known = np.abs(1 - 2 * share) > 0.02
    change = np.where(known, (error - 1) / np.where(known, 1 - 2 * share, 1), 0)
    t = np.where(judged >= limit, 1, np.clip(judged - caution, 0, 1))
    left = np.maximum(1 - 2 * share * t * change + t**2 * change, 1e-9)
    delivered = np.where(known, -10 * np.log10(left), gain)
    wrecks, good, lost = gain < WRECK, gain > GOOD, delivered < gain + WRECK
    shown = (
        ("wrecks safe", delivered[wrecks] >= WRECK),
        ("lost of good wrong ones", lost[good & ~right]),
        ("of right ones", lost[good & right]),
        ("right ones held back", t[right] < 1),
    )
    parts = [f"{name} {100 * part.mean():.1f} %" for name, part in shown if part.size]
    sys.stdout.write(
        f"limit {limit:.2f} caution {caution:.2f}: {', '.join(parts)}, mean of wrecks "
        f"{delivered[wrecks].mean():+.2f} dB\n"
    )


def main() -> None:
    """Collect, learn, and write the trees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=TREES)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--part", type=int, nargs=2, metavar=("K", "N"))
    parser.add_argument("--learn-only", action="store_true")
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.cases = asked.cases or Path(tempfile.mkdtemp())
    asked.cases.mkdir(exist_ok=True)
    if asked.part:
        return collect(asked)
    if not asked.learn_only:
        asked.part = (1, 1)
        collect(asked)
    found = [np.load(path) for path in sorted(asked.cases.glob("*.npz"))]
    names = [str(one["name"]) for one in found for _ in one["labels"]]
    labels = [str(label) for one in found for label in one["labels"]]
    examples = np.concatenate([one["examples"] for one in found])
    if asked.report:
        return report(names, labels, examples)
    learned = [
        regressor().fit(examples[:, :-2], wanted) for wanted in targets(examples)
    ]
    assert examples.shape[1] == len(FEATURES) + 2
    np.savez_compressed(asked.output, **packed(learned))
    sys.stdout.write(f"{asked.output}: {asked.output.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
