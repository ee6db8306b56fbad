"""Nuclei with their chromatin, nucleoli and chromosomes in division."""

from __future__ import annotations

import math

import numpy as np

from training.drawing import discs, outline, step_down, tubes, walks
from training.fields import Array, Draw, Floats, clouds, log_uniform

DIVIDING = 0.15


def nuclei(draw: Draw, side: int) -> Array:
    """Nuclei of one cell type, some dividing; light emitted, shape (side, side)."""
    light = np.zeros((side, side), np.float32)
    radius = side * log_uniform(draw, 0.03, 0.5)
    many = min(60, 3 + int(draw.uniform(0.3, 1) * (side / (2 * radius)) ** 2))
    coarse = clouds(draw, side, draw.uniform(0, 1.0), draw.uniform(1.5, 3), 0.2)
    grain = draw.uniform(0.08, 0.6)
    flat, rough = draw.uniform(0.55, 0.95), draw.uniform(0.02, 0.15)
    edge = log_uniform(draw, 0.8, max(1.2, 0.12 * radius))
    spots: list[Floats] = []
    for centre in _apart(draw, many, 1.7 * radius, side):
        size = radius * draw.uniform(0.75, 1.2)
        strength = log_uniform(draw, 0.3, 1)
        if draw.random() < DIVIDING:
            _paste(light, centre, strength * chromosomes(draw, size))
            continue
        thin = min(1.0, flat * draw.uniform(0.85, 1.15))
        box, away = outline(draw, centre, size, side, flat=thin, rough=rough)
        if away.size == 0:
            continue
        inside = step_down(away, edge)
        chromatin = np.exp(grain * coarse[box])
        if draw.random() < 0.5:
            # Dense chromatin lines the envelope.
            chromatin += draw.uniform(0, 0.5) * np.exp(-0.5 * (away / 1.5 + 1) ** 2)
        light[box] += strength * inside * chromatin
        spots.append(_within(draw, light, centre, size * thin, strength))
    bright = np.concatenate([np.zeros((0, 4)), *spots])
    return light + discs(bright[:, :2], bright[:, 2], bright[:, 3], side)


def _apart(draw: Draw, many: int, distance: float, side: int) -> Floats:
    """Places that keep a distance where they can, (N, 2)."""
    kept = np.empty((0, 2))
    for place in draw.uniform(-0.05, 1.05, (3 * many, 2)) * side:
        near = (((kept - place) ** 2).sum(axis=1) < distance**2).any()
        if len(kept) < many and (not near or draw.random() < 0.05):
            kept = np.vstack([kept, place])
    return kept


def _paste(light: Array, centre: Floats, patch: Array) -> None:
    """Add a square to an image, its middle pixel at the pixel nearest to a place."""
    side, half = len(light), len(patch) // 2
    spans = []
    for place in np.rint(centre).astype(int) - half:
        first, last = max(0, -place), min(len(patch), side - place)
        if last <= first:
            return
        spans.append((slice(place + first, place + last), slice(first, last)))
    light[spans[0][0], spans[1][0]] += patch[spans[0][1], spans[1][1]]


def _within(
    draw: Draw, light: Array, centre: Floats, radius: float, strength: float
) -> Floats:
    """Cut holes where there is no DNA; where it is dense: place, strength, radius."""
    side = len(light)
    for _ in range(int(draw.integers(0, 4))):
        place = centre + 0.4 * radius * draw.standard_normal(2)
        size = max(0.8, radius * draw.uniform(0.1, 0.28))
        box, away = outline(draw, place, size, side, flat=0.8, rough=0.2)
        light[box] *= 1 - draw.uniform(0.4, 0.9) * step_down(away, 1.2)
    many = int(draw.integers(0, 12))
    places = centre + 0.4 * radius * draw.standard_normal((many, 2))
    radii = np.maximum(0.7, radius * draw.uniform(0.03, 0.12, many))
    bright = strength * draw.uniform(0.1, 0.6, many)
    return np.column_stack([places, bright, radii])


def chromosomes(draw: Draw, radius: float) -> Array:
    """A dividing nucleus: threads, a plate, two plates or a ring of rods.

    Parameters
    ----------
    draw : numpy.random.Generator
    radius : float
        Of the nucleus, pixels.

    Returns
    -------
    ndarray, shape (N, N)
        In the middle of an odd square.
    """
    many = int(draw.integers(12, 40))
    thick = max(0.6, radius * draw.uniform(0.06, 0.12))
    length = radius * draw.uniform(0.25, 0.6)
    turn = draw.uniform(0, 2 * math.pi)
    u, v = (radius * draw.uniform(-1, 1, many) for _ in range(2))
    style = draw.choice(["threads", "plate", "parting", "ring"])
    angles = draw.uniform(0, 2 * math.pi, many)
    if style == "threads":
        length, thick = 1.5 * length, 0.7 * thick
        u, v = 0.6 * u, 0.6 * v
    elif style == "plate":
        v, u = 0.12 * v, 0.8 * u
    elif style == "parting":
        # Arms trail behind as both halves are pulled to the poles.
        pole = np.where(draw.random(many) < 0.5, -1, 1)
        v = 0.08 * v + pole * radius * draw.uniform(0.3, 0.8)
        u, angles = 0.6 * u, turn - pole * math.pi / 2 + draw.normal(0, 0.5, many)
    else:
        around = draw.uniform(0, 2 * math.pi, many)
        ring = radius * (0.6 + 0.1 * draw.standard_normal(many))
        u, v = ring * np.cos(around), ring * np.sin(around)
    y = u * math.sin(turn) + v * math.cos(turn)
    x = u * math.cos(turn) - v * math.sin(turn)
    half = math.ceil(1.8 * radius) + 3
    starts = np.stack([y, x], axis=-1) + half
    lines = walks(draw, starts, angles, length, 5 * length, 0.7)
    lines = lines - (lines[:, -1:] - lines[:, :1]) / 2
    strength = draw.uniform(0.5, 1, (many, 1))
    soft = max(0.45, 0.3 * thick)
    return 0.8 * tubes(lines, strength, 2 * half + 1, thick, sigma_px=soft)
