"""``napari-zssr doctor``: whether the installation can compute, and how to mend it."""

from __future__ import annotations

import dataclasses
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import typer

from napari_zssr.cli import console, options

if TYPE_CHECKING:
    from napari_zssr.zssr.device import DeviceReport

PACKAGES = ("napari-zssr", "torch", "numpy", "scipy", "tifffile", "zarr", "napari")


def doctor(json: options.Json = False) -> None:
    """Check Python, torch and the devices; tell how to mend what is wrong."""
    content = examination()
    if json:
        console.echo_json(content)
    else:
        typer.echo(console.table(_lines(content)))
        typer.echo(_closing(content))
    if content["problem"]:
        raise typer.Exit(1)


def examination() -> dict[str, Any]:
    """Versions, devices and advice, JSON-able."""
    content: dict[str, Any] = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "problem": "",
        "devices": [],
        "gpus": [],
        "advice": None,
    }
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        content["problem"] = f"torch cannot be imported ({reason}); install it again."
        return content
    return content | _machine(torch.version.cuda)


def _machine(torch_cuda: str | None) -> dict[str, Any]:
    from napari_zssr.zssr.machine import look_at_machine

    machine = look_at_machine()
    found = machine.advice
    return {
        "torch_cuda": torch_cuda,
        "devices": [dataclasses.asdict(d) for d in machine.devices],
        "gpus": [gpu.name for gpu in machine.gpus],
        "advice": None if found is None else dataclasses.asdict(found),
        "problem": found.sentence if found is not None else _failures(machine.devices),
    }


def _failures(seen: tuple[DeviceReport, ...]) -> str:
    return " ".join(f"{d.device} fails: {d.failure}" for d in seen if d.failure)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(content: dict[str, Any]) -> list[tuple[str, str]]:
    versions = content["packages"].items()
    lines = [("python", content["python"]), ("system", content["system"])]
    lines += [(name, found or "not installed") for name, found in versions]
    for device in content["devices"]:
        state = device["failure"] or (
            f"{console.in_bytes(device['free_bytes'])} free, "
            f"{'fast' if device['bfloat16'] else 'no fast'} bfloat16"
        )
        lines.append((device["device"], f"{device['description']}, {state}"))
    return lines


def _closing(content: dict[str, Any]) -> str:
    if content["advice"] is not None:
        commands = (f"  {line}" for line in content["advice"]["commands"])
        return "\n".join([content["problem"], *commands])
    if content["problem"]:
        return str(content["problem"])
    return f"All is well; runs go to {content['devices'][0]['device']}."
