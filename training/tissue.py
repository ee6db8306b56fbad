"""Tissue: epithelia with nuclei, stained sections on a bright ground, and fibres."""

from __future__ import annotations

import math

import numpy as np

from training.cells import Sheet, sheet
from training.drawing import discs, outline, step_down, tubes, walks
from training.fields import Array, Draw, clouds, log_uniform, swell
from training.finish import emitted, transmitted


def tissue(draw: Draw, side: int) -> Array:
    """A section of tissue, lit from behind or glowing, from 0 to 1.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.

    Returns
    -------
    ndarray, shape (side, side)
    """
    style = draw.choice(["section", "epithelium", "fibres"], p=[0.5, 0.3, 0.2])
    if style == "section":
        return transmitted(draw, np.exp(-_section(draw, side)).astype(np.float32))
    if style == "epithelium":
        return emitted(draw, _epithelium(draw, side))
    light = fibres(draw, side, int(log_uniform(draw, 40, 200)))
    return (
        emitted(draw, light)
        if draw.random() < 0.6
        else transmitted(draw, np.exp(-light))
    )


def _epithelium(draw: Draw, side: int) -> Array:
    """Walls, cytoplasm and nuclei of cells side by side."""
    spacing = side * log_uniform(draw, 0.07, 0.25)
    cells = sheet(draw, side, spacing, draw.uniform(0.1, 0.35))
    wall = np.exp(-0.5 * (cells.wall / log_uniform(draw, 0.45, 1.5)) ** 2)
    fills = cells.filled(draw.uniform(0.02, 0.3, len(cells.centres)))
    grains = clouds(draw, side, draw.uniform(0, 0.7), 1.5)
    grainy = np.exp(draw.uniform(0.1, 0.5) * grains)
    light = log_uniform(draw, 0.2, 1) * wall + fills * grainy
    return np.asarray(
        light + log_uniform(draw, 0.3, 1) * _kernels(draw, cells, spacing), np.float32
    )


def _kernels(draw: Draw, cells: Sheet, spacing: float, share: float = 1) -> Array:
    """A nucleus in every cell, or in a share of them."""
    side = len(cells.owner)
    made = np.zeros((side, side), np.float32)
    grain = clouds(draw, side, draw.uniform(0, 0.8), 1.5, 0.2)
    deep, flat = draw.uniform(0.1, 0.6), draw.uniform(0.5, 0.9)
    soft = log_uniform(draw, 0.8, 2)
    seen = (np.abs(cells.centres - side / 2) < side / 2 + spacing / 2).all(axis=1)
    for centre in cells.centres[seen & (draw.random(len(seen)) < share)]:
        size = spacing * draw.uniform(0.22, 0.42)
        place = centre + 0.08 * spacing * draw.standard_normal(2)
        thin = min(1.0, flat * draw.uniform(0.7, 1.2))
        box, away = outline(draw, place, size, side, flat=thin, rough=0.08)
        if away.size:
            texture = 1 + deep * grain[box]
            rim = 0.4 * np.exp(-0.5 * (away + 1) ** 2)
            dye = draw.uniform(0.5, 1) * (step_down(away, soft) * texture + rim)
            made[box] = np.maximum(made[box], dye)
    return made


def _section(draw: Draw, side: int) -> Array:
    """How much dye there is in a stained section: cells, fibres, empty lumens."""
    spacing = side * log_uniform(draw, 0.06, 0.2)
    cells = sheet(draw, side, spacing, draw.uniform(0.2, 0.6))
    rough = draw.uniform(0, 0.8)
    ground = 0.25 + draw.uniform(0.06, 0.2) * clouds(draw, side, rough, 1.5, 0.4)
    uneven = cells.filled(draw.uniform(0.7, 1.3, len(cells.centres)))
    gap = draw.uniform(0, 0.8) * np.exp(
        -0.5 * (cells.wall / draw.uniform(0.6, 1.5)) ** 2
    )
    dye = np.maximum(ground, 0.02) * uneven * (1 - gap)
    loose = step_down(swell(draw, side, side / 3) - draw.uniform(-1.5, 1), 0.15)
    if draw.random() < 0.7:
        # Connective tissue between the glands.
        strands = fibres(draw, side, int(log_uniform(draw, 40, 160)))
        dye = loose * dye + (1 - loose) * (0.1 + 0.35 * strands)
    many_nuclei = _kernels(draw, cells, spacing, draw.uniform(0.5, 1))
    dye = dye + draw.uniform(0.5, 1.4) * many_nuclei
    if draw.random() < 0.5:
        dye = dye * (1 - _lumens(draw, side))
    return np.asarray(draw.uniform(0.6, 1.6) * dye, np.float32)


def _lumens(draw: Draw, side: int) -> Array:
    """Holes: vessels, glands, drops of fat."""
    holes = np.zeros((side, side), np.float32)
    if draw.random() < 0.5:
        many = int(draw.integers(4, 40))
        radii = side * log_uniform(draw, 0.01, 0.06, many)
        places = draw.uniform(0, 1, (many, 2)) * side
        return np.minimum(1, discs(places, np.ones(many), radii, side, 1.2))
    for _ in range(int(draw.integers(1, 4))):
        centre, size = draw.uniform(0, 1, 2) * side, side * draw.uniform(0.06, 0.25)
        flat = draw.uniform(0.3, 1)
        box, away = outline(draw, centre, size, side, flat=flat, rough=0.4)
        holes[box] = np.maximum(holes[box], step_down(away, 1.2))
    return holes


def fibres(draw: Draw, side: int, many: int) -> Array:
    """Wavy strands that run much the same way, as collagen and muscle do, 0 to 2.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.
    many : int
        Strands.

    Returns
    -------
    ndarray, shape (side, side)
    """
    way = draw.uniform(0, 2 * math.pi)
    spread = draw.uniform(0.03, 0.5)
    starts = draw.uniform(-0.3, 1.3, (many, 2)) * side
    angles = way + draw.normal(0, spread, many)
    lines = walks(draw, starts, angles, 0.8 * side, draw.uniform(1, 8) * side, 0.8)
    steps = lines.shape[1]
    # No two strands wave alike.
    period = draw.uniform(20, 80) * log_uniform(draw, 0.6, 1.7, (many, 1))
    turns = 1.6 * math.pi * np.arange(steps) / period + draw.uniform(0, 6, (many, 1))
    wave = np.sin(turns) + 0.5 * np.sin(draw.uniform(0.3, 0.7, (many, 1)) * turns)
    wave *= draw.uniform(0, 0.08) * period
    across = np.array([math.cos(way), -math.sin(way)])
    lines = lines - (lines[:, -1:] - lines[:, :1]) / 2 + wave[..., None] * across
    radii = log_uniform(draw, 0.5, draw.uniform(1, 4), (many, 1))
    strength = log_uniform(draw, 0.2, 1, (many, 1))
    light = tubes(lines, strength, side, radii)
    light = light / (np.quantile(light, 0.99) + 1e-6)
    return np.asarray(light / (1 + 0.5 * light), np.float32)
