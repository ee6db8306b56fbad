"""Plain methods that a result on real microscope images has to stand beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_zssr.imaging.resample import imresize

Array = NDArray[np.float64]
Score = Callable[[Array], float]
Candidate = tuple[str, Array]

BLUR_SIGMAS = tuple(float(s) for s in np.arange(0.0, 3.01, 0.25))
LUCY_SIGMAS = (1.0, 1.5, 2.0)
LUCY_ITERATIONS = 15
MEANS_STRENGTHS = (0.8, 1.2, 1.6, 2.0, 2.5, 3.0)


def blurred(image: NDArray[Any], sigma_px: float) -> Array:
    """Plane (Y, X) under a Gaussian of `sigma_px`, as float64; 0 leaves it alone."""
    values = np.asarray(image, dtype=np.float64)
    smooth: Array = ndimage.gaussian_filter(values, sigma_px) if sigma_px else values
    return smooth


def best_blur(image: Array, score: Score) -> Candidate:
    """Gaussian blur of 0 to 3 px, in steps of 0.25, that scores highest."""
    return _best(
        [(f"sigma {sigma:g} px", blurred(image, sigma)) for sigma in BLUR_SIGMAS], score
    )


def richardson_lucy(image: Array, score: Score) -> Candidate:
    """Best of 15 iterations and three widths (Richardson 1972, Lucy 1974).

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        Bicubic enlargement; taken as at least 1e-3.
    score : callable
        Judges each iteration.
    """
    seen = np.maximum(image, 1e-3)
    candidates = []
    for sigma in LUCY_SIGMAS:
        estimate = np.full_like(seen, seen.mean())
        for iteration in range(1, LUCY_ITERATIONS + 1):
            ratio = seen / np.maximum(blurred(estimate, sigma), 1e-6)
            estimate = estimate * blurred(ratio, sigma)
            label = f"sigma {sigma:g} px, iteration {iteration}"
            candidates.append((label, estimate))
    return _best(candidates, score)


def non_local_means(
    image: NDArray[Any], factors: tuple[float, float], score: Score
) -> Candidate | None:
    """Best non-local means (Buades et al., CVPR 2005), before or after bicubic.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        The coarse image.
    factors : tuple of float
        Enlargement along (Y, X).
    score : callable
        Judges each strength.

    Returns
    -------
    tuple of (str, ndarray) or None
        None without scikit-image.
    """
    try:
        from skimage.restoration import denoise_nl_means
    except ImportError:
        return None
    coarse = np.asarray(image, dtype=np.float64)
    sigma = white_noise(coarse)
    fine = imresize(coarse, factors)
    settings = {"patch_size": 5, "patch_distance": 6, "sigma": sigma}
    candidates = []
    for strength in MEANS_STRENGTHS:
        before = denoise_nl_means(coarse, h=strength * sigma, **settings)
        after = denoise_nl_means(fine, h=strength * sigma, **settings)
        candidates.append((f"before, h {strength:g}", imresize(before, factors)))
        candidates.append((f"after, h {strength:g}", after))
    return _best(candidates, score)


def white_noise(image: NDArray[Any]) -> float:
    """Standard deviation of white noise (Immerkaer, CVIU 64, 1996), and of texture."""
    mask = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
    residual = ndimage.convolve(np.asarray(image, dtype=np.float64), mask)
    return float(np.sqrt(np.mean(residual**2)))


def _best(candidates: Sequence[Candidate], score: Score) -> Candidate:
    return max(candidates, key=lambda candidate: score(candidate[1]))
