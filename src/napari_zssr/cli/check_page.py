"""The report of ``napari-zssr check`` as one page of HTML that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_zssr.cli import check as command
from napari_zssr.cli.picture import Row, busiest, side_by_side
from napari_zssr.imaging.resample import output_window
from napari_zssr.stack.check import Check, PlaneCheck, plane_at
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.methods import methods

if TYPE_CHECKING:
    from PIL.Image import Image

FIELD_PX, SIDE_PX = 96, 384
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em;
  padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd; }
img { max-width: 100%; }
figure { margin: 1em 0; }
figcaption, .note { color: #555; }
blockquote { margin: 1em 0; padding: .5em 1em; background: #f4f4f4; }
"""
EXPLAINED = (
    "Sums of intensity above the background, after over before, per region: the "
    "median, the largest, and that of the whole plane; changed are regions whose sum "
    "moves by more than 1 % and three standard deviations of its noise. Shifts of "
    "spots are in pixels of the original, positive downwards and to the right."
)
EXPLAINED_TRUTH = (
    " RSE is the root mean square error in intensities of the truth, RSP Pearson's "
    "correlation, both after registration and a linear fit of intensities; the peak of "
    "PSNR and SSIM is the 99.9 % less the 0.1 % quantile of the truth."
)


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
    yield _table(command.image_rows(check, stacks), header=False)
    yield from (f"<p><strong>{escape(text)}</strong></p>" for text in check.messages)
    yield "<h2>Figures</h2>"
    yield _table(command.rows(check), header=True)
    has_truth = any(plane.scores for plane in check.planes)
    explained = EXPLAINED + EXPLAINED_TRUTH * has_truth
    yield f'<p class="note">{escape(explained)}</p>'
    yield f"<p>{escape(check.sentence)}</p>"
    if len(check.planes) > 1:
        for plane in check.planes:
            yield f"<p>{escape(plane.name)}: {escape(' '.join(plane.sentences))}</p>"
    yield "<h2>Pictures</h2>"
    for plane in _shown(check):
        yield from _pictures(plane, check, stacks)
    paragraph, references = methods(check)
    yield "<h2>For the methods section</h2>"
    yield f"<blockquote>{escape(paragraph)}</blockquote>"
    items = "".join(f"<li>{escape(reference)}</li>" for reference in references)
    yield f"<ol>{items}</ol>"


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
        f"The busiest field, from row {top} and column {left} of the original.",
    )
    if plane.error is not None:
        # Panels are square.
        room = [(0, max(plane.error.shape) - n) for n in plane.error.shape]
        shown = Row(label=plane.name, panels=(np.pad(plane.error, room),))
        yield _figure(
            side_by_side([shown], ("error map",), side_px=SIDE_PX),
            "|truth - fitted result| in the whole plane, intensities of the truth.",
        )


def _figure(picture: Image, caption: str) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(rows: Sequence[Sequence[str]], *, header: bool) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if header and number == 0 else "td"
        cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
