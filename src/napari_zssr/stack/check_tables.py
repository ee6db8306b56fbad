"""Tables of a check, for the terminal and for its page."""

from __future__ import annotations

import math

from napari_zssr.stack.check import Check, PlaneCheck
from napari_zssr.stack.detail import Finest
from napari_zssr.stack.image import ImageStack, outline_of


def image_rows(check: Check, stacks: dict[str, ImageStack]) -> list[tuple[str, str]]:
    """Table of the images and the factor."""
    y, x = check.factors
    factor = f"{y:g}" if y == x else f"{y:g} along Y, {x:g} along X"
    described = [(k, outline_of(s).text) for k, s in stacks.items()]
    count = len(check.planes)
    some = [("planes", f"{count} of {check.count}")] if check.count > 1 else []
    size = [("compared", "at the size of the original, with the result shrunk to it")]
    return [
        *described,
        ("factor", f"{factor}, from the {check.factors_from}"),
        *some,
        *(size if check.before else []),
    ]


HEADER = ("plane", "objects", "sum median", "largest", "total", "changed")
HEADER_SPOTS = ("spots", "shift Y", "shift X", "rms px")
HEADER_TRUTH = ("RSP", "RSE", "PSNR", "SSIM")


def rows(check: Check) -> list[tuple[str, ...]]:
    """Table of the planes: a header, then one row for each."""
    has_truth = any(plane.scores for plane in check.planes)
    header = (*HEADER, *HEADER_SPOTS, *(HEADER_TRUTH if has_truth else ()))
    cells = [header, *(_cells(plane) for plane in check.planes)]
    return _named(check, cells)


def _named(check: Check, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows without the names of planes where there is only one."""
    return rows if any(p.name for p in check.planes) else [row[1:] for row in rows]


def detail_rows(check: Check) -> list[tuple[str, ...]]:
    """Table of what the residual and the detail of each plane came to."""
    details = [plane.detail for plane in check.planes]
    unit = details[0].unit_text
    finest = {"before": f"detail {unit}", "after": "result hardly finer than"}
    if any(detail.with_truth for detail in details):
        finest["with_truth"] = "with truth"
    header = ("plane", "agrees", "flagged", "fine residual", "detail confirmed")
    cells = [(*header, *finest.values())]
    for plane in check.planes:
        found = plane.agreement
        answer = ("no" if found.disagrees else "yes") if found.unit else "-"
        cells.append(
            (
                plane.name,
                answer,
                _number(100 * found.flagged, ".3g", " %"),
                _number(found.level, ".2f", f" × {found.unit}"),
                _confirmed(plane),
                *(_period(getattr(plane.detail, name)) for name in finest),
            )
        )
    return _named(check, cells)


def _confirmed(plane: PlaneCheck) -> str:
    found = plane.detail.confirmed
    return found.all.text if found and found.all else "-"


def _period(finest: Finest | None) -> str:
    if finest is None:
        return "-"
    if finest.outcome == "nothing":
        return "none"
    limit = " (pixels)" if finest.outcome == "pixel limit" else ""
    return f"{finest.period:.3g}{limit}"


def _cells(plane: PlaneCheck) -> tuple[str, ...]:
    flux, spots, scores = plane.flux, plane.spots, plane.scores
    changes = (flux.median, flux.largest, flux.total)
    cells = [plane.name, str(flux.judged)]
    cells += [_number(100 * change, "+.2f", " %") for change in changes]
    cells += [str(int(flux.changed.sum())), str(spots.spots)]
    cells += [_number(part, "+.3f") for part in spots.mean]
    cells.append(_number(spots.rms, ".3f"))
    if scores is not None:
        cells += [_number(scores.rsp, ".4f"), _number(scores.rse, ".4g")]
        cells += [_number(scores.psnr, ".2f", " dB"), _number(scores.ssim, ".4f")]
    return tuple(cells)


def _number(value: float, spec: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}{unit}"
