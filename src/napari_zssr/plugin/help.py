"""Where to find help: the documentation, and a report of a problem."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from urllib.parse import urlencode

from magicgui.widgets import PushButton
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

from napari_zssr.plugin.form.rows import Column, SideBySide

NAME = "napari-zssr"
QUESTION = "What did you do, what did you expect, and what happened instead?"


class HelpRow(Column):
    """Buttons that open the documentation and a new issue in the browser."""

    def __init__(self) -> None:
        self.docs = PushButton(
            text="Help", tooltip="Opens the documentation in the browser."
        )
        self.report = PushButton(
            text="Report a problem",
            tooltip="Opens a new issue in the browser, with the versions of the "
            "programs filled in. Nothing is sent before you submit it there.",
        )
        super().__init__([SideBySide([self.docs, self.report])])
        self.docs.changed.connect(lambda: _open(docs_url()))
        self.report.changed.connect(lambda: _open(issue_url()))


def project_urls() -> dict[str, str]:
    """Addresses of the project, by their names in the metadata of the package."""
    entries = metadata.metadata(NAME).get_all("Project-URL") or []
    pairs = (entry.partition(",") for entry in entries)
    return {label.strip(): url.strip() for label, _, url in pairs}


def docs_url() -> str:
    """Address of the documentation."""
    urls = project_urls()
    return urls.get("Documentation") or urls["Homepage"]


def issue_url() -> str:
    """Address of a new issue that tells versions, system and device."""
    facts = "\n".join(f"- {name}: {text}" for name, text in _facts())
    body = f"{QUESTION}\n\n\n\n{facts}\n"
    return f"{project_urls()['Bug Tracker']}/new?{urlencode({'body': body})}"


def _facts() -> Iterator[tuple[str, str]]:
    for name in (NAME, "napari", "torch", "numpy"):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
    yield "Python", platform.python_version()
    yield "System", f"{platform.system()} {platform.release()} ({platform.machine()})"
    yield "Device", _device()


def _device() -> str:
    """The device that runs would take; torch takes too long to load only for this."""
    if "torch" not in sys.modules:
        return "unknown, nothing was run yet"
    from napari_zssr.zssr.device import description, resolve_device

    device = resolve_device("auto")
    return f"{device}: {description(device)}"


def _open(url: str) -> None:
    QDesktopServices.openUrl(QUrl(url))
