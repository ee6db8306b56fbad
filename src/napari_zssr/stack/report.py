"""What happened in a run, as a record and in a sentence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_zssr.checks import LEARNED
from napari_zssr.config import Config
from napari_zssr.imaging.intensity import IntensityMap
from napari_zssr.imaging.quality import combined_quality
from napari_zssr.stack.plane_result import PlaneReport
from napari_zssr.stack.prepare import Prepared
from napari_zssr.stack.recipe import any_trained
from napari_zssr.units import counted
from napari_zssr.zssr.device import device_name, fallback_message
from napari_zssr.zssr.messages import (
    FROM_SAVED,
    NOTHING_TO_RESTORE,
    Baseline,
    baseline,
    delivered_gains,
    error_sentence,
    faint_texture_sentence,
    held_back_sentence,
    quality_sentence,
    shrunk_figure,
    start_sentence,
    used_as_is_sentence,
    what_was_tested,
)
from napari_zssr.zssr.start import start_checksum

if TYPE_CHECKING:
    from napari_zssr.stack.axial_channel import AxialReport
    from napari_zssr.stack.axial_run import AxialRun
    from napari_zssr.stack.image import ImageStack
    from napari_zssr.stack.run import Upscaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in a run, and what is needed to repeat it."""

    planes: tuple[PlaneReport, ...]
    seconds: float
    device: str
    device_name: str = ""
    precision: str
    seed: int
    versions: dict[str, str]
    input_name: str
    input_checksum: str
    sentence: str
    start_checksum: str = ""
    dtype: str = ""
    kernels: tuple[dict[str, Any], ...] = ()
    messages: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    axial: tuple[AxialReport, ...] = ()

    @property
    def only_interpolated(self) -> bool:
        """Whether networks have made no part of the result."""
        returned = [plane.returned for plane in self.planes]
        returned += [channel.returned for channel in self.axial]
        return bool(returned) and "learned" not in returned

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-serialisable form."""
        return dataclasses.asdict(self)


def report_of(
    ready: Prepared, reports: tuple[PlaneReport, ...], *, seconds: float
) -> Report:
    """Report of a run."""
    config = ready.config
    remarks = _remarks(ready, [one.mapping for one in ready.channels.values()])
    return Report(
        planes=reports,
        seconds=seconds,
        device=ready.plan.device,
        device_name=device_name(ready.plan.device),
        precision=ready.plan.precision,
        seed=config.seed,
        versions=dict(versions()),
        input_name=ready.stack.name,
        input_checksum=ready.stack.checksum,
        sentence=" ".join((_sentence(reports, config), *remarks)),
        remarks=remarks,
        dtype=ready.plan.output_dtype,
        start_checksum=start_checksum(config),
        kernels=tuple(kernel.to_dict() for kernel in ready.kernels),
        messages=ready.stack.messages,
    )


def axial_report(
    ready: AxialRun,
    reports: tuple[AxialReport, ...],
    lateral: Mapping[str, Any] | None,
    seconds: float,
) -> Report:
    """Report of a run along Z; `lateral` is that on its planes, if they were enlarged.

    As `Report.to_dict` or a file has it.
    """
    remarks = _remarks(ready, ready.maps.values())
    report = Report(
        planes=(),
        axial=reports,
        seconds=seconds,
        device=ready.plan.device,
        device_name=device_name(ready.plan.device),
        precision=ready.plan.precision,
        seed=ready.config.seed,
        versions=dict(versions()),
        input_name=ready.stack.name,
        input_checksum=ready.stack.checksum,
        sentence=" ".join((_axial_sentence(reports), *remarks)),
        remarks=remarks,
        dtype=ready.plan.output_dtype,
        start_checksum=start_checksum(ready.config),
        messages=ready.stack.messages,
    )
    if lateral is None:
        return report
    return replace(
        report,
        planes=tuple(PlaneReport.from_dict(plane) for plane in lateral["planes"]),
        kernels=tuple(lateral["kernels"]),
        remarks=tuple(dict.fromkeys((*lateral["remarks"], *remarks))),
        input_checksum=lateral["input_checksum"],
        messages=tuple(lateral["messages"]),
        sentence=f"{lateral['sentence']} {report.sentence}",
    )


def _axial_sentence(reports: tuple[AxialReport, ...]) -> str:
    """What happened along Z, channel by channel where it differs."""
    sentences = dict.fromkeys(report.sentence for report in reports)
    if len(sentences) == 1:
        return f"Along Z, ×{reports[0].factor:.3g}: {next(iter(sentences))}"
    return " ".join(
        f"Along Z, channel {report.channel + 1}: {report.sentence}"
        for report in reports
    )


def versions() -> Iterator[tuple[str, str]]:
    """Names and versions of the programs that decide the pixels."""
    from importlib import metadata

    for name in ("napari-zssr", "torch", "numpy", "scipy"):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "unknown"


def _sentence(reports: tuple[PlaneReport, ...], config: Config) -> str:
    if len(reports) == 1:
        return reports[0].sentence
    learned = [r for r in reports if r.returned == "learned"]
    held, base = _held_back(reports, config), baseline(config.factors)
    if not learned:
        if held:
            return f"For all {len(reports)} planes {base.name} was returned.{held}"
        if all(report.sentence == NOTHING_TO_RESTORE for report in reports):
            return f"All {len(reports)} planes: {NOTHING_TO_RESTORE}"
        return (
            f"{_tested_kind(reports)} improved none of {len(reports)} planes, so "
            f"{base.name} was returned."
        )
    others = len(reports) - len(learned)
    which, have = ("plane", "it has") if others == 1 else (f"{others}", "they have")
    rest = (
        f" For the other {which}, {base.name} was returned, or {have} the same value "
        "everywhere."
    ) * (others > 0)
    what = "trained result" if _is_trained(reports) else "result of the networks"
    sentence = (
        f"The {what} was returned for {len(learned)} of {len(reports)} planes.{rest}"
    )
    parts = (
        _changed(learned, config),
        held or _tested(learned, base),
        _trained(reports, config),
        _errors(reports),
    )
    return sentence + "".join(parts)


def _is_trained(reports: Iterable[PlaneReport]) -> bool:
    """Whether anything was trained on the image."""
    return any_trained((report.steps, report.shared) for report in reports)


def _tested_kind(reports: tuple[PlaneReport, ...]) -> str:
    """What has improved no plane."""
    is_judged = any(report.gain_db is not None for report in reports)
    trained = _is_trained(reports) or not is_judged
    return what_was_tested(trained=trained, learned=any(r.began for r in reports))


def _held_back(reports: tuple[PlaneReport, ...], config: Config) -> str:
    """What was held back in some channel, and why."""
    assessments = [
        r.assessment for r in reports if r.assessment and r.assessment["reason"]
    ]
    if not assessments:
        return ""
    shares = [assessment["share"] for assessment in assessments]
    least = assessments[shares.index(min(shares))]
    sentence = held_back_sentence(
        shares,
        least["supported"],
        least["reason"],
        baseline(config.factors),
        whole=config.always,
    )
    some = len(assessments) < len(reports)
    part = f" In {len(assessments)} of {len(reports)} planes:" if some else ""
    return f"{part} {sentence}"


def _changed(learned: list[PlaneReport], config: Config) -> str:
    """What the checks on their pixels came to, in the median."""
    qualities = [report.quality for report in learned if report.quality is not None]
    if not qualities:
        return ""
    held = any(r.assessment and r.assessment["reason"] for r in learned)
    sentence = quality_sentence(
        combined_quality(qualities),
        baseline(config.factors),
        whole=config.always or not held,
    )
    return f" In the median: {sentence}"


def _tested(learned: list[PlaneReport], base: Baseline) -> str:
    """What held-out regions told."""
    gains = delivered_gains((r.returned, r.gain_db) for r in learned)
    denoised = any(report.denoised for report in learned)
    return f" {shrunk_figure(gains, base, denoised=denoised)}" if gains else ""


def _errors(reports: tuple[PlaneReport, ...]) -> str:
    """The standard error, in the median, where it was asked for."""
    errors = [report.error for report in reports if report.error is not None]
    if not errors:
        return ""
    ordered = sorted(errors, key=lambda error: float(error["mean"]))
    return f" In the median:{error_sentence(ordered[len(ordered) // 2])}"


def _trained(reports: tuple[PlaneReport, ...], config: Config) -> str:
    """What training was done on, what it began from, and what may have gone."""
    learned = [r for r in reports if r.returned == "learned"]
    textures = (faint_texture_sentence(r.quality) for r in learned if r.denoised)
    texture = next(filter(None, textures), "")
    pretrained = any(report.began for report in reports)
    if not _is_trained(reports):
        return used_as_is_sentence(learned=pretrained) + texture
    saved = FROM_SAVED if config.start_file else ""
    began = start_sentence(LEARNED) if pretrained else saved
    return f"{_shared(reports, config)}{began}{texture}"


def _remarks(
    ready: Prepared | AxialRun, maps: Iterable[IntensityMap]
) -> tuple[str, ...]:
    """Sentences on the type of the result, and on an image that is perhaps none."""
    usual = ready.stack.data.dtype.name
    remarks = [*filter(None, [fallback_message(ready.config.device)])]
    if ready.config.dtype == "auto" and ready.plan.output_dtype != usual:
        remarks.append(
            f"The result is float32, because the image ({usual}) has so few counts "
            "that rounding would lose more than 0.5 % of its intensity."
        )
    if any(mapping.piecewise for mapping in maps):
        remarks.append(
            "The image looks like labels or a mask; if it is one, enlarge it with "
            "--labels or upscale_labels, which keep each value."
        )
    return tuple(remarks)


def _shared(reports: tuple[PlaneReport, ...], config: Config) -> str:
    """How training was spread over the planes, where they have shared it."""
    counts = {report.shared for report in reports if report.shared}
    if not counts:
        return ""
    then = (
        ", then on every plane"
        if config.strategy == "tuned" and config.tuned_steps
        else ""
    )
    return f" Trained on {counted(max(counts), 'plane')} of each channel{then}."


Ranges = Mapping[str, tuple[int, int]]


def recipe(
    stack: ImageStack, result: Upscaled, *, selection: Ranges | None = None
) -> dict[str, Any]:
    """Recipe of a finished result."""
    started = unfinished_recipe(stack, result.config, selection=selection)
    return started | {"report": to_json_types(result.report.to_dict())}


def unfinished_recipe(
    stack: ImageStack, config: Config, *, selection: Ranges | None = None
) -> dict[str, Any]:
    """Recipe of a run that has no report: still going on, or cancelled."""
    source: dict[str, Any] = {
        "name": stack.name,
        "checksum": stack.checksum,
        "axes": stack.axes,
        "shape": stack.data.shape,
        "spacing": stack.spacing,
        "units": stack.units,
    }
    if stack.image_index is not None:
        source["image"] = {"index": stack.image_index, "name": stack.image_name}
    if selection:
        source["selection"] = selection
    content = {
        "program": "napari-zssr",
        "config": config.to_dict(),
        "input": source,
    }
    return {key: to_json_types(value) for key, value in content.items()}


def to_json_types(value: Any) -> Any:
    """Copy of what JSON can hold; NaN and Inf become None, unknown kinds text."""
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(item) for item in value]
    if hasattr(value, "tolist"):
        return to_json_types(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
