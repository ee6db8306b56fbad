"""Light on a dark ground: filaments, membranes, vesicles and single points."""

from __future__ import annotations

import math

import numpy as np

from training.cells import sheet
from training.drawing import (
    STEP_PX,
    curves,
    discs,
    outline,
    spots,
    step_down,
    tubes,
    walks,
)
from training.fields import Array, Draw, Floats, clouds, hazy, log_uniform, swell

# Deviation of the thinnest profile, pixels: what a pixel and good optics leave.
SHARP_PX = (0.42, 0.6)
STYLES = ("aster", "mesh", "mesh", "bundle", "short", "mitochondria")


def filaments(draw: Draw, side: int) -> Array:
    """Microtubules, actin or mitochondria; light emitted, shape (side, side)."""
    light = np.zeros((side, side), np.float32)
    for _ in range(int(draw.integers(1, 4))):
        style = draw.choice(STYLES)
        if style == "mitochondria":
            light += _mitochondria(draw, side)
        else:
            light += log_uniform(draw, 0.3, 1) * _threads(draw, side, str(style))
    if draw.random() < 0.5:
        cell = _cell(draw, side)
        light = light * cell + log_uniform(draw, 0.01, 0.2) * cell
    return light


def _threads(draw: Draw, side: int, style: str) -> Array:
    """Thin filaments of one width and many strengths."""
    many = int(log_uniform(draw, 25, 600))
    length = side * log_uniform(draw, 0.3, 1.3)
    starts, angles = draw.uniform(-0.2, 1.2, (many, 2)) * side, _turns(draw, many)
    bend = side * log_uniform(draw, 0.4, 12)
    if style == "aster":
        centre = draw.uniform(0, 1, 2) * side
        starts = centre + draw.normal(0, 0.02 * side, (many, 2))
    elif style == "bundle":
        angles = draw.uniform(0, 2 * math.pi) + draw.normal(0, 0.15, many)
        bend = side * log_uniform(draw, 3, 30)
    elif style == "short":
        many, length = 5 * many, side * draw.uniform(0.03, 0.2)
        starts, angles = draw.uniform(-0.1, 1.1, (many, 2)) * side, _turns(draw, many)
        bend = side * log_uniform(draw, 0.1, 1)
    lines = walks(draw, starts, angles, length, bend)
    strength = log_uniform(draw, 0.15, 1, (many, 1)) * _ends(draw, lines)
    if draw.random() < 0.4:
        # Patchy labelling: as many dyes as happened to bind.
        few = log_uniform(draw, 0.3, 4)
        strength = strength * draw.gamma(few, 1 / few, strength.shape)
    width = draw.uniform(*SHARP_PX)
    if draw.random() < 0.35:
        width = log_uniform(draw, SHARP_PX[1], 2.5)
    return curves(lines, strength, side, width)


def _turns(draw: Draw, many: int) -> Floats:
    return draw.uniform(0, 2 * math.pi, many)


def _ends(draw: Draw, lines: Floats) -> Floats:
    """Filaments end somewhere along their way, (N, M)."""
    many, samples = lines.shape[:2]
    ends = draw.uniform(0.3, 1.1, (many, 1)) * samples
    there: Floats = step_down(np.arange(samples)[None] - ends, 1 / STEP_PX)
    return there


def _mitochondria(draw: Draw, side: int) -> Array:
    """Short thick worms, filled or only their skin."""
    many = int(log_uniform(draw, 15, 120))
    radius = log_uniform(draw, 1.0, 4.5)
    length = draw.uniform(4, 16) * radius
    starts = draw.uniform(0, 1, (many, 2)) * side
    lines = walks(draw, starts, _turns(draw, many), length, 2 * length, 0.7)
    samples = lines.shape[1]
    along = np.linspace(-1, 1, samples)
    taper = np.sqrt(np.clip(1 - np.abs(along) ** 6, 0.02, 1))
    waves = 1 + 0.15 * draw.standard_normal((many, 1)) * np.cos(
        along * draw.uniform(2, 9, (many, 1)) + draw.uniform(0, 6, (many, 1))
    )
    hollow = bool(draw.random() < 0.4)
    width = draw.uniform(*SHARP_PX)
    strength = log_uniform(draw, 0.25, 1, (many, 1))
    return tubes(lines, strength, side, radius * taper * waves, hollow, width)


def _cell(draw: Draw, side: int) -> Array:
    """The area of one large cell, soft at its edge, from 0 to 1."""
    cell = np.zeros((side, side), np.float32)
    centre = draw.uniform(0.25, 0.75, 2) * side
    radius = draw.uniform(0.45, 0.9) * side
    flat = draw.uniform(0.5, 1)
    box, away = outline(draw, centre, radius, side, flat=flat, rough=0.2)
    cell[box] = step_down(away, log_uniform(draw, 1, 8))
    return cell


def membranes(draw: Draw, side: int) -> Array:
    """Outlines of cells side by side or alone; light emitted, shape (side, side)."""
    style = draw.random()
    if style < 0.3:
        return _lone_cells(draw, side)
    if style < 0.4:
        return _reticulum(draw, side)
    spacing = side * log_uniform(draw, 0.07, 0.4)
    cells = sheet(draw, side, spacing, draw.uniform(0.1, 0.4))
    many = len(cells.centres)
    width = draw.uniform(*SHARP_PX)
    if draw.random() < 0.4:
        width = log_uniform(draw, SHARP_PX[1], 2.2)
    line = np.exp(-0.5 * (cells.wall / width) ** 2)
    line *= np.exp(draw.uniform(0.1, 0.7) * swell(draw, side, max(4, 0.3 * spacing)))
    there = np.ones(many, bool)
    if draw.random() < 0.5:
        # Cells are missing: only walls of those that are there.
        there = draw.random(many) < draw.uniform(0.4, 0.9)
    fills = log_uniform(draw, 0.02, 0.5) * draw.gamma(1.5, 0.6, many)
    inside = cells.filled(fills * there)
    inside = inside * np.exp(draw.uniform(0.1, 0.5) * clouds(draw, side, 0.7, 2))
    light = line * cells.beside(there) + inside
    if draw.random() < 0.4:
        light = light + log_uniform(draw, 0.2, 1) * _specks(draw, side, 60)
    return np.asarray(light, dtype=np.float32)


def _reticulum(draw: Draw, side: int) -> Array:
    """A cell's net of fine tubes, dense about the nucleus it leaves out."""
    net = sheet(draw, side, max(6.0, side * log_uniform(draw, 0.035, 0.08)), 0.4)
    width = draw.uniform(*SHARP_PX) * draw.choice([1, 1, 1.6])
    kept = draw.random(len(net.centres)) < draw.uniform(0.7, 1)
    light = np.exp(-0.5 * (net.wall / width) ** 2) * net.beside(kept)
    light = light * np.exp(draw.uniform(0.2, 0.6) * clouds(draw, side, 0.6, 3))
    centre, size = draw.uniform(0.2, 0.8, 2) * side, side * draw.uniform(0.1, 0.22)
    box, away = outline(draw, centre, size, side, flat=0.8, margin_px=side)
    light[box] *= 1 + 3 * np.exp(-np.abs(away) / (0.3 * size))
    light[box] *= 1 - draw.uniform(0.8, 1) * step_down(away, 1.5)
    return np.asarray(light * _cell(draw, side), np.float32)


def _lone_cells(draw: Draw, side: int) -> Array:
    """Round or drawn-out cells with spikes, each with a bright rim."""
    light = np.zeros((side, side), np.float32)
    width = draw.uniform(*SHARP_PX) * draw.choice([1, 1, 2])
    rough = draw.uniform(0.05, 0.5)
    spikes: list[Floats] = []
    for _ in range(int(draw.integers(5, 30))):
        radius = side * log_uniform(draw, 0.03, 0.2)
        centre = draw.uniform(0, 1, 2) * side
        flat = draw.uniform(0.35, 1)
        box, away = outline(draw, centre, radius, side, flat=flat, rough=rough)
        rim = np.exp(-0.5 * (away / width) ** 2)
        fill = log_uniform(draw, 0.02, 0.4) * step_down(away, 1.5)
        light[box] += log_uniform(draw, 0.3, 1) * (rim + fill)
        if draw.random() < 0.6:
            spikes.append(_spikes(draw, centre, radius * flat))
    places = np.concatenate([np.zeros((0, 3)), *spikes])
    return light + spots(places[:, :2], places[:, 2], side, draw.uniform(*SHARP_PX))


def _spikes(draw: Draw, centre: Floats, radius: float) -> Floats:
    """Filopodia around a cell: places along them and strengths, (N, 3)."""
    many = int(draw.integers(4, 30))
    turns = _turns(draw, many)
    starts = centre + radius * np.stack([np.sin(turns), np.cos(turns)], axis=-1)
    lines = walks(draw, starts, turns, radius * draw.uniform(0.2, 0.9), 6 * radius)
    strength = log_uniform(draw, 0.1, 0.6, (many, 1)) * _ends(draw, lines)
    values = (strength * STEP_PX)[..., None]
    return np.concatenate([lines, values], axis=-1).reshape(-1, 3)


def _specks(draw: Draw, side: int, most: int) -> Array:
    many = int(log_uniform(draw, 3, most))
    places = draw.uniform(0, 1, (many, 2)) * side
    radii = log_uniform(draw, 0.8, 4, many)
    return discs(places, log_uniform(draw, 0.1, 1, many), radii, side)


def vesicles(draw: Draw, side: int) -> Array:
    """Rings and small discs, few large and many small; light, shape (side, side)."""
    light = np.zeros((side, side), np.float32)
    for _ in range(int(draw.integers(1, 4))):
        many = int(log_uniform(draw, 25, 700))
        places = _scattered(draw, many, side)
        radii = np.minimum(draw.pareto(draw.uniform(1.5, 3.5), many) + 1, 14)
        radii *= log_uniform(draw, 0.6, 2.0)
        values = log_uniform(draw, 0.1, 1, many)
        ring = draw.uniform(*SHARP_PX) if draw.random() < 0.5 else 0.0
        edge = log_uniform(draw, 0.8, 2.5)
        light += discs(places, values, radii, side, edge, ring * draw.choice([1, 1, 2]))
    if draw.random() < 0.5:
        cell = _cell(draw, side) * np.exp(0.4 * clouds(draw, side, 0.8, 3))
        light += np.float32(log_uniform(draw, 0.02, 0.3)) * cell
    return light


def points(draw: Draw, side: int) -> Array:
    """Single sources of light, apart or in clusters; light, shape (side, side)."""
    many = int(log_uniform(draw, 20, 2500))
    places = _scattered(draw, many, side)
    values = draw.lognormal(0, draw.uniform(0.1, 0.9), many)
    width = draw.uniform(*SHARP_PX)
    if draw.random() < 0.5:
        width = log_uniform(draw, SHARP_PX[1], 2.0)
    light = spots(places, values, side, width)
    if draw.random() < 0.4:
        # Some lie deeper.
        deep = np.flatnonzero(draw.random(many) < draw.uniform(0.1, 0.6))
        far = log_uniform(draw, 1.5, 4)
        light += spots(places[deep], 3 * values[deep], side, far)
    if draw.random() < 0.3:
        light += np.float32(log_uniform(draw, 0.02, 0.3) * light.max()) * hazy(
            _cell(draw, side), 4
        )
    return light


def _scattered(draw: Draw, many: int, side: int) -> Floats:
    """Places anywhere, in clusters or along threads, (N, 2)."""
    style = draw.random()
    anywhere = draw.uniform(-0.02, 1.02, (many, 2)) * side
    if style < 0.4:
        return anywhere
    homes = draw.uniform(0, 1, (int(draw.integers(1, 12)), 2)) * side
    if style < 0.75:
        home = homes[draw.integers(0, len(homes), many)]
        near = side * log_uniform(draw, 0.01, 0.15, (many, 1))
        gathered = home + near * draw.standard_normal((many, 2))
    else:
        lines = walks(draw, homes, _turns(draw, len(homes)), side, side)
        flat = lines.reshape(-1, 2)
        gathered = flat[draw.integers(0, len(flat), many)]
        gathered = gathered + draw.normal(0, log_uniform(draw, 0.2, 4), (many, 2))
    return np.where(draw.random((many, 1)) < 0.8, gathered, anywhere)
