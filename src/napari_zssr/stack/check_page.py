"""The report of ``napari-zssr check`` as one page of HTML that needs nothing else."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_zssr.imaging.resample import output_window
from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.check_planes import plane_at
from napari_zssr.stack.check_tables import detail_rows, image_rows, rows
from napari_zssr.stack.detail import CURVES, RESULT, Curve, Detail
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.methods import legend, methods
from napari_zssr.stack.picture import Row, busiest, diverging_map, side_by_side
from napari_zssr.stack.plot import Axis, Line, Mark, plot
from napari_zssr.stack.verdict import LIMITS, verdict

if TYPE_CHECKING:
    from PIL.Image import Image

FIELD_PX, SIDE_PX = 96, 384
# Standard deviations of the noise that the map of the residual reaches.
LIMIT = 4.0
# Lowest power that a spectrum shows, as a share of the highest.
LEAST_POWER = 1e-9
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em;
  padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd; }
img, svg { max-width: 100%; height: auto; }
figure { margin: 1em 0; break-inside: avoid; }
figcaption, .note { color: #555; }
blockquote { margin: 1em 0; padding: .5em 1em; background: #f4f4f4; }
"""
EXPLAINED = (
    "Changes of the summed intensity above background: median and largest of all "
    "objects, and the whole plane. An object counts as changed if its sum differs by "
    "more than 1 % and by more than three standard deviations of its noise. Shifts "
    "of spots are in pixels of the original, positive downwards and to the right."
)
EXPLAINED_TRUTH = (
    " RSE (root mean square error, in intensities of the truth) and RSP (Pearson's "
    "correlation) are computed after registration and a linear fit of intensities. "
    "The peak of PSNR and SSIM is the 99.9 % minus the 0.1 % quantile of the truth."
)
EXPLAINED_DETAIL = (
    "Agrees: whether the result, blurred and shrunk as assumed, matches the "
    "original within its noise. Flagged: share of the area that the noise does not "
    "explain. Fine residual: how much fine detail differs, in multiples of the "
    "assumed noise; about 1 is expected where noise was removed. Detail confirmed: how "
    "much of the fine detail that the networks make of one half of the light is in the "
    "other half, whose noise is independent; noise turned into structures is not. The "
    "figure after ± is one standard error, from the scatter between blocks. "
    "Detail: the finest period on which two halves of the original agree, each with "
    "half of its light. Result hardly finer than: the same for the halves after "
    "processing. This is a bound and no measured resolution: it does not prove a gain, "
    "because the same network may invent the same detail in both halves."
)
EXPLAINED_MAP = (
    "Residual: the result, blurred and shrunk as assumed, minus the original, in "
    "standard deviations of the {unit}: red where the result is brighter, blue "
    "where it is darker. It should look like noise, without shapes; outlines mark "
    "what noise does not explain{none}."
)
EXPLAINED_SPECTRUM = (
    "Power spectra: where the curve of the original levels off, it is mostly noise; "
    "a result below it there has less noise, one above it has been sharpened. "
    "Everything right of the dotted line is finer than the pixels of the original, "
    "so it was interpolated or inferred."
)
EXPLAINED_CORRELATION = (
    "Fourier ring correlation: agreement of two images by spatial frequency, 1 for "
    "identical images, 0 for pure noise. {halves}Detail ends where it falls below "
    "1/7 between halves, 1/2 with a truth. To the right it should settle at 0: "
    "above 0 there is more noise than assumed, below 0 less. A network that invents "
    "the same detail in both halves also agrees with itself."
)
EXPLAINED_HALVES = "Original: its two halves. Result: each half processed by itself. "


def page(check: Check, stacks: dict[str, ImageStack]) -> str:
    """The whole page."""
    title = f"Check of {escape(stacks['result'].name)}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            *_body(check, stacks),
            "</body></html>",
            "",
        ]
    )


def _body(check: Check, stacks: dict[str, ImageStack]) -> Iterator[str]:
    yield _table(image_rows(check, stacks), header=False)
    yield from (f"<p><strong>{escape(text)}</strong></p>" for text in check.messages)
    yield f"<p><strong>{escape(verdict(check).text)}</strong> {escape(LIMITS)}</p>"
    yield "<h2>Figures</h2>"
    yield _table(rows(check), header=True)
    has_truth = any(plane.scores for plane in check.planes)
    explained = EXPLAINED + EXPLAINED_TRUTH * has_truth
    yield f'<p class="note">{escape(explained)}</p>'
    yield _table(detail_rows(check), header=True)
    yield f'<p class="note">{escape(EXPLAINED_DETAIL)}</p>'
    yield f"<p>{escape(check.sentence)}</p>"
    if len(check.planes) > 1:
        for plane in check.planes:
            yield f"<p>{escape(plane.name)}: {escape(' '.join(plane.sentences))}</p>"
    yield "<h2>Pictures</h2>"
    for number, plane in enumerate(_shown(check)):
        if plane.name:
            yield f"<h3>{escape(plane.name)}</h3>"
        yield from _pictures(plane, check, stacks)
        # What is read on the first plane need not be read on every other.
        figures = [*_residual(plane), *_plots(plane.detail, check)]
        for drawing, caption in figures:
            short = caption if number == 0 else f"{caption.partition(':')[0]}."
            yield _captioned(drawing, short)
    paragraph, references = methods(check)
    yield "<h2>For the methods section</h2>"
    yield f"<blockquote>{escape(paragraph)}</blockquote>"
    items = "".join(f"<li>{escape(reference)}</li>" for reference in references)
    yield f"<ol>{items}</ol>"
    yield "<h2>For a figure legend</h2>"
    yield f"<blockquote>{escape(legend(check))}</blockquote>"


def _shown(check: Check) -> list[PlaneCheck]:
    """The middle one of the planes of each channel."""
    channels: dict[int, list[PlaneCheck]] = {}
    for plane in check.planes:
        channels.setdefault(plane.channel, []).append(plane)
    return [listed[len(listed) // 2] for listed in channels.values()]


def _pictures(
    plane: PlaneCheck, check: Check, stacks: dict[str, ImageStack]
) -> Iterator[str]:
    """A field of the original and of the result, and the error in the whole plane."""
    image, result = (plane_at(stacks[k], plane.place) for k in ("original", "result"))
    field = busiest(image[np.newaxis], FIELD_PX)
    panels = (image[field], result[output_window(field, check.factors)])
    row = Row(label=plane.name, panels=panels)
    top, left = (part.start for part in field)
    yield _figure(
        side_by_side([row], ("original", "result"), side_px=SIDE_PX),
        f"The field with the most structure, from row {top} and column {left} of the "
        "original.",
    )
    if plane.error is not None:
        # Panels are square.
        room = [(0, max(plane.error.shape) - n) for n in plane.error.shape]
        shown = Row(label=plane.name, panels=(np.pad(plane.error, room),))
        yield _figure(
            side_by_side([shown], ("error map",), side_px=SIDE_PX),
            "|truth - fitted result| in the whole plane, in intensities of the truth.",
        )


def _residual(plane: PlaneCheck) -> Iterator[tuple[str, str]]:
    """Map of the residual and its caption."""
    found = plane.agreement
    if found.map is None or found.flags is None:
        return
    caption = EXPLAINED_MAP.format(
        unit=found.unit, none="" if found.flags.any() else " (nothing here)"
    )
    picture = diverging_map(found.map, LIMIT, found.flags)
    yield _image(picture, "residual"), caption


def _plots(detail: Detail, check: Check) -> Iterator[tuple[str, str]]:
    """Spectra, and ring correlations where there are any, with captions."""
    if not detail.spectra:
        return
    limits = {name: float(c.frequency[-1]) for name, c in detail.spectra.items()}
    x = Axis(
        label=f"spatial frequency, cycles per {detail.unit_text}",
        low=0.0,
        high=max(limits.values()),
    )
    upright = []
    if max(check.factors) > 1:
        upright = [Mark(label="pixels of the original", at=min(limits.values()))]
    y = _power_axis(detail.spectra)
    lines = _lines(detail.spectra)
    drawn = plot(lines, x, y, title="Power spectra", upright=upright)
    yield drawn, EXPLAINED_SPECTRUM
    if not detail.correlations:
        return
    across = [Mark(label="1/7", at=1 / 7)]
    if detail.with_truth is not None:
        across.append(Mark(label="1/2", at=1 / 2))
    has_halves = RESULT in detail.correlations
    yield (
        plot(
            _lines(detail.correlations),
            x,
            Axis(label="Fourier ring correlation", low=-0.25, high=1.05),
            title="Fourier ring correlations",
            across=across,
            upright=upright,
        ),
        EXPLAINED_CORRELATION.format(halves=EXPLAINED_HALVES * has_halves),
    )


def _lines(curves: Mapping[str, Curve]) -> list[Line]:
    """Curves in one order, so that each keeps its colour in all plots."""
    drawn = [(name, curves[name]) for name in CURVES if name in curves]
    return [Line(label=k, x=c.frequency, y=c.values) for k, c in drawn]


def _power_axis(spectra: Mapping[str, Curve]) -> Axis:
    """Decades that the spectra reach."""
    values = np.concatenate([curve.values for curve in spectra.values()])
    highest = max(float(values.max()), 1e-300)
    lowest = max(float(values.min()), LEAST_POWER * highest)
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return Axis(
        label="power, squared fraction of the intensity range",
        low=10.0**low,
        high=10.0 ** max(high, low + 1),
        log=True,
    )


def _figure(picture: Image, caption: str) -> str:
    return _captioned(_image(picture, caption), caption)


def _image(picture: Image, title: str) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'


def _captioned(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(rows: Sequence[Sequence[str]], *, header: bool) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if header and number == 0 else "td"
        cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
