"""Thin sections in the electron microscope: dark membranes on grey cytoplasm."""

from __future__ import annotations

import math

import numpy as np

from training.cells import sheet
from training.drawing import STEP_PX, curves, discs, outline, step_down, walks
from training.fields import Array, Draw, Floats, clouds, log_uniform, swell
from training.finish import transmitted


def electron(draw: Draw, side: int) -> Array:
    """A section of cells stained with heavy metals, from 0 to 1.

    Parameters
    ----------
    draw : numpy.random.Generator
    side : int
        Pixels of each side.

    Returns
    -------
    ndarray, shape (side, side)
    """
    # A thin membrane is one dark line, where magnified more two with a gap.
    line = log_uniform(draw, 0.45, 1.1)
    gap = line * draw.choice([0, 0, draw.uniform(1.6, 3)])
    stain = _cytoplasm(draw, side, line)
    if draw.random() < 0.6:
        spacing = side * log_uniform(draw, 0.15, 0.8)
        cells = sheet(draw, side, spacing, draw.uniform(0.3, 0.7))
        stain *= cells.filled(draw.uniform(0.6, 1.3, len(cells.centres)))
        stain += draw.uniform(0.5, 1) * _bilayer(cells.wall, line, max(gap, 1.5 * line))
    for _ in range(int(log_uniform(draw, 2, 12))):
        _mitochondrion(draw, stain, line)
    if draw.random() < 0.75:
        stain += _reticulum(draw, side, line, gap)
    if draw.random() < 0.75:
        stain += _rings(draw, side, line)
    if draw.random() < 0.2:
        _nucleus(draw, stain, line)
    if draw.random() < 0.25:
        _empty(draw, stain, line)
    fine = clouds(draw, side, draw.uniform(-0.3, 0.4), draw.uniform(1.3, 2), 0.1)
    stain = np.maximum(0, stain * (1 + log_uniform(draw, 0.02, 0.2) * fine))
    seen = transmitted(draw, np.exp(-1.2 * stain).astype(np.float32))
    return 1 - seen if draw.random() < 0.1 else seen


def _cytoplasm(draw: Draw, side: int, line: float) -> Array:
    """Grey ground with fine granules and, often, ribosomes."""
    fine = clouds(draw, side, draw.uniform(-0.2, 0.6), draw.uniform(1.3, 2.5), 0.1)
    patches = swell(draw, side, side / 4)
    ground = 0.3 + log_uniform(draw, 0.03, 0.18) * fine + 0.05 * patches
    if draw.random() < 0.8:
        many = int(log_uniform(draw, 0.006, 0.08) * side * side)
        places = draw.uniform(0, 1, (many, 2)) * side
        # They crowd together.
        crowd = swell(draw, side, side / 8)
        y, x = np.minimum(places.astype(int), side - 1).T
        places = places[crowd[y, x] > draw.uniform(-2, 0.5)]
        radii = line * draw.uniform(0.9, 2.4) * draw.uniform(0.7, 1.3, len(places))
        dark = draw.uniform(0.3, 1.1) * draw.uniform(0.3, 1, len(places))
        ground += discs(places, dark, np.maximum(radii, 0.7), side)
    return np.asarray(np.maximum(ground, 0.02), np.float32)


def _bilayer(away: Array, line: float, gap: float) -> Array:
    """One dark line, or two on both sides of a gap."""
    dark: Array = np.exp(-0.5 * ((np.abs(away) - gap / 2) / line) ** 2)
    return dark


def _mitochondrion(draw: Draw, stain: Array, line: float) -> None:
    """An oval with a double membrane and folds within."""
    side = len(stain)
    size = side * log_uniform(draw, 0.06, 0.25)
    centre, turn = draw.uniform(-0.05, 1.05, 2) * side, draw.uniform(0, math.pi)
    flat = draw.uniform(0.3, 0.8)
    box, away = outline(
        draw, centre, size, side, flat=flat, rough=0.12, turn=turn, margin_px=6 * line
    )
    if away.size == 0:
        return
    double = draw.uniform(2.5, 4) * line
    inside = step_down(away, 1.2)
    # Drawn on a square no larger than needed.
    square, (height, width) = max(away.shape), away.shape
    grain = clouds(draw, square, 0.2, 1.5, 0.1)[:height, :width]
    matrix = draw.uniform(0.25, 0.6) + 0.05 * grain
    corner = np.array([box[0].start, box[1].start])
    folds = _folds(draw, centre - corner, size, flat, turn, square, line)
    folds = folds[:height, :width]
    within = step_down(away + double, 1.2)
    stain[box] = stain[box] * (1 - inside) + inside * matrix + folds * within
    dark = np.exp(-0.5 * (away / line) ** 2) + np.exp(-0.5 * (away / line + 3) ** 2)
    stain[box] += draw.uniform(0.5, 1) * dark


def _folds(
    draw: Draw,
    centre: Floats,
    size: float,
    flat: float,
    turn: float,
    side: int,
    line: float,
) -> Array:
    """Cristae: pairs of lines that reach in from the rim."""
    many = max(2, int(draw.uniform(0.5, 1.5) * size / (3.5 * line)))
    along = size * np.sort(draw.uniform(-0.95, 0.95, many))
    edge = size * flat * np.sqrt(1 - (along / size) ** 2)
    sign = np.where(draw.random(many) < 0.5, -1, 1)
    axis = np.array([math.sin(turn), math.cos(turn)])
    cross = np.array([axis[1], -axis[0]])
    starts = centre + along[:, None] * axis + (sign * edge)[:, None] * cross
    way = np.arctan2(*cross) + np.where(sign > 0, math.pi, 0)
    way = way + draw.normal(0, 0.25, many)
    lines = walks(draw, starts, way, 2 * size * flat, 3 * size)
    samples = lines.shape[1]
    ends = draw.uniform(0.3, 0.9, (many, 1)) * samples
    there = step_down(np.arange(samples)[None] - ends, 3)
    return _pair(lines, there * draw.uniform(0.4, 0.9), side, line, 2.4 * line)


def _pair(lines: Floats, strength: Floats, side: int, line: float, gap: float) -> Array:
    """Two lines side by side, ``gap`` apart."""
    along = np.gradient(lines, axis=1)
    length = np.sqrt((along**2).sum(axis=-1, keepdims=True)) + 1e-6
    normal = np.stack([along[..., 1], -along[..., 0]], axis=-1) / length
    both = np.concatenate([lines + gap / 2 * normal, lines - gap / 2 * normal])
    return curves(both, np.concatenate([strength, strength]), side, line)


def _reticulum(draw: Draw, side: int, line: float, gap: float) -> Array:
    """Strands of endoplasmic reticulum, some with ribosomes on them."""
    many = int(draw.integers(2, 12))
    way = draw.uniform(0, 2 * math.pi)
    starts = draw.uniform(0, 1, (many, 2)) * side
    angles = way + draw.normal(0, 0.3, many)
    lines = walks(draw, starts, angles, side * draw.uniform(0.2, 0.9), 0.8 * side)
    wide = max(2.5 * line, gap) * draw.uniform(1, 2.5)
    made = _pair(
        lines, np.full(lines.shape[:2], draw.uniform(0.4, 0.9)), side, line, wide
    )
    if draw.random() < 0.6:
        beads = lines[draw.random(lines.shape[:2]) < STEP_PX / (6 * line)]
        away = wide / 2 + 2 * line
        beads = beads + away * np.sign(draw.standard_normal(beads.shape)) * 0.7
        radii = line * draw.uniform(0.9, 1.6, len(beads))
        made += discs(beads, draw.uniform(0.2, 0.8, len(beads)), radii, side)
    return made


def _rings(draw: Draw, side: int, line: float) -> Array:
    """Vesicles, empty or dense, often in one place."""
    many = int(log_uniform(draw, 5, 120))
    home = draw.uniform(0.1, 0.9, 2) * side
    spread = side * draw.uniform(0.05, 0.4)
    places = home + spread * draw.standard_normal((many, 2))
    radii = line * draw.uniform(3, 7) * draw.uniform(0.8, 1.2, many)
    made = discs(places, draw.uniform(0.4, 0.8, many), radii, side, 1, line)
    dense = draw.random(many) < draw.choice([0, 0.2, 1])
    return made + discs(
        places[dense], np.full(dense.sum(), 0.6), 0.7 * radii[dense], side
    )


def _nucleus(draw: Draw, stain: Array, line: float) -> None:
    """Chromatin in pale and dark patches, within a double envelope."""
    side = len(stain)
    centre, size = draw.uniform(-0.2, 1.2, 2) * side, side * draw.uniform(0.3, 0.8)
    flat = draw.uniform(0.6, 1)
    box, away = outline(
        draw, centre, size, side, flat=flat, rough=0.15, margin_px=8 * line
    )
    if away.size == 0:
        return
    inside = step_down(away, 1.2)
    patches = clouds(draw, side, draw.uniform(0.6, 1.2), 1.5, 0.2)[box]
    # Dense chromatin also lines the envelope.
    patches = patches + 2 * np.exp(away / (0.05 * side)) - draw.uniform(0.3, 1)
    chromatin = 0.2 + draw.uniform(0.2, 0.7) / (1 + np.exp(-4 * patches))
    chromatin += 0.06 * clouds(draw, side, 0, 1.5, 0.1)[box]
    stain[box] = stain[box] * (1 - inside) + inside * chromatin
    stain[box] += 0.6 * _bilayer(away, line, 5 * line)


def _empty(draw: Draw, stain: Array, line: float) -> None:
    """Bare resin outside of the cell, beyond its membrane."""
    side = len(stain)
    wave = swell(draw, side, side * draw.uniform(0.2, 0.6))
    level = draw.uniform(0.2, 1.2)
    slope = np.hypot(*np.gradient(wave)) + 1e-3
    away = (wave - level) / slope
    outside = step_down(-away, 1.2)
    stain *= 1 - outside
    stain += draw.uniform(0, 0.15) * outside
    stain += 0.8 * np.exp(-0.5 * (away / line) ** 2)
